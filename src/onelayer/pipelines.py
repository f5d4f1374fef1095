"""Named pipelines: the ground truth that a layer replaces.

A pipeline is a torchvision transform together with the image shape it is asked for. Whatever learns, compares or
measures works with any pipeline from C×H×W to C'×H'×W'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.records import PipelineSummary, Shape


@dataclass(frozen=True)
class Pipeline:
    """A deterministic chain of transforms for images of one shape.

    Args:
        name: What it is called on the command line and in records.
        transform: Takes float32 images [..., C, H, W] in [0, 1], one or a batch, gives float32 images
            [..., C', H', W'].
        input_shape: (C, H, W).
    """

    name: str
    transform: Callable[[torch.Tensor], torch.Tensor]
    input_shape: Shape

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the transforms.

        Args:
            images: float32 [..., C, H, W], values in [0, 1].

        Raises:
            OnelayerError: If the images are not of this pipeline's input shape, or not floating point.
        """
        if tuple(images.shape[-3:]) != self.input_shape or not images.is_floating_point():
            raise OnelayerError(
                f"pipeline {self.name!r} was given images it does not take",
                expected=f"floating point [..., {', '.join(map(str, self.input_shape))}]",
                shape=tuple(images.shape),
                dtype=str(images.dtype),
            )
        return self.transform(images)

    @cached_property
    def output_shape(self) -> Shape:
        """(C', H', W'), as the transforms give it for one black image."""
        channels, height, width = self(torch.zeros(self.input_shape)).shape
        return channels, height, width

    def summary(self) -> PipelineSummary:
        """What a record says of this pipeline."""
        steps = self.transform.transforms if isinstance(self.transform, v2.Compose) else [self.transform]
        return PipelineSummary(
            name=self.name,
            steps=tuple(repr(step) for step in steps),
            input_shape=self.input_shape,
            output_shape=self.output_shape,
        )


def report_transform() -> v2.Compose:
    """The report's chain: resize to 28×28 (bilinear, antialias), grayscale, horizontal flip, vertical flip."""
    return v2.Compose(
        [
            v2.Resize((28, 28), antialias=True),
            v2.Grayscale(),
            v2.RandomHorizontalFlip(p=1),
            v2.RandomVerticalFlip(p=1),
        ]
    )


_PIPELINES: dict[str, Callable[[], Pipeline]] = {
    "report": lambda: Pipeline("report", report_transform(), (3, 32, 32)),
}


def named(name: str) -> Pipeline:
    """The built-in pipeline of that name.

    Raises:
        OnelayerError: If there is none.
    """
    if name not in _PIPELINES:
        raise OnelayerError(f"there is no pipeline named {name!r}", expected=" or ".join(map(repr, names())))
    return _PIPELINES[name]()


def names() -> list[str]:
    """The names of the built-in pipelines."""
    return sorted(_PIPELINES)
