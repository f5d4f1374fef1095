"""The result is the original's under whatever state PyTorch is in: default device and dtype, modes, algorithms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

import onelayer
from onelayer.selfcheck.checking import difference_of

BYTES = np.random.default_rng(0).integers(0, 256, (47, 39, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
IMAGES: tuple[Any, ...] = (PIL.Image.fromarray(BYTES), TENSOR, tv_tensors.Image(TENSOR), TENSOR.expand(2, -1, -1, -1))
NUMBERS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PIPELINES: dict[str, Any] = {
    "v1": v1.Compose([v1.Resize(20), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(*NUMBERS)]),
    "v1, not fused": v1.Compose([v1.ToTensor(), v1.Lambda(lambda image: image), v1.Normalize(*NUMBERS)]),
    "v2": v2.Compose([v2.ToImage(), v2.Resize(20), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*NUMBERS)]),
    "v2, not fused": v2.Compose([v2.ToImage(), v2.RandomCrop(20), v2.ToDtype(torch.float32), v2.Normalize(*NUMBERS)]),
    "tensors": v2.Compose([v2.PILToTensor(), v2.CenterCrop((60, 30)), v2.ToDtype(torch.float64, scale=True)]),
    "bytes": v2.Compose([v2.Resize((9, 7)), v2.RandomHorizontalFlip(1), v2.Pad(2)]),
    "luma": v2.Compose([v2.Grayscale(), v2.ToImage(), v2.ToPureTensor()]),
    "table": v1.RandomInvert(1),
    "rotation": v2.RandomRotation((90, 90)),
    "preset": ResNet18_Weights.DEFAULT.transforms(crop_size=20, resize_size=24),
    "crops": v2.Compose([v2.ToImage(), v2.FiveCrop(9)]),
}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic_algorithms() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: dict[str, Callable[[], Any]] = {
    "default device meta": lambda: default_device("meta"),
    "default device CPU": lambda: default_device("cpu"),
    "device context": lambda: torch.device("meta"),
    **{f"default {dtype}": lambda dtype=dtype: default_dtype(dtype) for dtype in (torch.float64, torch.float16)},
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "deterministic algorithms": deterministic_algorithms,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def outcome(function: Callable[[], Any]) -> Any:
    """The result and the state of the generator; or the type of the error."""
    torch.manual_seed(5)
    try:
        return function(), torch.get_rng_state().tolist()
    except Exception as error:  # noqa: BLE001 - whatever the original raises
        return type(error)


def assert_same(ours: Any, theirs: Any, about: Any) -> None:
    assert type(ours) is type(theirs), (about, ours, theirs)
    if isinstance(theirs, tuple):
        for our, their in zip(ours, theirs, strict=True):
            assert_same(our, their, about)
    elif isinstance(theirs, torch.Tensor) and theirs.device.type == "meta":
        assert (ours.device, ours.shape, ours.dtype) == (theirs.device, theirs.shape, theirs.dtype), about
    elif isinstance(theirs, torch.Tensor | PIL.Image.Image):
        assert difference_of(ours, theirs) is None, about
    else:
        assert ours == theirs, about


@pytest.mark.parametrize("state", STATES)
def test_results_under_a_state(state: str) -> None:
    for name, transform in PIPELINES.items():
        made_before = onelayer.compile(transform)
        for image in IMAGES:
            with contextlib.suppress(TypeError, AttributeError, ValueError):
                made_before(image)
            with STATES[state]():
                theirs = outcome(lambda image=image, transform=transform: transform(image))
                for layer in (made_before, onelayer.compile(transform)):
                    for _ in range(2):
                        ours = outcome(lambda image=image, layer=layer: layer(image))
                        assert_same(ours, theirs, (name, type(image)))
            # And back again.
            theirs = outcome(lambda image=image, transform=transform: transform(image))
            assert_same(outcome(lambda image=image, layer=layer: layer(image)), theirs, (name, type(image), "after"))


def test_samples_on_another_default_device() -> None:
    transform = v2.Compose([v2.ToImage(), v2.Resize(9)])
    layer = onelayer.compile(transform)
    with torch.device("meta"):
        ours, theirs = layer(IMAGES[0], 3), transform(IMAGES[0], 3)
    assert_same(tuple(ours), tuple(theirs), "sample")
    memory = torch.empty(2, 3, 9, 9)
    with default_device("meta"):
        batch = onelayer.compile(v2.Resize((9, 9))).batch([TENSOR, TENSOR])
        assert [each.device.type for each in batch] == ["cpu", "cpu"]
        moved = v2.Compose([v2.ToImage(), v2.Resize((9, 9))])
        theirs = [moved(IMAGES[0])] * 2
        for ours in (onelayer.compile(moved).batch([IMAGES[0]] * 2), onelayer.compile(moved).collate([IMAGES[0]] * 2)):
            assert [each.device.type for each in ours] == [each.device.type for each in theirs] == ["meta", "meta"]
        floats = onelayer.compile(v1.Compose([v1.Resize((9, 9)), v1.ToTensor()]))
        assert floats.batch([IMAGES[0], IMAGES[0]], out=memory) is memory
    assert torch.equal(memory[1], v1.ToTensor()(v1.Resize((9, 9))(IMAGES[0])))
