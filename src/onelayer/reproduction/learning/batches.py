"""Batches of uint8 images for learning, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler

VALIDATION_BATCH = 1024
"""Of no effect on the result; large enough that the matrix product is efficient."""


class PixelDataset(Dataset[torch.Tensor]):
    """Images held as one uint8 array, taken out a batch at a time.

    Args:
        pixels: uint8 [N, C, H, W]; may be a read-only memory map.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.pixels[index]))

    def __getitems__(self, indices: Sequence[int]) -> torch.Tensor:
        # PyTorch's fetcher calls this for a whole batch: one gather instead of a Python call and a copy per image.
        return torch.from_numpy(self.pixels[np.asarray(indices)])


def _as_it_is(batch: Any) -> Any:
    # __getitems__ has made the batch already; PyTorch's types expect a list of samples here.
    return batch


class ImageBatches(pl.LightningDataModule):
    """Training and validation batches, uint8 [B, C, H, W].

    The order of the training images depends on the seed and the epoch alone, so learning that is interrupted and
    resumed sees the batches that it would have seen. With several processes each gets its own share of every epoch.

    Args:
        train: uint8 [N, C, H, W].
        validation: uint8 [M, C, H, W].
        batch_size: Images per step and process.
        seed: Of the order.
    """

    def __init__(self, train: NDArray[np.uint8], validation: NDArray[np.uint8], batch_size: int, seed: int) -> None:
        super().__init__()
        self.train = PixelDataset(train)
        self.validation = PixelDataset(validation)
        self.batch_size = batch_size
        self.seed = seed

    def _loader(self, dataset: PixelDataset, batch_size: int, *, shuffle: bool) -> DataLoader[torch.Tensor]:
        # Lightning tells this sampler the epoch; with one process it is a seeded permutation per epoch.
        world_size, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        sampler: DistributedSampler[torch.Tensor] = DistributedSampler(
            dataset, world_size, rank, shuffle=shuffle, seed=self.seed
        )
        # A generator of its own: a loader without one draws from PyTorch's global state every epoch.
        return DataLoader(dataset, batch_size, sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator())

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        """The training images, in the order of this epoch."""
        return self._loader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """The validation images, in their own order."""
        return self._loader(self.validation, VALIDATION_BATCH, shuffle=False)
