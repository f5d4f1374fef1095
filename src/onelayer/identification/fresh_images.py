"""Images that nothing was found from, to see whether it holds."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from onelayer.identification.black_box import BlackBox, Levels


def fresh_images(box: BlackBox, seed: int) -> Levels:
    """Twenty images over the whole range: noise, noise of high contrast, black-and-white noise, smooth fields, what
    photographs are like (smooth, with noise on it), framed ones, single pixels, stripes, black and white; int16
    [20, C, H, W].
    """
    generator = np.random.default_rng([seed, 9])
    shape, top = box.given.shape, box.levels

    def smooth(width: float) -> np.ndarray:
        field = gaussian_filter(generator.standard_normal(shape), (0, width, width), mode="nearest")
        field -= field.min()
        scaled: np.ndarray = field / max(float(field.max()), 1e-12) * top
        return scaled

    def framed(image: np.ndarray, frame: int) -> np.ndarray:
        height, width = -(-shape[1] // 8), -(-shape[2] // 8)
        whole = np.full(shape, frame)
        inside = slice(None), slice(height, -height), slice(width, -width)
        whole[inside] = image[inside]
        return whole

    images: list[np.ndarray] = [generator.integers(0, top + 1, shape) for _ in range(3)]
    images += [np.where(generator.random(shape) < 0.5, top // 8, top - top // 8) for _ in range(2)]
    images += [generator.integers(0, 2, shape) * top for _ in range(2)]
    images += [smooth(width) for width in (1.0, 3.0, 9.0)]
    images += [np.clip(smooth(4.0) + generator.normal(0, top / 40, shape), 0, top) for _ in range(3)]
    images += [np.where(generator.random(shape) < 0.02, bright, top - bright) for bright in (0, top)]
    images += [np.broadcast_to(np.arange(shape[2]) // 3 % 2 * top, shape)]
    # Some functions cut frames off.
    images += [framed(generator.integers(top // 4, top - top // 4 + 1, shape), frame) for frame in (0, top)]
    images += [np.zeros(shape), np.full(shape, top)]
    levels: Levels = np.rint(np.stack(images)).astype(np.int16)
    return levels


def calibration_images(base: Levels, reach: int, count: int, seed: int) -> Levels:
    """Noise around an image [C, H, W], int16 [count, C, H, W]."""
    generator = np.random.default_rng([seed, 8])
    noisy: Levels = base + generator.integers(-reach, reach, (count, *base.shape), dtype=np.int16, endpoint=True)
    return noisy
