"""Put the numbers of a run into sentences. No verdict is written down here: each follows from the records."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from onelayer.bench.table import cases_on, fastest
from onelayer.formats import (
    GREY_LEVELS,
    decibels,
    duration,
    enumeration,
    factors,
    grey_levels,
    grey_levels_at_most,
    mse_with_psnr,
    psnr,
)
from onelayer.reproduction.report.learning_analysis import best_recipe
from onelayer.reproduction.report.ranking import (
    DERIVED,
    LAYERS,
    PairwiseRanking,
    derived_first,
    layers,
    pairwise_rankings,
)

if TYPE_CHECKING:
    from onelayer.bench.record import BenchmarkRecord, PeerDescription
    from onelayer.reproduction.records import (
        LayerMetrics,
        MetricsRecord,
        OtherRecipesRecord,
        RunRecord,
    )

SAME = 0.5
"""Largest error in grey levels of a layer that replaces the transforms: half a step of an 8-bit image."""
CLEARLY_OFF = 8
"""Error in grey levels, at one place of an image, above which it is called out."""

_DEVICES = {"cpu": "CPU", "cuda": "CUDA device"}
_PHRASES = {
    "sequential": "the transforms applied image by image",
    "batched": "the transforms applied to whole batches",
}


def verdict(metrics: MetricsRecord | None, others: OtherRecipesRecord | None = None) -> str:
    """Answer whether one of the run's layers can replace the transforms, by its largest error."""
    if metrics is None:
        return "Not known yet."
    return "Yes." if any(layer.max_grey_levels <= SAME for layer in _without(others, metrics)) else "No."


def answer(
    metrics: MetricsRecord | None, benchmark: BenchmarkRecord | None, others: OtherRecipesRecord | None = None
) -> str:
    """Give the reasons of the verdict: the largest error and the speed of each of the run's layers."""
    if metrics is None:
        return "No layer has been compared with the transforms."
    return " ".join(_replacement(layer, benchmark) for layer in _without(others, metrics))


def _replacement(layer: LayerMetrics, benchmark: BenchmarkRecord | None) -> str:
    subject = f"The {layer.layer} layer"
    if layer.psnr_db is None:
        clause = f"{subject} gives exactly their output on every test image"
    elif layer.max_grey_levels <= SAME:
        clause = (
            f"{subject} gives their output, to within {grey_levels(layer.max_grey_levels)} of 255 grey levels on every "
            "test image"
        )
    else:
        clause = f"{subject} does not: it is up to {grey_levels(layer.max_grey_levels)} of 255 grey levels off"
    speeds = _speeds(layer.layer, benchmark) if benchmark is not None else []
    return f"{clause}, and {enumeration(speeds)}." if speeds else f"{clause}."


def _speeds(name: str, benchmark: BenchmarkRecord) -> list[str]:
    """Say how fast a layer of some name in the metrics is on each device, against the transforms on whole batches."""
    layer = DERIVED if name == DERIVED else LAYERS[0]
    clauses = []
    for device in benchmark.devices:
        for peer in layers(benchmark):
            ranked = {ranking.rival.name: ranking for ranking in pairwise_rankings(benchmark, device, peer)}
            ranking = ranked.get("batched", ranked.get("sequential"))
            if peer.name == layer and ranking is not None:
                clauses.append(f"on this {_DEVICES[device]} it is {_ranking_in_short(ranking)}")
    return clauses


def _ranking_in_short(ranking: PairwiseRanking) -> str:
    rival = _phrase(ranking.rival)
    if len(ranking.ahead) == ranking.rows:
        return f"{factors(ranking.ahead)} times as fast as {rival}"
    if len(ranking.behind) == ranking.rows:
        return f"slower than {rival}, by a factor of {factors(ranking.behind)}"
    return f"faster than {rival} at {_share(len(ranking.ahead), ranking.rows, first=True)}"


def headline(
    metrics: MetricsRecord | None, benchmark: BenchmarkRecord | None, others: OtherRecipesRecord | None = None
) -> list[str]:
    """Summarize how exact each layer is, then how fast on each measured device; the derived layer comes first.

    Of other recipes' layers the best is named, if it is clearly better than the run's own.
    """
    if metrics is None:
        accuracy = ["How exact the layer is has not been measured yet."]
    else:
        accuracy = [_fidelity(metrics, layer) for layer in _without(others, metrics)]
        best = best_recipe(metrics, others)
        accuracy += [best] if best else []
    if benchmark is None:
        return [*accuracy, "How fast it is has not been measured yet."]
    timed = derived_first(layers(benchmark), lambda peer: peer.name)
    speed = [_headline_of_rankings(benchmark, device, layer) for device in benchmark.devices for layer in timed]
    return [*accuracy, *(sentence for sentence in speed if sentence)]


def accuracy(metrics: MetricsRecord, others: OtherRecipesRecord | None = None) -> list[str]:
    """Say how far the run's layers are from the transforms, on average and at worst; other recipes are left out."""
    sentences = [
        f"{_fidelity(metrics, layer)}{_worst(layer)}{_guarantee(layer)}" for layer in _without(others, metrics)
    ]
    if any(layer.psnr_db is not None and layer.bound_grey_levels is None for layer in metrics.layers):
        sentences.append(
            "A small average error is no guarantee for every image: an image unlike those of this test part "
            "may come out worse than any shown here."
        )
    return sentences


def _without(others: OtherRecipesRecord | None, metrics: MetricsRecord) -> list[LayerMetrics]:
    names = {other.name for other in others.layers} if others else set()
    own = (layer for layer in metrics.layers if layer.layer not in names)
    return derived_first(own, lambda layer: layer.layer)


def speed(record: BenchmarkRecord) -> list[str]:
    """Say where each layer is ahead, level and behind, on each device in the order measured; then what is missing."""
    sentences = []
    for device in record.devices:
        where = f"On this machine’s {_DEVICES[device]}"
        for layer in derived_first(layers(record), lambda peer: peer.name):
            rankings = pairwise_rankings(record, device, layer)
            sentences += [f"{where}, {layer.label} was {_ranking_in_full(ranking)}." for ranking in rankings]
        # The last layer meets all the others, so the verdict on it says who is ahead.
        if layers(record) and (verdict := _verdict(record, device, layers(record)[-1])):
            sentences.append(verdict)
    if not sentences:
        sentences.append("The benchmark did not time the layer beside another peer, so it says nothing about speed.")
    if record.not_measured:
        names = enumeration([_DEVICES.get(device, device) for device in record.not_measured])
        sentences.append(f"Nothing is known for a {names}: none was measured.")
    return sentences


def training(run: RunRecord) -> list[str]:
    """Say how learning ended, and what keeping the best epoch gained."""
    summary, settings = run.training, run.settings
    if summary is None:
        return ["Learning has not ended yet."]
    if run.recipe == "least-squares":
        return [
            f"Least squares found the layer of least mean squared error on the training images in one pass, in "
            f"{duration(summary.seconds)}.",
            f"Its validation MSE is {mse_with_psnr(summary.best_validation_mse)}.",
        ]
    epochs = f"{summary.epochs_run} epoch" if summary.epochs_run == 1 else f"{summary.epochs_run} epochs"
    took = f"{epochs} in {duration(summary.seconds)}"
    ending = {
        "early stopping": (
            f"Training stopped early, after {took}: for {settings.patience} epochs in a row the validation MSE had not "
            f"fallen by more than {settings.min_delta:g} below its best."
        ),
        "all epochs done": (
            f"Training ran out of its {settings.epochs} epochs ({took}) before it stopped improving by itself, "
            "so more epochs might have helped."
        ),
        "interrupted": f"Training was interrupted after {took}, so the layer may not be as good as it could be.",
        "not finite": f"Training broke off after {took}, because the error was no longer a finite number.",
    }[summary.stop_reason]
    best = f"epoch {summary.best_epoch}, with a validation MSE of {mse_with_psnr(summary.best_validation_mse)}"
    return [ending, f"The best epoch was {best}. {_gain_of_best_epoch(run)}"]


def _gain_of_best_epoch(run: RunRecord) -> str:
    summary = run.training
    if summary is None or summary.best_epoch == summary.epochs_run:
        return "It was also the last one, so keeping the best epoch changed nothing in this run."
    if summary.last_validation_mse is None:
        return "The last epoch’s error was not a finite number; the layer of the best epoch was kept."
    if summary.last_validation_mse <= summary.best_validation_mse:
        return "The last epoch was no worse."
    best, last = psnr(summary.best_validation_mse), psnr(summary.last_validation_mse)
    if best is None or last is None:
        return "The last epoch was worse than the best, which had no error at all."
    amount = decibels(best - last) if best - last >= 0.05 else "less than 0.1 dB"
    return f"The last epoch was worse by {amount}: that is what keeping the layer of the best epoch gained."


def _fidelity(metrics: MetricsRecord, layer: LayerMetrics) -> str:
    over = f"Over {metrics.images:,} test images the {layer.layer} layer"
    if layer.psnr_db is None:
        return f"{over} gives exactly the output of the transforms."
    typical = grey_levels(GREY_LEVELS * math.sqrt(layer.mse))
    return (
        f"{over} reaches a PSNR of {decibels(layer.psnr_db)} against the transforms, a root-mean-square error of "
        f"{typical} of 255 grey levels; its largest error anywhere is {grey_levels(layer.max_grey_levels)} grey levels."
    )


def _worst(layer: LayerMetrics) -> str:
    if layer.psnr_db is None:
        return ""
    if layer.max_grey_levels > CLEARLY_OFF:
        return (
            f" Whatever the average says, it is off by more than {CLEARLY_OFF} grey levels somewhere in test image "
            f"{layer.worst_image}."
        )
    return f" No test image is off by more than {CLEARLY_OFF} grey levels anywhere."


def _guarantee(layer: LayerMetrics) -> str:
    if layer.bound_grey_levels is None:
        return ""
    return (
        f" Its weights prove that no image in [0, 1] at all can come out more than "
        f"{grey_levels_at_most(layer.bound_grey_levels)} grey levels wrong."
    )


def _headline_of_rankings(record: BenchmarkRecord, device: str, layer: PeerDescription) -> str | None:
    found = pairwise_rankings(record, device, layer)
    # Peers beyond the two that the question is about have their sentences in the conclusion.
    asked = [ranking for ranking in found if ranking.rival.name in _PHRASES] or found
    if not asked:
        return None
    return f"On this machine’s {_DEVICES[device]}, {layer.label} was {'; it was '.join(map(_ranking_in_full, asked))}."


def _ranking_in_full(ranking: PairwiseRanking) -> str:
    clauses: list[str] = []
    for word, preposition, count, ratios in (
        ("faster", "than", len(ranking.ahead), ranking.ahead),
        ("slower", "than", len(ranking.behind), ranking.behind),
        ("level", "with", ranking.level, ()),
    ):
        if count:
            # Named once: the clauses after the first speak of the same rival.
            rival = "" if clauses else f" {preposition} {_phrase(ranking.rival)}"
            note = f"by a factor of {factors(ratios)}" if ratios else "their quartile ranges overlap"
            clauses.append(f"{word}{rival} at {_share(count, ranking.rows, first=not clauses)} ({note})")
    return enumeration(clauses)


def _share(count: int, rows: int, *, first: bool) -> str:
    """Say how many rows, and the first time of how many."""
    return f"{count} of {rows} batch size{'' if rows == 1 else 's'}" if first else str(count)


def _verdict(record: BenchmarkRecord, device: str, layer: PeerDescription) -> str | None:
    against = {ranking.rival.name for ranking in pairwise_rankings(record, device, layer)}
    rows = [case for case in cases_on(record, device) if layer.name in case.timings and against & case.timings.keys()]
    if not rows:
        return None
    winners = [fastest(record, row) for row in rows]
    alone = sum(names == (layer.name,) for names in winners)
    shared = sum(layer.name in names for names in winners) - alone
    where = f"on the {_DEVICES[device]} in this run"
    if alone == len(rows):
        return f"So {layer.label} was the fastest way {where} at every batch size."
    if alone + shared == 0:
        leader, count = Counter(name for names in winners for name in names).most_common(1)[0]
        phrases = {peer.name: _phrase(peer) for peer in record.peers}
        return (
            f"So {layer.label} was never the fastest way {where}: where speed is all that counts, choose "
            f"{phrases[leader]}, in front at {_share(count, len(rows), first=True)}."
        )
    clauses: list[str] = []
    beaten = len(rows) - alone - shared
    for words, count in (("alone the fastest way", alone), ("level with the fastest", shared), ("beaten", beaten)):
        if count:
            clauses.append(f"{words} at {_share(count, len(rows), first=not clauses)}")
    return f"So {where} {layer.label} was {enumeration(clauses)}."


def _phrase(peer: PeerDescription) -> str:
    """Name a peer in running text."""
    return peer.label if peer.name in LAYERS else _PHRASES.get(peer.name, f"“{peer.label}”")
