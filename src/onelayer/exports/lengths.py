"""Whole numbers of a graph that are known now, or only when an image comes: lengths, and places in axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onelayer.exports.graph import Graph, Name


@dataclass(frozen=True)
class Length:
    """A whole number.

    Args:
        graph: The graph.
        value: The number, where it is known; None otherwise.
        name: Name of the int64 scalar that has it, where it is not.
        least: A number that it never is below; the number itself, where it is known.
    """

    graph: Graph
    value: int | None
    name: Name | None
    least: int

    @classmethod
    def known(cls, graph: Graph, value: int) -> Length:
        """Make a number that is known."""
        return cls(graph, value, None, value)

    @property
    def scalar(self) -> Name:
        """Name of an int64 scalar that has the number."""
        return self.graph.indices(self.least) if self.name is None else self.name

    @property
    def vector(self) -> Name:
        """Name of an int64 vector of the number alone."""
        if self.name is None:
            return self.graph.indices([self.least])
        result: Name = self.graph.node("Reshape", self.name, self.graph.indices([1]))
        return result

    def __add__(self, other: Length | int) -> Length:
        return self._with("Add", other, lambda a, b: a + b, self.least + self._of(other).least)

    def __sub__(self, other: Length | int) -> Length:
        if (subtrahend := self._of(other)).value == 0:
            return self
        least = -_UNKNOWN if subtrahend.value is None else self.least - subtrahend.value
        return self._with("Sub", other, lambda a, b: a - b, least)

    def __mul__(self, other: Length | int) -> Length:
        factor = self._of(other)
        least = self.least * factor.least if min(self.least, factor.least) >= 0 else -_UNKNOWN
        return self._with("Mul", other, lambda a, b: a * b, least)

    def __floordiv__(self, other: Length | int) -> Length:
        """Divide numbers of at least zero, and cut the fraction off."""
        divisor = self._of(other)
        least = 0 if divisor.value is None else max(self.least, 0) // divisor.value
        return self._with("Div", other, lambda a, b: a // b, least)

    def at_least(self, other: Length | int) -> Length:
        """Return the larger of two numbers."""
        limit = self._of(other)
        if limit.value is not None and self.least >= limit.value:
            return self
        return self._with("Max", other, max, max(self.least, limit.least))

    def at_most(self, other: Length | int) -> Length:
        """Return the smaller of two numbers."""
        limit = self._of(other)
        if self.value is not None and limit.least >= self.value:
            return self
        return self._with("Min", other, min, min(self.least, limit.least))

    def exceeds(self, other: Length | int) -> bool | Name:
        """Compare two numbers: the answer, or the name of a bool."""
        than = self._of(other)
        if self.value is not None and than.value is not None:
            return self.value > than.value
        result: Name = self.graph.node("Greater", self.scalar, than.scalar)
        return result

    @classmethod
    def choose(cls, condition: bool | Name, yes: Length, no: Length) -> Length:
        """Choose one of two numbers."""
        if isinstance(condition, bool):
            return yes if condition else no
        if yes.value is not None and yes.value == no.value:
            return yes
        name = yes.graph.node("Where", condition, yes.scalar, no.scalar)
        return cls(yes.graph, None, name, min(yes.least, no.least))

    def floats(self, dtype: type = np.float64) -> Name:
        """Return the number as a floating point scalar."""
        if self.value is not None:
            return self.graph.constant(self.value, dtype)
        return self.graph.cast(self.scalar, dtype)

    def range(self) -> Name:
        """Return the int64 vector from 0 up to the number."""
        if self.value is not None:
            return self.graph.indices(np.arange(self.value))
        result: Name = self.graph.node("Range", self.graph.indices(0), self.scalar, self.graph.indices(1))
        return result

    def _of(self, other: Length | int) -> Length:
        return Length.known(self.graph, other) if isinstance(other, int) else other

    def _with(self, operator: str, other: Length | int, fold: Callable[[int, int], int], least: int) -> Length:
        operand = self._of(other)
        if self.value is not None and operand.value is not None:
            return Length.known(self.graph, fold(self.value, operand.value))
        return Length(self.graph, None, self.graph.node(operator, self.scalar, operand.scalar), least)


_UNKNOWN = 1 << 31
