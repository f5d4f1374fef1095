"""OpenCV's resizes of bytes, as stages of the algebra and through layers, against the installed OpenCV."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import onelayer
from onelayer.algebra import Program, Range, simplify
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, UnsupportedTransformError, opencv
from onelayer.frontends.opencv import Flag, known_sums, nearest, resized

cv2 = pytest.importorskip("cv2")

FLAGS = Flag.LINEAR, Flag.NEAREST, Flag.NEAREST_EXACT, Flag.AREA
BLOBS: tuple[dict[str, Any], ...] = (
    {"scalefactor": 1 / 255, "size": (31, 22), "mean": (104, 117.5, 123), "swapRB": True},
    {"size": (20, 26)},
    {"scalefactor": 0.017, "mean": (1, 2, 3)},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Have OpenCV start no threads, which processes of other tests would inherit."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def random_case(
    generator: np.random.Generator, largest: int, channels: tuple[int, ...]
) -> tuple[NDArray[np.uint8], tuple[int, int], Flag]:
    """Draw an image, the size after a resize, and an interpolation; of every third the size is a whole part."""
    flag = FLAGS[generator.integers(len(FLAGS))]
    height, width, new_height, new_width = (int(n) for n in generator.integers(1, largest, 4))
    if generator.integers(3) == 0 or flag is Flag.AREA:
        rows, cols = (2, 2) if generator.integers(2) else generator.integers(1, 6, 2)
        new_height, new_width = 1 + new_height % 15, 1 + new_width % 15
        height, width = int(new_height * rows), int(new_width * cols)
    if flag is Flag.AREA and generator.integers(3) == 0:
        new_height, new_width = height + int(generator.integers(1, 9)), width + int(generator.integers(0, 9))
    image = generator.integers(0, 256, (height, width, int(generator.choice(channels))), np.uint8)
    content = generator.integers(4)
    if content == 0:
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    elif content == 1:
        image[:] = image[:1, :1]
    return image, (new_height, new_width), flag


def of_opencv(image: NDArray[np.uint8], size: tuple[int, int], flag: Flag) -> NDArray[np.uint8]:
    result: NDArray[np.uint8] = cv2.resize(image, size[::-1], interpolation=int(flag))
    return result.reshape(*size, image.shape[2])


def compare_stages(cases: int, largest: int) -> int:
    generator = np.random.default_rng(5)
    compared = 0
    for _ in range(cases):
        image, size, flag = random_case(generator, largest, (1, 2, 3, 4))
        channels = image.shape[2]
        spec = ImageSpec((channels, *image.shape[:2]), "uint8", "numpy")
        stages, output = resized(spec, size, flag)
        assert output.shape == (channels, *size)
        program = Program(spec.shape, tuple(stages))
        simplified = simplify(program, Range.of(channels, 0.0, 255.0)).program
        expected = np.moveaxis(of_opencv(image, size, flag), -1, 0)
        for each in (program, simplified):
            assert np.array_equal(each.apply(np.moveaxis(image, -1, 0)), expected), (image.shape, size, flag)
        compared += 1
    return compared


def computed(layer: Any, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The result of the layer itself, also of an image that it would leave to OpenCV."""
    result: NDArray[np.uint8] = layer.of_layer(image)
    return result[:, :, 0] if result.shape[2] == 1 else result


def compare_layers(cases: int, largest: int, per_layer: int) -> int:
    generator = np.random.default_rng(6)
    compared = 0
    for _ in range(cases):
        _, size, flag = random_case(generator, largest, (3,))
        size = size[0], max(size[1], 2)
        function = functools.partial(cv2.resize, dsize=size[::-1], interpolation=int(flag))
        layer = onelayer.compile(function)
        for _ in range(per_layer):
            image, _other_size, _ = random_case(generator, largest, (1, 2, 3, 4))
            if flag is Flag.AREA and generator.integers(2):
                image = np.resize(image, (2 * size[0], 3 * size[1], image.shape[2]))
            elif generator.integers(4) == 0:
                image = np.resize(image, (2 * size[0], 2 * size[1], image.shape[2]))
            expected = function(image)
            assert np.array_equal(layer(image), expected)
            compared += 1
            if layer.of_layer(image) is None:
                # A mean by fractions.
                continue
            result = computed(layer, image)
            assert result.shape == expected.shape
            assert result.dtype == np.uint8
            assert np.array_equal(result, expected), (image.shape, size, flag)
    return compared


def test_stages_are_opencvs() -> None:
    assert compare_stages(150, 40) == 150


def test_layers_are_opencvs() -> None:
    assert compare_layers(20, 60, 20) == 400


@pytest.mark.exhaustive
def test_stages_and_layers_are_opencvs_in_many_cases() -> None:
    assert compare_stages(3000, 60) == 3000
    assert compare_layers(200, 700, 50) == 10_000


def test_kernels_take_what_opencv_takes() -> None:
    """No original is behind a layer that is compiled whole; rows may be cut out of wider ones, or be read only."""
    generator = np.random.default_rng(7)
    function = functools.partial(cv2.resize, dsize=(33, 21))
    layer = onelayer.compile(function, fullgraph=True)
    wide = generator.integers(0, 256, (50, 60, 4), np.uint8)
    read_only = wide[..., :3].copy()
    read_only.flags.writeable = False
    for image in (
        wide,
        wide[:, 7:44],
        wide[..., :3],
        wide[..., ::-1],
        wide[::2, ::3],
        read_only,
        wide[:1],
        wide[:, :1],
    ):
        assert np.array_equal(computed(layer, image), function(np.ascontiguousarray(image)))
    assert computed(layer, wide).flags.c_contiguous
    assert computed(layer, wide[..., :1]).shape == (21, 33)


def test_small_images_and_halves_are_left_to_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done with them before the layer has begun."""
    layer = onelayer.compile(functools.partial(cv2.resize, dsize=(300, 200)))
    monkeypatch.setattr(type(layer), "of_layer", None)
    for size in ((400, 600), (300, 400)):
        image = np.random.default_rng(12).integers(0, 256, (*size, 3), np.uint8)
        assert np.array_equal(layer(image), cv2.resize(image, (300, 200)))
    with pytest.raises(TypeError, match="not callable"):
        layer(np.zeros((401, 600, 3), np.uint8))


def test_blobs_are_opencvs() -> None:
    generator = np.random.default_rng(8)
    for keywords in BLOBS:
        function = functools.partial(cv2.dnn.blobFromImage, **keywords)
        layer = onelayer.compile(function, fullgraph=True)
        for number in range(12):
            shape = (44, 62) if number == 0 else generator.integers(2, 70, 2)
            image = generator.integers(0, 256, (*shape, 3), np.uint8)
            expected, result = function(image), layer(image)
            assert result.dtype == expected.dtype
            assert result.shape == expected.shape
            assert np.array_equal(result, expected), (keywords, image.shape)


def test_what_is_not_known_is_left_to_opencv() -> None:
    image = np.random.default_rng(9).integers(0, 256, (40, 50, 3), np.uint8)
    functions = [
        functools.partial(cv2.resize, dsize=(20, 31), interpolation=cv2.INTER_CUBIC),
        functools.partial(cv2.resize, dsize=(20, 31), interpolation=cv2.INTER_AREA),
        functools.partial(cv2.resize, dsize=None, fx=0.7, fy=0.6),
        functools.partial(cv2.dnn.blobFromImage, size=(20, 30), crop=True),
    ]
    for function in functions:
        assert np.array_equal(onelayer.compile(function)(image), function(image))
        with pytest.raises(OnelayerError):
            onelayer.compile(function, fullgraph=True).of_layer(image)
    linear = functools.partial(cv2.resize, dsize=(20, 31))
    floats = image.astype(np.float32)
    assert np.array_equal(onelayer.compile(linear)(floats), linear(floats))


def test_another_arithmetic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On processors where OpenCV sums in another way, nothing is compiled."""
    resize = cv2.resize

    def off_by_one(image: Any, *args: Any, **keywords: Any) -> Any:
        result = resize(image, *args, **keywords)
        result[0, 0] ^= 1
        return result

    known_sums.cache_clear()
    monkeypatch.setattr(cv2, "resize", off_by_one)
    try:
        assert [known_sums(flag) for flag in FLAGS] == [None] * 4
        with pytest.raises(UnsupportedTransformError, match="INTER_LINEAR on this processor"):
            resized(ImageSpec((3, 20, 20), "uint8", "numpy"), (9, 9), Flag.LINEAR)
    finally:
        known_sums.cache_clear()
    monkeypatch.undo()
    assert all(known_sums(flag) is not None for flag in FLAGS)
    assert known_sums(Flag.CUBIC) is None


def test_versions_differ_in_nearest_exact() -> None:
    """The places of OpenCV 4 are in fixed point; those of 5 are added up."""
    assert nearest(2, 7, "opencv_nearest_exact").tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert nearest(2, 7, "opencv_nearest_fixed").tolist() == [0, 0, 0, 1, 1, 1, 1]
    expected = "opencv_nearest_exact" if int(cv2.__version__.split(".")[0]) >= 5 else "opencv_nearest_fixed"
    assert known_sums(Flag.NEAREST_EXACT) == expected


def test_blocks_of_two_channels_are_rounded_to_even() -> None:
    """OpenCV's vectors for 1, 3 and 4 channels round up."""
    image = np.tile(np.array([[1, 0], [1, 0]], np.uint8)[..., None], (3, 4, 1))
    for channels, middle in ((1, 1), (2, 0), (3, 1), (4, 1)):
        each = np.repeat(image, channels, axis=2)
        function = functools.partial(cv2.resize, dsize=(4, 3))
        result = computed(onelayer.compile(function, fullgraph=True), each)
        assert np.array_equal(result, function(each))
        assert (result == middle).all()
        stages, _ = resized(ImageSpec((channels, 6, 8), "uint8", "numpy"), (3, 4), Flag.LINEAR)
        planes = Program((channels, 6, 8), tuple(stages)).apply(np.moveaxis(each, -1, 0))
        assert (planes == middle).all()


def test_threads_share_the_rows() -> None:
    image = np.random.default_rng(10).integers(0, 256, (700, 900, 3), np.uint8)
    function = functools.partial(cv2.resize, dsize=(800, 640))
    assert np.array_equal(onelayer.compile(function, threads=2)(image), function(image))


def test_a_program_for_one_size_is_the_same() -> None:
    """It serves verify, saving and other backends."""
    image = np.random.default_rng(11).integers(0, 256, (30, 41, 3), np.uint8)
    transform = opencv.Resize((17, 23), Flag.LINEAR)
    expected = cv2.resize(image, (23, 17))
    for backend in ("auto", "torch", "reference"):
        layer = onelayer.compile(_as_transform(transform), backend=backend, fullgraph=True)
        assert np.array_equal(layer.apply_program(image), expected)
        assert np.array_equal(layer(image), expected)
    tensor = torch.from_numpy(image).movedim(-1, 0)
    assert np.array_equal(layer(tensor).movedim(0, -1), expected)


def _as_transform(step: Any) -> Any:
    class Transform(torch.nn.Module):
        pass

    onelayer.frontends.base.register_step(Transform)(lambda _transform, _spec: step)
    return Transform()
