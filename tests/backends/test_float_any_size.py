"""Floating point images of any size: compiled tables, and the layer against its own programs and the originals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from float_programs import memories
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.autograd import forward_ad
from torchvision import tv_tensors
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

import onelayer
from onelayer.algebra import AxisMap, Operator
from onelayer.any_size import AnySizePipeline
from onelayer.backends.cpu import float_any_size, float_call, launch, taps
from onelayer.backends.cpu import float_fill as fill
from onelayer.backends.cpu.tables import LANES, blocks_of, dense_blocks, samples_of_blocks
from onelayer.images.containers import spec_of
from onelayer.plans import DrawingPipeline

Mode = v2.InterpolationMode
lengths = st.integers(1, 90) | st.integers(1, 700)
FILTERS: dict[int, tuple[str, bool]] = {
    taps.BOX: ("box", True),
    taps.BILINEAR: ("bilinear", True),
    taps.HAMMING: ("hamming", True),
    taps.BICUBIC: ("bicubic", True),
    taps.LANCZOS: ("lanczos", True),
    taps.LINEAR_PAIRS: ("bilinear", False),
    taps.CUBIC_FOURS: ("bicubic", False),
    taps.NEAREST: ("nearest", False),
    taps.NEAREST_EXACT: ("nearest_exact", False),
}


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, tuple[int, ...]]:
    """The length of an axis, and a window of it."""
    length, resized = draw(lengths), draw(lengths)
    start, behind = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    low = draw(st.integers(0, resized - 1))
    return start + length + behind, (
        start,
        length,
        resized,
        low,
        draw(st.integers(1, resized - low)),
        draw(st.integers(0, 1)),
    )


def axis_of(n_in: int, window: tuple[int, ...], kind: int, in_float32: bool, fused: bool) -> AxisMap:
    """The map of a window, by the algebra."""
    start, length, resized, low, kept, flip = window
    name, widens = FILTERS[kind]
    precision: Any = "float32" if in_float32 else "float64"
    resize = AxisMap.resample(length, resized, name, widens, precision=precision, fused=fused)  # type: ignore[arg-type]
    axis = AxisMap.crop(resized, low, kept) @ resize @ AxisMap.crop(n_in, start, length)
    return AxisMap.flip(kept) @ axis if flip else axis


def array_at(address: Any, dtype: Any, *shape: int) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (np.ctypeslib.ctypes.c_char * size).from_address(int(address))
    return np.frombuffer(memory, dtype).reshape(shape).copy()


@given(windows(), windows(), st.sampled_from(list(FILTERS)), st.booleans(), st.booleans())
# Every third sample: weights of zero in front of others and behind them.
@example((9, (0, 9, 3, 0, 3, 0)), (28, (1, 27, 9, 2, 6, 1)), taps.CUBIC_FOURS, False, True)
@example((9, (0, 9, 3, 0, 3, 0)), (28, (1, 27, 9, 2, 6, 1)), taps.BICUBIC, True, True)
def test_any_tables_are_those_of_the_map(rows: Any, cols: Any, kind: int, in_float32: bool, fused: bool) -> None:
    (height, row_window), (width, col_window) = rows, cols
    workspace = float_any_size._Workspace(
        max(row_window[4], col_window[4]),
        max(taps.most_taps(window[1], window[2], kind) for window in (row_window, col_window)),
        1 << 20,
    )
    call = workspace.call
    arguments = call, workspace.addresses, workspace.of_columns, kind, in_float32, fused, row_window, col_window
    assert fill.filled(*arguments) <= workspace.of_columns
    expected_rows = axis_of(height, row_window, kind, in_float32, fused)
    expected_cols = axis_of(width, col_window, kind, in_float32, fused)
    # NumPy's sine may be another by its last bit, and so may a weight be that lies beside a half.
    tolerance = np.spacing(np.float32(1)) if kind in (taps.LANCZOS, taps.HAMMING) else 0

    found = {
        name: int(call[getattr(float_call, name)]) for name in dir(float_call) if name.isupper() and name != "FIELDS"
    }
    starts = array_at(found["ROW_STARTS"], np.uint64, found["HEIGHT"]).astype(int)
    weights = array_at(found["ROW_WEIGHTS"], np.float32, found["HEIGHT"], found["ROW_TAPS"])
    dense = AxisMap(height, starts, weights).to_dense()
    assert np.abs(dense - expected_rows.to_dense().astype(np.float32)).max() <= tolerance
    assert found["ROW_TAPS"] == expected_rows.taps
    assert found["FIRST_ROW"] == starts.min()
    assert found["ROWS_READ"] == np.ptp(starts) + found["ROW_TAPS"]
    assert found["BLOCK_ROWS"] == samples_of_blocks(AxisMap(height, starts, weights))

    first, begins, blocks = dense_blocks(expected_cols)
    shape = found["COL_BLOCKS"], found["COL_TAPS"], LANES
    begins_found = array_at(found["COL_STARTS"], np.uint64, shape[0]).astype(int)
    blocks_found = array_at(found["COL_WEIGHTS"], np.float32, *shape)
    outputs = blocks_of(found["WIDTH"], LANES)
    for block, kept in enumerate(outputs):
        matrices = np.zeros((2, LANES, width), np.float32)
        matrices[0][:, first + int(begins[block]) :][:, : blocks.shape[1]] = blocks[block].T
        origin = found["FIRST_COLUMN"] + begins_found[block]
        matrices[1][:, origin : origin + shape[1]] = blocks_found[block].T
        assert np.abs(matrices[0] - matrices[1]).max() <= tolerance, kept
    # Every read is within the window that the rows are summed over, and that within the part that is resized.
    assert begins_found.min() >= 0
    assert begins_found.max() + shape[1] <= found["LENGTH"]
    start, length, *_ = col_window
    assert start <= found["FIRST_COLUMN"]
    assert found["FIRST_COLUMN"] + found["LENGTH"] <= start + length


def test_tables_that_there_is_no_room_for_are_filled_in_new_memory() -> None:
    layer = onelayer.compile(v2.Resize((700, 9)), threads=1)
    float_any_size._OF_THREAD.workspace = float_any_size._Workspace(8, 2, 8)
    for size in ((31, 40), (3, 4000), (5, 6)):
        image = torch.rand(1, *size)
        assert torch.equal(layer(image), layer.apply_program(image))


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALIZE = v2.Normalize(MEAN, STD)
PIPELINES: dict[str, Callable[..., Any]] = {
    "evaluation": v2.Compose([v2.Resize(24), v2.CenterCrop(20), NORMALIZE]),
    "bicubic": v2.Compose([v2.Resize(24, Mode.BICUBIC), v2.CenterCrop((20, 23)), v2.RandomHorizontalFlip(1)]),
    "normalized first": v2.Compose([NORMALIZE, v2.Resize((28, 31)), v2.RandomVerticalFlip(1)]),
    "report": v2.Compose([v2.Resize((28, 28)), v2.Grayscale(), v2.Normalize([0.5], [0.25])]),
    "gray first": v2.Compose([v2.Grayscale(3), v2.Resize(17)]),
    "crop first": v2.Compose(
        [v2.CenterCrop((30, 22)), v2.RandomVerticalFlip(1), v2.RandomVerticalFlip(1), v2.Resize(9)]
    ),
    "letterbox": v2.Compose([v2.Resize(None, max_size=32), v2.CenterCrop(32), v2.RandomVerticalFlip(1), NORMALIZE]),
    "padding": v2.Compose([v2.Resize((19, 23)), v2.Pad([1, 2, 3, 4], fill=[0.25, 0.5, 2.0]), v2.Grayscale(3)]),
    "a frame of zeros": v2.Compose([v2.Pad(2), NORMALIZE]),
    "nearest": v2.Compose([v2.Resize((19, 23), Mode.NEAREST), v2.CenterCrop((18, 30)), v2.RandomHorizontalFlip(1)]),
    "nearest, exact": v2.Resize((19, 23), Mode.NEAREST_EXACT),
    "not widened": v2.Compose([v2.Resize((40, 7), antialias=False), v2.RandomHorizontalFlip(1)]),
    "bicubic, not widened": v2.Compose([v2.Resize((7, 40), Mode.BICUBIC, antialias=False), v2.CenterCrop(5)]),
    "only values": v2.Compose([NORMALIZE, v2.RandomHorizontalFlip(1)]),
    "to bytes": v2.Compose([v2.Resize(11), v2.ToDtype(torch.uint8, scale=True)]),
    "functions": v2.Compose(
        [functools.partial(f1.resize, size=[20, 31]), f1.hflip, functools.partial(f1.pad, padding=2)]
    ),
    "window": v2.Compose([v2.Resize(30), functools.partial(f2.crop, top=-3, left=2, height=20, width=40)]),
}
TOLERANCE = {"to bytes": 1.0}
"""Largest difference from the original, where it is not that of float32 sums."""


def images_of(random: np.random.Generator, height: int, width: int) -> Iterator[Any]:
    pixels = torch.from_numpy(random.random((2, 3, height, width), np.float32))
    for images in memories(pixels).values():
        yield images
        yield images[1]
    yield tv_tensors.Image(pixels)


def without_draws(pipeline: object) -> object:
    return pipeline.pipeline if isinstance(pipeline, DrawingPipeline) else pipeline


def any_size_of(layer: onelayer.OneLayer, image: Any) -> AnySizePipeline:
    found = without_draws(layer._of_any_size(image))
    assert isinstance(found, AnySizePipeline)
    return found


def bits(image: Any) -> NDArray[Any]:
    array = np.ascontiguousarray(np.asarray(image))
    return array.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[array.itemsize])


def is_one_operator(layer: onelayer.OneLayer, image: Any) -> bool:
    """Whether one operator costs no more than several at this size: elsewhere the program sums in another order."""
    (output,) = layer.source.outputs(spec_of(image)).each
    return sum(isinstance(stage, Operator) for stage in output.simplified.program.stages) <= 1


@example("padding", 54, 58, 0, 1)
@example("letterbox", 1, 33, 0, 1)
@given(st.sampled_from(list(PIPELINES)), st.integers(1, 80), st.integers(1, 80), st.integers(0, 9), st.integers(1, 2))
def test_any_image_as_its_own_program_and_about_as_the_library(
    name: str, height: int, width: int, seed: int, threads: int
) -> None:
    pipeline = PIPELINES[name]
    layer = onelayer.compile(pipeline, threads=threads, backend="numba")
    with pytest.MonkeyPatch.context() as patch:
        if threads > 1:
            patch.setattr(float_any_size, "MULTIPLICATIONS_PER_THREAD", 1)
        for image in images_of(np.random.default_rng(seed), height, width):
            try:
                expected = layer.apply_program(image)
            except onelayer.OnelayerError as error:
                assert "width of 1" in str(error) or "width of at least 1" in str(error)  # noqa: PT017 - some sizes only
                continue
            found = layer(image)
            assert type(found) is type(expected)
            assert found.dtype == expected.dtype
            assert found.stride() == expected.stride()
            if is_one_operator(layer, image):
                np.testing.assert_array_equal(bits(found), bits(expected))
            original = pipeline(image)
            assert found.shape == original.shape
            # Weights are normalised in float32 there; cubic ones add up to more, and 1 / 0.225 is the scale.
            difference = (found.double() - original.double()).abs().max() if original.numel() else 0
            assert difference <= TOLERANCE.get(name, 1e-4)


def test_all_of_them_run_without_plans() -> None:
    image = torch.rand(3, 41, 53)
    for name, pipeline in PIPELINES.items():
        layer = onelayer.compile(pipeline, backend="numba")
        assert any_size_of(layer, image)(image, None) is not None, name
        layer(image)
        assert len(layer._plans) == 0, name


BYTES: dict[str, Callable[..., Any]] = {
    "bilinear": v2.Resize((20, 30)),
    "overshooting": v2.Compose([v2.Resize((30, 40), Mode.BICUBIC), v2.CenterCrop((20, 33))]),
    "overshooting, then normalized": v2.Compose(
        [v2.Resize(24, Mode.LANCZOS), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), NORMALIZE]
    ),
    "converted first": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Resize(9), v2.Pad(3, fill=0.5)]
    ),
    "inverted first": v2.Compose([f2.invert, v2.Resize((30, 40), Mode.BICUBIC), v2.RandomHorizontalFlip(1)]),
    "nearest": v2.Compose([v2.Resize((19, 23), Mode.NEAREST), v2.RandomVerticalFlip(1)]),
    "half": v2.Compose([v2.Resize((9, 12)), v2.ToImage(), v2.ToDtype(torch.float16, scale=True)]),
    "pad": v2.Compose([v2.Resize((9, 12)), v2.Pad((1, 2), fill=9)]),
}


@given(st.sampled_from(list(BYTES)), st.integers(2, 60), st.integers(2, 60), st.integers(0, 9))
def test_any_bytes_in_real_arithmetic(name: str, height: int, width: int, seed: int) -> None:
    """Rounded once, at the end, as their own program does."""
    values = np.random.default_rng(seed).choice(np.array([0, 1, 128, 255], np.uint8), (height, width, 3))
    last = torch.from_numpy(values).permute(2, 0, 1)
    layer = onelayer.compile(BYTES[name], rounding="fused", threads=1)
    for image in (last, last.contiguous(), torch.stack([last, last.flip(-1)]), PIL.Image.fromarray(values), values):
        found, expected = layer(image), layer.apply_program(image)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(bits(found), bits(expected))
        any_size_of(layer, image)


def test_a_frame_behind_saturation_differs_by_roundings_alone() -> None:
    """A program for one size takes two kernels for it, with float32 between them."""
    pipeline = v2.Compose(
        [v2.Resize((30, 20), Mode.BICUBIC), v2.Pad(2, fill=7), v2.ToDtype(torch.float32, scale=True), NORMALIZE]
    )
    layer = onelayer.compile(pipeline, rounding="fused")
    image = torch.randint(0, 2, (3, 17, 11)).to(torch.uint8) * 255
    any_size_of(layer, image)
    torch.testing.assert_close(layer(image), layer.apply_program(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.exhaustive)])
def test_half_precision(dtype: torch.dtype) -> None:
    layer = onelayer.compile(v2.Compose([v2.Resize((13, 29)), v2.Pad(1, fill=0.3), NORMALIZE]))
    for image in memories(torch.rand(2, 3, 45, 60).to(dtype)).values():
        any_size_of(layer, image)
        found = layer(image)
        assert found.dtype == dtype
        assert torch.equal(found, layer.apply_program(image))


def test_what_is_left_to_programs() -> None:
    image = torch.rand(3, 17, 11)
    for transforms, images, keywords, reason in (
        ([v2.Resize(9)], image.double(), {}, "not in float64"),
        ([v2.Resize(9), v2.ToDtype(torch.float64)], image, {}, "not in float64"),
        ([v2.Resize(9)], image, {"rounding": "exact"}, "rounded as the original"),
        ([v2.Resize(9)], image, {"backend": "torch"}, "for one size"),
        ([v2.Resize(9), v2.Resize(5)], image, {}, "two resizes"),
        (
            [functools.partial(f2.adjust_brightness, brightness_factor=1.5), v2.Resize(5)],
            image,
            {},
            "after what changes",
        ),
        ([v2.Resize(9), functools.partial(f2.adjust_gamma, gamma=2.0)], image, {}, "Gamma"),
        ([v2.Resize(9), v2.Pad(2, fill=float("nan")), NORMALIZE], image, {}, "padding is no number"),
    ):
        layer = onelayer.compile(v2.Compose(transforms), **keywords)  # type: ignore[call-overload]
        assert layer._of_any_size(images) is None
        if "nan" not in repr(transforms):
            assert reason in onelayer.explain(layer, images).sizes


def test_what_the_original_does_sooner_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = v2.Compose.forward
    monkeypatch.setattr(v2.Compose, "forward", lambda *of: (calls.append(1), forward(*of))[1])
    last = torch.rand(800, 900, 3).permute(2, 0, 1)
    linear, nearest = v2.Resize((40, 60), antialias=False), v2.Resize((40, 60), Mode.NEAREST)
    for transforms, image, is_left in (
        ([linear], last, True),
        ([linear], last.contiguous(), False),
        ([linear], last[:, :, :239], False),
        ([v2.Resize((40, 60))], last, False),
        ([nearest], last, True),
        ([nearest], last.contiguous(), True),
        ([nearest], last[:, :200, :300].contiguous(), False),
        ([nearest, NORMALIZE], last.contiguous(), False),
    ):
        transform = v2.Compose(transforms)
        expected = transform(image)
        for backend in ("auto", "numba"):
            calls.clear()
            layer = onelayer.compile(transform, backend=backend)  # type: ignore[call-overload]
            torch.testing.assert_close(layer(image), expected, rtol=0, atol=2e-6)
            assert bool(calls) == (is_left and backend == "auto"), transforms


def test_nan_and_infinity_are_left_to_pytorch() -> None:
    layer = onelayer.compile(v2.Compose([v2.Resize((13, 31)), NORMALIZE]))
    for value, is_left in ((np.nan, True), (np.inf, True), (1e30, False)):
        images = torch.rand(2, 3, 40, 41)
        images[1, 0, 20, 20] = value
        pipeline = any_size_of(layer, images)
        assert (pipeline(images, None) is None) == is_left
        expected = layer.apply_program(images)
        assert torch.equal(layer(images).nan_to_num(), expected.nan_to_num())
        assert torch.isfinite(expected).all() != is_left
        memory = torch.full_like(expected, 7.0)
        assert layer(images, out=memory) is memory
        assert torch.equal(memory.nan_to_num(), expected.nan_to_num())
    # Whole numbers are none: what becomes of these is the kernel's affair, in both.
    rounded = onelayer.compile(v2.Compose([v2.Resize((13, 31)), v2.ToDtype(torch.uint8, scale=True)]))
    images[1, 0, 20, 20] = np.inf
    assert torch.equal(rounded(images), rounded.apply_program(images))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # PyTorch's own call of it
def test_derivatives_and_what_is_no_memory_are_left_to_pytorch() -> None:
    layer = onelayer.compile(v2.Compose([v2.Resize((9, 12)), NORMALIZE]))
    image = torch.rand(3, 17, 11)
    expected = layer(image)
    pipeline = any_size_of(layer, image)
    wanted = image.clone().requires_grad_()
    assert pipeline(wanted, None) is None
    layer(wanted).sum().backward()
    assert wanted.grad is not None
    assert float(wanted.grad.abs().sum()) > 0
    with torch.no_grad():
        assert torch.equal(layer(wanted), expected)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(image, torch.ones_like(image))
        assert forward_ad.unpack_dual(layer(dual)).tangent is not None
    assert pipeline(torch._neg_view(-image), None) is None
    torch.testing.assert_close(layer(torch._neg_view(-image)), expected)
    batch = torch.rand(2, 3, 17, 11)
    # PyTorch's own words, as of a program: there are no addresses to read from.
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(layer)(batch)


def test_batches_memory_and_lists() -> None:
    transform = v2.Compose([v2.Resize((9, 12)), v2.Pad(1, fill=0.5), NORMALIZE])
    layer = onelayer.compile(transform, threads=2)
    for batch in ((), (0,), (2,), (2, 3), (2, 0)):
        images = torch.rand(*batch, 3, 17, 11)
        expected = layer.apply_program(images)
        assert torch.equal(layer(images), expected)
        contiguous = torch.full_like(expected, torch.nan)
        strided = torch.full((*expected.shape, 2), torch.nan).movedim(-1, 0)[0]
        for memory in (contiguous, strided):
            assert layer(images, out=memory) is memory
            assert torch.equal(memory, expected)
    images = [torch.rand(3, 20 + n, 40 - n) for n in range(12)]
    memory = torch.full((12, 3, 11, 14), torch.nan)
    layer.batch(images, out=memory)
    for found, image in zip(memory, images, strict=True):
        assert torch.equal(found, layer.apply_program(image))
    channels_last = torch.rand(2, 3, 17, 11).contiguous(memory_format=torch.channels_last)
    assert layer(channels_last).is_contiguous(memory_format=torch.channels_last)


def test_layers_take_turns() -> None:
    """The tables of a thread are those of its last image, whatever layer that went through."""
    image = torch.rand(3, 34, 51)
    transforms = [v2.Resize((20, 30)), v2.Resize((20, 30), Mode.BICUBIC), v2.Compose([v2.Resize((20, 30)), v2.Pad(1)])]
    layers = [onelayer.compile(transform, threads=1) for transform in transforms]
    for _ in range(2):
        for layer in layers:
            assert torch.equal(layer(image), layer.apply_program(image))


def test_an_interrupted_call_leaves_its_tables_to_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(float_any_size, "MULTIPLICATIONS_PER_THREAD", 1)
    layer = onelayer.compile(v2.Resize((9, 12)), threads=2)
    image = torch.rand(3, 17, 11)
    expected = layer(image)
    before = float_any_size._OF_THREAD.workspace
    with monkeypatch.context() as patch:
        patch.setattr(float_any_size, "run_in_threads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            layer(image)
    assert float_any_size._OF_THREAD.workspace is not before
    assert torch.equal(layer(image), expected)


def test_pieces_of_a_framed_image_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one image are shared by threads, and so is its frame."""
    image = torch.rand(1, 3, 170, 110)
    for shares in (launch.Shares(1, 1, 67, 1), launch.Shares(1, 5, 16, 1)):
        monkeypatch.setattr(float_any_size, "shares_of", lambda *_, shares=shares: shares)
        monkeypatch.setattr(float_any_size, "MULTIPLICATIONS_PER_THREAD", 1)
        layer = onelayer.compile(
            v2.Compose([v2.Resize((67, 30)), v2.Pad([1, 2, 3, 4], fill=0.25), NORMALIZE]), threads=2
        )
        assert torch.equal(layer(image), layer.apply_program(image))
