"""Rank the peers of a run's benchmark against each other, row by row.

Two times whose quartile ranges overlap are level: the difference of their medians is within what the same
measurement differs by from one repeat to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from onelayer.bench.table import are_level, cases_on, timed_peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from onelayer.bench.record import BenchmarkRecord, PeerDescription

Item = TypeVar("Item")

DERIVED = "derived"
"""Name of the derived layer, in the metrics and in the benchmark."""
LAYERS = ("layer", DERIVED)
"""Names of the peers that are layers: the learned one and the derived one. Others are measured against them."""


def derived_first(items: Iterable[Item], name: Callable[[Item], str]) -> list[Item]:
    """Move what belongs to the derived layer to the front; the rest keeps its order."""
    return sorted(items, key=lambda item: not name(item).startswith(DERIVED))


def measured_peers(record: BenchmarkRecord) -> tuple[PeerDescription, ...]:
    """Return the peers with a time in some case: a peer may exist on a device that was not measured only."""
    names = timed_peers(record)
    return tuple(peer for peer in record.peers if peer.name in names)


def layers(record: BenchmarkRecord) -> tuple[PeerDescription, ...]:
    """Return the layers that were timed, in the record's order."""
    return tuple(peer for peer in measured_peers(record) if peer.name in LAYERS)


def rivals(record: BenchmarkRecord, layer: PeerDescription) -> tuple[PeerDescription, ...]:
    """Return the peers to rank a layer against: all that compete, but layers that the record names after it."""
    peers = measured_peers(record)
    before = peers[: peers.index(layer)]
    return tuple(peer for peer in peers if peer.competes and (peer in before if peer.name in LAYERS else True))


@dataclass(frozen=True)
class PairwiseRanking:
    """A layer against a rival, row by row, on one device.

    Attributes:
        layer: The layer.
        rival: Another peer that competes.
        ahead: Rival's time over the layer's, for each row in which the layer is faster.
        level: Number of rows too close to call.
        behind: Layer's time over the rival's, for each row in which the layer is slower.
    """

    layer: PeerDescription
    rival: PeerDescription
    ahead: tuple[float, ...]
    level: int
    behind: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Number of rows with both times."""
        return len(self.ahead) + self.level + len(self.behind)


def pairwise_rankings(record: BenchmarkRecord, device: str, layer: PeerDescription) -> list[PairwiseRanking]:
    """Rank a layer against each of its rivals that was timed on the device."""
    ranked = (_ranked(record, device, layer, rival) for rival in rivals(record, layer))
    return [ranking for ranking in ranked if ranking.rows]


def _ranked(record: BenchmarkRecord, device: str, layer: PeerDescription, rival: PeerDescription) -> PairwiseRanking:
    ahead, behind, ties = [], [], 0
    for case in cases_on(record, device):
        time, other = case.timings.get(layer.name), case.timings.get(rival.name)
        if time is None or other is None:
            continue
        if are_level(time, other):
            ties += 1
        elif time.median < other.median:
            ahead.append(other.median / time.median)
        else:
            behind.append(time.median / other.median)
    return PairwiseRanking(layer, rival, tuple(ahead), ties, tuple(behind))
