"""Named pipelines: the ground truth that a layer replaces.

A pipeline is a torchvision transform together with the image shape it is asked for. Whatever learns, compares or
measures works with any pipeline from C×H×W to C'×H'×W'.
"""

from __future__ import annotations

import difflib

from torchvision.transforms import v2

from onelayer.errors import OnelayerError
from onelayer.pipelines.catalogue import CATALOGUE, Entry
from onelayer.pipelines.fitting import PadTo, ResizeLongSide
from onelayer.pipelines.pipeline import Pipeline

__all__ = ["PadTo", "Pipeline", "ResizeLongSide", "named", "names", "report_transform"]


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


_ENTRIES: dict[str, Entry] = {
    # Looked up when it is asked for, so that another can be put in its place.
    "report": Entry(
        "the report: resize 28×28, bilinear, one channel, both flips", lambda: report_transform(), (3, 32, 32)
    ),
    **CATALOGUE,
}


def named(name: str) -> Pipeline:
    """The built-in pipeline of that name.

    Raises:
        OnelayerError: If there is none.
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name.lower(), _ENTRIES, n=1)
        raise OnelayerError(
            f"there is no pipeline named {name!r}",
            expected="one of " + ", ".join(names()),
            hint=f"Did you mean {near[0]}?" if near else None,
        )
    entry = _ENTRIES[name]
    return Pipeline(name, entry.build(), entry.shape, entry.description)


def names() -> list[str]:
    """The names of the built-in pipelines."""
    return sorted(_ENTRIES)
