"""Transforms with a name and the shape of their images."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from functools import cached_property

import torch
from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.formats import without_addresses
from onelayer.frontends import Transform
from onelayer.frontends.base import name_of
from onelayer.frontends.derivation import CONTAINERS
from onelayer.records import PipelineSummary, Shape


@dataclass(frozen=True)
class Pipeline:
    """A deterministic chain of transforms for images of one shape.

    Args:
        name: Name on the command line and in records.
        transform: Callable from float32 images [..., C, H, W] in [0, 1], single or in a batch, to float32 images
            [..., C', H', W']. It may take images of other sizes and kinds as well.
        input_shape: (C, H, W).
        description: Description in one line.
    """

    name: str
    transform: Transform
    input_shape: Shape
    description: str = ""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the transforms.

        Args:
            images: Images, float32 [..., C, H, W], values in [0, 1].

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
        """(C', H', W'), measured on a black image."""
        # A batch, because a function may take nothing else.
        _, channels, height, width = self(torch.zeros(1, *self.input_shape)).shape
        return channels, height, width

    def summary(self) -> PipelineSummary:
        """Describe the pipeline for a record."""
        steps = self.transform.transforms if isinstance(self.transform, v2.Compose) else [self.transform]
        return PipelineSummary(
            name=self.name,
            description=self.description,
            steps=tuple(map(_text, steps)),
            input_shape=self.input_shape,
            output_shape=self.output_shape,
        )


CONTAINERS[Pipeline] = lambda pipeline: [pipeline.transform]


def _text(step: Transform) -> str:
    if isinstance(step, functools.partial):
        return f"{name_of(step)}({', '.join(f'{name}={value!r}' for name, value in step.keywords.items())})"
    # Some name an address in memory, which is another one in every process.
    return name_of(step) if inspect.isroutine(step) else without_addresses(repr(step))
