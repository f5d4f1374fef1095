"""Operators and activations in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from onelayer.algebra.activations import Activation
from onelayer.algebra.checks import FloatArray
from onelayer.algebra.operator import Cost, Operator, Shape, Stage, as_images
from onelayer.errors import OnelayerError


@final
@dataclass(frozen=True, eq=False)
class Program:
    """Stages for images of one shape.

    Args:
        in_shape: Channels, height and width of the input.
        stages: The stages, the first to run first; none at all is the identity.

    Raises:
        OnelayerError: If a stage does not take the shape that the stages before it give; ``stage`` of the error says
            which, counted from 0.
    """

    in_shape: Shape
    stages: tuple[Stage, ...]
    out_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        stages = tuple(self.stages)
        shape = self.in_shape
        for index, stage in enumerate(stages):
            if isinstance(stage, Operator):
                if stage.in_shape != shape:
                    raise OnelayerError(
                        f"stage {index} takes images {stage.in_shape}, but those before it give {shape}",
                        expected="equal shapes",
                        stage=index,
                        shape=shape,
                    )
                shape = stage.out_shape
            elif isinstance(stage, Activation) and stage.channels not in (None, shape[0]):
                raise OnelayerError(
                    f"stage {index} is for {stage.channels} channels, but the image has {shape[0]}",
                    expected="a table or a number for each channel, or one for all",
                    stage=index,
                    shape=shape,
                )
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "out_shape", shape)

    def is_same(self, other: Program) -> bool:
        """Whether another program takes the same images and has equal stages."""
        pairs = zip(self.stages, other.stages, strict=False)
        return (
            self.in_shape == other.in_shape
            and len(self.stages) == len(other.stages)
            and all(stage.is_same(another) for stage, another in pairs)
        )

    @property
    def cost(self) -> Cost:
        """Cost of the operators; activations ride along with the writes of the operator before them."""
        return sum((stage.cost for stage in self.stages if isinstance(stage, Operator)), Cost(0, 0))

    def apply(self, x: ArrayLike) -> FloatArray:
        """Compute all stages in turn: the slow, obviously right reference.

        Args:
            x: Images [..., C, H, W] of any real dtype; any number of batch dimensions, also empty ones.

        Returns:
            Images [..., C', H', W'], float64.

        Raises:
            OnelayerError: If the last three dimensions are not :attr:`in_shape`, or a value is outside of what an
                activation is defined for.
        """
        images = np.array(as_images(x, self.in_shape))
        for stage in self.stages:
            images = stage.apply(images)
        return images
