from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onelayer.records import Shape

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def noise() -> Callable[[Shape, int], Pixels]:
    def make(shape: Shape, seed: int) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """[C, H, W] uint8 → the bytes of an image file, PNG unless told otherwise."""

    def make(pixels: Pixels, kind: str = "PNG", **options: object) -> bytes:
        array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(array)).save(file, kind, **options)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def numbered(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    """A PNG image all of whose pixels are one number, by which it is recognised later."""

    def make(number: int, shape: Shape = (3, 2, 2)) -> bytes:
        return encode(np.full(shape, number, dtype=np.uint8))

    return make


@pytest.fixture
def photos(tmp_path: Path, numbered: Callable[..., bytes]) -> Callable[..., Path]:
    """A folder with images numbered in the order given, each name a path below it."""

    def make(*names: str, folder: str = "photos") -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for number, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(numbered(number))
        return root

    return make
