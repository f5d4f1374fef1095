"""The taps against Pillow, PyTorch and torchvision themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image

from onelayer.algebra import AxisMap, Separable
from onelayer.frontends.torchvision.rounding_rules import fuses_places

SIZES = [(1, 1), (1, 7), (7, 1), (17, 11), (11, 17), (32, 28), (375, 256), (50, 300), (301, 40)]

# torch computes these in float64 too, but adds the taps in another order.
FLOAT64 = 1e-12
# Pillow's mode F keeps float64 weights, but float32 samples between and behind its two passes.
FLOAT32 = 3e-6


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).uniform(size=(height, width))


def both_axes(rows: AxisMap, cols: AxisMap, x: np.ndarray) -> np.ndarray:
    return cols.apply(rows.apply(x, axis=-2), axis=-1)


def test_resampling_is_torchs() -> None:
    for (n_in, n_out), mode, antialias in itertools.product(SIZES, ("bilinear", "bicubic"), (True, False)):
        x = image(n_in, 13)
        rows = AxisMap.resample(n_in, n_out, mode, antialias)
        cols = AxisMap.resample(13, 9, mode, antialias)
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(x)[None, None], size=(n_out, 9), mode=mode, antialias=antialias, align_corners=False
        )
        ours, case = both_axes(rows, cols, x), f"{n_in} to {n_out}, {mode}, {antialias}"
        np.testing.assert_allclose(ours, theirs[0, 0].numpy(), rtol=0, atol=FLOAT64, err_msg=case)


def test_weights_are_pillows() -> None:
    """Its mode F shows each weight, rounded to float32; constants of another precision differ in a quarter of them."""
    for name in ("box", "bilinear", "hamming", "bicubic", "lanczos"):
        for n_in, n_out in ((2, 7), (9, 4), (31, 40), (63, 17), (90, 23)):
            impulses = Image.fromarray(np.eye(n_in, dtype=np.float32))
            theirs = np.asarray(impulses.resize((n_out, n_in), Image.Resampling[name.upper()])).T
            ours = AxisMap.resample(n_in, n_out, name, True).to_dense().astype(np.float32)  # type: ignore[arg-type]
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{name}, {n_in} to {n_out}")


def test_float32_images_have_samples_placed_in_float32() -> None:
    sizes = [(500, 309), (853, 576), (224, 384), (640, 427), (4000, 313), (37, 11)]
    for (n_in, n_out), mode, antialias in itertools.product(sizes, ("bilinear", "bicubic"), (True, False)):
        # Ones so far apart that no output reads two of them: it is the weight of one. Along the other axis, of equal
        # size, nothing happens.
        combs = np.arange(n_in) % 64 == np.arange(64)[:, None]
        images = torch.from_numpy(combs.astype(np.float32))[:, None, :, None].expand(-1, 1, -1, 2).contiguous()
        theirs = torch.nn.functional.interpolate(images, size=(n_out, 2), mode=mode, antialias=antialias)[:, 0, :, 0]
        axis = AxisMap.resample(n_in, n_out, mode, antialias, precision="float32", fused=fuses_places())
        assert axis.taps < 64
        # Weights of float32: a few roundings of 6e-8. In float64 the places would differ by up to 3e-5, and rounded
        # once in place of twice by up to 1.5e-5.
        error = float(np.abs(axis.apply(combs) - theirs.numpy()).max())
        assert error <= 1e-6, f"{n_in} to {n_out}, {mode}, {antialias}: {error}"


def test_nearest_takes_torchs_sample() -> None:
    sizes = [(n, m) for n in range(1, 60, 7) for m in range(1, 60, 4)]
    # Sizes at which float32 arithmetic takes another sample than exact arithmetic, and large ones.
    sizes += [(2, 82), (202, 42), (2, 41), (202, 21), (4000, 224), (4000, 3999), (1080, 1920), (3001, 257)]
    kinds = ("nearest", "nearest-exact"), (torch.uint8, torch.float32)
    for (n_in, n_out), mode, dtype in itertools.product(sizes, *kinds):
        # Places beyond 255 do not fit into uint8; two digits in base 251 do.
        places = np.arange(n_in)
        x = torch.from_numpy(np.stack([places % 251, places // 251])).to(dtype)[None, :, None, :]
        digits = torch.nn.functional.interpolate(x, size=(1, n_out), mode=mode)[0, :, 0].to(torch.int64).numpy()
        ours = AxisMap.resample(n_in, n_out, mode.replace("-", "_"), antialias=False).starts
        np.testing.assert_array_equal(ours, digits[0] + 251 * digits[1], err_msg=f"{n_in} to {n_out}, {mode} {dtype}")


PILLOW = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def test_resampling_is_pillows() -> None:
    for (n_in, n_out), interpolation in itertools.product(SIZES, PILLOW):
        x = image(n_in, 13).astype(np.float32)
        rows = AxisMap.resample(n_in, n_out, interpolation, antialias=True)
        cols = AxisMap.resample(13, 9, interpolation, antialias=True)
        theirs = np.asarray(Image.fromarray(x).resize((9, n_out), PILLOW[interpolation]))
        case = f"{n_in} to {n_out}, {interpolation}"
        np.testing.assert_allclose(both_axes(rows, cols, x), theirs, rtol=0, atol=FLOAT32, err_msg=case)


def test_a_box_is_pillows() -> None:
    boxes = [(0.0, 0.0, 13.0, 17.0), (1.25, 0.7, 11.9, 16.1), (3.0, 4.0, 4.0, 5.0), (0.1, 9.0, 12, 17)]
    x = image(17, 13).astype(np.float32)
    for interpolation, (left, top, right, bottom) in itertools.product(PILLOW, boxes):
        rows = AxisMap.resample(17, 11, interpolation, antialias=True, box=(top, bottom))
        cols = AxisMap.resample(13, 19, interpolation, antialias=True, box=(left, right))
        box = left, top, right, bottom
        theirs = np.asarray(Image.fromarray(x).resize((19, 11), PILLOW[interpolation], box=box))
        case = f"{interpolation}, {box}"
        np.testing.assert_allclose(both_axes(rows, cols, x), theirs, rtol=0, atol=FLOAT32, err_msg=case)


def test_padding_is_torchvisions() -> None:
    x = torch.from_numpy(image(17, 11))[None]
    modes = {"zero": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
    for mode, (left, top, right, bottom) in itertools.product(modes, [(1, 2, 3, 4), (0, 6, 5, 0), (10, 10, 10, 10)]):
        theirs = tv.pad(x, [left, top, right, bottom], padding_mode=modes[mode])[0].numpy()
        ours = both_axes(AxisMap.pad(17, top, bottom, mode), AxisMap.pad(11, left, right, mode), x[0].numpy())
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{mode} {left} {top} {right} {bottom}")


def test_padding_with_a_fill_is_torchvisions() -> None:
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=(3, 17, 11)))
    theirs = tv.pad(x, [1, 2, 0, 4], fill=[0.5, 0.25, -1.0]).numpy()
    padded = Separable.of_axes(3, AxisMap.pad(17, 2, 4, "zero"), AxisMap.pad(11, 1, 0, "zero"))
    np.testing.assert_array_equal(padded.with_fill([0.5, 0.25, -1.0]).apply(x.numpy()), theirs)


@pytest.mark.parametrize("size", [(20, 14), (5, 20), (30, 4), (17, 11), (6, 6)])
def test_a_center_crop_also_beyond_the_image_is_torchvisions(size: tuple[int, int]) -> None:
    x = image(17, 11)
    height, width = size
    theirs = tv.center_crop(torch.from_numpy(x)[None], [height, width])[0].numpy()
    # torchvision pads evenly, an odd sample behind; a crop rounds half to even.
    top = -((height - 17) // 2) if height > 17 else round((17 - height) / 2)
    left = -((width - 11) // 2) if width > 11 else round((11 - width) / 2)
    ours = both_axes(AxisMap.crop(17, top, height), AxisMap.crop(11, left, width), x)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("kernel_size", "sigma"), [((1, 1), (1.0, 1.0)), ((3, 5), (0.5, 2.0)), ((7, 3), (0.1, 5.0)), ((21, 33), (9.0, 3.0))]
)
def test_blur_is_torchvisions(kernel_size: tuple[int, int], sigma: tuple[float, float]) -> None:
    x = image(17, 11)
    theirs = tv.gaussian_blur(torch.from_numpy(x)[None], list(kernel_size), list(sigma))[0].numpy()
    rows = AxisMap.gaussian_blur(17, kernel_size[1], sigma[1])
    cols = AxisMap.gaussian_blur(11, kernel_size[0], sigma[0])
    np.testing.assert_allclose(both_axes(rows, cols, x), theirs, rtol=0, atol=FLOAT64)


def test_a_convolution_is_torchs_with_zero_padding() -> None:
    x, kernel = image(1, 17)[0], [0.5, -1.0, 3.0, 0.25, 0.0]
    theirs = torch.nn.functional.conv1d(
        torch.from_numpy(x)[None, None], torch.tensor([[kernel]], dtype=torch.float64), padding=2
    )
    np.testing.assert_allclose(
        AxisMap.convolve(17, kernel, "zero").apply(x), theirs[0, 0].numpy(), rtol=0, atol=FLOAT64
    )
