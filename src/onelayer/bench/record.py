"""The record of a benchmark: every single time, and how far each result is from real arithmetic.

``peers.json`` of ``onelayer bench`` and ``benchmark.json`` of a run hold one. Times are in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from onelayer.records import Environment, Part, Record, Timing

OURS = "onelayer"
"""Name of the peer that the others are compared with: the layer that ``onelayer.compile`` makes by default."""


class PeerDescription(Part):
    """Texts about a peer."""

    name: str
    label: str
    """Name in tables and charts."""
    description: str = ""
    """What was timed, in one line; empty where the label says it."""
    competes: bool = True
    """Whether it can be called the fastest: false for one that leaves out work that the others do."""


class Difference(Part):
    """Distance of results from real arithmetic (the NumPy reference in float64), in grey levels, 1/255 of the range.

    Where a transform cannot be derived, it is the distance from the results of the transform itself.
    """

    largest: float
    mean: float
    """Mean of the absolute values."""
    images: int
    """Number of images compared."""


class Row(Part):
    """One peer's time for one case."""

    peer: str
    images: Annotated[int, Field(ge=1)]
    """Images in a pass: fewer than the case's where a peer is slow."""
    batch_size: int | None
    """Batch size: smaller than the case's where a batch of that size would take too long."""
    timing: Timing
    """Seconds for a pass."""
    difference: Difference | None = None
    """None where it was not measured."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages that did the work."""

    @property
    def per_image(self) -> Timing:
        """Seconds for an image."""
        return _scaled(self.timing, 1 / self.images)


class NotMeasured(Part):
    """A peer that has no time for a case."""

    peer: str
    why: str


class Case(Part):
    """One workload on one device, with one batch size and one number of threads."""

    workload: str
    title: str
    device: Literal["cpu", "cuda"]
    batch_size: int | None
    """None where images are passed one by one."""
    threads: int
    images: Annotated[int, Field(ge=1)]
    """Images in a pass."""
    floor: Timing | None = None
    """Seconds for a pass that reads the images and writes as many bytes as the results have, and does nothing else;
    None where it was not measured."""
    rows: tuple[Row, ...]
    not_measured: tuple[NotMeasured, ...] = ()

    @property
    def heading(self) -> str:
        """The case in one line."""
        return heading(self.workload, self.batch_size, self.threads)

    @property
    def floor_per_image(self) -> Timing | None:
        """Seconds for an image."""
        return None if self.floor is None else _scaled(self.floor, 1 / self.images)

    @property
    def timings(self) -> dict[str, Timing]:
        """Seconds for all images of the case, by name of the peer."""
        return {row.peer: _scaled(row.timing, self.images / row.images) for row in self.rows}

    def row(self, peer: str) -> Row | None:
        """Return the row of a peer, or None if it has none."""
        return next((row for row in self.rows if row.peer == peer), None)


def heading(workload: str, batch_size: int | None, threads: int) -> str:
    """Describe a case in one line."""
    batches = "one by one" if batch_size is None else f"batches of {batch_size:,}"
    return f"{workload}, {batches}, {threads_text(threads)}"


def threads_text(threads: int) -> str:
    """Write a number of threads."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _scaled(timing: Timing, factor: float) -> Timing:
    return Timing(
        seconds=tuple(factor * seconds for seconds in timing.seconds),
        median=factor * timing.median,
        first_quartile=factor * timing.first_quartile,
        third_quartile=factor * timing.third_quartile,
    )


class BenchmarkRecord(Record):
    """peers.json, or benchmark.json of a run."""

    created: str
    """ISO 8601, UTC."""
    command: str | None = None
    """Command line that made it, where it is known."""
    quick: bool = False
    """Whether the layer of a run was learned with ``--quick``."""
    burn_in: int
    """Rounds of a few batches each that do not count; every measurement warms up on its first batches besides."""
    repeats: int
    """Rounds that count."""
    environment: Environment
    peers: tuple[PeerDescription, ...]
    cases: tuple[Case, ...]

    @property
    def images(self) -> int:
        """Largest number of images in a pass."""
        return max((case.images for case in self.cases), default=0)

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that were measured, in the order measured."""
        return tuple(dict.fromkeys(case.device for case in self.cases))

    @property
    def not_measured(self) -> tuple[str, ...]:
        """Devices that were not measured."""
        return tuple(device for device in ("cpu", "cuda") if device not in self.devices)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the peers, by name."""
        return {peer.name: peer.label for peer in self.peers}

    @property
    def versions(self) -> dict[str, str]:
        """Versions of all packages that did any work, by name."""
        found = {name: text for case in self.cases for row in case.rows for name, text in row.versions.items()}
        return dict(sorted(found.items()))
