"""The package can be built, installed into an empty environment, and used with its types.

It installs nothing but the wheel: dependencies are those of the environment that the tests run in.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

DOWNSTREAM = """
import onelayer
import torch
from torchvision.transforms import v2

layer: onelayer.OneLayer = onelayer.compile(v2.Compose([v2.Resize(8)]), threads=1)
certificate = onelayer.verify(layer, v2.Resize(8), [torch.zeros(3, 9, 9)])
reveal_type(certificate.record.bit_exact)
onelayer.compile(v2.Resize(8), threads="1")
"""
"""What types find in code that uses the package; the last line is a mistake."""

WORK = """
import onelayer, torch
from torchvision.transforms import v2

transform = v2.Compose([v2.Resize(12), v2.CenterCrop(8)])
image = torch.arange(3 * 17 * 11, dtype=torch.uint8).reshape(3, 17, 11)
assert torch.equal(onelayer.compile(transform)(image), transform(image))
print(onelayer.__file__, onelayer.__version__)
"""


def test_the_version_is_the_same_everywhere() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == PROJECT["version"]  # type: ignore[index]
    newest = re.search(r"^## (\d\S*)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]
    assert (REPOSITORY / "docs" / "releases" / f"{newest}.md").is_file()


def run(*command: object, cwd: Path | None = None, **environment: str) -> str:
    """Run a command without the paths of this one; it must succeed."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.mark.exhaustive
def test_the_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    for module in ("build", "twine", "mypy"):
        pytest.importorskip(module, reason="the extra `dev` is not installed")
    here = sysconfig.get_path("purelib")
    dist = tmp_path / "dist"
    # Run elsewhere: in the repository, a folder may have the name of a module.
    built = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(dist), str(REPOSITORY)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0 and "No matching distribution" in built.stdout + built.stderr:
        pytest.skip("pip cannot install the build backend here")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", wheel, source], cwd=tmp_path, check=True)

    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {str(path.relative_to(REPOSITORY / "src")) for path in (REPOSITORY / "src").rglob("*")}
    packaged = {name for name in packaged if not re.search(r"__pycache__|egg-info", name) and "." in Path(name).name}
    assert packaged <= names
    assert "onelayer/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "docs", "website", "benchmarks"))]
    with tarfile.open(source) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"} <= members

    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    installed = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (installed / "shared.pth").write_text(f"{here}\n")
    printed = run(python, "-c", WORK, cwd=tmp_path)
    assert printed.split() == [str(installed / "onelayer" / "__init__.py"), PROJECT["version"]]
    assert run(tmp_path / "empty" / "bin" / "onelayer", "--version", cwd=tmp_path).strip() == PROJECT["version"]

    (tmp_path / "downstream.py").write_text(DOWNSTREAM)
    # The types of PyTorch are not what is in question, and take a minute to read.
    skipped = "[mypy-torch.*,torchvision.*]\nfollow_imports = skip\nignore_missing_imports = true\n"
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n{skipped}")
    options = ["--strict", "--python-executable", python, "--cache-dir", tmp_path / "cache"]
    checked = subprocess.run(
        [python, "-m", "mypy", *map(str, options), "downstream.py"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "note: Revealed type is" in checked.stdout, checked.stdout
    assert re.search(r'downstream.py:\d+: note: Revealed type is "(builtins\.)?bool"', checked.stdout), checked.stdout
    errors = [line for line in checked.stdout.splitlines() if "downstream.py" in line and "error:" in line]
    assert len(errors) == 1, checked.stdout
    assert '"compile"' in errors[0], errors[0]
