"""What a PIL image knows about itself comes out as with the original: EXIF data, color profile, palette."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.selfcheck.checking import difference_of

ORIENTATION = 0x0112
NEAREST = v2.InterpolationMode.NEAREST


def photograph(mode: str, size: tuple[int, int] = (60, 50)) -> PIL.Image.Image:
    """A JPEG file that lies on its side and has a color profile."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(file, "JPEG", exif=exif, icc_profile=b"profile", dpi=(72, 72))
    return PIL.Image.open(file)


def of_both(library: Any, functions: Any) -> dict[str, Any]:
    return {
        "resize": library.Resize(20),
        "resize to the same size": library.Resize((50, 60)),
        "enlarge": library.Resize((70, 80)),
        "resize by nearest": library.Resize((20, 30), NEAREST),
        "crop": library.CenterCrop(30),
        "crop to the same size": library.CenterCrop((50, 60)),
        "crop beyond": library.CenterCrop(55),
        "window": partial(functions.crop, top=3, left=4, height=20, width=20),
        "window beyond": partial(functions.crop, top=-3, left=4, height=20, width=20),
        "flip": library.RandomHorizontalFlip(1),
        "flip of nothing": library.RandomHorizontalFlip(0),
        "vertical flip": library.RandomVerticalFlip(1),
        "pad": library.Pad(3),
        "pad by nothing": library.Pad(0),
        "pad by reflection": library.Pad(3, padding_mode="reflect"),
        "gray": library.Grayscale(),
        "gray in three": library.Grayscale(3),
        "invert": library.RandomInvert(1),
        "posterize": library.RandomPosterize(3, p=1),
        "solarize": library.RandomSolarize(99, p=1),
        "rotate": library.RandomRotation((90, 90), expand=True),
        "rotate by a little": library.RandomRotation((5, 5)),
        "brightness": partial(functions.adjust_brightness, brightness_factor=1.2),
        "gamma": partial(functions.adjust_gamma, gamma=0.7),
        "sharpness": library.RandomAdjustSharpness(2, p=1),
        "jitter": library.ColorJitter(0.4),
        "five": library.FiveCrop(20),
        "through a tensor": library.Compose([library.PILToTensor(), library.ToPILImage()]),
        "pad and crop": library.Compose([library.Pad(4), library.CenterCrop(20)]),
        "resize and crop": library.Compose([library.Resize(30), library.CenterCrop(20), library.RandomVerticalFlip(1)]),
        "crop beyond, then resize": library.Compose([library.CenterCrop(55), library.Resize(20)]),
        "resize and gray": library.Compose([library.Resize(50), library.Grayscale(), library.Resize(20)]),
        "a frame that is cut off, then another": library.Compose(
            [
                library.CenterCrop(70),
                partial(functions.crop, top=12, left=8, height=30, width=30),
                partial(functions.crop, top=-2, left=3, height=30, width=30),
            ]
        ),
        "nothing": library.Compose([library.Resize(50), library.ColorJitter()]),
    }


TRANSFORMS = {
    **{f"v1 {name}": transform for name, transform in of_both(v1, f1).items()},
    **{f"v2 {name}": transform for name, transform in of_both(v2, f2).items()},
    "v2 identity": v2.Identity(),
}


def assert_same_picture(ours: Any, theirs: Any, image: PIL.Image.Image, about: str) -> None:
    assert difference_of(ours, theirs) is None, about
    assert ours.info == theirs.info, about
    assert dict(ours.getexif()) == dict(theirs.getexif()), about
    assert (ours is image) == (theirs is image), about
    assert (ours.format, type(ours)) == (theirs.format, type(theirs)), about
    assert ours.getpalette() == theirs.getpalette(), about
    assert ours is image or ours.info is not image.info, about


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_metadata_of_every_transform(mode: str) -> None:
    image = photograph(mode)
    for name, transform in TRANSFORMS.items():
        layer = onelayer.compile(transform)
        theirs = transform(image)
        seeded = "jitter" in name
        for _ in range(1 if seeded else 2):
            ours = theirs if seeded else layer(image)
            pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
            for our, their in pairs:
                assert_same_picture(our, their, image, f"{name} {mode}")
        if not isinstance(theirs, tuple) and not seeded:
            small = image.resize((15, 12))
            assert_same_picture(layer(small), transform(small), small, f"{name} {mode}, small")


def test_metadata_through_the_program() -> None:
    image = photograph("RGB")
    for name in ("v2 resize", "v2 pad", "v2 crop beyond", "v2 window beyond", "v1 nothing", "v1 gray"):
        layer = onelayer.compile(TRANSFORMS[name], fullgraph=True)
        assert_same_picture(layer.apply_program(image), TRANSFORMS[name](image), image, name)


def test_a_later_transpose_does_the_same() -> None:
    image = photograph("RGB")
    for first in (v2.Resize(20), v2.CenterCrop(30), v2.RandomHorizontalFlip(1), v2.Pad(2), v2.Grayscale(3)):
        pipeline = v2.Compose([first, PIL.ImageOps.exif_transpose, v2.Resize(9)])
        assert_same_picture(onelayer.compile(pipeline)(image), pipeline(image), image, repr(first))
