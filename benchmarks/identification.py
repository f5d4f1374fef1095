"""Measure what `onelayer.identify` finds of functions of other libraries, with how many images, and how fast it is.

Pillow, torchvision, SciPy and, where it is installed, OpenCV: resizes, warps, filters, and functions that are no affine
map, whose refusals are part of the record. Times are medians of interleaved calls of the function and of the layer that
was identified, on one thread and on one image again and again.

    python benchmarks/identification.py --json docs/results/identification.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
import torch
import typer
from rich.progress import Progress
from rich.table import Table
from scipy import ndimage
from torchvision.transforms import v2

import onelayer
from onelayer import ImageSpec, OnelayerError
from onelayer.bench.timing import Contender, time_interleaved
from onelayer.console import results
from onelayer.environment import current_environment
from onelayer.images.containers import image_of

_ROUNDS = 21
Case = tuple[str, Callable[[Any], Any], ImageSpec]


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the record goes.")] = None,
) -> None:
    """Identify them all."""
    torch.set_num_threads(1)
    # Compiling kernels and loading libraries is no part of the first one's time.
    onelayer.identify(lambda image: image.flip(-1), (3, 9, 8))
    rows = [_row(*case) for case in _cases()]
    table = Table(
        "function",
        "found",
        "images",
        "seconds",
        "largest error",
        "mismatch rate",
        "function, ms",
        "layer, ms",
        title="One image of one size for each function, repeated",
    )
    for row in rows:
        if "refused" in row:
            table.add_row(row["function"], row["refused"])
            continue
        numbers = (row["images"], f"{row['seconds']:.1f}", f"{row['largest_error']:.2g}", f"{row['mismatch_rate']:.2%}")
        times = (f"{row['function_ms']:.2f}", f"{row['layer_ms']:.2f}")
        table.add_row(row["function"], "; ".join(row["found"].values()), *map(str, numbers), *times)
    results.print(table)
    if json_file is not None:
        record = {"rows": rows, "threads": 1, "environment": current_environment().model_dump()}
        json_file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(name: str, function: Callable[[Any], Any], spec: ImageSpec) -> dict[str, Any]:
    try:
        found = onelayer.identify(function, spec)
    except OnelayerError as refusal:
        return {"function": name, "takes": _text(spec), "refused": refusal.problem}
    image = image_of(torch.randint(0, 256, spec.shape, dtype=torch.uint8), ImageSpec(spec.shape, "uint8", "tensor"))
    assert isinstance(image, torch.Tensor)
    image = image_of(image.to(torch.float64) / (1 if spec.dtype == "uint8" else 255), spec)
    timings = time_interleaved(
        {"function": Contender(function, [image]), "layer": Contender(found.layer(), [image])},
        burn_in=_ROUNDS,
        repeats=_ROUNDS,
        progress=Progress(disable=True),
    )
    return {
        "function": name,
        "takes": _text(spec),
        "kind": found.kind,
        "found": found.description,
        "images": found.images,
        "calls": found.calls,
        "seconds": found.seconds,
        "largest_error": found.largest_error,
        "output_range": found.output_range,
        "mismatch_rate": found.mismatch_rate,
        "function_ms": 1e3 * timings["function"].median,
        "layer_ms": 1e3 * timings["layer"].median,
    }


def _text(spec: ImageSpec) -> str:
    return f"{'×'.join(map(str, spec.shape))} {spec.dtype} ({spec.container})"


def _cases() -> Iterator[Case]:
    photograph = (3, 375, 500)
    evaluation = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for spec in (ImageSpec(photograph, "float32", "tensor"), ImageSpec(photograph, "uint8", "tensor")):
        yield "torchvision: ImageNet evaluation", lambda image: evaluation(image), spec
    yield (
        "Pillow, torchvision: ImageNet evaluation",
        lambda image: evaluation(image),
        ImageSpec(photograph, "uint8", "pil"),
    )
    picture = ImageSpec((3, 90, 120), "uint8", "pil")
    for name in ("BOX", "BILINEAR", "BICUBIC", "LANCZOS"):
        resample = PIL.Image.Resampling[name]
        yield f"Pillow: resize, {name}", lambda image, how=resample: image.resize((60, 40), how), picture
    yield "Pillow: rotate by 10°", lambda image: image.rotate(10, PIL.Image.Resampling.BILINEAR), picture
    yield "Pillow: convert to grey", lambda image: image.convert("L"), picture
    array, of_bytes = (ImageSpec((3, 90, 120), dtype, "numpy") for dtype in ("float32", "uint8"))
    yield "SciPy: gaussian_filter, 1.5", lambda image: ndimage.gaussian_filter(image, (1.5, 1.5, 0)), array
    yield "SciPy: rotate by 10°", lambda image: ndimage.rotate(image, 10, reshape=False, order=1), array
    yield from _of_opencv(array, of_bytes)
    yield "SciPy: median_filter, 3×3", lambda image: ndimage.median_filter(image, (3, 3, 1)), array
    yield "torchvision: equalize", v2.functional.equalize, ImageSpec((3, 90, 120), "uint8", "tensor")
    yield "NumPy: gamma 2.2", lambda image: image**2.2, array


def _of_opencv(array: ImageSpec, of_bytes: ImageSpec) -> Iterator[Case]:
    try:
        import cv2
    except ImportError:
        results.print("OpenCV is not installed: its functions are left out.")
        return
    cv2.setNumThreads(1)
    turn = cv2.getRotationMatrix2D((60, 45), 10, 1)
    for spec in (array, of_bytes):
        for name in ("INTER_LINEAR", "INTER_AREA", "INTER_CUBIC"):
            how = getattr(cv2, name)
            resize = lambda image, how=how: cv2.resize(image, (60, 40), interpolation=how)  # noqa: E731
            yield f"OpenCV: resize, {name}, {spec.dtype}", resize, spec
        yield f"OpenCV: GaussianBlur, 5×5, {spec.dtype}", lambda image: cv2.GaussianBlur(image, (5, 5), 0), spec
        yield f"OpenCV: warpAffine, 10°, {spec.dtype}", lambda image: cv2.warpAffine(image, turn, (120, 90)), spec


if __name__ == "__main__":
    typer.run(main)
