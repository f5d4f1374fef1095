"""All peers against each other and against the floor, workload by workload."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from rich.markup import escape

from onelayer.bench.floor import floor_on_cpu, floor_on_cuda
from onelayer.bench.harness import Contender, time_interleaved, torch_threads
from onelayer.bench.peers.peer import Images, Peer, Prepared
from onelayer.bench.peers.torch_peer import TorchPeer
from onelayer.bench.peers_record import Difference, NotMeasured, PeerRow, PeersCase, heading
from onelayer.bench.truth import Truth
from onelayer.bench.workloads import Pictures, Workload
from onelayer.console import console, progress
from onelayer.errors import OnelayerError

PASS_SECONDS = 0.1
"""A pass takes fewer batches than there are where they would take longer than this together…"""

BATCH_SECONDS = 0.5
"""…and fewer images to a batch where one batch alone would take longer than this."""

_TRIAL = 32
"""Images of the first look at how fast a peer is."""

_FLOOR = "floor"
"""A name that no peer has."""

BURN_IN = 1
REPEATS = 5


@dataclass(frozen=True)
class PeersRequest:
    """What is to be timed.

    Args:
        workloads: What is done.
        peers: By whom.
        threads: With how many threads, each at least 1.
        batch_sizes: See :meth:`Workload.sizes_of`.
        device: Where those work that have a choice.
        repeats: Rounds that count.
        images: See :meth:`Workload.images`.
        data: Likewise.
    """

    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    threads: Sequence[int]
    batch_sizes: Sequence[int] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    repeats: int = REPEATS
    images: int | None = None
    data: str = "sample"


@dataclass
class _Series:
    """The cases of one workload with one number of threads."""

    request: PeersRequest
    workload: Workload
    images: Pictures
    truth: Truth
    threads: int
    peers: dict[str, Peer] = field(default_factory=dict)
    """Those that can do it."""
    speeds: dict[str, float] = field(default_factory=dict)
    """Seconds an image, roughly, of those that do batches."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the others cannot, or what became of them."""


@dataclass(frozen=True)
class _Ready:
    prepared: Prepared
    images: Sequence[Images]
    difference: Difference


def measure_cases(request: PeersRequest) -> Iterator[PeersCase]:
    """Time everything.

    What a pass takes is bounded: of batches a slow peer gets fewer, and smaller ones than it was asked for if one alone
    took half a second; its row says how many. Photographs, which may differ in size, everybody gets all of.

    Yields:
        Each case as soon as it is measured.

    Raises:
        OnelayerError: If there are no such images. A peer that fails is recorded with its error.
    """
    for workload in request.workloads:
        console.print(f"[bold]{escape(workload.title)}[/bold]")
        images = workload.images(request.data, request.images)
        with torch.inference_mode():
            truth = Truth(workload.work, images)
        for threads in request.threads:
            series = _Series(request, workload, images, truth, threads)
            with torch_threads(threads), torch.inference_mode():
                _find_peers(series)
            for batch_size in workload.sizes_of(len(images), request.batch_sizes):
                with torch_threads(threads), torch.inference_mode():
                    case = _measured(series, batch_size)
                yield case


def _find_peers(series: _Series) -> None:
    """Find out who can do the work, and how fast they do batches."""
    first = series.images[:_TRIAL] if isinstance(series.images, torch.Tensor) else series.images[0]
    for peer in series.request.peers:
        placed: Peer = peer
        if series.request.device == "cuda":
            if not isinstance(peer, TorchPeer):
                series.refused[peer.name] = "it works on the CPU only"
                continue
            placed = peer.on_cuda()
        reason = placed.why_not(series.workload.work, first)
        if reason is not None:
            series.refused[peer.name] = reason
            continue
        series.peers[peer.name] = placed
        if series.workload.batched:
            try:
                series.speeds[peer.name] = _seconds_an_image(series, placed, first)
            except Exception as error:  # noqa: BLE001 - peers raise whatever they run into
                _fail(series, peer.name, error)


def _seconds_an_image(series: _Series, peer: Peer, first: torch.Tensor) -> float:
    prepared = peer.prepare(series.workload.work, [first], series.threads)
    (given,) = prepared.inputs
    # The first time may compile.
    prepared.apply(given)
    begin = time.perf_counter()
    prepared.apply(given)
    return (time.perf_counter() - begin) / len(first)


def _fail(series: _Series, name: str, error: Exception) -> None:
    del series.peers[name]
    text = str(error) if isinstance(error, OnelayerError) else f"{type(error).__name__}: {error}"
    series.refused[name] = " ".join(text.split())[:300]


def _measured(series: _Series, batch_size: int | None) -> PeersCase:
    request, workload = series.request, series.workload
    console.print(heading(workload.name, batch_size, series.threads))
    ready: dict[str, _Ready] = {}
    with progress() as shown:
        task = shown.add_task("prepare", total=len(series.peers))
        for name, peer in list(series.peers.items()):
            try:
                ready[name] = _prepared(series, peer, batch_size)
            except Exception as error:  # noqa: BLE001 - peers raise whatever they run into
                _fail(series, name, error)
            shown.advance(task)
        contenders = {name: Contender(each.prepared.apply, each.prepared.inputs) for name, each in ready.items()}
        passed = _pass(series.images, batch_size, None)
        contenders[_FLOOR] = _floor(series, passed)
        timings = time_interleaved(
            contenders,
            burn_in=BURN_IN,
            repeats=request.repeats,
            progress=shown,
            failed=lambda name, error: _fail(series, name, error),
        )
    case = PeersCase(
        workload=workload.name,
        title=workload.title,
        batch_size=batch_size,
        threads=series.threads,
        images=_count(passed),
        floor=timings[_FLOOR],
        rows=tuple(
            PeerRow(
                peer=peer.name,
                label=peer.label,
                images=_count(ready[peer.name].images),
                batch_size=None if batch_size is None else len(ready[peer.name].images[0]),
                timing=timings[peer.name],
                difference=ready[peer.name].difference,
                versions=ready[peer.name].prepared.versions,
            )
            for peer in request.peers
            if peer.name in timings
        ),
        not_measured=tuple(
            NotMeasured(peer=peer.name, label=peer.label, why=series.refused[peer.name])
            for peer in request.peers
            if peer.name in series.refused
        ),
    )
    # Some peers hold processes and threads, and end them when they are collected: none may be left to the next case.
    del ready, contenders
    gc.collect()
    return case


def _prepared(series: _Series, peer: Peer, batch_size: int | None) -> _Ready:
    images = _pass(series.images, batch_size, series.speeds.get(peer.name))
    prepared = peer.prepare(series.workload.work, images, series.threads)
    results = (prepared.tensor(prepared.apply(given)) for given in prepared.inputs)
    difference = series.truth.difference(results)
    # Some compile or plan anew for every size, such as that of a last batch, which is smaller: that is not timed.
    for given in {one.shape: given for one, given in zip(images, prepared.inputs, strict=True)}.values():
        prepared.apply(given)
    return _Ready(prepared, images, difference)


def _pass(images: Pictures, batch_size: int | None, seconds_an_image: float | None) -> Sequence[Images]:
    """What is given to a peer in one pass, of all images as much as there is time for."""
    if not isinstance(images, torch.Tensor):
        return images
    assert batch_size is not None
    if seconds_an_image is None:
        return torch.split(images, batch_size)
    size = min(batch_size, max(1, int(BATCH_SECONDS / seconds_an_image)))
    batches = max(1, int(PASS_SECONDS / (seconds_an_image * size)))
    return torch.split(images[: batches * size], size)


def _count(images: Sequence[Images]) -> int:
    return sum(one.shape[:-3].numel() for one in images)


def _floor(series: _Series, images: Sequence[Images]) -> Contender:
    if series.request.device == "cuda":
        return floor_on_cuda(images, series.truth.shape, series.truth.dtype)
    return floor_on_cpu(images, series.truth.shape, series.truth.dtype, series.threads)
