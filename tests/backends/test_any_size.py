"""Images of any size: compiled tables, the kernel that reads them, and how images come in and results go out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.models import ResNet50_Weights
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2
from torchvision.transforms.v2.functional._geometry import _compute_resized_output_size

import onelayer
from onelayer.algebra import AxisMap, Taps
from onelayer.algebra.fixed_point import bits_of, in_fixed_point
from onelayer.algebra.float32_sum import resized_in_float32
from onelayer.any_size import AnySizePipeline
from onelayer.backends.cpu import affine, any_size, fill, taps
from onelayer.copying import CopyPipeline
from onelayer.frontends import placement
from onelayer.frontends.torchvision.rounding_rules import pillow_resize
from onelayer.images import pillow_memory
from onelayer.plans import DrawingPipeline

Mode = v2.InterpolationMode
lengths = st.integers(1, 90) | st.integers(1, 700)
FIXED_POINT = {
    taps.BOX: ("box", True),
    taps.BILINEAR: ("bilinear", True),
    taps.HAMMING: ("hamming", True),
    taps.BICUBIC: ("bicubic", True),
    taps.LANCZOS: ("lanczos", True),
    taps.LINEAR_PAIRS: ("bilinear", False),
    taps.CUBIC_FOURS: ("bicubic", False),
}


def memory_for(n_out: int, dtype: Any, times: int = 1) -> NDArray[Any]:
    return np.zeros(times * (n_out + taps.SPARE), dtype)


def dense(n_in: int, first: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """The matrix of taps that are laid out [taps, outputs]."""
    matrix = np.zeros((weights.shape[1], n_in), weights.dtype)
    for k, of_tap in enumerate(weights):
        for j, weight in enumerate(of_tap):
            if weight != 0:
                matrix[j, first[j] + k] += weight
    return matrix


@st.composite
def kept_parts(draw: st.DrawFn, n_out: int) -> tuple[int, int, bool]:
    low = draw(st.integers(0, n_out - 1))
    return low, draw(st.integers(1, n_out - low)), draw(st.booleans())


@given(lengths, lengths, st.sampled_from(list(FIXED_POINT)), st.sampled_from([0, 1 << 15]), st.data())
def test_any_taps_in_fixed_point(n_in: int, n_out: int, kind: int, limit: int, data: st.DataObject) -> None:
    if n_in == n_out:
        return
    low, outputs, flip = data.draw(kept_parts(n_out))
    name, widens = FIXED_POINT[kind]
    axis = AxisMap.resample(n_in, n_out, name, widens)  # type: ignore[arg-type]
    expected = in_fixed_point(axis, limit or None)
    bits = bits_of(axis, limit or None)
    most = taps.most_taps(n_in, n_out, kind)
    first, count = memory_for(n_out, np.int32), memory_for(n_out, np.int32)
    whole = np.zeros(most * outputs, np.int32)
    arguments = [np.uint64(number) for number in (n_in, n_out)]
    found_taps, found_bits, fits = taps.fixed_point_taps(
        *arguments, kind, limit, np.uint64(low), np.uint64(outputs), flip, first, count,
        memory_for(n_out, np.float64, most + 3), whole,
    )  # fmt: skip
    assert found_taps <= most
    assert found_bits == bits
    assert fits == (255 * np.abs(expected.weights[low : low + outputs]).sum(axis=1).max() * 2.0**bits < 2**31)
    weights = whole[: found_taps * outputs].reshape(found_taps, outputs)
    order = slice(low, low + outputs)
    rows = expected.to_dense()[order] * 2.0**bits
    difference = dense(n_in, first, weights) - (rows[::-1] if flip else rows)
    # NumPy's sine may be another by its last bit, and so may a weight be that lies beside a half.
    assert np.abs(difference).max() <= (1 if kind in (taps.LANCZOS, taps.HAMMING) else 0)


@given(lengths, lengths, st.sampled_from(["bilinear", "bicubic"]), st.data())
def test_any_taps_in_float32(n_in: int, n_out: int, name: Any, data: st.DataObject) -> None:
    if n_in == n_out:
        return
    low, outputs, flip = data.draw(kept_parts(n_out))
    expected: Taps = resized_in_float32(n_in, n_out, name, fused=True)
    kind = taps.FLOAT32_BILINEAR if name == "bilinear" else taps.FLOAT32_BICUBIC
    most = taps.most_taps(n_in, n_out, kind)
    first, count = memory_for(n_out, np.int32), memory_for(n_out, np.int32)
    weights = np.zeros(most * outputs, np.float32)
    found = taps.float32_taps(
        np.uint64(n_in), np.uint64(n_out), kind, np.uint64(low), np.uint64(outputs), flip, first, count,
        memory_for(n_out, np.float32, 2), weights,
    )  # fmt: skip
    order = np.arange(low, low + outputs)[:: -1 if flip else 1]
    np.testing.assert_array_equal(first[:outputs], expected.starts[order])
    np.testing.assert_array_equal(count[:outputs], expected.counts[order])
    laid = weights[: found * outputs].reshape(found, outputs).T
    np.testing.assert_array_equal(laid, expected.weights[order][:, :found])
    assert not expected.weights[order][:, found:].any()


@given(lengths, lengths, st.sampled_from([taps.NEAREST, taps.NEAREST_EXACT, taps.PILLOW_NEAREST]), st.data())
def test_any_copied_samples(n_in: int, n_out: int, kind: int, data: st.DataObject) -> None:
    low, outputs, flip = data.draw(kept_parts(n_out))
    first = memory_for(outputs, np.int32)
    arguments = np.uint64(n_in), np.uint64(n_out), kind, np.uint64(low), np.uint64(outputs), flip, first
    taps.copied_samples(*arguments)
    if kind == taps.PILLOW_NEAREST:
        column = np.arange(n_in, dtype=np.int32)[None]
        places = np.asarray(Image.fromarray(column).resize((n_out, 1), Image.Resampling.NEAREST))[0]
    else:
        name = "nearest" if kind == taps.NEAREST else "nearest-exact"
        column = torch.arange(n_in, dtype=torch.float32)[None, None]
        places = torch.nn.functional.interpolate(column, n_out, mode=name)[0, 0].numpy().astype(np.int32)
    kept = places[low : low + outputs]
    np.testing.assert_array_equal(first[:outputs], kept[::-1] if flip else kept)


crops = st.tuples(st.integers(-5, 30), st.integers(1, 40))


@given(st.integers(1, 40), st.none() | st.integers(2, 40), st.lists(crops | st.none(), max_size=4))
@example(20, None, [None, (3, 10), (2, 5)])
@example(20, 15, [(-3, 30), None, (1, 9)])
def test_any_axis_is_what_slices_make_of_it(length: int, resized: int | None, changes: list[Any]) -> None:
    """Crops, flips and frames in a few numbers; −1 stands for the frame."""
    samples = np.arange(length if resized is None else resized)
    moves = [] if resized is None else [placement.RESIZE_TO, 1, resized, 0, 0]
    numbers, is_framed = [0] * placement.NUMBERS, False
    for change in changes:
        if change is None:
            moves += [placement.FLIP_COLS, 0, 0, 0, 0]
            samples = samples[::-1]
        else:
            start, size = change
            moves += [placement.CROP, 0, start, 1, size]
            leaves = start < 0 or start + size > len(samples)
            samples = np.pad(samples, 100, constant_values=-1)[100 + start : 100 + start + size]
            if (leaves and is_framed) or (samples < 0).all():
                assert not placement.place(moves, 1, length, numbers)
                return
            is_framed = bool((samples < 0).any())
    assert placement.place(moves, 1, length, numbers)
    _, before, after, low, kept, flip, left, right, size = numbers[placement.COLS : placement.FRAME]
    inner = np.arange(low, low + kept)
    np.testing.assert_array_equal(np.pad(inner[::-1] if flip else inner, (left, right), constant_values=-1), samples)
    assert (before, after, size) == (length, resized or length, len(samples))


@given(
    st.integers(1, 30),
    st.sampled_from(["edge", "reflect", "symmetric"]),
    st.lists(crops | st.none(), max_size=5),
    st.integers(0, 4),
)
@example(9, "reflect", [None, (-3, 14), None, (2, 9), (-2, 5)], 1)
@example(5, "symmetric", [(1, 4), (-4, 12)], 1)
def test_any_border_is_what_numpy_pads(length: int, mode: str, changes: list[Any], at: int) -> None:
    """Crops and flips, of which one makes a border of the samples."""
    samples, moves, numbers, has_border = np.arange(length), [], [0] * placement.NUMBERS, False
    for place, change in enumerate(changes):
        if change is None:
            moves += [placement.FLIP_COLS, 0, 0, 0, 0]
            samples = samples[::-1]
            continue
        start, size = change
        before, after = max(-start, 0), max(start + size - len(samples), 0)
        kind = placement.BORDERS[mode] if place == at else placement.CROP
        moves += [kind, 0, start, 1, size]
        limit = {"edge": 99, "reflect": len(samples) - 1, "symmetric": len(samples)}[mode]
        if max(before, after) and (place != at or max(before, after) > limit):
            if place == at:
                assert not placement.place(moves, 1, length, numbers)
            return
        has_border |= max(before, after) > 0
        samples = np.pad(samples, (before, after), mode)[start + before : start + before + size]
        if not len(samples) or not size:
            return
    assert placement.place(moves, 1, length, numbers)
    placed = placement.Placed.of(numbers)
    start, part, resized, low, kept, flip = placed.cols
    assert part == resized
    assert kept == len(samples) == placed.width
    before, after = max(-low, 0), max(low + kept - part, 0)
    found = start + np.pad(np.arange(part), (before, after), mode)[low + before :][:kept]
    np.testing.assert_array_equal(found[::-1] if flip else found, samples)
    assert (placed.border > 0) == has_border


@st.composite
def any_move(draw: st.DrawFn) -> tuple[int, ...]:
    kind, numbers = draw(st.integers(0, 10)), st.integers(-3, 60)
    return (kind, *(draw(numbers) for _ in range(placement.MOVE - 1)))


@given(st.lists(any_move(), max_size=4), st.integers(1, 700), st.integers(1, 700))
def test_any_moves_compiled_and_in_python(moves: list[tuple[int, ...]], height: int, width: int) -> None:
    flat = [number for move in moves for number in move]
    numbers, compiled = [0] * placement.NUMBERS, np.zeros(placement.NUMBERS, np.int64)
    is_placed = placement.place(flat, height, width, numbers)
    assert fill._place(np.array(flat, np.int64), height, width, compiled) == is_placed
    if is_placed:
        assert compiled.tolist() == numbers


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([9, 224, 256]), st.none() | st.integers(300, 400))
def test_any_size_is_that_of_the_library(height: int, width: int, size: int, longest: int | None) -> None:
    for transform in (v2.Resize(size, max_size=longest), v2.Resize(None, max_size=size)):
        structure = onelayer.compile(transform).source.structure(onelayer.ImageSpec((1, 1, 1), "uint8", "tensor"))
        assert not isinstance(structure, str)
        placed = structure.place(structure.moves, height, width)
        expected = _compute_resized_output_size((height, width), transform.size, transform.max_size)
        assert [placed.height, placed.width] == expected if placed else min(expected) <= 1


def test_frames_of_one_fill_only() -> None:
    steps = [v2.CenterCrop(40), v2.Pad(2, fill=7)]
    layer = onelayer.compile(v2.Compose([v2.Resize((20, 30)), *steps]))
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    # A frame of zeros with a frame of sevens around it is more than the kernel puts around an image.
    structure = layer.source.structure(onelayer.ImageSpec((3, 17, 11), "uint8", "tensor"))
    assert not isinstance(structure, str)
    assert structure.place(structure.moves, 17, 11) is None
    assert torch.equal(layer(image), layer.transform(image))


def test_a_frame_behind_the_conversion_is_not_converted() -> None:
    pipeline = v2.Compose(
        [v2.Resize((9, 12)), v2.ToDtype(torch.float32, scale=True), v2.Pad(2, fill=0.5), v2.Normalize([0.5], [2])]
    )
    image = torch.randint(0, 256, (1, 17, 11), dtype=torch.uint8)
    layer = onelayer.compile(pipeline)
    assert isinstance(pipeline_of(layer, image), AnySizePipeline)
    same(layer(image), pipeline(image))


def test_layers_take_turns() -> None:
    """The tables of a thread are those of its last image, whatever layer that went through."""
    image = torch.randint(0, 256, (3, 34, 51), dtype=torch.uint8)
    transforms = [v2.Resize((20, 30)), v2.Resize((20, 30), Mode.BICUBIC), v2.Resize((20, 30), Mode.NEAREST)]
    layers = [onelayer.compile(transform, threads=1) for transform in transforms]
    for _ in range(2):
        for layer, transform in zip(layers, transforms, strict=True):
            same(layer(image), transform(image))


def test_tables_are_filled_again() -> None:
    """Where a table is smaller than the one before, or in another layout, nothing is left of that."""
    layer = onelayer.compile(v2.Resize((6, 7)), threads=1)
    for height, width in ((60, 700), (60, 9), (200, 400), (7, 8), (61, 699), (60, 300), (5, 1), (60, 80)):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        for each in (image, image.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
            same(layer(each), layer.transform(each))


@pytest.mark.parametrize("mode", [Mode.BILINEAR, Mode.BICUBIC, Mode.BOX])
def test_large_reductions_of_pixels_as_they_lie(mode: Mode) -> None:
    """Windows of whole pixels, wherever they end: at the last pixel, and as long as the row."""
    rng = np.random.default_rng(0)
    transforms = {
        (width, flip): v2.Compose([v2.Resize((3, width), mode), v2.CenterCrop((3, -(-width // 2)))][: 2 - flip])
        for width in (2, 3, 5, 11)
        for flip in (False, True)
    }
    for (width, flip), transform in transforms.items():
        pipeline = v2.Compose([transform, v2.RandomHorizontalFlip(1)]) if flip else transform
        layer = onelayer.compile(pipeline, threads=1)
        for before in range(4 * width, 12 * width, 1 + width // 2):
            pixels = rng.integers(0, 256, (5, before, 3), dtype=np.uint8)
            pixels[rng.random(pixels.shape) < 0.5] = 255
            for image in (Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)):
                if mode is not Mode.BOX or isinstance(image, PIL.Image.Image):
                    same(layer(image), pipeline(image))


@pytest.mark.parametrize(
    "transforms",
    [
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])],
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)],
        [v2.ToDtype(torch.float32, scale=True)],
        [v2.ToDtype(torch.float32, scale=False), v2.Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])],
    ],
)
def test_values_are_computed_where_that_gives_the_table(transforms: list[Any]) -> None:
    pipeline = v2.Compose(transforms)
    values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    table = pipeline(values)[:, 0].contiguous().numpy()
    factors = affine.affine_of(table)
    assert factors is not None
    layer = onelayer.compile(pipeline, backend="numba")
    same(layer(values), pipeline(values))
    image = torch.randint(0, 256, (3, 17, 31), dtype=torch.uint8)
    same(layer(image), pipeline(image))


def test_no_other_table_is_computed() -> None:
    table = (np.arange(256, dtype=np.float32) / 255)[None].copy()
    table[0, 77] = np.nextafter(table[0, 77], np.float32(1))
    assert affine.affine_of(table) is None
    assert affine.affine_of(np.ones((1, 256), np.float32)) is None
    assert affine.affine_of(table[:, ::-1] ** 2) is None


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
PIPELINES: dict[str, Callable[..., Any]] = {
    "evaluation": v2.Compose([v2.Resize(24), v2.CenterCrop(20), *FLOATS]),
    "bicubic": v2.Compose([v2.Resize(24, Mode.BICUBIC), v2.CenterCrop((20, 23)), v2.RandomHorizontalFlip(1)]),
    "preset": functools.partial(ResNet50_Weights.DEFAULT.transforms, resize_size=26, crop_size=24)(),
    "report": v2.Compose([v2.Resize((28, 28)), v2.Grayscale(), v2.RandomHorizontalFlip(1), v2.RandomVerticalFlip(1)]),
    "crop first": v2.Compose(
        [v2.CenterCrop((30, 22)), v2.RandomVerticalFlip(1), v2.RandomVerticalFlip(1), v2.Resize(9)]
    ),
    "letterbox": v2.Compose([v2.Resize(None, max_size=32), v2.CenterCrop(32), v2.RandomVerticalFlip(1), *FLOATS]),
    "padding": v2.Compose([v2.Resize((19, 23)), v2.Pad([1, 2, 3, 4], fill=[9, 8, 7]), v2.Grayscale(3)]),
    "nearest": v2.Compose([v2.Resize((19, 23), Mode.NEAREST), v2.CenterCrop((18, 30)), v2.RandomHorizontalFlip(1)]),
    "lanczos": v2.Compose([v2.Resize((19, 23), Mode.LANCZOS), v2.CenterCrop(9)]),
    "half": v2.Compose([v2.Resize((19, 23)), v2.ToImage(), v2.ToDtype(torch.float16, scale=True)]),
    "integers": v2.Compose([v2.Resize(11), v2.ToImage(), v2.ToDtype(torch.float32, scale=False)]),
    "not widened": v2.Compose([v2.Resize((40, 7), antialias=False), v2.RandomHorizontalFlip(1)]),
    "bicubic, not widened": v2.Compose([v2.Resize((7, 40), Mode.BICUBIC, antialias=False), v2.CenterCrop(5)]),
    "only values": v2.Compose([*FLOATS, v2.RandomHorizontalFlip(1)]),
    "v1": v1.Compose([v1.Resize(24), v1.CenterCrop(20), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v1, bicubic": v1.Compose([v1.Resize(24, Mode.BICUBIC), v1.CenterCrop(28), v1.Grayscale(3)]),
    "v1, gray": v1.Compose([v1.Grayscale(), v1.RandomHorizontalFlip(1)]),
    "functions": v1.Compose(
        [functools.partial(f1.resize, size=[20, 31]), f1.hflip, functools.partial(f1.pad, padding=2)]
    ),
    "window": v2.Compose([v2.Resize(30), functools.partial(f2.crop, top=-3, left=2, height=20, width=40)]),
}


def same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, PIL.Image.Image):
        assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def images_of(pixels: NDArray[np.uint8]) -> list[Any]:
    last = torch.from_numpy(pixels).permute(2, 0, 1)
    return [
        last,
        last.contiguous(),
        torch.stack([last, last.flip(-1)]),
        tv_tensors.Image(last),
        Image.fromarray(pixels),
    ]


@given(st.sampled_from(list(PIPELINES)), st.integers(1, 80), st.integers(1, 80), st.integers(0, 9), st.integers(1, 2))
def test_any_image_as_the_library_and_as_its_own_program(
    name: str, height: int, width: int, seed: int, threads: int
) -> None:
    pipeline = PIPELINES[name]
    layer = onelayer.compile(pipeline, threads=threads)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if seed % 3 == 0:
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    for image in images_of(pixels):
        try:
            expected = pipeline(image)
        except (TypeError, ValueError, RuntimeError, AttributeError, UserWarning):
            # Tensors where PIL images are asked for; sizes that torchvision refuses, or arguments that it ignores.
            continue
        try:
            found = layer(image)
        except onelayer.OnelayerError as error:
            assert "width of 1" in str(error)  # noqa: PT017 - some sizes only
            continue
        same(found, expected)
        same(layer.apply_program(image), expected)


def pipeline_of(layer: onelayer.OneLayer, image: Any) -> Any:
    pipeline = layer._of_any_size(image)
    return pipeline.pipeline if isinstance(pipeline, DrawingPipeline) else pipeline


def test_all_of_them_run_without_plans() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (41, 53, 3), dtype=np.uint8)
    for name, pipeline in PIPELINES.items():
        image = (
            Image.fromarray(pixels)
            if name.startswith(("v1", "functions", "lanczos"))
            else torch.from_numpy(pixels).permute(2, 0, 1)
        )
        layer = onelayer.compile(pipeline)
        found = pipeline_of(layer, image)
        assert isinstance(found, AnySizePipeline), name
        if isinstance(image, PIL.Image.Image) and pillow_memory.layout() is None:
            continue
        assert found(image, None) is not None, name
        layer(image)
        assert len(layer._plans) == 0, name


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_large_pictures_are_read_and_written_where_they_lie(mode: str) -> None:
    """Pillow keeps them in blocks of 16 MiB."""
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 3000, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    for size in ((40, 60), (1700, 3300)):
        resize = v2.Resize(size)
        same(onelayer.compile(resize)(image), resize(image))


def test_rows_first_reads_only_the_columns_that_it_needs() -> None:
    if pillow_memory.layout() is None:
        pytest.skip("an unknown Pillow")
    for crop in (5, 64):
        pipeline = v2.Compose([v2.Resize((30, 64)), v2.CenterCrop((30, crop)), v2.RandomHorizontalFlip(1)])
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 70, 3), dtype=np.uint8))
        layer = onelayer.compile(pipeline, threads=1)
        same(layer(image), pipeline(image))


def test_pictures_keep_what_they_know() -> None:
    image = Image.new("RGB", (30, 20))
    image.info = {"dpi": (72, 72), "exif": b"Exif"}
    for transform in (v2.Resize(9), v2.CenterCrop(7), v2.Pad(2, fill=3), v2.RandomHorizontalFlip(1)):
        result = onelayer.compile(transform)(image)
        assert result.info == transform(image).info
        assert result.info is not image.info


def test_small_pictures_whose_rows_come_first_are_left_to_pillow() -> None:
    calls: list[int] = []
    transform = v2.Resize((18, 24))

    def original(image: Any) -> Any:
        calls.append(1)
        return transform(image)

    chooses = pillow_resize().first == placement.ROWS_FIRST_IF_SHORTENED
    for (height, width), is_left in (((28, 28), chooses), ((28, 30), False), ((300, 300), False)):
        image = Image.new("RGB", (width, height), 3)
        for backend in ("auto", "numba"):
            layer = onelayer.compile(transform, backend=backend)  # type: ignore[call-overload]
            pipeline = pipeline_of(layer, image)
            assert (pipeline._for_small is None) == (backend == "numba")
            pipeline._for_small = pipeline._for_small and original
            calls.clear()
            same(layer(image), transform(image))
            assert bool(calls) == (is_left and backend == "auto")


COPIES: dict[str, Any] = {
    "crop": v2.CenterCrop((9, 12)),
    "crop beyond": v2.CenterCrop((19, 60)),
    "flip": v2.RandomHorizontalFlip(1),
    "flips": v2.Compose([v2.RandomHorizontalFlip(1), v2.RandomVerticalFlip(1), v2.CenterCrop(15)]),
    "pad": v2.Pad([1, 2, 3, 4], fill=[5, 6, 7]),
    "pad and flip": v2.Compose([v2.CenterCrop(15), v2.Pad((2, 1), fill=8), v2.RandomVerticalFlip(1)]),
    "nothing": v2.Identity(),
}


def test_copies_are_left_to_slices() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 43, 3), dtype=np.uint8)
    for name, transform in COPIES.items():
        layer = onelayer.compile(transform)
        floats = torch.rand(2, 3, 31, 43, requires_grad=True)
        for image in (*images_of(pixels), torch.from_numpy(pixels).permute(2, 0, 1).double(), floats):
            assert isinstance(pipeline_of(layer, image), CopyPipeline), name
            expected = transform(image)
            found = layer(image)
            if isinstance(expected, torch.Tensor) and expected.requires_grad:
                assert found.requires_grad, name
                found, expected = found.detach(), expected.detach()
            same(found, expected)
    crop = onelayer.compile(COPIES["crop"])
    image = torch.rand(3, 31, 43)
    memory = torch.empty(3, 9, 12)
    assert crop(image, out=memory) is memory
    assert torch.equal(memory, COPIES["crop"](image))
    assert crop(image).untyped_storage().data_ptr() == image.untyped_storage().data_ptr()
    # Where a backend is asked for, it does the work.
    assert isinstance(
        pipeline_of(onelayer.compile(v2.CenterCrop(9), backend="numba"), images_of(pixels)[0]), AnySizePipeline
    )


def test_what_takes_a_plan_for_each_size() -> None:
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    for transforms, reason in (
        ([v2.Resize(9), v2.Resize(5)], "two resizes"),
        ([v2.Grayscale(), v2.Resize(9)], "after what changes values"),
        ([v2.RandomRotation((90, 90))], "RandomRotation does depends on the size"),
        ([v2.Resize(9), v2.ToDtype(torch.float32), v2.Resize(5)], "two resizes"),
    ):
        layer = onelayer.compile(v2.Compose(transforms))
        structure = layer.source.structure(onelayer.ImageSpec((3, 17, 11), "uint8", "tensor"))
        assert isinstance(structure, str)
        assert reason in structure
        assert pipeline_of(layer, image) is None


def test_an_interrupted_call_leaves_its_tables_to_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(any_size, "MULTIPLICATIONS_PER_THREAD", 1)
    layer = onelayer.compile(v2.Resize((9, 12)), threads=2)
    image = torch.randint(0, 256, (3, 17, 11), dtype=torch.uint8)
    expected = layer(image)
    before = any_size._OF_THREAD.workspaces[0]
    with monkeypatch.context() as patch:
        patch.setattr(any_size, "run_in_threads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            layer(image)
    assert any_size._OF_THREAD.workspaces[0] is not before
    assert torch.equal(layer(image), expected)
