"""Seed the random generators for each image, and notice what draws from them."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def seed_generators(seed: int, name: str) -> None:
    """Seed the generators of PyTorch's CPU, Python and NumPy for an image, by its name and the seed of the run.

    So what is drawn for an image depends neither on its place among others nor on who computes it.
    """
    number = int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest())
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number & 0xFFFFFFFF)  # noqa: NPY002 - it is the one that transforms use


def generator_states() -> tuple[object, ...]:
    """Return the states of these generators, to be compared."""
    of_torch = torch.default_generator.get_state().numpy().tobytes()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - see above
    return of_torch, random.getstate(), name, np.asarray(keys).tobytes(), *rest
