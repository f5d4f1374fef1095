"""One table of evidence: what is declared, what is written and what is not warned of follow from it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from onelayer.frontends.torchvision.comparisons import COMPARISONS, PACKAGES, TESTED, release

ROOT = Path(__file__).parent.parent.parent
DECLARED: dict[str, str] = dict(
    re.fullmatch(r"([a-z-]+)(.*)", dependency).groups()  # type: ignore[union-attr]
    for dependency in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
)
"""What pyproject.toml says of the versions of each package."""


@pytest.mark.parametrize("package", PACKAGES)
def test_the_declared_range_is_the_tested_range(package: str) -> None:
    # Without an upper bound: a release that came later is warned of until a check has passed.
    assert DECLARED[package] == f">={TESTED[package][0]}"


def test_the_oldest_of_all_were_tried_together() -> None:
    oldest = {package: TESTED[package][0] for package in PACKAGES if package != "pillow"}
    together = [
        run
        for run in COMPARISONS
        if all(release(getattr(run, package) or "0.0") == release(version) for package, version in oldest.items())
    ]
    assert any(release(run.pillow) == release(TESTED["pillow"][0]) for run in together)


def test_the_page_shows_the_evidence() -> None:
    head = ["| PyTorch | torchvision | Pillow | NumPy | Numba | instructions | `onelayer selfcheck` | mismatches |"]
    head += ["|---|---|---|---|---|---|---|---|"]
    rows = [
        "| "
        + " | ".join([getattr(run, name) or "–" for name in (*PACKAGES, "capability")])
        + f" | `--cases {run.cases} --seed {run.seed}` | {run.mismatches} |"
        for run in COMPARISONS
    ]
    page = (ROOT / "docs" / "rounding.md").read_text(encoding="utf-8")
    section = page.split("\n## Tested versions\n")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")]
    assert shown == [*head, *rows]
