"""The operators that every test of operators goes through: all kinds, awkward sizes, transposed, with bias images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import sparse

from onelayer.algebra import AxisMap, Dense, Operator, Separable, SpatialSparse

LUMA = np.array([[0.2989, 0.587, 0.114]])
STD = np.diag([1 / 0.229, 1 / 0.224, 1 / 0.225])
MEAN = np.array([-2.1, -2.0, -1.8])


def axis(n_in: int, n_out: int, interpolation: str = "bilinear", antialias: bool = True) -> AxisMap:
    return AxisMap.resample(n_in, n_out, interpolation, antialias)


def resized(channels: int, size: tuple[int, int], to: tuple[int, int], interpolation: str = "bilinear") -> Separable:
    return Separable.of_axes(channels, axis(size[0], to[0], interpolation), axis(size[1], to[1], interpolation))


def rotation(height: int, width: int, degrees: float) -> sparse.csr_array:
    """Bilinear rotation about the centre with zeros outside, written down pixel by pixel."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.zeros((height * width, height * width))
    for i, j in itertools.product(range(height), range(width)):
        dy, dx = i - (height - 1) / 2, j - (width - 1) / 2
        y, x = cos * dy - sin * dx + (height - 1) / 2, sin * dy + cos * dx + (width - 1) / 2
        for row, col in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
            if 0 <= row < height and 0 <= col < width:
                matrix[i * width + j, row * width + col] += (1 - abs(y - row)) * (1 - abs(x - col))
    return sparse.csr_array(matrix)


def random_dense(in_shape: tuple[int, int, int], out_shape: tuple[int, int, int], seed: int) -> Dense:
    random = np.random.default_rng(seed)
    rows, columns = math.prod(out_shape), math.prod(in_shape)
    return Dense(random.normal(size=(rows, columns)) / columns, random.normal(size=rows), in_shape, out_shape)


def random_image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


NEAREST_PIXELS = sparse.csr_array((np.ones(187), (np.arange(187), np.arange(187)[::-1])), shape=(187, 187))

OPERATORS: dict[str, Operator] = {
    "identity": Separable.identity((3, 17, 11)),
    "down": resized(3, (17, 11), (8, 5)),
    "up": resized(3, (17, 11), (23, 31), "bicubic"),
    "mixed scales": resized(3, (17, 11), (5, 29), "lanczos"),
    "to one pixel": resized(3, (17, 11), (1, 1)),
    "from one pixel": resized(3, (1, 1), (4, 6), "bicubic"),
    "flip": Separable.of_axes(3, AxisMap.identity(17), AxisMap.flip(11)),
    "crop": Separable.of_axes(3, AxisMap.crop(17, 3, 8), AxisMap.crop(11, 2, 5)),
    "crop of a resize": Separable.of_axes(
        3, AxisMap.crop(13, 4, 5) @ axis(17, 13), AxisMap.crop(9, 1, 3) @ axis(11, 9)
    ),
    "crop beyond": Separable.of_axes(3, AxisMap.crop(17, -2, 20), AxisMap.crop(11, 5, 12)),
    "transposed": Separable.of_axes(3, axis(11, 8, "bicubic"), AxisMap.flip(17), transpose=True),
    "quarter turn": Separable.of_axes(3, AxisMap.flip(11), AxisMap.identity(17), transpose=True),
    "blur": Separable.of_axes(3, AxisMap.gaussian_blur(17, 5, 1.0), AxisMap.gaussian_blur(11, 7, 2.0)),
    "reflect pad": Separable.of_axes(3, AxisMap.pad(17, 4, 2, "reflect"), AxisMap.pad(11, 0, 3, "reflect")),
    "filled pad": Separable.of_axes(3, AxisMap.pad(17, 1, 2, "zero"), AxisMap.pad(11, 3, 0, "zero")).with_fill(
        [0.5, -1.0, 2.0]
    ),
    "zero pad of a resize": Separable.of_axes(3, AxisMap.crop(8, -1, 11) @ axis(17, 8), axis(11, 8, "bicubic")),
    "normalize": Separable.of_channels(STD, MEAN, (17, 11)),
    "gray": Separable.of_channels(LUMA, [0.0], (17, 11)),
    "gray of a resize": Separable(LUMA, axis(17, 8), axis(11, 5), np.array([0.25])),
    "gray to color": Separable.of_channels(np.ones((3, 1)), np.zeros(3), (8, 5)),
    "swap channels": Separable.of_channels(np.eye(3)[::-1], np.zeros(3), (17, 11)),
    "two of three channels": Separable(
        np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 2.0]]), axis(17, 8), axis(11, 5), np.array([0.0, 1.0])
    ),
    "signed mix": Separable(
        np.array([[1.0, -2.0, 0.5]]), axis(17, 8, "bicubic"), axis(11, 5, "bicubic"), np.array([3.0])
    ),
    "bias image": Separable(STD, axis(17, 8), axis(11, 5), random_image((3, 8, 5), 1)),
    "small normalize": Separable.of_channels(STD, MEAN, (8, 5)),
    "small bias image": Separable(np.eye(3), axis(8, 7), axis(5, 9), random_image((3, 7, 9), 2)),
    "small sums": Separable.of_axes(
        3, AxisMap.convolve(8, [1, 2, 1], "reflect"), AxisMap.convolve(5, [1, 1, 1], "edge")
    ),
    "small transposed": Separable(STD, AxisMap.flip(5), axis(8, 3), MEAN, transpose=True),
    "small pad": Separable.of_axes(3, AxisMap.pad(8, 2, 1, "zero"), AxisMap.pad(5, 1, 1, "edge")),
    "rotation": SpatialSparse(np.eye(3), rotation(17, 11, 30.0), (17, 11), (17, 11), np.zeros(3)),
    "rotation and gray": SpatialSparse(LUMA, rotation(17, 11, -10.0), (17, 11), (17, 11), np.array([0.1])),
    "rotation with a bias image": SpatialSparse(
        STD, rotation(17, 11, 45.0), (17, 11), (17, 11), random_image((3, 17, 11), 3)
    ),
    "pixels reversed": SpatialSparse(np.eye(3), NEAREST_PIXELS, (17, 11), (17, 11), np.zeros(3)),
    "small pixels doubled": SpatialSparse(np.eye(3), 2 * sparse.eye_array(40), (8, 5), (8, 5), MEAN),
    "small rotation": SpatialSparse(STD, rotation(8, 5, 20.0), (8, 5), (8, 5), MEAN),
    "pixels skipped": SpatialSparse(
        np.array([[0.5, 0.0, 0.5]]), rotation(8, 5, 20.0)[::7], (8, 5), (3, 2), np.array([1.0])
    ),
    "dense": random_dense((3, 17, 11), (3, 8, 5), 4),
    "small dense": random_dense((3, 8, 5), (1, 3, 2), 5),
    "one pixel dense": random_dense((3, 1, 1), (3, 17, 11), 6),
}

PAIRS = {
    f"{name}, {other}": (first, second)
    for (name, first), (other, second) in itertools.product(OPERATORS.items(), repeat=2)
    if first.out_shape == second.in_shape
}


def one_of_each_kind(
    pairs: dict[str, tuple[Operator, Operator]], sides: tuple[int, ...]
) -> dict[str, tuple[Operator, Operator]]:
    """Some of the pairs, in which each operator meets a partner of every kind there is, on these sides of the pair."""
    chosen = {}
    for number, operator in enumerate(OPERATORS.values()):
        for side, kind in itertools.product(sides, (Separable, SpatialSparse, Dense)):
            partners = [name for name, pair in pairs.items() if pair[side] is operator and type(pair[1 - side]) is kind]
            if partners:
                name = partners[number % len(partners)]
                chosen[name] = pairs[name]
    return chosen


@pytest.fixture(scope="session")
def operators() -> dict[str, Operator]:
    return OPERATORS


@pytest.fixture(scope="session")
def pairs() -> dict[str, tuple[Operator, Operator]]:
    """Pairs of operators that can run one after the other, all kinds with all kinds."""
    return one_of_each_kind(PAIRS, (0, 1))


@pytest.fixture(scope="session")
def all_pairs() -> dict[str, tuple[Operator, Operator]]:
    """All such pairs."""
    return PAIRS


@pytest.fixture(scope="session")
def alike() -> dict[str, tuple[Operator, Operator]]:
    """Pairs of operators between images of the same shapes, all kinds with all kinds."""
    return one_of_each_kind(
        {
            f"{name}, {other}": (first, second)
            for (name, first), (other, second) in itertools.product(OPERATORS.items(), repeat=2)
            if (first.in_shape, first.out_shape) == (second.in_shape, second.out_shape)
        },
        (0,),
    )
