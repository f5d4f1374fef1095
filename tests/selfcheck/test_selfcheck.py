"""The equality test: random pipelines against the libraries that are installed, in every bit.

At full size: ``onelayer selfcheck --cases 20000``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from typer.testing import CliRunner

from onelayer import selfcheck
from onelayer.backends.cpu import float_any_size
from onelayer.backends.cpu.any_size import KINDS
from onelayer.cli.app import app
from onelayer.frontends.placement import COLUMNS_FIRST, ROWS_FIRST_IF_SHORTENED
from onelayer.frontends.torchvision import color, resize, rounding_rules
from onelayer.frontends.torchvision.rounding_rules import FixedPoint, Float32Rules
from onelayer.selfcheck import checking
from onelayer.selfcheck.checking import difference_of

SUPPORTED = torch.backends.cpu.get_cpu_capability() in rounding_rules._FLOAT32
needs_known_sums = pytest.mark.skipif(not SUPPORTED, reason="PyTorch's float32 sums are not known for this processor")


@needs_known_sums
@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.exhaustive)])
def test_no_bit_differs(count: int) -> None:
    cases: list[int] = []
    record = selfcheck.check(count, seed=2026, advance=lambda: cases.append(1))
    assert [family.first_difference for family in record.families] == [None] * len(record.families)
    assert record.mismatches == 0
    assert record.cases == len(cases) >= 0.9 * count
    assert {family.name for family in record.families} == set(selfcheck.FAMILIES)


def draw_only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Draws cases of some families only, equally many of each."""
    monkeypatch.setattr(checking, "FAMILIES", {name: (selfcheck.FAMILIES[name][0], 1) for name in names})
    monkeypatch.setattr(checking, "_SHARES", len(names))


BYTES, FLOATS, PILLOW = "PyTorch's resize of bytes", "PyTorch's resize in float32", "Pillow's resize"
WRONG: list[tuple[Any, str, Any, str]] = [
    (resize, "torch_bytes", lambda: FixedPoint(None, COLUMNS_FIRST), BYTES),
    (resize, "torch_bytes", lambda: FixedPoint(1 << 15, ROWS_FIRST_IF_SHORTENED), BYTES),
    (resize, "pillow_resize", lambda: FixedPoint(1 << 15, COLUMNS_FIRST), PILLOW),
    (resize, "torch_float32", lambda: Float32Rules(0, True, 0), FLOATS),
    (resize, "torch_float32", lambda: Float32Rules(1, False, 0), FLOATS),
    (color, "TENSOR_LUMA", (0.299, 0.587, 0.114), "luma"),
    (color, "PILLOW_LUMA", (0.2989, 0.587, 0.114), "luma"),
]


@pytest.mark.parametrize(("module", "name", "wrong", "family"), WRONG)
def test_another_rounding_is_found_out(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, wrong: object, family: str
) -> None:
    other = "copies: crop, flip, pad, nearest"
    draw_only(monkeypatch, family, other)
    monkeypatch.setattr(module, name, wrong)
    found, unharmed = selfcheck.check(60, seed=1).families
    assert (found.name, unharmed.name) == (family, other)
    assert found.mismatches > 0
    assert "differ" in str(found.first_difference)
    assert unharmed.mismatches == 0


def test_both_ways_of_floats_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    family = "floating point, up to rounding"
    draw_only(monkeypatch, family)
    for kinds in ({**KINDS, "bicubic": KINDS["hamming"]}, KINDS):
        monkeypatch.setattr(float_any_size, "KINDS", kinds)
        (found,) = selfcheck.check(40, seed=1).families
        assert (found.mismatches > 0) == (kinds is not KINDS)
    # Both ways alike, and another than the original.
    monkeypatch.setattr(checking, "FLOAT_TOLERANCE", 1e-9)
    (found,) = selfcheck.check(40, seed=1).families
    assert "values differ by up to" in str(found.first_difference)


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
    result = CliRunner().invoke(app, ["selfcheck", "--cases", "20", "--seed", "5", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert "Pillow's resize" in result.output
    written = json.loads(path.read_text())
    assert selfcheck.SelfcheckRecord.read(path).cases == sum(family["cases"] for family in written["families"])
    assert set(written["environment"]["versions"]) >= {"torch", "torchvision", "pillow"}


def test_the_command_says_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_only(monkeypatch, PILLOW)
    monkeypatch.setattr(resize, "pillow_resize", lambda: FixedPoint(1 << 12, COLUMNS_FIRST))
    result = CliRunner().invoke(app, ["selfcheck", "--cases", "20"])
    assert result.exit_code == 1
    assert "Resize" in result.output


def test_a_transform_that_fails_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def blurred(rng: np.random.Generator) -> selfcheck.families.Case:
        return selfcheck.families.Case(v2.GaussianBlur(3, 1.0), torch.zeros(3, 9, 9, dtype=torch.uint8))

    monkeypatch.setattr(checking, "FAMILIES", {"blur": (blurred, 1)})
    monkeypatch.setattr(checking, "_SHARES", 1)
    (family,) = selfcheck.check(3).families
    assert (family.cases, family.mismatches) == (3, 3)
    assert "is refused" in str(family.first_difference)
