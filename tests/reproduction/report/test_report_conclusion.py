from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.bench.table import are_level, fastest
from onelayer.records import Timing
from onelayer.reproduction.report import conclusion
from onelayer.reproduction.report.ranking import pairwise_rankings

BATCHED = "the transforms applied to whole batches"
SEQUENTIAL = "the transforms applied image by image"


def counts(sentence: str) -> dict[str, int]:
    """What a sentence says of how many rows: "faster than X at 3 of 8 batch sizes (…), slower at 5 (…)"."""
    return {word: int(count) for word, count in re.findall(r"\b(faster|slower|level)\b[^()]*? at (\d+)", sentence)}


def about(rival: str, sentences: list[str]) -> str:
    (found,) = (sentence for sentence in sentences if f" {rival} at" in sentence)
    return found


def test_a_layer_slower_than_batched_transforms_is_said_to_lose(make):
    sentences = conclusion.speed(make.benchmark(make.times(batched=0.5, layer=1.0)))
    expected = f"the layer was slower than {BATCHED} at 8 of 8 batch sizes (by a factor of 2.00)."
    assert about(BATCHED, sentences) == f"On this machine’s CPU, {expected}"
    assert counts(about(SEQUENTIAL, sentences)) == {"faster": 8}
    assert any("was never the fastest way" in sentence and f"choose {BATCHED}" in sentence for sentence in sentences)


def test_a_layer_faster_than_batched_transforms_is_said_to_win(make):
    sentences = conclusion.speed(make.benchmark(make.times(batched=1.5, layer=1.0)))
    expected = f"the layer was faster than {BATCHED} at 8 of 8 batch sizes (by a factor of 1.50)."
    assert about(BATCHED, sentences) == f"On this machine’s CPU, {expected}"
    assert "So the layer was the fastest way on the CPU in this run at every batch size." in sentences


def test_overlapping_quartiles_are_a_tie(make):
    sentences = conclusion.speed(make.benchmark(make.times(batched=1.01, layer=1.0)))
    assert counts(about(BATCHED, sentences)) == {"level": 8}
    assert "So on the CPU in this run the layer was level with the fastest at 8 of 8 batch sizes." in sentences


def test_a_mixed_outcome_is_told_in_full(make):
    times = {
        8: {"batched": make.timing(3.0), "layer": make.timing(1.0)},
        16: {"batched": make.timing(2.0), "layer": make.timing(1.0)},
        32: {"batched": make.timing(1.0), "layer": make.timing(1.0)},
        64: {"batched": make.timing(1.0), "layer": make.timing(4.0)},
    }
    sentences = conclusion.speed(make.benchmark(times))
    assert about(BATCHED, sentences) == (
        f"On this machine’s CPU, the layer was faster than {BATCHED} at 2 of 4 batch sizes (by a factor of 2.00 to "
        "3.00), slower at 1 (by a factor of 4.00) and level at 1 (their quartile ranges overlap)."
    )
    assert (
        "So on the CPU in this run the layer was alone the fastest way at 2 of 4 batch sizes, level with the fastest "
        "at 1 and beaten at 1." in sentences
    )


@st.composite
def timings(draw):
    low, middle, high = sorted(draw(st.tuples(*[st.floats(1e-6, 1e3)] * 3)))
    return Timing(seconds=(low, middle, high), median=middle, first_quartile=low, third_quartile=high)


WAYS = st.fixed_dictionaries({"layer": timings(), "batched": timings()}, optional={"sequential": timings()})


@given(times=st.dictionaries(st.integers(1, 4096), WAYS, min_size=1, max_size=8))
def test_what_is_counted_is_what_is_stated(make, times):
    """A recount by another rule, without the code under test: the ranges overlap, or else one ends before the other."""
    record = make.benchmark(times)
    sentences = conclusion.speed(record)
    for key, rival in (("batched", BATCHED), ("sequential", SEQUENTIAL)):
        pairs = [(row["layer"], row[key]) for row in times.values() if key in row]
        recount = {
            "faster": sum(layer.third_quartile < other.first_quartile for layer, other in pairs),
            "slower": sum(layer.first_quartile > other.third_quartile for layer, other in pairs),
        }
        recount["level"] = len(pairs) - sum(recount.values())
        if pairs:
            stated = about(rival, sentences)
            assert counts(stated) == {word: count for word, count in recount.items() if count}
            assert f" of {len(pairs)} batch size" in stated
            (headline,) = conclusion.headline(None, record)[1:]
            assert rival in headline
        else:
            assert not any(f" {rival} at" in sentence for sentence in sentences)


@given(one=timings(), other=timings())
def test_being_level_is_mutual(one, other):
    assert are_level(one, other) == are_level(other, one)
    assert are_level(one, one)


@given(row=WAYS)
def test_the_fastest_has_the_least_median_and_is_level_with_all_that_share_its_place(make, row):
    record = make.benchmark({8: row})
    first = fastest(record, record.cases[0])
    # Of several with the least median, the first that the record names.
    best = min((peer.name for peer in record.peers if peer.name in row), key=lambda key: row[key].median)
    assert row[best].median == min(row[key].median for key in first)
    assert all(are_level(row[key], row[best]) == (key in first) for key in row)


def test_a_way_that_is_no_contender_neither_wins_nor_is_a_rival(make):
    times = {8: {"layer": make.timing(1.0), "batched": make.timing(2.0), "layer_on_device": make.timing(0.1)}}
    record = make.benchmark(times, peers=(*make.peers, make.on_device))
    assert fastest(record, record.cases[0]) == ("layer",)
    assert [ranking.rival.name for ranking in pairwise_rankings(record, "cpu", make.peers[2])] == ["batched"]


def test_peers_added_later_are_spoken_of_by_their_labels(make):
    peer = make.peers[1].model_copy(update={"name": "fused", "label": "fused kernel"})
    times = {8: {"layer": make.timing(1.0), "fused": make.timing(0.1), "batched": make.timing(2.0)}}
    record = make.benchmark(times, peers=(*make.peers, peer))
    assert counts(about("“fused kernel”", conclusion.speed(record))) == {"slower": 1}
    assert any("choose “fused kernel”, in front at 1 of 1 batch size." in it for it in conclusion.speed(record))
    # The headline keeps to the question asked.
    assert "fused" not in " ".join(conclusion.headline(None, record))


def test_the_derived_layer_is_measured_against_the_learned_one_too(make):
    times = {
        8: {
            "sequential": make.timing(30.0),
            "batched": make.timing(2.0),
            "layer": make.timing(4.0),
            "derived": make.timing(1.0),
        }
    }
    record = make.benchmark(times, peers=(*make.peers, make.derived))
    sentences = conclusion.speed(record)
    assert sentences[:5] == [
        f"On this machine’s CPU, the derived layer was faster than {SEQUENTIAL} at 1 of 1 batch size (by a factor of "
        "30.0).",
        f"On this machine’s CPU, the derived layer was faster than {BATCHED} at 1 of 1 batch size (by a factor of "
        "2.00).",
        "On this machine’s CPU, the derived layer was faster than the layer at 1 of 1 batch size (by a factor of "
        "4.00).",
        f"On this machine’s CPU, the layer was faster than {SEQUENTIAL} at 1 of 1 batch size (by a factor of 7.50).",
        f"On this machine’s CPU, the layer was slower than {BATCHED} at 1 of 1 batch size (by a factor of 2.00).",
    ]
    assert sentences[5] == "So the derived layer was the fastest way on the CPU in this run at every batch size."
    assert [sentence.split(" was ")[0] for sentence in conclusion.headline(None, record)[1:]] == [
        "On this machine’s CPU, the derived layer",
        "On this machine’s CPU, the layer",
    ]


def test_a_proved_bound_is_a_guarantee_for_every_image(make):
    layers = make.layer(bound_grey_levels=57.31), make.layer("derived", mse=1e-15, bound_grey_levels=1.234e-4)
    derived, learned = conclusion.accuracy(make.metrics(*layers))
    # Rounded up: what is printed must hold.
    assert "no image in [0, 1] at all can come out more than 58 grey levels wrong." in learned
    assert "more than 1.30×10⁻⁴ grey levels wrong." in derived


def test_a_benchmark_without_the_layer_claims_nothing(make):
    record = make.benchmark({8: {"batched": make.timing(1.0)}})
    sentences = conclusion.speed(record)
    assert "says nothing about speed" in sentences[0]
    assert not any(counts(sentence) for sentence in sentences)
    assert len(conclusion.headline(None, record)) == 1


def test_devices_that_were_not_measured_are_named(make):
    record = make.benchmark(make.times())
    assert conclusion.speed(record)[-1] == "Nothing is known for a CUDA device: none was measured."


def test_each_device_is_spoken_of_by_itself(make):
    record = make.benchmark(make.times(batched=0.5, layer=1.0))
    on_cuda = make.benchmark(make.times(batched=2.0, layer=1.0))
    cases = (*record.cases, *(case.model_copy(update={"device": "cuda"}) for case in on_cuda.cases))
    record = record.model_copy(update={"cases": cases})
    assert "Nothing is known" not in " ".join(conclusion.speed(record))
    about_batched = [it for it in conclusion.speed(record) if f" {BATCHED} at" in it]
    assert [counts(it) for it in about_batched] == [{"slower": 8}, {"faster": 8}]
    assert "CUDA device" in about_batched[1]
    assert len(conclusion.headline(make.metrics(), record)) == 3


@pytest.mark.parametrize(("largest", "off"), [(23.1, True), (8.01, True), (8.0, False), (0.5, False)])
def test_an_image_clearly_off_is_called_out(make, largest, off):
    sentences = conclusion.accuracy(make.metrics(make.layer(max_grey_levels=largest)))
    called_out = "it is off by more than 8 grey levels somewhere in test image 4711" in sentences[0]
    assert called_out == off
    assert ("No test image is off by more than 8 grey levels" in sentences[0]) == (not off)
    assert "no guarantee for every image" in sentences[-1]


def test_accuracy_is_given_as_psnr_typical_and_largest_error(make):
    (sentence, _) = conclusion.accuracy(make.metrics(make.layer(mse=1e-4, psnr_db=40.0)))
    # The root of 1e-4 is 0.01, which is 2.55 of 255 grey levels.
    assert "PSNR of 40.0 dB" in sentence
    assert "root-mean-square error of 2.55 of 255 grey levels" in sentence
    assert "largest error anywhere is 23.1 grey levels" in sentence


def test_an_exact_layer_is_said_to_be_exact(make):
    exact = make.layer("derived", mse=0.0, psnr_db=None, ssim=1.0, max_grey_levels=0.0)
    assert conclusion.accuracy(make.metrics(exact)) == [
        "Over 10,000 test images the derived layer gives exactly the output of the transforms."
    ]
    both = conclusion.accuracy(make.metrics(make.layer(), exact))
    assert [sentence.split(" layer")[0].split()[-1] for sentence in both[:2]] == ["derived", "learned"]


def test_without_records_nothing_is_claimed():
    assert all("not been measured yet" in sentence for sentence in conclusion.headline(None, None))
    assert conclusion.verdict(None) == "Not known yet."
    assert conclusion.answer(None, None) == "No layer has been compared with the transforms."


@pytest.mark.parametrize(
    ("learned", "derived", "verdict"),
    [(23.1, 1e-4, "Yes."), (0.5, None, "Yes."), (0.51, None, "No."), (0.1, 2.0, "Yes.")],
)
def test_the_title_is_answered_by_the_largest_errors(make, learned, derived, verdict):
    layers = [make.layer("learned", max_grey_levels=learned)]
    layers += [make.layer("derived", max_grey_levels=derived)] if derived is not None else []
    metrics = make.metrics(*layers, make.layer("least-squares", max_grey_levels=0.0))
    assert conclusion.verdict(metrics, make.others()) == verdict
    answer = conclusion.answer(metrics, None, make.others())
    assert "least-squares" not in answer
    replacing = sum(error is not None and error <= 0.5 for error in (learned, derived))
    assert answer.count("gives their output, to within") == replacing
    assert answer.startswith("The derived layer" if derived is not None else "The learned layer")


@pytest.mark.parametrize(
    ("batched", "said"),
    [
        (1.5, f"on this CPU it is 1.50 times as fast as {BATCHED}."),
        (0.5, f"on this CPU it is slower than {BATCHED}, by a factor of 2.00."),
        (1.0, f"on this CPU it is faster than {BATCHED} at 0 of 8 batch sizes."),
    ],
)
def test_the_answer_says_how_fast(make, batched, said):
    answer = conclusion.answer(make.metrics(), make.benchmark(make.times(batched=batched, layer=1.0)))
    assert answer == f"The learned layer does not: it is up to 23.1 of 255 grey levels off, and {said}"


def training(make, **changes):
    summary = make.run().training.model_copy(update=changes)
    return " ".join(conclusion.training(make.run(training=summary)))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("early stopping", "stopped early, after 57 epochs in 12 min 3 s: for 10 epochs in a row"),
        ("all epochs done", "ran out of its 200 epochs"),
        ("interrupted", "was interrupted after 57 epochs"),
        ("not finite", "the error was no longer a finite number"),
    ],
)
def test_says_how_learning_ended(make, reason, words):
    assert words in training(make, stop_reason=reason)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # Twice the error is 10·log10(2) = 3.01 dB.
        ({}, "The last epoch was worse by 3.0 dB"),
        ({"last_validation_mse": 2.001e-5}, "worse by less than 0.1 dB"),
        ({"last_validation_mse": 2e-5}, "The last epoch was no worse."),
        ({"best_epoch": 57, "last_validation_mse": 2e-5}, "It was also the last one"),
        ({"last_validation_mse": None}, "was not a finite number; the layer of the best epoch was kept"),
        ({"best_validation_mse": 0.0}, "worse than the best, which had no error at all"),
    ],
)
def test_says_what_keeping_the_best_epoch_was_worth(make, changes, words):
    text = training(make, **changes)
    assert words in text
    assert "The best epoch was epoch" in text


def test_one_epoch_is_no_plural(make):
    assert "after 1 epoch in" in training(make, epochs_run=1, best_epoch=1, stop_reason="interrupted")


def test_least_squares_has_no_epochs_to_speak_of(make):
    run = make.run(recipe="least-squares")
    text = " ".join(conclusion.training(run))
    assert "in one pass, in 12 min 3 s" in text
    assert "epoch" not in text


def test_says_that_learning_has_not_ended(make):
    assert conclusion.training(make.run(training=None)) == ["Learning has not ended yet."]
