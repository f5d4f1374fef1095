"""Call code of others without moving the random generators that it draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

State = tuple[torch.Tensor, object]
"""State of PyTorch's generator for the CPU, and of Python's; None for that if nothing draws from it."""


def present_state(*, of_python: bool) -> State:
    """Return the present state of the generators that a pipeline draws from.

    Args:
        of_python: Whether Python's is one of them.
    """
    return torch.default_generator.get_state(), random.getstate() if of_python else None


def put_back(state: State) -> None:
    """Put generators back to a state."""
    of_torch, of_python = state
    torch.default_generator.set_state(of_torch)
    if of_python is not None:
        random.setstate(of_python)  # type: ignore[arg-type]  # it is what getstate returned


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Put the random generators of PyTorch's CPU, Python and NumPy back to where they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is the one that transforms use
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
