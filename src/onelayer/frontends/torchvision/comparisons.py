"""List the runs of ``onelayer selfcheck`` that the rounding rules rely on.

``TESTED``, the bounds in ``pyproject.toml`` and the table in ``docs/rounding.md`` follow from this; tests see to it. Of
a version only the first two numbers count: no difference between two patches of one release has been found.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One run of ``onelayer selfcheck --cases CASES --seed SEED``.

    Args:
        torch: Version of PyTorch.
        torchvision: Version of torchvision.
        pillow: Version of Pillow.
        numpy: Version of NumPy.
        numba: Version of Numba.
        capability: Instruction set that PyTorch used, by its own name.
        cases: Number of cases asked for.
        seed: Seed of the cases.
        mismatches: Number of cases in which any bit differed.
    """

    torch: str
    torchvision: str
    pillow: str
    numpy: str
    numba: str
    capability: str
    cases: int
    seed: int
    mismatches: int


COMPARISONS: tuple[Comparison, ...] = (
    Comparison("2.8.0", "0.23.0", "11.0.0", "2.0.0", "0.62.0", "AVX512", 2000, 3, 0),
    Comparison("2.8.0", "0.23.0", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.8.0", "0.23.0", "13.0.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.8.0", "0.23.0", "13.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.9.1", "0.24.1", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.9.1", "0.24.1", "13.0.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.9.1", "0.24.1", "13.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.10.0", "0.25.0", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.10.0", "0.25.0", "12.1.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.10.0", "0.25.0", "12.2.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.11.0", "0.26.0", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.11.0", "0.26.0", "13.0.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.11.0", "0.26.0", "13.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.12.0", "0.27.0", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.12.0", "0.27.0", "11.1.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.12.0", "0.27.0", "11.2.1", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.13.0", "0.28.0", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.13.0", "0.28.0", "11.3.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.13.0", "0.28.0", "12.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "13.0.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "13.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "11.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "12.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.14.1", "0.29.1", "12.3.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
    Comparison("2.15.0", "0.29.2", "13.0.0", "2.4.6", "0.68.1", "DEFAULT", 2000, 3, 0),
    Comparison("2.15.0", "0.29.2", "13.0.0", "2.4.6", "0.68.1", "AVX2", 2000, 3, 0),
    Comparison("2.15.0", "0.29.2", "13.0.0", "2.4.6", "0.68.1", "AVX512", 2000, 3, 0),
)
"""All runs, the oldest PyTorch first."""

PACKAGES = ("torch", "torchvision", "pillow", "numpy", "numba")
"""Packages whose versions a comparison names."""


def release(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor, *_ = version.split("+")[0].split(".")
    return int(major), int(minor)


def _tested(package: str) -> tuple[str, ...]:
    named = (getattr(run, package) for run in COMPARISONS if not run.mismatches)
    versions = {release(version) for version in named}
    return tuple(f"{major}.{minor}" for major, minor in sorted(versions))


TESTED = {package: _tested(package) for package in PACKAGES}
"""Releases with which no bit differed, the oldest first."""
