"""The machine and the software that figures are measured with: versions, processor, threads, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from onelayer.records import Environment

_PACKAGES = ("onelayer", "torch", "torchvision", "lightning", "numpy", "numba", "pillow")


def current_environment() -> Environment:
    """Describe this machine and the installed versions."""
    return Environment(
        versions={"python": platform.python_version()} | installed_versions(_PACKAGES),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_model(),
        logical_cores=os.cpu_count() or 1,
        torch_threads=torch.get_num_threads(),
        cuda=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        commit=_commit(),
    )


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Look up the versions of packages; those that are not installed are left out."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _cpu_model() -> str:
    """Read the processor's name, and the vector instructions that decide which kernels run on it."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{model or platform.processor() or 'unknown'} ({capability})"


def _commit() -> str | None:
    """Read the commit of the checkout that this very file belongs to; None where it was installed from elsewhere."""
    here = Path(__file__).resolve().parent
    root = _git(here, "rev-parse", "--show-toplevel")
    # An environment inside somebody's checkout lies in a repository too, but not in ours.
    if root is None or here != Path(root).resolve() / "src" / "onelayer":
        return None
    return _git(here, "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        ran = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() or None if ran.returncode == 0 else None
