"""What was measured on the way: tests, and how far from passing they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Evidence:
    """One test.

    Args:
        test: In words.
        measured: In units of the output.
        allowed: In the same units.
    """

    test: str
    measured: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether what was measured is allowed."""
        return self.measured <= self.allowed
