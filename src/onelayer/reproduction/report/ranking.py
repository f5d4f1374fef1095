"""Rank the ways of a benchmark against each other, row by row.

Two times whose quartile ranges overlap are level: the difference of their medians is within what the same
measurement differs by from one repeat to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from onelayer.records import Timing
    from onelayer.reproduction.records import BenchmarkRecord, BenchmarkRow, BenchmarkWay

Item = TypeVar("Item")

DERIVED = "derived"
"""Name of the derived layer, in the metrics and as the key of a way."""
LAYERS = ("layer", DERIVED)
"""Keys of the ways that are layers: the learned one and the derived one. Others are measured against them."""


def derived_first(items: Iterable[Item], name: Callable[[Item], str]) -> list[Item]:
    """Move what belongs to the derived layer to the front; the rest keeps its order."""
    return sorted(items, key=lambda item: not name(item).startswith(DERIVED))


def level(one: Timing, other: Timing) -> bool:
    """Check whether two quartile ranges overlap; a shared end counts."""
    return one.first_quartile <= other.third_quartile and other.first_quartile <= one.third_quartile


def fastest(record: BenchmarkRecord, row: BenchmarkRow) -> tuple[str, ...]:
    """Return the keys of the fastest contender of a row and of those level with it, in the record's order."""
    timings = {way.key: row.timings[way.key] for way in record.ways if way.contender and way.key in row.timings}
    if not timings:
        return ()
    best = min(timings.values(), key=lambda timing: timing.median)
    return tuple(key for key, timing in timings.items() if level(timing, best))


def timed_ways(record: BenchmarkRecord) -> tuple[BenchmarkWay, ...]:
    """Return the ways with a time in some row: a way may exist on a device that was not measured only."""
    timed = {key for row in record.rows for key in row.timings}
    return tuple(way for way in record.ways if way.key in timed)


def layers(record: BenchmarkRecord) -> tuple[BenchmarkWay, ...]:
    """Return the layers that were timed, in the record's order."""
    return tuple(way for way in timed_ways(record) if way.key in LAYERS)


def rivals(record: BenchmarkRecord, layer: BenchmarkWay) -> tuple[BenchmarkWay, ...]:
    """Return the contenders to rank a layer against: all but layers that the record names after it."""
    ways = timed_ways(record)
    before = ways[: ways.index(layer)]
    return tuple(way for way in ways if way.contender and (way in before if way.key in LAYERS else True))


def devices(record: BenchmarkRecord) -> tuple[str, ...]:
    """Return the devices that were measured, in the record's order."""
    return tuple(dict.fromkeys(row.device for row in record.rows))


def rows_of(record: BenchmarkRecord, device: str) -> list[BenchmarkRow]:
    """Return the rows of a device, from the largest batch size to the smallest."""
    rows = [row for row in record.rows if row.device == device]
    return sorted(rows, key=lambda row: row.batch_size, reverse=True)


@dataclass(frozen=True)
class PairwiseRanking:
    """A layer against a rival, row by row, on one device.

    Attributes:
        layer: The layer.
        rival: A contender.
        ahead: Rival's time over the layer's, for each row in which the layer is faster.
        level: Number of rows too close to call.
        behind: Layer's time over the rival's, for each row in which the layer is slower.
    """

    layer: BenchmarkWay
    rival: BenchmarkWay
    ahead: tuple[float, ...]
    level: int
    behind: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Number of rows with both times."""
        return len(self.ahead) + self.level + len(self.behind)


def pairwise_rankings(record: BenchmarkRecord, device: str, layer: BenchmarkWay) -> list[PairwiseRanking]:
    """Rank a layer against each of its rivals that was timed on the device."""
    ranked = (_ranked(record, device, layer, rival) for rival in rivals(record, layer))
    return [ranking for ranking in ranked if ranking.rows]


def _ranked(record: BenchmarkRecord, device: str, layer: BenchmarkWay, rival: BenchmarkWay) -> PairwiseRanking:
    ahead, behind, ties = [], [], 0
    for row in rows_of(record, device):
        own, other = row.timings.get(layer.key), row.timings.get(rival.key)
        if own is None or other is None:
            continue
        if level(own, other):
            ties += 1
        elif own.median < other.median:
            ahead.append(other.median / own.median)
        else:
            behind.append(own.median / other.median)
    return PairwiseRanking(layer, rival, tuple(ahead), ties, tuple(behind))
