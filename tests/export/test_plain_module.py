"""The module of plain operations gives the original's bits, and goes through every path of PyTorch."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export.export_cases import CASES, images
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

import onelayer
from onelayer.images.containers import pixels_of, spec_of

PIXELS = torch.randint(0, 256, (2, 3, 30, 25), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_it_gives_the_originals_bits() -> None:
    for name, case in CASES.items():
        transform = case.make()
        for container in case.containers:
            if container == "numpy":
                continue
            for height, width in ((17, 11), (1, 1), (45, 64)):
                if name == "reflection" and height == 1:
                    continue
                (image, *_) = given = images((3, height, width), container)
                module = onelayer.compile(transform).to_module(spec_of(image))
                for image in given:
                    expected, result = pixels_of(transform(image)), module(pixels_of(image))
                    assert result.dtype == expected.dtype, name
                    assert torch.equal(result, expected), (name, container, height, width)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    transform = v2.Compose(
        [v2.Resize(20), v2.CenterCrop((24, 16)), v2.Grayscale(3), v2.RandomHorizontalFlip(1.0), *CASES_END]
    )
    layer = onelayer.compile(transform)
    made = layer.to_module(onelayer.ImageSpec((3, 30, 25), "uint8", "tensor"))
    assert torch.equal(made(PIXELS), transform(PIXELS))
    return made


CASES_END = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])]


def exported(module: nn.Module) -> Any:
    return torch.export.export(module, (PIXELS,)).module()


def strictly_exported(module: nn.Module) -> Any:
    return torch.export.export(module, (PIXELS,), strict=True).module()


def traced(module: nn.Module) -> Any:
    with warnings.catch_warnings():
        # PyTorch 2.14 deprecates it; and the check of the shape is not traced, which is meant.
        warnings.simplefilter("ignore")
        return torch.jit.trace(module, (PIXELS,))


def compiled(module: nn.Module) -> Any:
    return torch.compile(module, fullgraph=True, backend="aot_eager")


PATHS: list[Callable[[nn.Module], Any]] = [
    exported,
    strictly_exported,
    traced,
    compiled,
    torch.func.vmap,
    copy.deepcopy,
    lambda module: pickle.loads(pickle.dumps(module)),
]


def test_every_path_of_pytorch_gives_the_same_bits(module: nn.Module) -> None:
    torch.compiler.reset()
    expected = module(PIXELS)
    for path in PATHS:
        assert torch.equal(path(module)(PIXELS), expected), path
    meta = copy.deepcopy(module).to("meta")(PIXELS.to("meta"))
    assert (meta.shape, meta.dtype, meta.device.type) == (expected.shape, expected.dtype, "meta")
    assert not module.state_dict()
    assert torch.equal(module(PIXELS[0]), expected[0])


def test_gradients_of_floats_are_the_layers() -> None:
    transform = v2.Compose([v2.Resize(12, antialias=True), v2.Normalize([0.5], [0.25])])
    layer = onelayer.compile(transform)
    image = torch.rand(1, 20, 20)
    gradients = []
    for function in (layer, layer.to_module(image)):
        leaf = image.clone().requires_grad_()
        function(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


def test_other_images_are_refused(module: nn.Module) -> None:
    for image in (PIXELS[..., :-1], PIXELS.float()):
        with pytest.raises(onelayer.OnelayerError, match="for images of one size"):
            module(image)
    with pytest.raises(onelayer.OnelayerError, match="makes 5 images"):
        onelayer.compile(v2.FiveCrop(4)).to_module(PIXELS[0])


@pytest.mark.exhaustive
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_inductor_and_ahead_of_time_compilation_give_the_same_bits(module: nn.Module, tmp_path: Path) -> None:
    torch.compiler.reset()
    expected = module(PIXELS)
    assert torch.equal(torch.compile(module, fullgraph=True)(PIXELS), expected)
    program = torch.export.export(module, (PIXELS,))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "module.pt2"))
    assert torch.equal(torch._inductor.aoti_load_package(package)(PIXELS), expected)


COLORS = torch.arange(1 << 24, dtype=torch.int32)
"""Numbers of all colors."""


def compare_luma(grayscale: nn.Module, number: torch.Tensor) -> None:
    colors = torch.stack([number >> 16, (number >> 8) & 255, number & 255]).to(torch.uint8)[:, None]
    assert torch.equal(onelayer.compile(grayscale).to_module(colors)(colors), grayscale(colors))


@pytest.mark.parametrize("grayscale", [v1.Grayscale(), v2.Grayscale()])
def test_the_luma_of_tensors_is_the_originals(grayscale: nn.Module) -> None:
    # Whole numbers without rounding: the only colors whose byte depends on it.
    red, green, blue = COLORS >> 16, (COLORS >> 8) & 255, COLORS & 255
    number = COLORS[(2989 * red + 5870 * green + 1140 * blue) % 10000 == 0]
    assert len(number) > 1000
    compare_luma(grayscale, number)


@pytest.mark.exhaustive
@pytest.mark.parametrize("grayscale", [v1.Grayscale(), v2.Grayscale()])
def test_the_luma_of_all_colors_is_the_originals(grayscale: nn.Module) -> None:
    compare_luma(grayscale, COLORS)
