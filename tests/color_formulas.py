"""State in NumPy what Pillow's and torchvision's functions of colors compute, operation by operation.

Images are uint8 [H, W, 3] or [H, W, 1]. ``version`` is 0 for Pillow, and 1 or 2 for tensors and torchvision's
v1 or v2, and ``fused`` says whether PyTorch multiplies and adds with one rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
Bytes = NDArray[np.uint8]


def whole(values: NDArray[Any]) -> Bytes:
    """Bound numbers by 0 and 255, and cut their fractions off."""
    return np.clip(values, 0, 255).astype(np.uint8)


def multiply_add(x: Any, y: Any, z: Any, fused: bool) -> NDArray[np.float32]:
    """Multiply and add in float32, with one rounding or with two."""
    if not fused:
        return F32(F32(x) * F32(y)) + F32(z)
    return F32(np.longdouble(F32(x)) * np.longdouble(F32(y)) + np.longdouble(F32(z)))


def luma_of_pillow(image: Bytes) -> Bytes:
    red, green, blue = np.moveaxis(image.astype(np.int64), -1, 0)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[..., None].astype(np.uint8)


def luma_of_tensors(image: Bytes, fused: bool) -> Bytes:
    red, green, blue = np.moveaxis(image.astype(F32), -1, 0)
    total = multiply_add(green, 0.587, red * F32(0.2989), fused)
    return multiply_add(blue, 0.114, total, fused)[..., None].astype(np.uint8)


def blend_of_pillow(degenerate: Any, image: Bytes, factor: float) -> Bytes:
    difference = image.astype(np.int32) - np.int32(degenerate)
    return whole(F32(degenerate) + F32(factor) * F32(difference))


def blend_of_tensors(image: Bytes, degenerate: Any, factor: float, version: int, fused: bool) -> Bytes:
    product = F32(image) * F32(factor)
    if version == 1:
        return whole(product + F32(degenerate) * F32(1 - factor))
    return whole(multiply_add(degenerate, 1 - factor, product, fused))


def mean_luma(image: Bytes) -> Bytes:
    return image if image.shape[-1] == 1 else luma_of_pillow(image)


def brightness(image: Bytes, factor: float, version: int, fused: bool) -> Bytes:
    if version == 0:
        return blend_of_pillow(0, image, factor)
    return whole(F32(image) * F32(factor))


def contrast(image: Bytes, factor: float, version: int, fused: bool) -> Bytes:
    if version == 0:
        return blend_of_pillow(int(float(mean_luma(image).mean(dtype=np.float64)) + 0.5), image, factor)
    luma = image if image.shape[-1] == 1 else luma_of_tensors(image, fused and version == 2)
    mean = F32(luma.sum(dtype=np.int64)) / F32(luma.size)
    return blend_of_tensors(image, mean, factor, version, fused)


def saturation(image: Bytes, factor: float, version: int, fused: bool) -> Bytes:
    if image.shape[-1] == 1:
        return image
    if version == 0:
        return blend_of_pillow(luma_of_pillow(image), image, factor)
    return blend_of_tensors(image, luma_of_tensors(image, fused and version == 2), factor, version, fused)


def luma(image: Bytes, version: int, fused: bool) -> Bytes:
    if image.shape[-1] == 1:
        return image
    return np.repeat(luma_of_pillow(image) if version == 0 else luma_of_tensors(image, fused and version == 2), 3, -1)


def hue(image: Bytes, factor: float, version: int, fused: bool) -> Bytes:
    if image.shape[-1] == 1:
        return image
    if version == 0:
        turned = hue_of_pillow(image)
        turned[..., 0] += np.int32(factor * 255).astype(np.uint8)
        return colors_of_pillow(turned)
    return hue_of_tensors(image, factor, version)


def hue_of_pillow(image: Bytes) -> Bytes:
    """Convert to Pillow's mode HSV."""
    red, green, blue = np.moveaxis(image.astype(np.int32), -1, 0)
    high, low = image.max(-1).astype(np.int32), image.min(-1).astype(np.int32)
    is_gray = high == low
    span = F32(np.where(is_gray, 1, high - low))
    of_red, of_green, of_blue = (F32(high - color) / span for color in (red, green, blue))
    sixths = np.where(
        red == high,
        np.float64(of_blue - of_green),
        np.where(green == high, 2.0 + np.float64(of_red) - of_blue, 4.0 + np.float64(of_green) - of_red),
    )
    part = F32(np.fmod(np.float64(F32(sixths)) / 6.0 + 1.0, 1.0))
    strength = F32(high - low) / F32(np.maximum(high, 1))
    turns, saturations = (np.where(is_gray, 0, whole(np.float64(number) * 255.0)) for number in (part, strength))
    return np.stack([turns, saturations, high], -1).astype(np.uint8)


def colors_of_pillow(image: Bytes) -> Bytes:
    """Convert from Pillow's mode HSV."""
    turn, saturation, value = np.moveaxis(image, -1, 0)
    exact = np.float64(turn) * 6.0 / 255.0
    sixth = np.floor(exact).astype(np.int32)
    within, strength, bright = F32(exact - sixth), F32(np.float64(saturation) / 255.0), np.float64(value)
    least = bright * (1.0 - np.float64(strength))
    falling = bright * (1.0 - np.float64(strength * within))
    rising = bright * (1.0 - np.float64(strength) * (1.0 - np.float64(within)))
    p, q, t = (whole(np.floor(number + 0.5)) for number in (least, falling, rising))
    channels = [
        [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)][number]
        for number in range(6)
    ]
    made = np.stack([np.choose(sixth % 6, [each[c] for each in channels]) for c in range(3)], -1)
    return np.where((saturation == 0)[..., None], value[..., None], made)


def hue_of_tensors(image: Bytes, factor: float, version: int) -> Bytes:
    scaled = F32(image) / F32(255) if version == 1 else F32(image) * F32(1 / 255)
    red, green, blue = np.moveaxis(scaled, -1, 0)
    high, low = scaled.max(-1), scaled.min(-1)
    is_gray = high == low
    strength = (high - low) / np.where(is_gray, F32(1), high)
    span = np.where(is_gray, F32(1), high - low)
    of_red, of_green, of_blue = ((high - color) / span for color in (red, green, blue))
    if_green, if_blue = of_red + F32(2) - of_blue, of_green + F32(4) - of_red
    sixths = np.where(red == high, of_blue - of_green, np.where(green == high, if_green, if_blue))
    turn = np.fmod((sixths / F32(6) if version == 1 else sixths * F32(1 / 6)) + F32(1), F32(1)) + F32(factor)
    turn = np.fmod(turn, F32(1))
    turn = np.where(turn < 0, turn + F32(1), turn)
    exact = turn * F32(6)
    sixth = np.floor(exact)
    within, weak = exact - sixth, F32(1) - strength
    falling = (F32(1) - strength * within) * high
    rising = F32(1) - strength * (F32(1) - within) if version == 1 else strength * within + weak
    p, q, t = (np.clip(number, F32(0), F32(1)) for number in (weak * high, falling, rising * high))
    v = high
    channels = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)]
    chosen = sixth.astype(np.int32) % 6
    made = np.stack([np.choose(chosen, [each[c] for each in channels]) for c in range(3)], -1)
    return (made * F32(255.999)).astype(np.uint8)


def sharpness(image: Bytes, factor: float, version: int, fused: bool) -> Bytes:
    if min(image.shape[:2]) < 3:
        return image
    padded = image.astype(np.int64)
    total = 4 * padded[1:-1, 1:-1]
    for row in range(3):
        for col in range(3):
            total = total + padded[row : row + len(image) - 2, col : col + image.shape[1] - 2]
    smooth = image.copy()
    # Thirteenths are never halves.
    smooth[1:-1, 1:-1] = np.floor(total / 13 + 0.5)
    if version == 0:
        return blend_of_pillow(smooth, image, factor)
    if version == 1:
        return blend_of_tensors(image, smooth, factor, 1, fused)
    return whole(multiply_add(F32(smooth) - F32(image), 1 - factor, image, fused))


def invert(image: Bytes) -> Bytes:
    return 255 - image


def posterize(image: Bytes, bits: int) -> Bytes:
    return image >> (8 - bits) << (8 - bits)


def solarize(image: Bytes, threshold: float) -> Bytes:
    return np.where(image < threshold, image, 255 - image)


def autocontrast(image: Bytes, version: int) -> Bytes:
    made = image.copy()
    for c in range(image.shape[-1]):
        values = image[..., c]
        low, high = int(values.min()), int(values.max())
        if low == high:
            continue
        if version == 0:
            scale = 255.0 / (high - low)
            made[..., c] = whole(np.trunc(values * scale + -low * scale))
        elif version == 1:
            made[..., c] = whole((F32(values) - F32(low)) * (F32(1) / F32(high - low) * F32(255)))
        else:
            made[..., c] = whole((F32(values) - F32(low)) / (F32(high - low) * F32(1 / 255)))
    return made


def equalize(image: Bytes) -> Bytes:
    made = image.copy()
    for c in range(image.shape[-1]):
        counts = np.bincount(image[..., c].ravel(), minlength=256)
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step:
            table = (step // 2 + np.cumsum(counts) - counts) // step
            made[..., c] = np.minimum(table, 255)[image[..., c]]
    return made
