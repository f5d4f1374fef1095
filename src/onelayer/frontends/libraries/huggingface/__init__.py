"""Image processors of transformers: the classes with the torchvision and the PIL backend.

What is compiled is an instance of the processor's class, as far as ``isinstance``, saved configurations, pickles and
what it returns can tell, so that ``AutoProcessor``, pipelines and trainers take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onelayer.frontends.front_end import FRONT_ENDS, MakeLayer
from onelayer.image_spec import ImageSpec


class HuggingFace:
    """The front end; see :class:`onelayer.frontends.front_end.FrontEnd`."""

    def owns(self, pipeline: object) -> bool:
        """Whether an object is an image processor of transformers, compiled or not."""
        return any(
            kind.__name__ == "BaseImageProcessor" and kind.__module__ == "transformers.image_processing_utils"
            for kind in type(pipeline).__mro__
        )

    def transforms(self, pipeline: Any, spec: ImageSpec) -> Sequence[Any]:
        """List the transforms of an image alone; what joins images, as patches or padded, is not among them.

        Raises:
            OnelayerError: If the processor leaves such images to the original, with the reason.
        """
        from onelayer.frontends.libraries.huggingface.processor import transforms_for

        return transforms_for(pipeline, spec)

    def compile(self, pipeline: Any, make_layer: MakeLayer) -> Any:
        """Make a processor that is called as the original is, and returns what that returns."""
        from onelayer.frontends.libraries.huggingface.processor import compiled

        return compiled(pipeline, make_layer)


FRONT_ENDS.append(HuggingFace())
