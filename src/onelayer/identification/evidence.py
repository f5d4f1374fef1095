"""Tests of a function that is identified, and the errors that a refusal raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from onelayer.errors import OnelayerError


class NotAffineError(OnelayerError):
    """Raised for a function that is no affine map of images, with what was measured."""


class OverBudgetError(OnelayerError):
    """Raised for a step that takes more images than the budget allows."""


@final
@dataclass(frozen=True)
class Evidence:
    """A test of a function.

    Args:
        test: Description of the test.
        measured: Measured violation, in units of the output.
        allowed: Largest violation that passes, in units of the output.
    """

    test: str
    measured: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the measured violation is allowed."""
        return self.measured <= self.allowed
