"""Why a function is not identified."""

from __future__ import annotations

from onelayer.errors import OnelayerError


class NotAffineError(OnelayerError):
    """A function that is no affine map of images, with what was measured."""


class OverBudgetError(OnelayerError):
    """A step that would take more images than the budget allows."""
