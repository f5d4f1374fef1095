"""Hold a user's request to learn, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onelayer.pipelines import Pipeline

# Imported by the command line before torch.


class DeviceChoice(StrEnum):
    """A device to work on; ``auto`` takes CUDA where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class RecipeChoice(StrEnum):
    """A recipe of learning."""

    report = "report"
    least_squares = "least-squares"
    adam_whitened = "adam-whitened"


@dataclass(frozen=True)
class LearnRequest:
    """A user's request to learn. None stands for the default, or on resuming for the run's own value.

    Attributes:
        out: Run folder.
        data: "sample", "cifar10", or a path.
        pipeline: Pipeline to learn, whose transform takes float32 batches [N, C, H, W]. Its name is kept in the run's
            record, and later steps must be able to find it by that name, or be handed it again.
        device: Device to learn and to measure on.
        recipe: Recipe of learning.
        options: Options of learning, by the names of :class:`TrainingSettings`.
        quick: Whether a few epochs on fewer images are enough.
        resume: Whether to go on with the run in ``out``.
        overwrite: Whether to replace the run in ``out``.
        skip_bad: Whether to leave out unusable images, instead of stopping.
    """

    out: Path
    data: str | None = None
    pipeline: Pipeline | None = None
    device: DeviceChoice = DeviceChoice.auto
    recipe: RecipeChoice | None = None
    options: Mapping[str, float | None] = field(default_factory=dict)
    quick: bool = False
    resume: bool = False
    overwrite: bool = False
    skip_bad: bool = False
