"""What a user asks of learning, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class DeviceChoice(StrEnum):
    """Where to work; ``auto`` takes CUDA where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class RecipeChoice(StrEnum):
    """How to learn."""

    report = "report"
    least_squares = "least-squares"
    adam_whitened = "adam-whitened"


@dataclass(frozen=True)
class LearnRequest:
    """What a user asks of learning. None means "not said": the default, or on resuming what the run has.

    Attributes:
        out: The run folder.
        data: "sample", "cifar10", or a path.
        device: Where to learn and to measure.
        recipe: How to learn.
        options: Options of learning that were given, by the names of :class:`TrainingSettings`.
        quick: A few epochs on fewer images.
        resume: Go on with the run in ``out``.
        overwrite: Replace the run in ``out``.
        skip_bad: Leave images out that cannot be used, instead of stopping.
    """

    out: Path
    data: str | None = None
    device: DeviceChoice = DeviceChoice.auto
    recipe: RecipeChoice | None = None
    options: Mapping[str, float | None] = field(default_factory=dict)
    quick: bool = False
    resume: bool = False
    overwrite: bool = False
    skip_bad: bool = False
