"""Patches of the colour photographs that are installed with scikit-image: images without any download."""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import json
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from onelayer.console import progress
from onelayer.data.cache import Decoded, cached
from onelayer.data.parts import PARTS, ImageParts, Images, Part, content_key, image_parts, refuse_too_many, shape_text
from onelayer.errors import OnelayerError
from onelayer.records import Shape

_ALGORITHM = 1
"""To be raised when the same seed comes to give other patches."""

COUNTS: dict[Part, int] = {"train": 20_000, "validation": 4_000, "test": 10_000}
"""Patches of each part."""

# No photograph is in two parts, else patches of one part would overlap those of another. Train gets the most varied:
# skin and cloth, machinery with hard edges and clutter, stained tissue with fine texture in saturated colours, and
# points of light on black. Each part has everyday photographs, as an image classifier sees them: a portrait and a
# garage, a launch site, a cat and a cup. Of the stereo pair of the motorcycle only one is used, the other being
# nearly the same.
PHOTOGRAPHS: dict[Part, tuple[str, ...]] = {
    "train": ("astronaut.png", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg"),
    "validation": ("rocket.jpg", "retina.jpg"),
    "test": ("chelsea.png", "coffee.png"),
}

# Pillow first shrinks a box by a whole factor, down to three times the patch, and filters from there. Its
# documentation calls the result nearly the same as that of the filter alone; it takes a third of the time.
_REDUCING_GAP = 3.0


def load_sample(*, shape: Shape, seed: int, cache: Path) -> ImageParts:
    """Cut patches at random places and scales.

    Each part has its own random stream. A patch comes from any photograph of its part with equal probability, from a
    box of the patch's proportions, whose side is distributed log-uniformly between that of the patch and the largest
    that fits, at a place distributed uniformly, and is resized with Pillow's antialiased bicubic filter.

    Args:
        shape: Channels (1: grey by Pillow's "L", 3: RGB), height and width of the patches.
        seed: Of all random choices.
        cache: The folder of cached images.

    Returns:
        20,000 train, 4,000 validation and 10,000 test images.

    Raises:
        OnelayerError: If a photograph is missing or smaller than the patch, or the patches would take too much memory.
    """
    refuse_too_many(sum(COUNTS.values()), shape, source="the sample")
    files = {name: _read_photograph(name) for names in PHOTOGRAPHS.values() for name in names}
    facts = {
        "algorithm": _ALGORITHM,
        "counts": COUNTS,
        "parts": PHOTOGRAPHS,
        "photographs": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "pillow": PIL.__version__,
        "seed": seed,
        "shape": shape,
    }
    key = content_key(json.dumps(facts, sort_keys=True))
    decoded = cached(cache, key, lambda: _cut_all(files, shape, seed))
    return image_parts(
        decoded.parts,
        source="sample",
        description="Patches cut at random places and scales from the colour photographs that come with scikit-image; "
        "no photograph is in two parts.",
        key=key,
    )


def _read_photograph(name: str) -> bytes:
    # The file itself and not skimage.data.…(), which would download what it does not find.
    try:
        return importlib.resources.files("skimage").joinpath("data", name).read_bytes()
    except OSError as error:
        raise OnelayerError(
            f"the installed scikit-image does not have its photograph {name}",
            hint="Install scikit-image again from its wheel, or give --data a folder of images.",
        ) from error


def _cut_all(files: dict[str, bytes], shape: Shape, seed: int) -> Decoded:
    streams = np.random.default_rng(seed).spawn(len(PARTS))
    with progress() as display:
        task = display.add_task("Cutting patches", total=sum(COUNTS.values()))
        parts: dict[Part, Images] = {}
        for part, random in zip(PARTS, streams, strict=True):
            photographs = [_photograph(name, files[name], shape) for name in PHOTOGRAPHS[part]]
            patches = np.empty((COUNTS[part], *shape), dtype=np.uint8)
            chosen = random.integers(len(photographs), size=len(patches))
            for patch, photograph, place in zip(patches, chosen, random.random((len(patches), 3)), strict=True):
                patch[:] = _cut(photographs[photograph], shape, *map(float, place))
                display.advance(task)
            parts[part] = patches
    return Decoded(parts)


def _photograph(name: str, data: bytes, shape: Shape) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        photograph = image.convert("RGB" if shape[0] == 3 else "L")
    if photograph.height < shape[1] or photograph.width < shape[2]:
        raise OnelayerError(
            f"the photograph {name} of the sample, {photograph.height}×{photograph.width}, is too small to cut "
            f"images of {shape_text(shape)}",
            hint="Give --data a folder of images of that size.",
        )
    return photograph


def _cut(photograph: Image.Image, shape: Shape, at_scale: float, at_top: float, at_left: float) -> Images:
    """One patch; the last three numbers, in [0, 1), say where between its bounds each choice lies."""
    channels, height, width = shape
    scale = min(photograph.height / height, photograph.width / width) ** at_scale
    # Whole pixels, so that at scale 1 a patch is an exact copy and keeps the finest detail there is.
    box_height = min(round(height * scale), photograph.height)
    box_width = min(round(width * scale), photograph.width)
    top = int(at_top * (photograph.height - box_height + 1))
    left = int(at_left * (photograph.width - box_width + 1))
    patch = np.asarray(
        photograph.resize(
            (width, height),
            Image.Resampling.BICUBIC,
            box=(left, top, left + box_width, top + box_height),
            reducing_gap=_REDUCING_GAP,
        )
    )
    return patch.transpose(2, 0, 1) if channels == 3 else patch[np.newaxis]
