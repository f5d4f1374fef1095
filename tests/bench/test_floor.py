from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onelayer.bench import floor
from onelayer.bench.floor import floor_on_cpu

Piece = tuple[NDArray[np.uint64], NDArray[np.uint8]]


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[Piece]:
    """What the floor reads and writes, piece by piece."""
    pieces: list[Piece] = []
    original = floor._read_and_write

    def spy(read: NDArray[np.uint64], write: NDArray[np.uint8]) -> None:
        original(read, write)
        pieces.append((read, write))

    monkeypatch.setattr(floor, "_read_and_write", spy)
    return pieces


def interleaved(image: torch.Tensor) -> torch.Tensor:
    return image.movedim(-3, -1).contiguous().movedim(-1, -3)


def test_every_byte_is_read_and_written_once(touched: list[Piece]) -> None:
    shapes = [(3, 17, 11), (1, 3, 32, 32), (2, 3, 512, 400)]
    for shape, hwc, threads in itertools.product(shapes, [False, True], [1, 3]):
        touched.clear()
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        laid_out = interleaved(images) if hwc else images
        contender = floor_on_cpu([laid_out], torch.Size((3, 9, 7)), torch.float32, threads)
        (batch,) = contender.batches
        contender.apply(batch)
        # One thread where there are few bytes.
        assert len(touched) == (threads if laid_out.nbytes > 1 << 20 else 1)
        touched.sort(key=lambda piece: piece[0].ctypes.data)
        read = np.concatenate([piece[0] for piece in touched]).view(np.uint8)
        order = images.movedim(-3, -1) if hwc else images
        # Up to seven bytes at the end make no whole word.
        assert np.array_equal(read, order.contiguous().numpy().reshape(-1)[: images.nbytes // 8 * 8])
        written = sum(piece[1].nbytes for piece in touched)
        assert written == 4 * 3 * 9 * 7 * (shape[0] if len(shape) == 4 else 1)
        assert all((piece[1] == 1).all() for piece in touched)


def test_the_input_is_read_where_it_lies(touched: list[Piece]) -> None:
    image = interleaved(torch.zeros(3, 40, 30, dtype=torch.uint8))
    contender = floor_on_cpu([image], torch.Size((3, 9, 7)), torch.uint8, 1)
    contender.apply(contender.batches[0])
    assert touched[0][0].ctypes.data == image.data_ptr()


def test_images_of_one_pass_may_differ_in_size(touched: list[Piece]) -> None:
    images = [torch.zeros(3, 40, 30, dtype=torch.uint8), torch.zeros(3, 17, 11, dtype=torch.uint8)]
    contender = floor_on_cpu(images, torch.Size((3, 9, 7)), torch.uint8, 2)
    for one in contender.batches:
        contender.apply(one)
    assert [piece[0].nbytes for piece in touched] == [3600, 560]
