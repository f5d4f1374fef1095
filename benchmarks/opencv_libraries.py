"""Compare layers with the pipelines on OpenCV that they replace: albumentations, LetterBox, blobFromImage, resize.

Photographs of 300 to 640 pixels a side, as arrays [H, W, 3] of bytes; no two are of one size. Each goes through the
original and the layer in turn, in one thread, OpenCV's too; the first quarter does not count. Results are compared
first, bit for bit.

    python benchmarks/opencv_libraries.py --json docs/results/opencv-libraries.json
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.table import Table

import onelayer
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment

TITLE = "Pipelines on OpenCV, one thread, photographs of 300 to 640 pixels a side, no size twice"
_SILENT = {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}
_PACKAGES = "albumentationsx", "albumentations", "ultralytics", "opencv-python-headless", "opencv-python"

Call = Callable[[NDArray[np.uint8]], Any]


def cases() -> Iterator[tuple[str, Call, Call]]:
    """Name each case, with the original and the layer as functions of an array."""
    import cv2

    cv2.setNumThreads(1)
    for name, function in {
        "cv2.resize, 256×256": functools.partial(cv2.resize, dsize=(256, 256)),
        "cv2.resize, 640×640": functools.partial(cv2.resize, dsize=(640, 640)),
        "blobFromImage, 224×224": functools.partial(
            cv2.dnn.blobFromImage, scalefactor=1 / 255, size=(224, 224), mean=(104, 117, 123), swapRB=True
        ),
    }.items():
        yield name, function, onelayer.compile(function, threads=1)
    yield from _of_albumentations()
    yield from _of_ultralytics()


def _of_albumentations() -> Iterator[tuple[str, Call, Call]]:
    os.environ.update(_SILENT)
    import albumentations
    from albumentations.pytorch import ToTensorV2

    resize, crop = albumentations.SmallestMaxSize(256), albumentations.CenterCrop(224, 224)
    normalize, to_tensor = albumentations.Normalize(), ToTensorV2()
    for name, steps in {
        "classification: short side 256, crop 224, Normalize, ToTensorV2": [resize, crop, normalize, to_tensor],
        "the same, an array": [resize, crop, normalize],
        "squashed: Resize 224, Normalize, ToTensorV2": [albumentations.Resize(224, 224), normalize, to_tensor],
        "Resize 224": [albumentations.Resize(224, 224)],
        "long side 640, padded": [
            albumentations.LongestMaxSize(640), albumentations.PadIfNeeded(640, 640, border_mode=0, fill=114),
        ],
    }.items():  # fmt: skip
        pipeline = albumentations.Compose(steps)
        layer = onelayer.compile(pipeline, threads=1)
        yield f"albumentations, {name}", functools.partial(_of_image, pipeline), functools.partial(_of_image, layer)


def _of_ultralytics() -> Iterator[tuple[str, Call, Call]]:
    from types import SimpleNamespace

    from ultralytics.data.augment import LetterBox
    from ultralytics.engine.predictor import BasePredictor

    for name, letter_box in {
        "LetterBox, 640×640": LetterBox((640, 640)),
        "LetterBox, auto": LetterBox((640, 640), auto=True),
    }.items():
        layer = onelayer.compile(letter_box, threads=1)
        yield name, functools.partial(_named_image, letter_box), functools.partial(_named_image, layer)
    predictor = BasePredictor.__new__(BasePredictor)
    predictor.imgsz, predictor.scale_fill = [640, 640], False
    predictor.args, predictor.device = SimpleNamespace(rect=False), torch.device("cpu")
    predictor.model = SimpleNamespace(format="pt", stride=32, fp16=False, dynamic=False)
    layer = onelayer.compile(predictor.preprocess, threads=1)
    yield "a predictor's preprocess, 640×640", lambda image: predictor.preprocess([image]), lambda image: layer([image])


def _of_image(pipeline: Any, image: NDArray[np.uint8]) -> Any:
    return pipeline(image=image)["image"]


def _named_image(pipeline: Any, image: NDArray[np.uint8]) -> Any:
    return pipeline(image=image)


def measure(original: Call, layer: Call, images: list[NDArray[np.uint8]]) -> tuple[float, float]:
    """Return the medians of the milliseconds of an image, of the original and of the layer."""
    for image in images[:4]:
        assert np.array_equal(np.asarray(original(image)), np.asarray(layer(image))), "another result"
    functions = {"original": original, "layer": layer}
    medians = medians_in_turn(functions, images, seconds=0, turns=len(images))
    return 1e3 * medians["original"], 1e3 * medians["layer"]


def main(
    count: Annotated[int, typer.Option(help="Number of photographs.")] = 200,
    json_to: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Measure, and show a table."""
    torch.set_num_threads(1)
    originals = bundled()
    sizes = random.Random(0).sample(list(itertools.product(range(300, 641), repeat=2)), count)  # noqa: S311 - no secret
    images = [
        np.asarray(originals[number % len(originals)].image.resize(size[::-1])) for number, size in enumerate(sizes)
    ]
    rows = []
    with progress() as display:
        for name, original, layer in display.track(list(cases()), description="Measuring …"):
            before, after = measure(original, layer, images)
            rows.append({"case": name, "original_ms": before, "layer_ms": after, "ratio": before / after})
    table = Table("case", "original, ms", "layer, ms", "times as fast", title=TITLE)
    for row in rows:
        table.add_row(row["case"], f"{row['original_ms']:.2f}", f"{row['layer_ms']:.2f}", f"{row['ratio']:.2f}")
    results.print(table)
    if json_to is not None:
        record = {"title": TITLE, "environment": current_environment().model_dump(), "packages": _packages()}
        json_to.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    typer.run(main)
