"""Pose the learning problem to Lightning: predict a pipeline's output from batches, under mean squared error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from onelayer.data import unit_range
from onelayer.pipelines import Pipeline

TRAIN_MSE = "train_mse"
VALIDATION_MSE = "validation_mse"

VALIDATION_BATCH = 1024
"""Images of a validation batch: of no effect on the result, and enough for an efficient matrix product."""


class Regression(pl.LightningModule):
    """Regression of one layer onto a pipeline with Adam.

    Args:
        layer: Layer to learn, from float32 [N, C, H, W] to [N, C', H', W'].
        pipeline: Ground truth; it runs on the device that holds the images.
        lr: Adam's learning rate.
    """

    def __init__(self, layer: nn.Module, pipeline: Pipeline, lr: float) -> None:
        super().__init__()
        self.layer = layer
        self.pipeline = pipeline
        self.lr = lr

    def pairs(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Make inputs and targets of a batch of images, uint8 [B, C, H, W]."""
        images = unit_range(batch)
        return images, self.pipeline(images)

    def _mse(self, batch: torch.Tensor) -> torch.Tensor:
        inputs, targets = self.pairs(batch)
        return nn.functional.mse_loss(self.layer(inputs), targets)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute the MSE of one batch."""
        loss = self._mse(batch)
        self.log(TRAIN_MSE, loss, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: torch.Tensor) -> None:
        """Add one batch to the validation MSE."""
        self.log(VALIDATION_MSE, self._mse(batch), batch_size=len(batch), sync_dist=True, prog_bar=True)

    def adam(self) -> torch.optim.Optimizer:
        """Make Adam, in one fused kernel: the same arithmetic in one pass over the weights instead of several."""
        return torch.optim.Adam(self.layer.parameters(), lr=self.lr, fused=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Choose Adam alone."""
        return self.adam()


class WhitenedRegression(Regression):
    """Regression on images that were whitened before, with a learning rate that falls to zero over all epochs.

    Steps of Adam have the size of its learning rate however small the error has become, which is the floor of what a
    constant one can reach. So it falls, along a cosine.
    """

    def pairs(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split a batch of rows of :func:`onelayer.reproduction.learning.whitening.whitened_rows`, as bytes."""
        input_shape, output_shape = self.pipeline.input_shape, self.pipeline.output_shape
        rows, inputs = batch.view(torch.float32), math.prod(input_shape)
        return rows[:, :inputs].reshape(-1, *input_shape), rows[:, inputs:].reshape(-1, *output_shape)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Choose Adam, and its schedule."""
        adam = self.adam()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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
    resumed takes the same batches as without a break. Of several processes each gets its own share of every epoch.

    Args:
        train: uint8 [N, C, H, W].
        validation: uint8 [M, C, H, W].
        batch_size: Images per step and process.
        seed: Seed of the order.
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
        """Load the training images, in the order of this epoch."""
        return self._loader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """Load the validation images, in their own order."""
        return self._loader(self.validation, VALIDATION_BATCH, shuffle=False)
