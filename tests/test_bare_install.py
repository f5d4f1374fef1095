"""The base install does what it is for without the packages of the extras, and names the extra for the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

EXTRAS = ("lightning", "matplotlib", "pandas", "pyarrow", "ray", "skimage", "tensorboard", "torchmetrics")
"""Packages that only extras install; Jinja2 is one of them, too, but PyTorch needs it as well."""

WORK = """
import numpy, onelayer, torch
from torchvision.transforms import v2

transform = v2.Compose([v2.Resize(12), v2.CenterCrop(8), v2.ToDtype(torch.float32, scale=True)])
layer = onelayer.compile(transform)
image = torch.arange(3 * 17 * 11, dtype=torch.uint8).reshape(3, 17, 11)
assert torch.equal(layer(image), transform(image))
print(onelayer.explain(transform, image))
certificate = onelayer.verify(layer, transform, [image])
assert certificate.record.bound_units == 0, certificate
onelayer.save(layer, "layer", images=[image])
assert torch.equal(onelayer.load("layer")(image), transform(image))
found = onelayer.identify(lambda pixels: pixels[:, ::-1], numpy.zeros((9, 7, 3), numpy.float32))
assert "flip" in str(found), found
pixels = numpy.random.default_rng(0).integers(0, 256, (200, 1, 5, 4), dtype=numpy.uint8)
learned = onelayer.learn(lambda images: images.flip(-1), pixels, recipe="least-squares")
assert learned.certificate.record.all.max_units < 1e-3, learned
print("all done")
"""
"""What the base install is for."""

COMMANDS = """
from onelayer.cli import main
import sys

every = (
    ["reproduce", "--out", "run"],
    ["bench", "imagenet-375x500"],
    ["report", "."],
    ["apply", "resnet50", ".", "../out"],
)
for arguments in every:
    try:
        main(arguments)
    except SystemExit as ended:
        print(arguments[0], ended.code)
"""
"""What needs an extra."""


def _output(python: Path | str, code: str, folder: Path, **environment: str) -> str:
    ran = subprocess.run(
        [python, "-c", code],
        cwd=folder,
        env={**os.environ, "COLUMNS": "300", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _check(python: Path | str, folder: Path, before: str = "", **environment: str) -> None:
    assert "all done" in _output(python, before + WORK, folder, **environment)
    text = _output(python, before + COMMANDS, folder, **environment)
    assert "onelayer[reproduce]" in text
    assert "onelayer[bench]" in text
    assert "onelayer[ray]" in text
    for command in ("reproduce", "bench", "report", "apply"):
        assert f"{command} 2" in text, text


def test_without_the_packages_of_extras(tmp_path: Path) -> None:
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n"
    _check(sys.executable, tmp_path, hidden)


@pytest.mark.exhaustive
def test_in_a_fresh_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(REPOSITORY)], capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"pip cannot install here: {installed.stderr[-300:]}")
    listed = _output(python, f"import importlib.util as u\nprint([n for n in {EXTRAS} if u.find_spec(n)])", tmp_path)
    assert listed.strip().splitlines()[-1] == "[]"
    _check(python, tmp_path, PYTHONPATH="", ONELAYER_CACHE=str(tmp_path / "cache"))
