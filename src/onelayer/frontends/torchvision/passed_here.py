"""Record that a self-check has passed on this machine, so that its versions need no warning."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch

from onelayer.atomic_write import write_whole
from onelayer.cache_folder import cache_folder

ENOUGH_CASES = 400
"""Smallest number of cases of a check that counts: what ``onelayer selfcheck`` takes by default."""


def record() -> None:
    """Write into the cache folder that no bit differs with what is installed; do nothing where that cannot be."""
    path, content = _marker()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError:
        # The check has passed all the same; only the warning will be given again.
        return


def is_recorded() -> bool:
    """Whether a check has passed with exactly these versions, on such a processor."""
    path, content = _marker()
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _marker() -> tuple[Path, bytes]:
    """Return the file of these versions and its content; other environments have files of their own beside it."""
    facts = {package: version(package) for package in ("onelayer", "torch", "torchvision", "pillow")}
    facts["capability"] = torch.backends.cpu.get_cpu_capability()
    content = (json.dumps(facts, indent=2) + "\n").encode("utf-8")
    return cache_folder() / f"selfcheck-{hashlib.sha256(content).hexdigest()[:16]}.json", content
