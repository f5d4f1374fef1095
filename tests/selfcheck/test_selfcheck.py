"""The equality test: random pipelines against the libraries that are installed, in every bit.

At full size: ``onelayer selfcheck --cases 20000``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from typer.testing import CliRunner

from onelayer import selfcheck
from onelayer.cli.app import app
from onelayer.frontends.torchvision import exact_resizing, exact_values
from onelayer.frontends.torchvision import rounding_rules as dialects
from onelayer.selfcheck.checking import difference_of

SUPPORTED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT")
needs_known_sums = pytest.mark.skipif(not SUPPORTED, reason="PyTorch's float32 sums are known for AVX2 and without")


@needs_known_sums
def test_no_bit_differs() -> None:
    cases = []
    record = selfcheck.check(1500, seed=2026, advance=lambda: cases.append(1))
    assert [family.first_difference for family in record.families] == [None] * len(record.families)
    assert record.differing == 0
    assert record.cases == len(cases) >= 1500
    assert {family.name for family in record.families} == set(selfcheck.FAMILIES)


def _off(wrong: object) -> Callable[[], object]:
    return lambda: wrong


@pytest.mark.parametrize(
    ("module", "name", "wrong", "families"),
    [
        (exact_resizing, "torch_bytes", dialects.FixedPoint(None, lambda *_: "cols"), {"PyTorch's resize of bytes"}),
        (exact_resizing, "torch_bytes", dialects.FixedPoint(1 << 15, lambda *_: "rows"), {"PyTorch's resize of bytes"}),
        (exact_resizing, "pillow_resize", dialects.FixedPoint(1 << 15, lambda *_: "cols"), {"Pillow's resize"}),
        (exact_resizing, "torch_singles", dialects.Float32Rules(0, True, 0), {"PyTorch's resize in float32"}),
        (exact_resizing, "torch_singles", dialects.Float32Rules(1, False, 0), {"PyTorch's resize in float32"}),
    ],
)
def test_another_rounding_is_found_out(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, wrong: object, families: set[str]
) -> None:
    monkeypatch.setattr(module, name, _off(wrong))
    record = selfcheck.check(600, seed=1)
    differing = {family.name for family in record.families if family.differing}
    assert families <= differing
    assert differing <= families | {"whole pipelines", "presets of torchvision's weights"}
    assert all("differ" in str(family.first_difference) for family in record.families if family.differing)


def test_another_luma_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_values, "TENSOR_LUMA", (0.299, 0.587, 0.114))
    record = selfcheck.check(200, seed=1)
    assert {family.name for family in record.families if family.differing} >= {"luma"}


def test_differences_are_of_bits_and_kinds() -> None:
    image = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    assert difference_of(image, image.clone()) is None
    negative = image.clone()
    negative[0, 0, 0] = -0.0
    assert difference_of(negative, image) == "1 of 4 values differ, by up to 0"
    assert difference_of(image + 1, image) == "4 of 4 values differ, by up to 1"
    assert difference_of(image.double(), image) is not None
    assert difference_of(image[:, :1], image) is not None
    assert difference_of(tv_tensors.Image(image), image) is not None
    white = Image.new("L", (3, 2), 255)
    assert difference_of(white, white.copy()) is None
    assert difference_of(white, white.convert("RGB")) is not None


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "selfcheck.json"
    result = CliRunner().invoke(app, ["selfcheck", "--cases", "30", "--seed", "5", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert "Pillow's resize" in result.output
    written = json.loads(path.read_text())
    assert selfcheck.SelfcheckRecord.read(path).cases == sum(family["cases"] for family in written["families"])
    assert set(written["environment"]["versions"]) >= {"torch", "torchvision", "pillow"}


def test_the_command_says_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_resizing, "pillow_resize", _off(dialects.FixedPoint(1 << 12, lambda *_: "cols")))
    result = CliRunner().invoke(app, ["selfcheck", "--cases", "100"])
    assert result.exit_code == 1
    assert "Resize" in result.output


def test_a_transform_that_fails_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def blurred(rng: np.random.Generator) -> selfcheck.families.Case:
        return selfcheck.families.Case(v2.GaussianBlur(3, 1.0), torch.zeros(3, 9, 9, dtype=torch.uint8))

    monkeypatch.setattr("onelayer.selfcheck.checking.FAMILIES", {"blur": (blurred, 1)})
    monkeypatch.setattr("onelayer.selfcheck.checking._SHARES", 1)
    (family,) = selfcheck.check(3).families
    assert (family.cases, family.differing) == (3, 3)
    assert "is refused" in str(family.first_difference)
