"""Workloads: pipelines that people run, on images as they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

import torch
from rich import box
from rich.table import Table
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.data import load_images
from onelayer.data.photographs import bundled, varied_sizes

WorkloadImages = torch.Tensor | list[torch.Tensor]
"""A batch [N, 3, H, W], to be split into batches; or photographs [3, H, W] in HWC memory, to be passed one by one."""

BATCH_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Batch sizes of the report."""

STREAM_SIZES = 1000
"""Number of photographs in a stream, and of their sizes."""


def _call(pipeline: Any, image: Any) -> torch.Tensor:
    result: torch.Tensor = pipeline(image)
    return result


@dataclass(frozen=True)
class LibraryPipeline:
    """The pipeline of another library, for PIL images, which ``onelayer.compile`` takes.

    Args:
        package: Name that the library is installed by.
        module: Name that it is imported by.
        make: Makes the pipeline; here the library is imported.
        call: Calls the pipeline, or what was compiled of it, with one image, and returns the tensor [C', H', W'].
    """

    package: str
    module: str
    make: Callable[[], Any]
    call: Callable[[Any, Any], torch.Tensor] = _call


@dataclass(frozen=True)
class Work:
    """A preprocessing pipeline, spelled out for any image library. The steps come in the order of the fields.

    Args:
        resize: Height and width; or the length of the shorter side, the other one following as in torchvision
            (``int(length · long / short)``).
        interpolation: Interpolation with antialiasing, as torchvision and Pillow do it.
        crop: Side of the square that is cut from the centre; None for no crop.
        grayscale: Whether the three channels become one (ITU-R 601: 0.2989, 0.587, 0.114).
        horizontal_flip: Whether left becomes right.
        vertical_flip: Whether top becomes bottom.
        mean: Mean of each channel, for images in [0, 1]; None where the work ends without scaling, in the input dtype.
        std: Standard deviation of each channel, for images in [0, 1]; None where there is no mean.
        library: Pipeline of another library that does the same; None where it is torchvision's.
    """

    resize: tuple[int, int] | int
    interpolation: Literal["bilinear", "bicubic"]
    crop: int | None = None
    grayscale: bool = False
    horizontal_flip: bool = False
    vertical_flip: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    library: LibraryPipeline | None = None

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Compute height and width after the resize, for an image of that height and width."""
        if isinstance(self.resize, tuple):
            return self.resize
        if height <= width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize

    def crop_slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Compute the rows and columns of the resized image that the crop keeps.

        Args:
            height: Height of the image before the resize.
            width: Width of the image before the resize.

        Returns:
            Slices of the resized image; all of it where there is no crop. Rounded as torchvision does: half to even.
        """
        resized = self.resized_size(height, width)
        if self.crop is None:
            return slice(0, resized[0]), slice(0, resized[1])
        top, left = (round((size - self.crop) / 2) for size in resized)
        return slice(top, top + self.crop), slice(left, left + self.crop)

    @property
    def transform(self) -> v2.Compose:
        """The work in torchvision's v2 transforms, for tensors [..., 3, H, W] of uint8, or of float32 in [0, 1]."""
        steps = self._geometry(v2)
        if self.mean is not None and self.std is not None:
            steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(self.mean), list(self.std))]
        return v2.Compose(steps)

    @property
    def pil_transform(self) -> v1.Compose:
        """The work in torchvision's v1 transforms, from PIL images of mode RGB to tensors."""
        steps = self._geometry(v1)
        if self.mean is not None and self.std is not None:
            steps += [v1.ToTensor(), v1.Normalize(self.mean, self.std)]
        else:
            steps.append(v1.PILToTensor())
        return v1.Compose(steps)

    def _geometry(self, library: ModuleType) -> list[torch.nn.Module]:
        """Make the steps up to the flips; torchvision's versions name them alike."""
        interpolation = library.InterpolationMode(self.interpolation)
        size = list(self.resize) if isinstance(self.resize, tuple) else self.resize
        steps = [library.Resize(size, interpolation=interpolation, antialias=True)]
        if self.crop is not None:
            steps.append(library.CenterCrop(self.crop))
        if self.grayscale:
            steps.append(library.Grayscale())
        if self.horizontal_flip:
            steps.append(library.RandomHorizontalFlip(p=1))
        if self.vertical_flip:
            steps.append(library.RandomVerticalFlip(p=1))
        return steps


W = TypeVar("W", covariant=True)
"""Type that the work has: :class:`Work`, or whatever else the peers know how to do."""


@dataclass(frozen=True)
class Workload(Generic[W]):
    """Work, and images to do it on.

    Args:
        name: Name on the command line.
        title: One line for people. It says where image sizes repeat.
        work: Work to do on each image.
        count: Number of images in a pass, unless the user says otherwise.
        make: Makes the images, from the value of ``--data`` and their number.
        example: A few black images of that kind, by which a peer can tell whether it could do the work.
        batch_sizes: Batch sizes besides all images in one batch; empty where images are passed one by one.
        std: Standard deviations that the work ends with dividing by, by which errors are scaled back to grey levels.
    """

    name: str
    title: str
    work: W
    count: int
    make: Callable[[str, int], WorkloadImages]
    example: torch.Tensor
    batch_sizes: tuple[int, ...] = ()
    std: tuple[float, ...] | None = None

    @property
    def batched(self) -> bool:
        """Whether the images are passed in batches."""
        return bool(self.batch_sizes)

    def images(self, data: str, most: int | None = None) -> WorkloadImages:
        """Make the images of a pass.

        Args:
            data: As ``onelayer reproduce --data``, for the report's workloads; the others have photographs that come
                with scikit-image.
            most: Largest number of the report's images, or exact number of photographs; None for :attr:`count`.

        Raises:
            OnelayerError: If there is no such data.
        """
        return self.make(data, most or self.count)

    def sizes_of(self, images: int, wanted: Sequence[int] | None = None) -> tuple[int | None, ...]:
        """Choose the batch sizes to measure, ascending.

        Args:
            images: Number of images. Larger batches are left out, for they would repeat that of all images.
            wanted: Batch sizes instead of the workload's; 0 stands for all images in one batch.

        Returns:
            Batch sizes; or None alone, where images are passed one by one.
        """
        if not self.batched:
            return (None,)
        sizes = {size or images for size in ((*self.batch_sizes, 0) if wanted is None else wanted)}
        return tuple(sorted(size for size in sizes if size <= images)) or (images,)


def _report_float32(data: str, count: int) -> torch.Tensor:
    return _report_uint8(data, count).float() / 255


def _report_uint8(data: str, count: int) -> torch.Tensor:
    return torch.from_numpy(load_images(data, shape=(3, 32, 32), seed=0).test[:count].copy())


def _photographs(sizes: Sequence[tuple[int, int]], _data: str, count: int) -> list[torch.Tensor]:
    originals = itertools.cycle(bundled())
    # A photograph for each turn, even where it is the same picture: what was just read would lie in the caches.
    return [
        next(originals).at(height, width, 3).movedim(0, -1).contiguous().movedim(-1, 0)
        for height, width in itertools.islice(itertools.cycle(sizes), count)
    ]


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


def _timm(**configuration: Any) -> LibraryPipeline:
    def make() -> Any:
        from timm.data import create_transform

        return create_transform((3, 224, 224), **configuration)

    return LibraryPipeline("timm", "timm", make)


def _open_clip(resize_mode: str) -> LibraryPipeline:
    def make() -> Any:
        from open_clip.transform import image_transform

        return image_transform(224, is_train=False, resize_mode=resize_mode)

    return LibraryPipeline("open_clip_torch", "open_clip", make)


def _processor(name: str) -> LibraryPipeline:
    def make() -> Any:
        import transformers

        return getattr(transformers, name)()

    def call(processor: Any, image: Any) -> torch.Tensor:
        pixels: torch.Tensor = processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return LibraryPipeline("transformers", "transformers", make, call)


# timm/vit_base_patch16_224.augreg_in21k and timm/vit_base_patch16_siglip_224.webli
_IN_HALF = (0.5, 0.5, 0.5)
_TIMM = Work(
    resize=248,
    interpolation="bicubic",
    crop=224,
    mean=_IN_HALF,
    std=_IN_HALF,
    library=_timm(interpolation="bicubic", crop_pct=0.9, mean=_IN_HALF, std=_IN_HALF),
)
_TIMM_SQUASH = replace(
    _SIGLIP,
    library=_timm(interpolation="bicubic", crop_pct=1.0, crop_mode="squash", mean=_IN_HALF, std=_IN_HALF),
)
_OPEN_CLIP = replace(_CLIP, library=_open_clip("shortest"))
# Where half a pixel is left over, its crop begins a pixel before torchvision's.
_CLIP_PROCESSOR = replace(_CLIP, library=_processor("CLIPImageProcessor"))
_VIT_PROCESSOR = replace(_SIGLIP, interpolation="bilinear", library=_processor("ViTImageProcessor"))
_SIGLIP_PROCESSOR = replace(_SIGLIP, library=_processor("SiglipImageProcessor"))


def _on_report_images(name: str, dtype: torch.dtype, make: Callable[[str, int], WorkloadImages]) -> Workload[Work]:
    return Workload(
        name=name,
        title=f"The report: 32×32 to 28×28, grayscale, both flips; {str(dtype).removeprefix('torch.')}; one size, "
        "repeated",
        work=_REPORT,
        count=10_000,
        make=make,
        example=torch.zeros(2, 3, 32, 32, dtype=dtype),
        batch_sizes=BATCH_SIZES,
    )


def _on_photographs(
    name: str, pipeline: str, work: Work, sizes: Sequence[tuple[int, int]], count: int
) -> Workload[Work]:
    one_size = "×".join(map(str, sizes[0]))
    what = (
        f"{one_size}; one size, repeated"
        if len(sizes) == 1
        else f"photographs of {len(sizes):,} sizes, none of which comes twice in a pass"
    )
    return Workload(
        name=name,
        title=f"{pipeline}, {what}",
        work=work,
        count=count,
        make=partial(_photographs, sizes),
        example=torch.zeros(3, 375, 500, dtype=torch.uint8),
        std=work.std,
    )


_streams = [
    _on_photographs(f"{name}-stream", title, work, varied_sizes(STREAM_SIZES), STREAM_SIZES)
    for name, title, work in (
        ("imagenet", "ImageNet evaluation", _IMAGENET),
        ("clip", "CLIP", _CLIP),
        ("siglip", "SigLIP", _SIGLIP),
        ("timm", "timm, center", _TIMM),
        ("timm-squash", "timm, squash", _TIMM_SQUASH),
        ("open-clip", "open_clip", _OPEN_CLIP),
        ("clip-processor", "CLIPImageProcessor of transformers", _CLIP_PROCESSOR),
        ("vit-processor", "ViTImageProcessor of transformers", _VIT_PROCESSOR),
        ("siglip-processor", "SiglipImageProcessor of transformers", _SIGLIP_PROCESSOR),
    )
]

WORKLOADS: tuple[Workload[Work], ...] = (
    _on_report_images("report-float32", torch.float32, _report_float32),
    _on_report_images("report-uint8", torch.uint8, _report_uint8),
    _on_photographs("imagenet-375x500", "ImageNet evaluation", _IMAGENET, [(375, 500)], 48),
    _on_photographs("imagenet-1080x1920", "ImageNet evaluation", _IMAGENET, [(1080, 1920)], 8),
    _on_photographs("imagenet-3000x4000", "ImageNet evaluation", _IMAGENET, [(3000, 4000)], 3),
    *_streams,
    _on_photographs("clip-375x500", "CLIP", _CLIP, [(375, 500)], 48),
    _on_photographs("siglip-375x500", "SigLIP", _SIGLIP, [(375, 500)], 48),
)


def workloads_table() -> Table:
    """Lay out all workloads for the terminal."""
    table = Table("workload", "what", "images of a pass", box=box.SIMPLE_HEAD, pad_edge=False)
    for workload in WORKLOADS:
        images = f"{workload.count:,}" + (", in batches" if workload.batched else "")
        table.add_row(workload.name, workload.title, images)
    return table
