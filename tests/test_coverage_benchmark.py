"""The coverage table on a few images: what it writes is what can be measured."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torchvision.transforms import v2
from typer.testing import CliRunner

import onelayer
from onelayer import Pipeline, pipelines
from onelayer.algebra import Stage
from onelayer.data.photographs import bundled
from onelayer.frontends import ImageSpec, base
from onelayer.frontends.torchvision.color import mix_channels

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

Run = Callable[..., Any]
"""Gives what `CliRunner` does."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def run() -> Run:
    """Calls the script; under a name of its own, as there is a package called coverage."""
    spec = importlib.util.spec_from_file_location("coverage_script", BENCHMARKS / "measure_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    app = typer.Typer()
    app.command()(script.main)
    return lambda *options: CliRunner().invoke(app, list(map(str, options)))


def test_a_tiny_run(tmp_path: Path, run: Run) -> None:
    from coverage_table.records import CoverageRecord

    folder, out = tmp_path / "photographs", tmp_path / "new" / "out"
    folder.mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(levels).save(folder / "noise.png")
    (folder / "notes.txt").write_text("no image")
    options = ("--sizes", "17x11,70x90", "--compositions", "4", "--pipelines", "report,mnist", "--data", folder)
    ran = run(*options, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert sorted(path.name for path in out.iterdir()) == ["coverage.json", "coverage.md"]
    record = CoverageRecord.read(out / "coverage.json")
    assert record.photographs == ("noise.png",)
    assert [row.name for row in record.pipelines] == ["report", "mnist"]
    assert [row.images for row in record.pipelines] == [4, 4]
    assert len(record.compositions) == 4
    differences = [row.difference.largest for row in record.compositions]
    assert differences == sorted(differences, reverse=True)
    assert record.pipelines[0].stages == (4, 1)
    assert record.pipelines[0].taps == "3×3"
    page = (out / "coverage.md").read_text(encoding="utf-8")
    for row in record.pipelines:
        assert f"| **{row.name}**: {row.description} |" in page
    # The folders are no matter of whoever reads it.
    assert "--data=photographs" in page
    assert str(tmp_path) not in page + (out / "coverage.json").read_text(encoding="utf-8")


def test_options_that_make_no_sense(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for options, problem in (
        (("--sizes", "17"), "the sizes '17' were given"),
        (("--sizes", "17x0"), "the sizes '17x0' were given"),
        (("--pipelines", "nothing"), "no pipeline named 'nothing'"),
    ):
        ran = run(*options, "--compositions", "0", "--out", tmp_path / "out")
        assert ran.exit_code == 2
        assert problem in " ".join((ran.output + capsys.readouterr().err).split())
        assert not (tmp_path / "out").exists()


class Off(torch.nn.Module):
    """Four times the image; of float32 images one value is more than that, which the handler does not say."""

    def forward(self, image: Any) -> Any:
        if not isinstance(image, torch.Tensor) or not image.is_floating_point():
            return image
        result = image * 4
        if image.dtype == torch.float32 and image.unique().numel() > 1:
            result[..., 1, 3, 2] += 1.0
        return result


def test_differences_are_found_and_are_parts_of_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    from coverage_table.measuring import measure_pipeline

    def handler(_: Off, spec: ImageSpec) -> tuple[list[Stage], ImageSpec]:
        return mix_channels(spec, 4 * np.eye(3), np.zeros(3)) if spec.is_float else ([], spec)

    monkeypatch.setitem(base.HANDLERS, Off, None)
    base.register(Off)(handler)
    pipeline = Pipeline("off", Off(), (3, 8, 9), "four times the image, and one pixel more")
    # Two images, one of each photograph.
    row = measure_pipeline(pipeline, bundled()[:2], [(8, 9)], lambda: None)
    assert row.images == 2
    assert row.largest_in_output_units == pytest.approx(1.0, abs=1e-6)
    assert row.difference.largest == pytest.approx(0.25, abs=1e-6)
    assert row.difference.mean == pytest.approx(0.25 / (3 * 8 * 9), rel=1e-4)
    # Only the transforms in float32 are off.
    assert row.difference.layer_from_float64 < 1e-6
    assert row.difference.transforms_from_float64 == pytest.approx(0.25, abs=1e-6)
    assert row.over_limit == ((8, 9),)


def test_what_torchvision_refuses_is_said() -> None:
    from coverage_table.measuring import measure_pipeline

    pipeline = Pipeline("far", v2.Pad(12, padding_mode="reflect"), (3, 20, 20))
    row = measure_pipeline(pipeline, bundled()[:1], [(9, 30), (13, 30)], lambda: None)
    assert row.images == 2
    assert len(row.refused) == 1
    assert row.refused[0].startswith("9×30: ")
    with pytest.raises(onelayer.OnelayerError, match="none of the sizes"):
        measure_pipeline(pipeline, bundled()[:1], [(9, 30)], lambda: None)


def test_compositions_depend_on_the_seed_only_and_can_be_applied() -> None:
    from coverage_table.compositions import random_composition

    shape = (3, 17, 11)
    first, again, other = (
        [random_composition(random.Random(f"{seed} {k}"), shape) for k in range(15)] for seed in (0, 0, 1)
    )
    assert list(map(str, first)) == list(map(str, again)) != list(map(str, other))
    for transform in first:
        assert 1 <= len(transform.transforms) <= 5
        assert torch.isfinite(transform(torch.rand(shape))).all()
    kinds = {type(step).__name__ for transform in first for step in transform.transforms}
    assert len(kinds) > 6, kinds


def test_the_range_of_a_catalogue_pipeline_is_one_over_its_deviation() -> None:
    from coverage_table.measuring import output_range

    shape = (3, 40, 30)
    for name in ("resnet50", "sam"):
        unit = output_range(pipelines.named(name).transform, torch.zeros(shape), white=1.0)
        torch.testing.assert_close(unit.flatten(), 1 / torch.tensor([0.229, 0.224, 0.225]), rtol=1e-6, atol=0)
