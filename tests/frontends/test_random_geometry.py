"""Random crops and flips in a layer: torchvision's pixels for the same seed, and its generator afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer.any_size import AnySizePipeline
from onelayer.copying import CopyPipeline
from onelayer.selfcheck.checking import difference_of

MEANS, DEVIATIONS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def recipes(library: Any) -> dict[str, Any]:
    """Random pipelines of v1 or v2."""
    floats = [library.ToTensor()] if library is v1 else [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    tail = [*floats, library.Normalize(MEANS, DEVIATIONS)]
    flip, resized, bicubic = (
        library.RandomHorizontalFlip(),
        library.RandomResizedCrop,
        library.InterpolationMode.BICUBIC,
    )
    nearest = library.InterpolationMode.NEAREST
    return {
        "ImageNet": [resized(24), flip, *tail],
        "tiny boxes": [resized((9, 14), scale=(0.001, 0.02), ratio=(0.2, 5)), *tail],
        "no box fits": [resized(11, scale=(1.5, 2), ratio=(3, 4)), flip, *tail],
        "bytes, bicubic": [resized(20, interpolation=bicubic), library.RandomVerticalFlip(0.3)],
        "nearest": [resized(20, interpolation=nearest), flip],
        "CIFAR": [library.RandomCrop(12, padding=4), flip, *tail],
        "crops of bytes": [library.RandomCrop((5, 9)), flip, library.RandomVerticalFlip()],
        "padded as needed": [library.RandomCrop(30, pad_if_needed=True, fill=7), flip, *tail],
        "padded both ways": [library.RandomCrop((30, 9), padding=(1, 2), pad_if_needed=True, fill=3), flip],
        "reflected": [library.RandomCrop(12, padding=4, padding_mode="reflect"), flip, *tail],
        "reflected bytes": [flip, library.RandomCrop((9, 14), padding=(3, 0, 8, 5), padding_mode="reflect")],
        "symmetric": [library.RandomCrop(16, padding=(12, 3), padding_mode="symmetric"), flip, library.RandomCrop(9)],
        "edges": [library.RandomCrop(20, padding=15, padding_mode="edge"), library.RandomVerticalFlip(), *tail],
        "edges as needed": [library.RandomCrop((40, 30), 3, pad_if_needed=True, padding_mode="edge"), flip, *tail],
        "reflected as needed": [library.RandomCrop((44, 14), pad_if_needed=True, padding_mode="reflect"), flip],
        "a border of one fill around another": [
            library.RandomCrop(9, padding=2, padding_mode="edge"), library.Pad((1, 2, 0, 3), fill=7), flip, *tail,
        ],
        "reflected for every size": [library.Pad((1, 2, 3, 4), padding_mode="reflect"), flip, *tail],
        "flipped before a resize": [flip, library.RandomVerticalFlip(), library.Resize((14, 9)), flip, *tail],
        "flipped before a crop": [flip, resized((14, 22), interpolation=bicubic), library.RandomVerticalFlip()],
        "flipped before nearest pixels": [flip, resized(20, interpolation=nearest)],
        "flips alone": [flip, library.RandomVerticalFlip(0.7)],
        "before a resize": [library.RandomCrop(11), library.Resize((7, 9)), flip, *tail],
        "behind one": [library.Resize(20), library.RandomCrop(16), flip, *tail],
        "numbers for nothing": [
            library.RandomHorizontalFlip(1.0), library.RandomCrop(11), library.RandomErasing(0.0), *tail,
            library.RandomVerticalFlip(0.0),
        ],
    }  # fmt: skip


RECIPES = {
    f"{name}, {version}": parts
    for version, library in (("v1", v1), ("v2", v2))
    for name, parts in recipes(library).items()
} | {
    "a random size, v2": [v2.RandomResize(9, 40), v2.RandomCrop(9), v2.RandomHorizontalFlip()],
    "a random shortest side, v2": [v2.RandomShortestSize([9, 14, 30], max_size=50), v2.RandomHorizontalFlip()],
    "a random scale, v2": [v2.ScaleJitter((30, 30)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)],
    "zoomed out, v2": [v2.RandomZoomOut(fill=9), v2.RandomHorizontalFlip()],
    "zoomed out, floats, v2": [v2.RandomZoomOut(fill=(9, 8, 7), p=0.8), v2.ToImage(), v2.ToDtype(torch.float32)],
}


def images(height: int, width: int) -> list[Any]:
    """One picture as a PIL image, as tensors and as an array's planes."""
    array = np.random.default_rng((height, width)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = torch.from_numpy(array).permute(2, 0, 1)
    return [PIL.Image.fromarray(array), planes.contiguous(), planes, tv_tensors.Image(planes.contiguous())]


def outcome(call: Callable[[], Any], seed: int) -> tuple[Any, torch.Tensor]:
    """What a call returns or raises with a seed, and the state of the generator after it."""
    torch.manual_seed(seed)
    try:
        result = call()
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        result = type(error)
    return result, torch.get_rng_state()


def assert_same(pipeline: Any, layer: Any, image: Any, seed: int, **where: Any) -> None:
    (theirs, their_state), (ours, our_state) = (outcome(lambda f=f: f(image), seed) for f in (pipeline, layer))
    assert torch.equal(our_state, their_state), (where, seed, "generator")
    if isinstance(theirs, type):
        assert ours is theirs, (where, seed)
        return
    assert type(ours) is type(theirs), (where, seed)
    assert difference_of(ours, theirs) is None, (where, seed)


@pytest.mark.parametrize("name", RECIPES)
def test_same_pixels_for_the_same_seed(name: str) -> None:
    pipeline = v2.Compose(RECIPES[name]) if "v2" in name else v1.Compose(RECIPES[name])
    layer = onelayer.compile(pipeline)
    for height, width in ((41, 67), (17, 11), (12, 12), (1, 1), (9, 90)):
        for image in images(height, width):
            if "v1" in name and "ToTensor" in str(pipeline) and not isinstance(image, PIL.Image.Image):
                continue
            for seed in range(6):
                assert_same(pipeline, layer, image, seed, size=(height, width), of=type(image))


@given(
    name=st.sampled_from([name for name in RECIPES if "v2" in name]),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**31),
)
def test_any_size_and_seed(name: str, height: int, width: int, seed: int) -> None:
    pipeline = v2.Compose(RECIPES[name])
    layer = onelayer.compile(pipeline)
    for image in images(height, width)[:2]:
        assert_same(pipeline, layer, image, seed, name=name, size=(height, width))


def test_one_kernel_for_all_that_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onelayer.OneLayer, "_of_one_size", None)
    for name, parts in RECIPES.items():
        layer = onelayer.compile(v2.Compose(parts))
        image = images(41, 67)[0 if "v1" in name else 1]
        assert isinstance(layer._of_any_size(image), AnySizePipeline | CopyPipeline), name
        layer(image)


def test_numbers_are_torchs_own() -> None:
    """In one thread and another, in inference mode and out of it, of probabilities that no float32 is."""
    pipeline = v2.Compose([v2.RandomHorizontalFlip(0.3), v2.RandomCrop((3, 1)), v2.RandomVerticalFlip(0.1)])
    layer = onelayer.compile(pipeline)
    image = images(5, 1)[1]

    def compare() -> None:
        for seed in range(200):
            assert_same(pipeline, layer, image, seed)

    for mode in (torch.inference_mode, nullcontext, torch.no_grad):
        with mode(), ThreadPoolExecutor(1) as pool:
            compare()
            pool.submit(compare).result()
    p = torch.rand(1, generator=torch.Generator().manual_seed(0)).item()
    for edge in (p, np.nextafter(p, 0), np.nextafter(p, 1)):
        flip = v2.RandomHorizontalFlip(float(edge))
        assert_same(flip, onelayer.compile(flip), images(5, 9)[1], 0, p=edge)


def test_batches_and_floats_draw_once() -> None:
    pipeline = v2.Compose([v2.RandomResizedCrop(20), v2.RandomHorizontalFlip(), v2.Normalize(MEANS, DEVIATIONS)])
    layer = onelayer.compile(pipeline)
    batch = torch.rand(3, 3, 41, 67, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        (theirs, their_state), (ours, our_state) = (outcome(lambda f=f: f(batch), seed) for f in (pipeline, layer))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert torch.equal(our_state, their_state)
    # The transforms compute where there are NaN, or gradients are wanted, with the same numbers.
    layer, changed = onelayer.compile(pipeline, fullgraph=True), batch.clone().requires_grad_()
    (theirs, their_state), (ours, our_state) = (outcome(lambda f=f: f(changed), 4) for f in (pipeline, layer))
    assert torch.equal(ours, theirs)
    assert ours.requires_grad
    assert torch.equal(our_state, their_state)
    batch[1, 0, 3, 5] = torch.nan
    (theirs, their_state), (ours, our_state) = (outcome(lambda f=f: f(batch), 3) for f in (pipeline, layer))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5, equal_nan=True)
    assert torch.equal(our_state, their_state)


def test_lists_draw_in_their_order() -> None:
    pipeline = v2.Compose(RECIPES["ImageNet, v2"])
    layer = onelayer.compile(pipeline, threads=2)
    each = [images(20 + number, 41)[0] for number in range(9)]
    # One that a program for its size computes, after which the numbers are drawn once more.
    for mixed in (each, [*each[:4], PIL.Image.new("RGB", (1, 1)), *each[4:]]):
        (theirs, their_state), (ours, our_state) = (
            outcome(call, 5)
            for call in (lambda: [pipeline(one) for one in mixed], lambda: layer.batch(mixed))  # noqa: B023
        )
        assert all(difference_of(*pair) is None for pair in zip(ours, theirs, strict=True))
        assert torch.equal(our_state, their_state)


def test_between_breaks_and_with_labels() -> None:
    jitter = v2.ColorJitter(0.4, 0.4, 0.4)
    pipeline = v2.Compose([*RECIPES["ImageNet, v2"][:2], jitter, *RECIPES["ImageNet, v2"][2:]])
    layer = onelayer.compile(pipeline)
    image = images(41, 67)[0]
    for seed in range(5):
        (theirs, state), (ours, our_state) = (outcome(lambda f=f: f((image, 3)), seed) for f in (pipeline, layer))
        assert torch.equal(ours[0], theirs[0])
        assert ours[1] == 3
        assert torch.equal(our_state, state)
    ran = layer.in_pieces()._pieces.values()
    assert sorted((piece.first, piece.end, piece.layer is None) for piece in ran) == [
        (0, 2, False), (2, 3, True), (3, 6, False),
    ]  # fmt: skip


def test_metadata_of_pictures() -> None:
    image = images(41, 67)[0]
    image.info = {"icc_profile": b"colors", "dpi": (72, 72)}
    for name, parts in RECIPES.items():
        pipeline = v2.Compose(parts)
        layer = onelayer.compile(pipeline)
        for seed in range(4):
            (theirs, _), (ours, _) = (outcome(lambda f=f: f(image), seed) for f in (pipeline, layer))
            if isinstance(theirs, PIL.Image.Image):
                assert ours.info == theirs.info, (name, seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_under_another_default_dtype(dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    layer, image = {}, images(41, 67)[0]
    torch.set_default_dtype(dtype)
    try:
        for name, parts in RECIPES.items():
            pipeline = v2.Compose(parts)
            layer[name] = onelayer.compile(pipeline)
            for seed in range(3):
                assert_same(pipeline, layer[name], image, seed, name=name)
    finally:
        torch.set_default_dtype(before)
    for name, parts in RECIPES.items():
        assert_same(v2.Compose(parts), layer[name], image, 0, name=name)
