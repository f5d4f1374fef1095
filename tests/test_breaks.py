"""Layers of which some transforms are not compiled: the same result, and the same rounding, in pieces."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional as F
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.explanation import PiecewiseExplanation
from onelayer.frontends import ImageSpec, base
from onelayer.selfcheck.checking import difference_of

IMAGE = torch.rand(3, 40, 31, generator=torch.Generator().manual_seed(0))


def darker(image: torch.Tensor) -> torch.Tensor:
    return image.square()


def stacked(images: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.stack(images)


UNKNOWN: dict[str, Any] = {
    "in the middle": v2.Compose(
        [v2.Resize(20), v2.CenterCrop(12), darker, v2.Normalize([0.5], [0.25]), v2.Grayscale()]
    ),
    "first": v2.Compose([darker, v2.Resize(20)]),
    "last": v2.Compose([v2.Resize(20), v2.Compose([v2.Grayscale(), darker])]),
    "alone": darker,
    "none": v2.Compose([v2.Resize(20), v2.Grayscale()]),
    "two in a row": v1.Compose([v1.Resize(20), darker, darker, v1.Resize(9)]),
    "of crops": v2.Compose([v2.Resize(20), v2.FiveCrop(12), stacked, v2.Normalize([0.5], [0.25])]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_transforms_stay(name: str) -> None:
    transform = UNKNOWN[name]
    layer = onelayer.compile(transform)
    for image in (IMAGE, IMAGE.expand(2, -1, -1, -1)[..., :29]):
        torch.testing.assert_close(layer(image), transform(image), rtol=0, atol=1e-5)


def test_random_transforms_draw_as_before() -> None:
    transform = v2.Compose([v2.Resize(20), v2.RandomErasing(p=0.5), v2.Resize(9), v2.RandomRotation(30)])
    layer = onelayer.compile(transform)
    for seed in range(8):
        torch.manual_seed(seed)
        theirs = transform(IMAGE)
        torch.manual_seed(seed)
        torch.testing.assert_close(layer(IMAGE), theirs, rtol=0, atol=1e-5)


def test_an_image_that_comes_back_at_times() -> None:
    """Whatever was drawn for the first image, a flip before a break may happen for the next."""
    pipeline = v2.Compose([v2.RandomHorizontalFlip(), darker, v2.Grayscale(3)])
    for first in range(4):
        layer = onelayer.compile(pipeline)
        for seed in range(first, first + 8):
            torch.manual_seed(seed)
            theirs = pipeline(IMAGE)
            torch.manual_seed(seed)
            assert torch.equal(layer(IMAGE), theirs), (first, seed)


def test_neighbours_are_fused() -> None:
    layer = onelayer.compile(UNKNOWN["in the middle"])
    layer(IMAGE)
    pieces = layer.in_pieces()._pieces.values()
    assert sorted((piece.first, piece.end) for piece in pieces if piece.layer is not None) == [(0, 2), (3, 5)]


def test_travels() -> None:
    layer = onelayer.compile(UNKNOWN["in the middle"])
    expected = layer(IMAGE)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert torch.equal(other(IMAGE), expected)
    assert layer.state_dict() == {}
    assert "darker" in repr(layer)


def test_lists_and_bad_images() -> None:
    layer = onelayer.compile(UNKNOWN["first"])
    assert [tuple(output.shape) for output in layer.batch([IMAGE, IMAGE[..., :20]])] == [(3, 25, 20), (3, 40, 20)]
    with pytest.raises(AttributeError) as caught:
        layer("photo.jpg")
    assert "str was given as an image" in caught.value.__notes__[0]


def test_the_reference_backend_is_the_float64_result() -> None:
    transform = v2.Compose([v2.Resize(20), v2.Grayscale()])
    double = IMAGE.double()
    exact = onelayer.compile(transform, backend="reference")(double)
    torch.testing.assert_close(exact, transform(double), rtol=0, atol=1e-14)
    single = onelayer.compile(transform, backend="reference")(IMAGE)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, transform(IMAGE), rtol=0, atol=2e-6)
    array = np.asarray(IMAGE.permute(1, 2, 0) * 255).astype(np.uint8)
    both = [onelayer.compile(transform, backend=backend)(array) for backend in ("auto", "reference")]  # type: ignore[arg-type]
    # They may round another way where float32 sums end at a half.
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1


def test_bad_arguments() -> None:
    with pytest.raises(OnelayerError, match=r"no backend 'gpu'.*'torch'"):
        onelayer.compile(darker, backend="gpu")  # type: ignore[call-overload]
    for wrong, hint in (
        ("resnet50", r"str was given as a transform.*pipelines\.named\(.*ResNet50_Weights\.DEFAULT\.transforms"),
        ([v2.Resize(20)], "list was given as a transform.*v2.Compose"),
        (ResNet18_Weights.DEFAULT, r"ResNet18_Weights was given as a transform.*\.transforms\(\)"),
        (224, "int was given as a transform"),
    ):
        with pytest.raises(OnelayerError, match=hint):
            onelayer.compile(wrong)  # type: ignore[call-overload]


def test_other_images_are_left_to_the_transform_that_converts_them() -> None:
    transform = v2.Compose([lambda image: image.convert("RGB"), v2.Resize(8)])
    for mode in ("RGBA", "P", "CMYK", "1"):
        picture = PIL.Image.new(mode, (12, 9))
        ours, theirs = onelayer.compile(transform)(picture), transform(picture)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    whole = v2.Compose([lambda image: (image * 255).to(torch.int32), lambda image: image.float(), v2.Resize(8)])
    torch.testing.assert_close(onelayer.compile(whole)(IMAGE), whole(IMAGE), rtol=0, atol=1e-3)


class MaybeToTensor(v1.ToTensor):
    """As in timm."""

    def __call__(self, image: Any) -> Any:
        return image if isinstance(image, torch.Tensor) else F.to_tensor(image)


class Drawing(torch.nn.Module):
    """A transform of one's own, which draws."""

    def forward(self, image: Any) -> Any:
        torch.rand(1)
        return image


BYTES = np.random.default_rng(4).integers(0, 256, (57, 41, 3), dtype=np.uint8)
PICTURE = PIL.Image.fromarray(BYTES)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
OPAQUE: dict[str, Any] = {
    "a lambda after ToTensor": v1.Compose(
        [v1.Resize(32), v1.CenterCrop(28), v1.ToTensor(), v1.Lambda(lambda image: image), v1.Normalize(*IMAGENET)]
    ),
    "a module before ToTensor": v1.Compose(
        [v1.Resize(32, v1.InterpolationMode.BICUBIC), Drawing(), v1.ToTensor(), v1.Normalize(*IMAGENET)]
    ),
    "a subclass of ToTensor": v1.Compose([v1.Resize(32), v1.CenterCrop(28), MaybeToTensor(), v1.Normalize(*IMAGENET)]),
    "resizes after the break": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), Drawing(), v2.Resize(19), v2.Grayscale(3), v2.Resize(7)]
    ),
    "floats become bytes": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), Drawing(), v2.ToDtype(torch.uint8, scale=True)]
    ),
    "floats beyond white become bytes": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32), Drawing(), v2.ToDtype(torch.uint8, scale=True), v2.Resize(9)]
    ),
    "a blur": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.GaussianBlur(3), v2.CenterCrop(28)]),
    "an array in between": v1.Compose([v1.Resize(32), np.array, v1.ToTensor(), v1.Normalize(*IMAGENET)]),
    "an array that v2 leaves alone": v2.Compose([v2.Resize(32), np.array, v2.Resize(9), v2.ToImage()]),
    "half precision": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float16, scale=True), v2.Normalize(*IMAGENET)]),
    "random": v2.Compose([v2.RandomResizedCrop(24), v2.RandomHorizontalFlip(), v2.ColorJitter(0.4), v2.ToImage()]),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_bytes_are_exact_from_end_to_end(name: str) -> None:
    transform = OPAQUE[name]
    layer = onelayer.compile(transform)
    for seed in range(3):
        torch.manual_seed(seed)
        theirs = transform(PICTURE)
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        assert difference_of(layer(PICTURE), theirs) is None
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [(6, 1), (1, 5), (4, 5), (1, 1)])
def test_results_lie_in_memory_as_the_originals(size: tuple[int, int]) -> None:
    """From strides, those of single rows and columns too, PyTorch chooses how it computes what comes next."""
    seen = []

    def look(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.stride())
        return image

    transform = v2.Compose([v2.Resize(size, v2.InterpolationMode.NEAREST), look, v2.Resize((3, 7))])
    for shape in ((3, 18, 1), (3, 1, 18), (1, 9, 8), (3, 9, 8)):
        for dtype in (torch.float16, torch.float32, torch.uint8):
            planes = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 255).to(dtype)
            for image in (planes, planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
                seen.clear()
                ours, theirs = onelayer.compile(transform, rounding="exact")(image), transform(image)
                assert torch.equal(ours, theirs), (shape, dtype, image.stride())
                assert seen[-1] == seen[0], (shape, dtype, image.stride())


def test_sizes_that_cannot_be_compiled_are_left_to_the_original() -> None:
    """Here PyTorch resizes floats to a width of 1 in a way that is not known."""
    resize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Resize((9, 1))])
    layer = onelayer.compile(resize)
    for width in (20, 1):
        image = v2.functional.pil_to_tensor(PICTURE)[..., :width].contiguous()
        assert difference_of(layer(image), resize(image)) is None
        out = torch.empty(3, 9, 1)
        assert layer(image, out=out) is out
        assert difference_of(out, resize(image)) is None
    # In another layout PyTorch's result is another, and so is the layer's.
    last = v2.functional.pil_to_tensor(PICTURE)
    assert difference_of(layer(last), resize(last)) is None
    with pytest.raises(OnelayerError, match="width of 1"):
        onelayer.compile(resize, fullgraph=True)(image.expand(-1, -1, 20))


def test_errors_are_the_originals_with_the_reason() -> None:
    for transform, image in (
        (v2.FiveCrop(99), IMAGE),
        (v2.Compose([v2.Resize(9), darker, v2.Normalize([0.5, 0.5], [1, 1])]), IMAGE),
    ):
        with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
            transform(image)
        with pytest.raises(type(theirs.value)) as ours:
            onelayer.compile(transform)(image)
        assert str(ours.value) == str(theirs.value)
        assert "onelayer called it as it is: " in ours.value.__notes__[0]


def test_results_in_out() -> None:
    transform = OPAQUE["a lambda after ToTensor"]
    layer, memory = onelayer.compile(transform), torch.empty(3, 28, 28)
    assert layer(PICTURE, out=memory) is memory
    assert torch.equal(memory, transform(PICTURE))
    batch = torch.empty(2, 3, 28, 28)
    assert layer.batch([PICTURE, PICTURE], out=batch) is batch
    assert torch.equal(batch[1], memory)
    for wrong in (torch.empty(3, 28, 27), torch.empty(3, 28, 28, dtype=torch.float64), "memory"):
        with pytest.raises(OnelayerError, match="was given as out="):
            layer(PICTURE, out=wrong)
    with pytest.raises(OnelayerError, match="no tensor"):
        onelayer.compile(v2.Compose([v2.Resize(9), Drawing()]))(PICTURE, out=memory)


def test_an_example_is_tried_at_once() -> None:
    transform = OPAQUE["a lambda after ToTensor"]
    with pytest.raises(OnelayerError, match="Lambda"):
        onelayer.compile(transform, fullgraph=True, example=PICTURE)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    onelayer.compile(OPAQUE["random"], example=PICTURE)
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_with_breaks_are_not_saved(tmp_path: Any) -> None:
    layer = onelayer.compile(OPAQUE["a lambda after ToTensor"])
    with pytest.raises(OnelayerError, match=r"with breaks cannot be saved.*in Lambda \(step 3\)"):
        onelayer.save(layer, tmp_path, images=[PICTURE])


class Squared(torch.nn.Module):
    """A transform that no layer is made of."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.square()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[ImageSpec]:
    """Return a list of the specs that a quicker function for :class:`Squared` was called for."""
    made: list[ImageSpec] = []

    def quicker(_: Squared, spec: ImageSpec, __: Any) -> Any:
        def function(image: torch.Tensor) -> torch.Tensor:
            made.append(spec)
            return image * image

        return function if spec.shape[0] == 3 else None

    monkeypatch.setattr(base, "FUNCTIONS", dict(base.FUNCTIONS))
    base.register_function(Squared)(quicker)
    return made


def test_a_quicker_function_is_called_in_the_place_of_a_transform(calls: list[ImageSpec]) -> None:
    transform = v2.Compose([v2.CenterCrop(12), Squared(), v2.Normalize([0.5], [0.25])])
    layer = onelayer.compile(transform, fullgraph=True)
    torch.testing.assert_close(layer(IMAGE), transform(IMAGE), rtol=0, atol=1e-6)
    assert len(calls) == 1
    explanation = onelayer.explain(layer, IMAGE)
    assert isinstance(explanation, PiecewiseExplanation)
    assert not explanation.breaks
    assert "kernel" in str(explanation)


def test_where_there_is_no_quicker_function_the_transform_is_called(calls: list[ImageSpec]) -> None:
    transform = v2.Compose([v2.CenterCrop(12), Squared()])
    gray = IMAGE[:1]
    assert torch.equal(onelayer.compile(transform)(gray), transform(gray))
    assert torch.equal(onelayer.compile(transform, backend="torch")(IMAGE), transform(IMAGE))
    with pytest.raises(OnelayerError, match="Squared"):
        onelayer.compile(transform, fullgraph=True)(gray)
    assert not calls


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_is_a_view_stays_one_before_a_break(dtype: torch.dtype) -> None:
    # Of bytes with gaps PyTorch makes a column; of the same bytes without gaps it fails.
    seen: list[bool] = []

    def look(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.is_contiguous())
        return image

    transform = v2.Compose([v2.Grayscale(3), v2.CenterCrop(12), look, v2.Resize((12, 1))])
    layer = onelayer.compile(transform, rounding="exact" if dtype == torch.uint8 else None)
    for size in ((12, 12), (20, 17), (12, 15)):
        image = (255 * torch.rand(2, 3, *size)).to(dtype)
        expected, of_original = outcome(transform, image), seen[-1]
        result = outcome(layer, image)
        assert seen[-1] == of_original
        assert type(result) is type(expected)
        assert isinstance(expected, RuntimeError) or dtype == torch.float32 or difference_of(result, expected) is None


def outcome(function: Any, image: torch.Tensor) -> Any:
    """Return what a function makes of an image, or its error."""
    try:
        return function(image)
    except RuntimeError as error:
        return error
