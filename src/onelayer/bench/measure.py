"""Measuring: all peers against each other and against the floor, workload by workload."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

import torch

from onelayer.bench.accuracy import Reference
from onelayer.bench.floor import floor_on_cpu, floor_on_cuda
from onelayer.bench.peers.base import Device, Images, Peer, Prepared, Resources
from onelayer.bench.peers.pytorch import HasTransform
from onelayer.bench.record import BenchmarkRecord, Case, Difference, NotMeasured, PeerDescription, Row, heading
from onelayer.bench.timing import Contender, time_interleaved, torch_threads
from onelayer.bench.workloads import Workload, WorkloadImages
from onelayer.console import progress
from onelayer.environment import current_environment
from onelayer.errors import OnelayerError

_TRIAL = 32
"""Number of images of the first measurement of a peer's speed."""

_FLOOR = "floor"
"""A name that no peer has."""

BURN_IN = 1
REPEATS = 5

W = TypeVar("W", bound=HasTransform)
"""Type of the work."""


@dataclass(frozen=True)
class Request(Generic[W]):
    """What to measure.

    Args:
        workloads: Workloads, in order.
        peers: Peers, in the order of the record.
        threads: Numbers of threads, each at least 1.
        batch_sizes: Batch sizes; see :meth:`Workload.sizes_of`.
        device: Device of the peers that have a choice.
        burn_in: Number of short rounds that do not count.
        repeats: Number of rounds that count.
        images: Number of images; see :meth:`Workload.images`.
        data: Source of the images; see :meth:`Workload.images`.
        pass_seconds: Time limit of a pass of batches: a slow peer gets fewer of them.
        batch_seconds: Time limit of a batch: a slow peer gets fewer images at a time.
    """

    workloads: Sequence[Workload[W]]
    peers: Sequence[Peer[W]]
    threads: Sequence[int]
    batch_sizes: Sequence[int] | None = None
    device: Device = "cpu"
    burn_in: int = BURN_IN
    repeats: int = REPEATS
    images: int | None = None
    data: str = "sample"
    pass_seconds: float = 0.1
    batch_seconds: float = 0.5


def measure(request: Request[W], command: str | None = None) -> Iterator[BenchmarkRecord]:
    """Measure everything that a request names.

    Of batches a slow peer gets fewer, and smaller ones than the case has if one alone takes too long; its row says how
    many. Photographs, which may differ in size, everybody gets all of.

    Args:
        request: What to measure.
        command: Command line, for the record.

    Yields:
        The record so far, each time that another case is measured: it is the last one.

    Raises:
        OnelayerError: If there are no such images. A peer that fails is recorded with its error.
    """
    created, environment = datetime.now(UTC).isoformat(timespec="seconds"), current_environment()
    peers = tuple(
        PeerDescription(name=peer.name, label=peer.label, description=peer.description, competes=peer.competes)
        for peer in request.peers
    )
    cases: list[Case] = []
    # What is there already need not be looked through each time that a case is cleared away.
    gc.freeze()
    try:
        for case in _cases(request):
            cases.append(case)
            yield BenchmarkRecord(
                created=created,
                command=command,
                burn_in=request.burn_in,
                repeats=request.repeats,
                environment=environment,
                peers=peers,
                cases=tuple(cases),
            )
    finally:
        gc.unfreeze()


def _cases(request: Request[W]) -> Iterator[Case]:
    for workload in request.workloads:
        images = workload.images(request.data, request.images)
        with torch.inference_mode():
            reference = Reference(workload.work.transform, images, workload.std)
        for threads in request.threads:
            series = _Series(request, workload, images, reference, Resources(threads, request.device))
            with torch_threads(threads), torch.inference_mode():
                _find_peers(series)
            for batch_size in workload.sizes_of(len(images), request.batch_sizes):
                with torch_threads(threads), torch.inference_mode():
                    case = _measured_case(series, batch_size)
                yield case


@dataclass
class _Series(Generic[W]):
    """The cases of one workload with one number of threads.

    Args:
        peers: Peers that can do the work, by name.
        seconds_per_image: Rough time of each peer for an image, in a batch.
        refused: Why the others cannot do the work, or what became of them.
    """

    request: Request[W]
    workload: Workload[W]
    images: WorkloadImages
    reference: Reference
    resources: Resources
    peers: dict[str, Peer[W]] = field(default_factory=dict)
    seconds_per_image: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, error: Exception) -> None:
        """Exclude a peer from now on."""
        del self.peers[name]
        text = str(error) if isinstance(error, OnelayerError) else f"{type(error).__name__}: {error}"
        self.refused[name] = " ".join(text.split())[:300]


@dataclass(frozen=True)
class _Entry:
    """A peer that is prepared for a case, the images of its pass, and how far its results are from the reference."""

    prepared: Prepared
    images: Sequence[Images]
    difference: Difference


def _find_peers(series: _Series[W]) -> None:
    """Find out which peers can do the work, and how fast they do batches."""
    first = series.images[:_TRIAL] if isinstance(series.images, torch.Tensor) else series.images[0]
    for peer in series.request.peers:
        reason = peer.why_not(series.workload.work, first, series.resources.device)
        if reason is not None:
            series.refused[peer.name] = reason
            continue
        series.peers[peer.name] = peer
        if series.workload.batched:
            try:
                series.seconds_per_image[peer.name] = _seconds_per_image(series, peer, first)
            except Exception as error:  # noqa: BLE001 - peers raise whatever they run into
                series.fail(peer.name, error)


def _seconds_per_image(series: _Series[W], peer: Peer[W], first: torch.Tensor) -> float:
    prepared = peer.prepare(series.workload.work, [first], series.resources)
    (batch,) = prepared.inputs
    # The first time may compile.
    prepared.apply(batch)
    begin = time.perf_counter()
    prepared.apply(batch)
    return (time.perf_counter() - begin) / len(first)


def _measured_case(series: _Series[W], batch_size: int | None) -> Case:
    request, workload, threads = series.request, series.workload, series.resources.threads
    entries: dict[str, _Entry] = {}
    with progress() as display:
        task = display.add_task(heading(workload.name, batch_size, threads), total=len(series.peers))
        for name, peer in list(series.peers.items()):
            try:
                entries[name] = _prepared_entry(series, peer, batch_size)
            except Exception as error:  # noqa: BLE001 - peers raise whatever they run into
                series.fail(name, error)
            display.advance(task)
        contenders = {name: Contender(entry.prepared.apply, entry.prepared.inputs) for name, entry in entries.items()}
        whole_pass = _batches_of_pass(series, batch_size, None)
        contenders[_FLOOR] = _floor(series, whole_pass)
        timings = time_interleaved(
            contenders, burn_in=request.burn_in, repeats=request.repeats, progress=display, failed=series.fail
        )
    case = Case(
        workload=workload.name,
        title=workload.title,
        device=series.resources.device,
        batch_size=batch_size,
        threads=threads,
        images=_count(whole_pass),
        floor=timings[_FLOOR],
        rows=tuple(
            Row(
                peer=peer.name,
                images=_count(entries[peer.name].images),
                batch_size=None if batch_size is None else len(entries[peer.name].images[0]),
                timing=timings[peer.name],
                difference=entries[peer.name].difference,
                versions=peer.versions() | entries[peer.name].prepared.versions,
            )
            for peer in request.peers
            if peer.name in timings
        ),
        not_measured=tuple(
            NotMeasured(peer=peer.name, why=series.refused[peer.name])
            for peer in request.peers
            if peer.name in series.refused
        ),
    )
    # Some peers hold processes and threads, and end them when they are collected: none may be left to the next case.
    del entries, contenders
    gc.collect()
    return case


def _prepared_entry(series: _Series[W], peer: Peer[W], batch_size: int | None) -> _Entry:
    images = _batches_of_pass(series, batch_size, series.seconds_per_image.get(peer.name))
    prepared = peer.prepare(series.workload.work, images, series.resources)
    results = (prepared.tensor(prepared.apply(item)) for item in prepared.inputs)
    difference = series.reference.difference(results)
    # Some compile or plan anew for every size, such as that of a last batch, which is smaller: that is not timed.
    for item in {image.shape: item for image, item in zip(images, prepared.inputs, strict=True)}.values():
        prepared.apply(item)
    return _Entry(prepared, images, difference)


def _batches_of_pass(series: _Series[W], batch_size: int | None, seconds_per_image: float | None) -> Sequence[Images]:
    """Choose what a peer does in one pass: of all images as much as there is time for."""
    images = series.images
    if not isinstance(images, torch.Tensor):
        return images
    assert batch_size is not None
    if seconds_per_image is None:
        return torch.split(images, batch_size)
    request = series.request
    size = int(min(batch_size, max(1.0, request.batch_seconds / seconds_per_image)))
    batches = int(min(len(images), max(1.0, request.pass_seconds / (seconds_per_image * size))))
    return torch.split(images[: batches * size], size)


def _count(images: Sequence[Images]) -> int:
    return sum(item.shape[:-3].numel() for item in images)


def _floor(series: _Series[W], images: Sequence[Images]) -> Contender:
    shape, dtype = series.reference.shape, series.reference.dtype
    if series.resources.device == "cuda":
        return floor_on_cuda(images, shape, dtype)
    return floor_on_cpu(images, shape, dtype, series.resources.threads)
