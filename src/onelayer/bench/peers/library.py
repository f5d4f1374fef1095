"""Peers that run the pipeline of another library: the library's own, and what onelayer makes of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from torchvision.transforms.v2.functional import to_pil_image

from onelayer.bench.peers.base import Images, Prepared, Resources
from onelayer.bench.peers.pytorch import as_loaded
from onelayer.bench.workloads import Work
from onelayer.layer import compile as compile_transforms


def refuse(work: Work, images: Images) -> str | None:
    """Refuse work that is no library's, or of one that is not installed, and what PIL images cannot hold."""
    if (pipeline := work.library) is None:
        return "the workload is torchvision's, which other peers run"
    if importlib.util.find_spec(pipeline.module) is None:
        return f"{pipeline.module} is not installed; install it: pip install 'onelayer[front-ends]'"
    if images.ndim > 3 or images.is_floating_point():
        return "PIL images come one by one, and hold uint8"
    return None


def prepare(work: Work, images: Sequence[Images], _resources: Resources) -> Prepared:
    """Run the library's own pipeline on PIL images."""
    return _prepared(work, images, lambda pipeline: pipeline)


def prepare_compiled(work: Work, images: Sequence[Images], _resources: Resources) -> Prepared:
    """Run what onelayer makes of the library's pipeline, on PIL images."""
    return _prepared(work, images, lambda pipeline: compile_transforms(pipeline, fullgraph=True))


def _prepared(work: Work, images: Sequence[Images], made_of: Callable[[Any], Any]) -> Prepared:
    found = work.library
    assert found is not None, "other work is refused"
    function = made_of(found.make())
    return Prepared(
        inputs=[to_pil_image(image) for image in images],
        apply=lambda image: found.call(function, image).contiguous(),
        tensor=as_loaded,
        versions={found.package: version(found.package)},
    )
