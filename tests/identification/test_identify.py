"""Functions that are only asked, and what is found of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console
from scipy import ndimage
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer.algebra import AxisMap, Operator, Separable
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.identification import Identified, NotAffineError, OverBudgetError, identify
from onelayer.images.containers import pixels_of

SHAPE = (3, 17, 11)


def as_function(operator: Operator) -> Callable[[torch.Tensor], torch.Tensor]:
    """In float32, as libraries have it."""
    return lambda image: torch.from_numpy(operator.apply(image.numpy()).astype(np.float32))


def assert_same(found: Identified, operator: Operator, tolerance: float = 2e-6) -> None:
    """Weights and biases that differ by float32 rounding of the outputs at most."""
    one, other = found.operator.to_dense(), operator.to_dense()
    # Outputs are rounded with their bias: next to that, small weights are no more exact.
    largest = max(found.output_range, float(np.abs(other.weight).max()), float(np.abs(other.bias).max()))
    np.testing.assert_allclose(one.weight, other.weight, atol=tolerance * largest)
    size = max(1.0, found.output_range, float(np.abs(other.bias).max()))
    np.testing.assert_allclose(one.bias, other.bias, atol=tolerance * size)


def noise_image(kind: ImageSpec, seed: int = 5) -> Any:
    generator = np.random.default_rng(seed)
    channels, height, width = kind.shape
    if kind.dtype == "uint8":
        pixels: NDArray[Any] = generator.integers(0, 256, (height, width, channels), dtype=np.uint8)
    else:
        pixels = generator.random((height, width, channels), dtype=np.float32)
    match kind.container:
        case "pil":
            return PIL.Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        case "numpy":
            return pixels
        case _:
            return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)))


def assert_layer_agrees(found: Identified, function: Callable[[Any], Any], steps: float) -> None:
    image = noise_image(found.input_spec)
    expected, got = (pixels_of(part).double() for part in (function(image), found.layer()(image)))
    torch.testing.assert_close(got, expected, rtol=0.0, atol=steps)


# -- separable functions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "cols", "words"),
    [
        (AxisMap.resample(17, 5, "bilinear", True), AxisMap.flip(11), ("bilinear antialias 17→5", "flipped")),
        (AxisMap.crop(17, 3, 9), AxisMap.resample(11, 20, "nearest", False), ("crop 3…11 of 17", "nearest 11→20")),
        (AxisMap.resample(17, 9, "bicubic", False), AxisMap.identity(11), ("bicubic 17→9", "identity")),
        (
            AxisMap.pad(17, 2, 1, "reflect"),
            AxisMap.pad(11, 0, 2, "edge"),
            ("identity, padded by 2 and 1 (reflect)", "identity, padded by 0 and 2 (edge)"),
        ),
    ],
)
def test_separable(rows: AxisMap, cols: AxisMap, words: tuple[str, str]) -> None:
    channel = np.array([[0.2989, 0.587, 0.114]])
    true = Separable(channel, rows, cols, np.array([0.25]))
    found = identify(as_function(true), SHAPE)
    assert found.kind == "separable"
    assert (found.description["rows"], found.description["columns"]) == words
    assert found.description["channels"] == "luma (torchvision: 0.2989, 0.587, 0.114)"
    assert_same(found, true)
    assert_layer_agrees(found, as_function(true), 2e-6)
    assert found.images < 300


# Without shrinking: an example takes up to a second.
@settings(phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    taps=st.integers(1, 4),
    transpose=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
# Products come out as products of these also where height and width are not swapped back.
@example(shape=(2, 10, 4), size=(1, 2, 2), taps=1, transpose=True, seed=47259561)
@example(shape=(1, 1, 2), size=(2, 7, 7), taps=3, transpose=True, seed=2124857656)
@example(shape=(1, 2, 1), size=(1, 1, 1), taps=1, transpose=False, seed=361870)
def test_any_separable_function(
    shape: tuple[int, int, int], size: tuple[int, int, int], taps: int, transpose: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)

    def axis(n_in: int, n_out: int) -> AxisMap:
        width = min(taps, n_in)
        starts = generator.integers(0, n_in - width + 1, n_out)
        return AxisMap(n_in, starts, generator.uniform(0.1, 1.0, (n_out, width)))

    height, width = (shape[2], shape[1]) if transpose else shape[1:]
    channel = generator.uniform(0.2, 1.0, (size[0], shape[0]))
    # Outputs are rounded to float32: next to a large bias, little would be left of small weights.
    bias = generator.normal(size=size) / 10
    true = Separable(channel, axis(height, size[1]), axis(width, size[2]), bias, transpose)
    found = identify(as_function(true), shape)
    # Of few values, rounded to float32, products may be too far off, and each weight is measured alone.
    few = min(np.prod(shape), np.prod(size)) < 12
    assert found.kind in (("separable", "dense") if few else ("separable",))
    # Weights come from products of images of up to 100 levels with outputs that are rounded to float32.
    assert_same(found, true, 2e-5)


def test_height_and_width_swapped() -> None:
    found = identify(lambda image: torch.rot90(image, 1, (-2, -1)), SHAPE)
    assert found.description["first"] == "height and width swapped"
    assert (found.description["rows"], found.description["columns"]) == ("flipped", "identity")
    image = torch.rand(SHAPE)
    assert torch.equal(found.layer()(image), torch.rot90(image, 1, (-2, -1)))


def test_derivatives_whose_weights_add_up_to_nothing() -> None:
    function: Callable[[Any], Any] = lambda image: ndimage.sobel(image[..., 0], 0)[..., None]  # noqa: E731
    found = identify(function, np.zeros((17, 11, 1), np.float32))
    assert found.kind == "separable"
    assert_layer_agrees(found, function, 1e-5)


def test_an_array_of_height_and_width_only() -> None:
    function: Callable[[Any], Any] = lambda image: ndimage.gaussian_filter(image, 1.5)[..., None]  # noqa: E731
    found = identify(function, np.zeros((17, 11), np.float32))
    assert found.input_spec == ImageSpec((1, 17, 11), "float32", "numpy")
    image = np.random.default_rng(0).random((17, 11), dtype=np.float32)
    np.testing.assert_allclose(found.layer()(image), function(image), atol=2e-6)


def test_the_shape_and_type_of_results_are_what_the_layer_gives() -> None:
    image, array = torch.rand(3, 8, 9), np.random.default_rng(0).random((8, 9, 3))
    functions: list[tuple[Callable[[Any], Any], Any]] = [
        (lambda image: image.mean(0, keepdim=True).double(), image),
        (lambda image: tv_tensors.Image(image[:1]), image),
        (lambda image: image.movedim(0, -1).numpy()[::-1], image),
        (lambda array: torch.from_numpy(array).movedim(-1, 0), array),
        (lambda array: array.mean(-1, keepdims=True), array),
    ]
    for function, given_image in functions:
        layer = identify(function, given_image).layer()
        ours, theirs = layer(given_image), function(given_image)
        assert (type(ours), ours.dtype, tuple(ours.shape)) == (type(theirs), theirs.dtype, tuple(theirs.shape))
        assert onelayer.verify(layer, function, [given_image]).record.result_difference is None
    flat: list[tuple[Callable[[Any], Any], Any, str]] = [
        (lambda image: image.mean(0), image, r"\(8, 9\); expected a tensor \[C, H, W\]\. Wrap it: .*\[None\]"),
        (
            lambda image: image.mean(0).numpy(),
            image,
            r"\(8, 9\); expected an array \[H, W, C\]\. Wrap it: .*\[\.\.\., None\]",
        ),
        (lambda array: array.mean(-1), array, r"expected an array \[H, W, C\]"),
    ]
    for function, given_image, text in flat:
        with pytest.raises(OnelayerError, match=text):
            identify(function, given_image)


def test_types_that_depend_on_the_content_are_refused() -> None:
    calls: list[int] = []

    def change(image: torch.Tensor, late: Callable[[torch.Tensor], Any]) -> Any:
        calls.append(1)
        return image * 0.5 if len(calls) < 3 else late(image)

    results: list[tuple[Callable[[torch.Tensor], Any], str]] = [
        (lambda image: image.double(), "a tensor of float64"),
        (lambda image: image.numpy().transpose(1, 2, 0), "a NumPy array"),
    ]
    for late, text in results:
        calls.clear()
        with pytest.raises(OnelayerError, match=f"gave {text}.*expected a tensor of float32, as it gave before"):
            identify(lambda image, late=late: change(image, late), torch.rand(3, 8, 9), batched=False)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (1, 1, 7), (2, 9, 1)])
def test_small_images(shape: tuple[int, int, int]) -> None:
    found = identify(lambda image: image * 2 - 1, shape)
    assert_same(found, Separable.of_channels(np.eye(shape[0]) * 2, -np.ones(shape[0]), shape[1:]))


def test_a_constant() -> None:
    picture = torch.rand(2, 3, 4)
    found = identify(lambda _: picture, SHAPE)
    assert found.kind == "constant"
    torch.testing.assert_close(found.layer()(torch.rand(SHAPE)), picture)


@pytest.mark.parametrize(
    ("shape", "short", "size", "rows", "columns"),
    [
        ((3, 75, 70), 64, 56, "75→68, crop 6…61 of 68", "70→64, crop 4…59 of 64"),
        pytest.param(
            (3, 300, 280), 256, 224, "300→274, crop 25…248 of 274", "280→256, crop 16…239 of 256",
            marks=pytest.mark.exhaustive,
        ),
    ],
)  # fmt: skip
def test_imagenet_evaluation(shape: tuple[int, int, int], short: int, size: int, rows: str, columns: str) -> None:
    transform = v2.Compose(
        [
            v2.Resize(short, antialias=True),
            v2.CenterCrop(size),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    found = identify(lambda image: transform(image), shape)
    assert found.description["rows"] == f"bilinear antialias {rows}"
    assert found.description["columns"] == f"bilinear antialias {columns}"
    assert found.description["channels"] == "divided by the standard deviations of ImageNet"
    assert found.largest_error < 1e-5 * found.output_range
    assert found.images < 400
    assert found.calls < 100


# -- rounding and clamping ------------------------------------------------------------------------------------------


SMALL, LARGE = (13, 9), (40, 30)
FAST = {("BOX", SMALL), ("BILINEAR", LARGE), ("HAMMING", SMALL), ("BICUBIC", LARGE)}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=() if (name, size) in FAST else pytest.mark.exhaustive)
        for name in ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
        for size in (SMALL, LARGE)
    ],
)
def test_pillow_resizes_bit_for_bit(name: str, size: tuple[int, int]) -> None:
    resample = PIL.Image.Resampling[name]
    image = PIL.Image.new("RGB", (31, 26))
    found = identify(lambda one: one.resize(size, resample), image)
    assert found.kind == "separable"
    assert found.largest_error == 0.0
    # Boxes that do not shrink only choose values, as nearest neighbours.
    assert ("one after the other" in found.description["rounding"]) == (name != "BOX" or size == SMALL)
    assert_layer_agrees(found, lambda one: one.resize(size, resample), 0.0)


def test_a_whole_pipeline_of_pil_images_bit_for_bit() -> None:
    transform = v2.Compose(
        [
            v2.Resize(30),
            v2.CenterCrop(24),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    found = identify(lambda image: transform(image), PIL.Image.new("RGB", (50, 40)))
    assert found.description["rows"] == "bilinear antialias 40→30, crop 3…26 of 30"
    assert found.description["channels"] == "divided by 255 and by the standard deviations of ImageNet"
    assert found.mismatch_rate == 0.0
    assert_layer_agrees(found, transform, 0.0)


def test_torch_bytes_bit_for_bit() -> None:
    found = identify(v2.Resize((9, 14), antialias=True), torch.zeros(SHAPE, dtype=torch.uint8))
    assert found.largest_error == 0.0
    assert_layer_agrees(found, v2.Resize((9, 14), antialias=True), 0.0)


def test_grey_of_pillow() -> None:
    found = identify(lambda image: image.convert("L"), PIL.Image.new("RGB", (11, 17)))
    assert found.output_spec == ImageSpec((1, 17, 11), "uint8", "pil")
    assert found.description["channels"] == "luma (Pillow: 19595, 38470, 7471 of 65536)"
    assert_layer_agrees(found, lambda image: image.convert("L"), 0.0)


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        ([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], "measured, in parts of 256: 5 taps, 40→40"),
        ([1 / 5] * 5, "measured, in parts of 5: 5 taps, 40→40"),
    ],
)
def test_filters_of_bytes_bit_for_bit(taps: list[float], words: str) -> None:
    """As OpenCV's GaussianBlur and blur compute: sums of whole numbers, rounded once."""

    def function(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        filtered = image.astype(np.float64)
        for axis in (0, 1):
            filtered = ndimage.correlate1d(filtered, taps, axis, mode="mirror")
        rounded: NDArray[np.uint8] = np.floor(filtered + 0.5 + 1e-9).astype(np.uint8)
        return rounded

    found = identify(function, np.zeros((40, 50, 3), np.uint8))
    assert found.description["rows"] == words
    assert found.largest_error == 0.0
    assert_layer_agrees(found, function, 0.0)


def test_channels_of_bytes_in_another_order() -> None:
    found = identify(lambda image: image[..., ::-1], np.zeros((70, 80, 3), np.uint8))
    assert found.description["channels"] == "channels in the order 2, 1, 0"
    assert found.mismatch_rate == 0.0


def test_values_that_are_cut_off() -> None:
    def function(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(image * 0.3 + 20, dtype=np.uint8)

    found = identify(function, np.zeros((17, 11, 3), np.uint8))
    # Cutting off is rounding with half a step less: both explain it.
    assert found.description["channels"].startswith("scaled by 0.")
    assert found.mismatch_rate < 0.02


def test_padding_with_a_value() -> None:
    function = v2.Pad((2, 1, 0, 3), fill=114)
    found = identify(function, torch.zeros(SHAPE, dtype=torch.uint8))
    assert found.largest_error == 0.0
    assert found.description["rows"] == "identity, padded by 1 and 3 (zeros)"
    assert_layer_agrees(found, function, 0.0)


@pytest.mark.parametrize("gain", [1.5, 3.0])
def test_a_clamp(gain: float) -> None:
    found = identify(lambda image: (image * gain - 0.2).clamp(0, 1), SHAPE)
    assert found.description["rounding"] == "clamped to the observed range"
    # White is 1 after the clamp, whatever the gain.
    assert float(found.layer()(torch.ones(SHAPE)).max()) == 1.0
    assert_layer_agrees(found, lambda image: (image * gain - 0.2).clamp(0, 1), 1e-6)


def test_a_clamp_before_normalisation() -> None:
    normalise = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    found = identify(lambda image: normalise((image * 1.5 - 0.2).clamp(0, 1)), SHAPE)
    assert "clamped" in found.description["rounding"]
    assert_layer_agrees(found, lambda image: normalise((image * 1.5 - 0.2).clamp(0, 1)), 2e-6)


# -- functions that are no products ---------------------------------------------------------------------------------


def test_a_rotation() -> None:
    def function(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(ndimage.rotate(image, 10.0, axes=(0, 1), reshape=False, order=1))

    found = identify(function, np.zeros((34, 41, 3), np.float32))
    assert found.kind == "local"
    assert found.description["channels"] == "identity"
    assert found.largest_error < 1e-5
    assert_layer_agrees(found, function, 2e-6)


def test_a_rotation_of_bytes() -> None:
    def function(image: PIL.Image.Image) -> PIL.Image.Image:
        return image.rotate(10, PIL.Image.Resampling.BILINEAR)

    found = identify(function, PIL.Image.new("RGB", (41, 34)))
    assert found.kind == "local"
    # Weights are measured on rounded values: a sum near a half may be rounded to either side.
    assert found.largest_error <= 1.0
    assert found.mismatch_rate < 0.15
    assert_layer_agrees(found, function, 1.0)


def test_weights_that_add_up_to_nothing_and_do_not_separate() -> None:
    found = identify(lambda image: ndimage.laplace(image[..., 0])[..., None], np.zeros((17, 11, 1), np.float32))
    assert found.kind == "local"
    assert found.description["space"] == "at most 5 taps per pixel"
    assert found.largest_error < 1e-5


def test_few_values_mixed_at_random() -> None:
    weight = np.random.default_rng(0).normal(size=(24, 60)) / 8
    found = identify(
        lambda image: torch.from_numpy((weight @ image.numpy().ravel()).reshape(2, 3, 4).astype(np.float32)), (3, 4, 5)
    )
    assert found.kind == "dense"
    np.testing.assert_allclose(found.operator.to_dense().weight, weight, atol=1e-5)


def test_opencv() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed; it is among the peers")
    image = np.zeros((60, 50, 3), np.float32)
    turn = cv2.getRotationMatrix2D((25, 30), 10, 1)
    for function in (
        lambda one: cv2.resize(one, (33, 41), interpolation=cv2.INTER_LINEAR),
        lambda one: cv2.resize(one, (33, 41), interpolation=cv2.INTER_AREA),
        lambda one: cv2.resize(one, (33, 41), interpolation=cv2.INTER_CUBIC),
        lambda one: cv2.warpAffine(one, turn, (50, 60)),
    ):
        exact = identify(function, image)
        assert exact.largest_error < 1e-5 * exact.output_range
        # 11 bits of fraction, and weights that are measured: at most the last step, and that seldom.
        rounded = identify(function, image.astype(np.uint8))
        assert rounded.largest_error <= 2.0
        assert rounded.mismatch_rate < 0.25


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "violation"),
    [
        (lambda image: ndimage.median_filter(image, (3, 3, 1)), "superposition"),
        (lambda image: image**2.2, "superposition"),
        (lambda image: (image > 0.5).astype(np.float32), "nearly all outputs are the smallest or the largest"),
        (lambda image: image / max(float(image.mean()), 1e-6), "superposition"),
    ],
)
def test_functions_that_are_not_affine(function: Callable[[Any], Any], violation: str) -> None:
    with pytest.raises(NotAffineError, match=violation) as refusal:
        identify(function, np.zeros((17, 11, 3), np.float32))
    # Numbers: how far, and over which range.
    assert any(character.isdigit() for character in refusal.value.problem)


@pytest.mark.parametrize(
    "function", [v2.functional.equalize, lambda image: ((image / 255.0) ** 2.2 * 255 + 0.5).to(torch.uint8)]
)
def test_functions_of_bytes_that_are_not_affine(function: Callable[[Any], Any]) -> None:
    with pytest.raises(NotAffineError, match=r"not affine: superposition .* further off than rounding can explain"):
        identify(function, torch.zeros(3, 26, 31, dtype=torch.uint8))


def test_a_crop_that_depends_on_the_content() -> None:
    def without_frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows = np.flatnonzero(image.any(axis=(1, 2)))
        inner = image[rows[0] : rows[-1] + 1] if len(rows) else image
        return inner[np.arange(16) * len(inner) // 16]

    with pytest.raises(OnelayerError, match="fresh images off by up to"):
        identify(without_frame, np.zeros((40, 50, 3), np.uint8))


def test_a_function_that_is_random() -> None:
    with pytest.raises(NotAffineError, match=r"differently when it was given twice: by 0\.\d+ at output"):
        identify(lambda image: image + torch.rand(()), SHAPE)


def test_values_that_are_not_finite() -> None:
    with pytest.raises(NotAffineError, match="not finite"):
        identify(lambda image: torch.log(image), SHAPE)


def test_a_shape_that_depends_on_the_content() -> None:
    with pytest.raises(OnelayerError, match="shape may not depend on the content"):
        identify(lambda image: image[:, : 3 + int(image[0, 0, 0] * 10)], SHAPE)


def test_the_budget() -> None:
    count = 0

    def function(image: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return image

    with pytest.raises(
        OverBudgetError, match=r"takes \d+ images, after \d+ that were asked about; expected at most 40"
    ):
        identify(function, SHAPE, budget=40, batched=False)
    assert 0 < count <= 40


def test_a_function_that_fails() -> None:
    def function(_: torch.Tensor) -> torch.Tensor:
        raise ValueError("only square images")

    with pytest.raises(OnelayerError, match=r"failed on an image \(3, 17, 11\) float32 .*only square images"):
        identify(function, SHAPE)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image: [image], "gives a list"),
        (lambda image: image[None], "without a batch dimension"),
        (lambda image: image[0], r"a tensor \[C, H, W\]"),
        (lambda image: image.numpy(), "channels come first"),
        (lambda _: 3, "the function gives a int"),
    ],
)
def test_results_that_are_no_images(function: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(OnelayerError, match=words):
        identify(function, SHAPE)


def test_ranges() -> None:
    found = identify(lambda image: image / 100, SHAPE, value_range=(-100.0, 100.0))
    assert_same(found, Separable.of_channels(np.eye(3) / 100, np.zeros(3), SHAPE[1:]))
    for value_range in ((1.0, 0.0), (0.0, float("inf"))):
        with pytest.raises(OnelayerError, match="expected low < high"):
            identify(lambda image: image, SHAPE, value_range=value_range)
    with pytest.raises(OnelayerError, match=r"expected 0 … 255 for uint8"):
        identify(lambda image: image, ImageSpec(SHAPE, "uint8", "tensor"), value_range=(0.0, 1.0))


# -- calls and results ----------------------------------------------------------------------------------------------


def test_batches_are_tried() -> None:
    shapes: list[int] = []

    def function(image: torch.Tensor) -> torch.Tensor:
        shapes.append(image.dim())
        return image.flip(-1)

    together = identify(function, SHAPE)
    assert 4 in shapes
    assert together.calls < together.images / 3
    shapes.clear()
    singly = identify(function, SHAPE, batched=False)
    assert set(shapes) == {3}
    assert singly.calls == singly.images == len(shapes)


def test_a_function_that_takes_batches_for_something_else_is_given_single_images() -> None:
    # Of a batch, it would blur across the images.
    found = identify(lambda image: ndimage.gaussian_filter1d(image, 1.0, axis=0), np.zeros((17, 11, 3), np.float32))
    assert found.calls >= found.images - 2
    assert found.description["columns"] == "identity"


def test_nothing_is_printed_unless_progress_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("onelayer.identification.identifying.console", terminal)
    for progress, expected in ((False, False), (True, True)):
        identify(lambda image: image.flip(-1), (1, 3, 4), progress=progress)
        assert bool(terminal.file.getvalue()) == expected  # type: ignore[attr-defined]


def test_wrapped_tensors_stay_wrapped() -> None:
    found = identify(v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(p=1)]), SHAPE)
    assert found.output_spec == ImageSpec(SHAPE, "float32", "image")
    assert isinstance(found.layer()(torch.rand(SHAPE)), tv_tensors.Image)


def test_the_result_as_text() -> None:
    found = identify(lambda image: image.flip(-1), SHAPE)
    text = found.to_text()
    assert "3×17×11 float32 (tensor)" in text
    assert "columns" in text
    assert "flipped" in text
    assert "superposition of noise, largest violation" in text
    assert str(found) == text


def test_a_layer_is_saved_and_verified(tmp_path: Any) -> None:
    function = v2.Resize((9, 5), antialias=True)
    found = identify(function, SHAPE)
    onelayer.save(found.layer(), tmp_path / "layer")
    loaded = onelayer.load(tmp_path / "layer")
    images = [torch.rand(SHAPE) for _ in range(3)]
    certificate = onelayer.verify(loaded, function, images)
    assert certificate.record.all.max_units < 2e-6
