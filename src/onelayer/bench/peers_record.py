"""What is written down of a benchmark against peers, and read back."""

from __future__ import annotations

from typing import Literal

from onelayer.records import Environment, Part, Record, Timing


class Difference(Part):
    """How far results are from real arithmetic (the NumPy reference in float64), in grey levels, 1/255 of the range."""

    largest: float
    mean: float
    """Of the absolute values."""
    images: int
    """That were compared."""


class PeerRow(Part):
    """One peer's time for one case."""

    peer: str
    label: str
    images: int
    """Of one pass: fewer than the case's where a peer is slow."""
    batch_size: int | None
    """Smaller than the case's where one batch alone would take too long."""
    timing: Timing
    """Of one pass."""
    difference: Difference
    versions: dict[str, str]
    """Of the packages that did the work."""

    @property
    def seconds_an_image(self) -> float:
        """The median."""
        return self.timing.median / self.images


class NotMeasured(Part):
    """A peer that has no time for a case."""

    peer: str
    label: str
    why: str


class PeersCase(Part):
    """One workload, one batch size, one number of threads."""

    workload: str
    title: str
    batch_size: int | None
    """None where images are given one by one."""
    threads: int
    images: int
    """Of one pass."""
    floor: Timing
    """Of one pass that reads the images and writes as much as becomes of them, and does nothing else."""
    rows: tuple[PeerRow, ...]
    not_measured: tuple[NotMeasured, ...]

    @property
    def heading(self) -> str:
        """What the case is, in one line."""
        return heading(self.workload, self.batch_size, self.threads)

    @property
    def floor_an_image(self) -> float:
        """Seconds; the median."""
        return self.floor.median / self.images

    def row(self, peer: str) -> PeerRow | None:
        """The row of a peer; None if it has none."""
        return next((row for row in self.rows if row.peer == peer), None)


def heading(workload: str, batch_size: int | None, threads: int) -> str:
    """What a case is, in one line."""
    batches = "one by one" if batch_size is None else f"batches of {batch_size:,}"
    return f"{workload}, {batches}, {'1 thread' if threads == 1 else f'{threads} threads'}"


class PeersRecord(Record):
    """peers.json"""

    created: str
    command: str
    device: Literal["cpu", "cuda"]
    burn_in: int
    repeats: int
    environment: Environment
    cases: tuple[PeersCase, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Of all packages that did any work, by name."""
        found = {name: text for case in self.cases for row in case.rows for name, text in row.versions.items()}
        return dict(sorted(found.items()))
