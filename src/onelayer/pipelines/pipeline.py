"""A transform with a name and the shape of the images that it is asked for."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from functools import cached_property

import torch
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.frontends import Transform
from onelayer.frontends.base import name_of
from onelayer.records import PipelineSummary, Shape


@dataclass(frozen=True)
class Pipeline:
    """A deterministic chain of transforms for images of one shape.

    Args:
        name: What it is called on the command line and in records.
        transform: Takes float32 images [..., C, H, W] in [0, 1], one or a batch, gives float32 images
            [..., C', H', W']. It may take images of other sizes and kinds as well.
        input_shape: (C, H, W).
        description: What it is, in one line.
    """

    name: str
    transform: Transform
    input_shape: Shape
    description: str = ""

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
        transformed: torch.Tensor = self.transform(images)
        return transformed

    @cached_property
    def output_shape(self) -> Shape:
        """(C', H', W') of the output for one black image."""
        # A batch, because a function may take nothing else.
        _, channels, height, width = self(torch.zeros(1, *self.input_shape)).shape
        return channels, height, width

    def summary(self) -> PipelineSummary:
        """What a record says of this pipeline."""
        steps = self.transform.transforms if isinstance(self.transform, v2.Compose) else [self.transform]
        return PipelineSummary(
            name=self.name,
            description=self.description,
            steps=tuple(map(_text, steps)),
            input_shape=self.input_shape,
            output_shape=self.output_shape,
        )


def _text(step: Transform) -> str:
    if isinstance(step, functools.partial):
        return f"{name_of(step)}({', '.join(f'{name}={value!r}' for name, value in step.keywords.items())})"
    # Some name an address in memory, which is another one in every process.
    return name_of(step) if inspect.isroutine(step) else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(step))
