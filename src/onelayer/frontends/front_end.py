"""The registry of front ends for objects that are whole pipelines, called in a way of their own.

Transforms that take an image and return one need none of this: they have handlers, see
:mod:`onelayer.frontends.base`. Processors that take several images and keywords and return dictionaries do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from onelayer.image_spec import ImageSpec

MakeLayer = Callable[[Any], Any]
"""Makes a :class:`onelayer.OneLayer` of transforms, with the options that ``onelayer.compile`` was given."""


class FrontEnd(Protocol):
    """The pipelines of a library."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is such a pipeline. It is asked for every object that is compiled, so it must not fail."""

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the transforms that become of an image what the pipeline makes of it, alone, with its own arguments.

        Args:
            pipeline: The pipeline.
            spec: The image that arrives; its height and width mean nothing.

        Raises:
            OnelayerError: For what the pipeline does with such images that is left to it.
        """

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make what takes the place of a pipeline: it is called as the pipeline is, and returns what that returns."""


FRONT_ENDS: list[FrontEnd] = []
"""All that are registered."""


def front_end_of(pipeline: object) -> FrontEnd | None:
    """Find the front end that an object belongs to; None for transforms."""
    return next((front_end for front_end in FRONT_ENDS if front_end.owns(pipeline)), None)
