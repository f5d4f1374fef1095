"""Call code of others without moving the random generators that it draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


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
