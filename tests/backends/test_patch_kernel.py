"""The kernel that lays bytes out as patches, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onelayer.backends.cpu.patch_layout import PatchLayout


def laid_out(values: np.ndarray, side: int, merge: int, copies: int) -> np.ndarray:
    channels, height, width = values.shape
    square = side * merge
    parts = values.reshape(channels, height // square, merge, side, width // square, merge, side)
    parts = parts.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None].repeat(copies, axis=5)
    return parts.reshape(height // side * (width // side), -1)


@pytest.mark.parametrize(
    ("side", "merge", "copies"), [(14, 2, 2), (16, 1, 1), (8, 2, 3), (5, 3, 2), (1, 1, 1), (23, 2, 1)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_as_numpy_does(side: int, merge: int, copies: int, threads: int) -> None:
    generator = np.random.default_rng(side)
    bytes_ = np.arange(256, dtype=np.float32)
    tables = {
        "a quotient": np.stack([(bytes_ - mean) / np.float32(60) for mean in np.float32([120, 110.5, 99])]),
        "any values": generator.normal(size=(3, 256)).astype(np.float32),
    }
    shape = (3, side * merge * 29, side * merge * 5)
    image = generator.integers(0, 256, shape, dtype=np.uint8)
    for name, table in tables.items():
        layout = PatchLayout(table, side, merge, copies)
        assert layout._has_affine is (name == "a quotient")
        assert layout.grid(*shape[1:]) == (merge * 29, merge * 5)
        # A margin that must stay as it is.
        memory = torch.full((layout.length(3) * 145 * merge**2 + 64,), 7.5)
        out = memory[:-64].view(145 * merge**2, layout.length(3))
        layout(torch.from_numpy(image), out, threads)
        values = np.stack([table[channel][image[channel]] for channel in range(3)])
        assert np.array_equal(out.numpy(), laid_out(values, side, merge, copies)), name
        assert (memory[-64:] == 7.5).all()
