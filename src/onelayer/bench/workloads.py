"""What is timed: pipelines that people run, on images as they come."""

from __future__ import annotations

import difflib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from onelayer.bench.peers.work import Work
from onelayer.data import load_images
from onelayer.data.photographs import bundled
from onelayer.errors import OnelayerError

Pictures = torch.Tensor | list[torch.Tensor]
"""A batch [N, 3, H, W], to be given in batches; or photographs [3, H, W] in HWC memory, to be given one by one."""

MakePictures = Callable[[str, int], Pictures]
"""Takes ``--data`` and how many images there are to be."""

BATCH_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Those of the report."""

STREAM = 32
"""Photographs of different sizes."""


@dataclass(frozen=True)
class Workload:
    """Work to time.

    Args:
        name: As on the command line.
        title: One line for people.
        work: What is to be done to each image.
        count: Images of a pass, unless the user says otherwise.
        make: Makes the images.
        example: Black images of that kind, a few, by which a peer can tell whether it could do the work.
        batch_sizes: In which the images are given, besides all in one; empty where they are given one by one.
    """

    name: str
    title: str
    work: Work
    count: int
    make: MakePictures
    example: torch.Tensor
    batch_sizes: tuple[int, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether the images are given in batches."""
        return bool(self.batch_sizes)

    def images(self, data: str, most: int | None = None) -> Pictures:
        """The images of a pass.

        Args:
            data: As ``onelayer reproduce --data``, for the report's workloads; the others have their own photographs.
            most: At most so many of the report's, or exactly so many photographs; None for :attr:`count`.

        Raises:
            OnelayerError: If there is no such data.
        """
        return self.make(data, most or self.count)

    def sizes_of(self, images: int, wanted: Sequence[int] | None = None) -> tuple[int | None, ...]:
        """The batch sizes to measure, ascending.

        Args:
            images: How many there are. Larger batches are left out, for they would repeat that of all images.
            wanted: Instead of all sizes; 0 stands for all images in one batch.

        Returns:
            Sizes; or None alone, where images are given one by one.
        """
        if not self.batched:
            return (None,)
        sizes = {size or images for size in (*self.batch_sizes, 0)} if wanted is None else {n or images for n in wanted}
        return tuple(sorted(size for size in sizes if size <= images)) or (images,)


def _report_float32(data: str, count: int) -> torch.Tensor:
    return _report_uint8(data, count).float() / 255


def _report_uint8(data: str, count: int) -> torch.Tensor:
    return torch.from_numpy(load_images(data, shape=(3, 32, 32), seed=0).test[:count].copy())


def _photographs(sizes: Sequence[tuple[int, int]], data: str, count: int) -> list[torch.Tensor]:  # noqa: ARG001 - bundled
    originals = itertools.cycle(bundled())
    # A photograph for each turn, even where it is the same picture: what was just read would lie in the caches.
    return [
        next(originals).at(height, width, 3).movedim(0, -1).contiguous().movedim(-1, 0)
        for height, width in itertools.islice(itertools.cycle(sizes), count)
    ]


def stream_sizes() -> list[tuple[int, int]]:
    """Heights and widths of photographs as they come from the web: each another, between 200×300 and 800×1000."""
    chance = random.Random(0)  # noqa: S311 - the same for everybody
    return [(chance.randint(200, 800), chance.randint(300, 1000)) for _ in range(STREAM)]


_REPORT = Work(resize=(28, 28), interpolation="bilinear", grayscale=True, horizontal_flip=True, vertical_flip=True)
# torchvision's ResNet50_Weights.IMAGENET1K_V2.transforms()
_IMAGENET = Work(resize=232, interpolation="bilinear", crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# openai/CLIP, clip/clip.py
_CLIP = Work(
    resize=224,
    interpolation="bicubic",
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
# google/siglip-base-patch16-224, preprocessor_config.json
_SIGLIP = Work(resize=(224, 224), interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _on_photographs(name: str, title: str, work: Work, sizes: Sequence[tuple[int, int]], count: int) -> Workload:
    return Workload(
        name=name,
        title=title,
        work=work,
        count=count,
        make=partial(_photographs, sizes),
        example=torch.zeros(3, 375, 500, dtype=torch.uint8),
    )


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        name="report-float32",
        title="The report: 32×32 to 28×28, grayscale, both flips; float32",
        work=_REPORT,
        count=10_000,
        make=_report_float32,
        example=torch.zeros(2, 3, 32, 32),
        batch_sizes=BATCH_SIZES,
    ),
    Workload(
        name="report-uint8",
        title="The report: 32×32 to 28×28, grayscale, both flips; uint8",
        work=_REPORT,
        count=10_000,
        make=_report_uint8,
        example=torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        batch_sizes=BATCH_SIZES,
    ),
    _on_photographs("imagenet-375x500", "ImageNet evaluation, 375×500", _IMAGENET, [(375, 500)], 48),
    _on_photographs("imagenet-1080x1920", "ImageNet evaluation, 1080×1920", _IMAGENET, [(1080, 1920)], 8),
    _on_photographs("imagenet-3000x4000", "ImageNet evaluation, 3000×4000", _IMAGENET, [(3000, 4000)], 3),
    _on_photographs(
        "imagenet-stream",
        f"ImageNet evaluation, {STREAM} sizes from 200×300 to 800×1000",
        _IMAGENET,
        stream_sizes(),
        STREAM,
    ),
    _on_photographs("clip-375x500", "CLIP, 375×500", _CLIP, [(375, 500)], 48),
    _on_photographs("siglip-375x500", "SigLIP, 375×500", _SIGLIP, [(375, 500)], 48),
)


def named(names: Sequence[str]) -> list[Workload]:
    """The workloads of those names, in their own order.

    Raises:
        OnelayerError: If there is none of a name.
    """
    known = {workload.name: workload for workload in WORKLOADS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            raise OnelayerError(
                f"there is no workload {name!r}, and no run in a folder of that name",
                expected=", ".join(known),
                hint=f"Did you mean {near[0]}?" if near else None,
            )
    return [workload for workload in WORKLOADS if workload.name in names]
