"""One file for images of any size: places and weights are computed in the graph, to the original's bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export.export_cases import NORMALIZE, images, to_floats
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2

import onelayer
from onelayer.images.containers import pixels_of

BICUBIC, BOX, NEAREST = InterpolationMode.BICUBIC, InterpolationMode.BOX, InterpolationMode.NEAREST
CASES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "short side, crop": (v2.Compose([v2.Resize(40), v2.CenterCrop(32), *to_floats()]), ("pil", "tensor")),
    "a preset": (ResNet50_Weights.IMAGENET1K_V2.transforms(), ("pil",)),
    "short side and a limit": (v2.Resize(30, max_size=47, interpolation=BICUBIC), ("pil", "tensor")),
    "long side, border, flip": (
        v2.Compose([v2.Resize(None, max_size=41), v2.CenterCrop((29, 46)), v2.RandomHorizontalFlip(1.0)]),
        ("pil", "tensor"),
    ),
    "fixed size, flips, colored border": (
        v2.Compose(
            [
                v2.Resize((21, 34), interpolation=BICUBIC),
                v2.RandomVerticalFlip(1.0),
                v2.Pad((3, 0, 1, 4), fill=(9, 80, 200)),
                v2.RandomHorizontalFlip(1.0),
                v2.Grayscale(3),
            ]
        ),
        ("pil", "tensor"),
    ),
    "box": (v2.Resize(24, interpolation=BOX), ("pil",)),
    "nearest": (v2.Compose([v2.Resize((19, 53), interpolation=NEAREST), v2.CenterCrop(20)]), ("pil", "tensor")),
    "no resize": (
        v2.Compose([v2.CenterCrop((50, 61)), v2.RandomHorizontalFlip(1.0), v2.Pad(2), *to_floats()[:2]]),
        ("pil", "tensor"),
    ),
}
KINDS = [(name, container) for name, (_, containers) in CASES.items() for container in containers]


def like(container: str, dtype: str = "uint8", height: int = 1, width: int = 1) -> Any:
    return onelayer.ImageSpec((3, height, width), dtype, container)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], onelayer.ExportedLayer]:
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for number, (name, container) in enumerate(KINDS):
        layer = onelayer.compile(CASES[name][0])
        written = onelayer.export(layer, folder / f"{number}.onnx", like=like(container), check=False)
        assert written.provenance.shape == (3, 0, 0)
        assert written.path.stat().st_size < 60_000
        made[name, container] = onelayer.ExportedLayer(written.path)
    return made


LENGTHS = st.one_of(st.integers(2, 40), st.integers(40, 300))


def compare(run: onelayer.ExportedLayer, name: str, container: str, height: int, width: int, seed: int = 0) -> None:
    for image in images((3, height, width), container, seed):
        try:
            expected = pixels_of(CASES[name][0](image))
        except (RuntimeError, ValueError):
            # Nothing would be left of the short side.
            return
        assert torch.equal(pixels_of(run(image)), expected), (name, container, height, width)


@given(kind=st.sampled_from(KINDS), height=LENGTHS, width=LENGTHS, seed=st.integers(0, 1000))
def test_every_size_gives_the_originals_bits(
    files: dict[tuple[str, str], onelayer.ExportedLayer], kind: tuple[str, str], height: int, width: int, seed: int
) -> None:
    compare(files[kind], *kind, height, width, seed)


def test_awkward_sizes_in_each_file(files: dict[tuple[str, str], onelayer.ExportedLayer]) -> None:
    for (name, container), run in files.items():
        # Very tall: Pillow 13 begins with the rows.
        for height, width in ((200, 5), (3, 150), (1, 1), (17, 11), (64, 65)):
            compare(run, name, container, height, width)


def test_it_is_the_fixed_file_and_takes_batches(
    tmp_path: Path, files: dict[tuple[str, str], onelayer.ExportedLayer]
) -> None:
    name, container = "short side, crop", "tensor"
    layer = onelayer.compile(CASES[name][0])
    batch = torch.stack(images((3, 71, 52), container))
    fixed = onelayer.export(layer, tmp_path / "fixed.onnx", height=71, width=52, check=False)
    assert torch.equal(files[name, container](batch), onelayer.ExportedLayer(fixed.path)(batch))
    # One length is known, the other is not, and so is the result's.
    resize = v2.Resize(None, max_size=40)
    half = onelayer.export(onelayer.compile(resize), tmp_path / "half.onnx", width=52, layout="CHW", check=False)
    assert half.provenance.shape_text == "3×any×52"
    run = onelayer.ExportedLayer(half.path, "onnxruntime")
    assert torch.equal(run(batch), resize(batch))
    with pytest.raises(onelayer.OnelayerError, match="3×any×52 uint8"):
        run(batch[..., :-1])


def test_real_arithmetic_and_openvino(tmp_path: Path) -> None:
    transform = v2.Compose(
        [v2.Resize(24, interpolation=BICUBIC, antialias=True), v2.CenterCrop(20), v2.Normalize(**NORMALIZE)]
    )
    layer = onelayer.compile(transform)
    written = onelayer.export(layer, tmp_path / "floats.onnx", like=like("tensor", "float32"))
    for runtime, certificate in written.certificates.items():
        # OpenVINO places samples in float32; the layer, as PyTorch, too.
        assert certificate.record.all.max_grey_levels < (0.01 if runtime == "onnxruntime" else 0.1)
    image = torch.rand(3, 57, 81)
    reference = onelayer.compile(transform, backend="reference")(image)
    assert (onelayer.ExportedLayer(written.path)(image) - reference).abs().max() <= 2e-6 * float(
        reference.max() - reference.min()
    )
    # OpenVINO has no float64, in which the weights for a size are computed: a grey level or two apart, now and then.
    exact = onelayer.export(onelayer.compile(v2.Resize(24)), tmp_path / "bytes.onnx", like=like("pil"))
    found = {runtime: certificate.record.all for runtime, certificate in exact.certificates.items()}
    assert found["onnxruntime"].mismatch_rate == 0
    assert found["openvino"].max_grey_levels <= 2
    assert found["openvino"].mismatch_rate < 0.05


def test_what_has_no_graph_for_every_size_says_so(tmp_path: Path) -> None:
    antialias = v2.Resize((9, 9), antialias=False)
    refused: list[tuple[Any, str, str]] = [
        (v2.RandomRotation((30, 30)), "tensor", "depends on the size in another way.*Give height= and width="),
        (v2.Compose([v2.CenterCrop(20), v2.Resize(10)]), "pil", "before the resize"),
        (v2.Resize(9, interpolation=InterpolationMode.LANCZOS), "pil", "filter lanczos has no graph"),
        (antialias, "tensor", "bilinear without antialiasing has no graph"),
        (ResNet50_Weights.DEFAULT.transforms(), "tensor", "float32 bilinear has no graph.*rounding='fused'"),
        (v2.RandomCrop(5), "tensor", "at random"),
        (v2.FiveCrop(5), "tensor", "a program of its own"),
        (v2.Compose([v2.CenterCrop(99), v2.Pad(2, fill=3)]), "tensor", "each of another color"),
    ]
    for transform, container, message in refused:
        with pytest.raises(onelayer.OnelayerError, match=message):
            onelayer.export(onelayer.compile(transform), tmp_path / "file.onnx", like=like(container))
    assert not (tmp_path / "file.onnx").exists()
