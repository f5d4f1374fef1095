"""Named pipelines: torchvision transforms, each with the shape of the images that it is usually applied to.

Whatever learns, compares or measures works with any pipeline from C×H×W to C'×H'×W'.
"""

from __future__ import annotations

from onelayer.errors import OnelayerError, did_you_mean
from onelayer.pipelines.catalogue import CATALOGUE, report_transform
from onelayer.pipelines.fitting import PadTo, ResizeLongSide
from onelayer.pipelines.pipeline import Pipeline

__all__ = ["PadTo", "Pipeline", "ResizeLongSide", "named", "names", "report_transform"]


def named(name: str) -> Pipeline:
    """Build the built-in pipeline of that name.

    Raises:
        OnelayerError: If there is none.
    """
    if name not in CATALOGUE:
        raise OnelayerError(
            f"there is no pipeline named {name!r}",
            expected="one of " + ", ".join(names()),
            hint=did_you_mean(name, CATALOGUE),
        )
    entry = CATALOGUE[name]
    return Pipeline(name, entry.build(), entry.shape, entry.description)


def names() -> list[str]:
    """List the names of the built-in pipelines."""
    return sorted(CATALOGUE)
