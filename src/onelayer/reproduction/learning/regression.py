"""The learning problem: predict what the pipeline would have given, under mean squared error."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torchvision.transforms import v2

from onelayer.pipelines import Pipeline

TRAIN_MSE = "train_mse"
VALIDATION_MSE = "validation_mse"


def unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels as a pipeline takes them: uint8 0…255 to float32 in [0, 1], any shape."""
    return v2.functional.to_dtype(pixels, torch.float32, scale=True)  # type: ignore[no-any-return]


class Regression(pl.LightningModule):
    """One layer, regressed onto a pipeline with Adam.

    Args:
        layer: What learns; takes float32 [N, C, H, W], gives [N, C', H', W'].
        pipeline: The ground truth; it runs on the device that the images are on.
        lr: Adam's learning rate.
    """

    def __init__(self, layer: nn.Module, pipeline: Pipeline, lr: float) -> None:
        super().__init__()
        self.layer = layer
        self.pipeline = pipeline
        self.lr = lr

    def pairs(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the layer is given, and what it shall give, of a batch of images, uint8 [B, C, H, W]."""
        images = unit_range(batch)
        return images, self.pipeline(images)

    def _mse(self, batch: torch.Tensor) -> torch.Tensor:
        inputs, targets = self.pairs(batch)
        return nn.functional.mse_loss(self.layer(inputs), targets)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        """MSE of one batch."""
        loss = self._mse(batch)
        self.log(TRAIN_MSE, loss, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: torch.Tensor) -> None:
        """Adds one batch to the validation MSE."""
        self.log(VALIDATION_MSE, self._mse(batch), batch_size=len(batch), sync_dist=True, prog_bar=True)

    def adam(self) -> torch.optim.Optimizer:
        """Adam, in one fused kernel: the same arithmetic in one pass over the weights instead of several."""
        return torch.optim.Adam(self.layer.parameters(), lr=self.lr, fused=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam alone."""
        return self.adam()


class WhitenedRegression(Regression):
    """The same for images that were whitened before, with a learning rate that falls to zero over all epochs.

    Steps of Adam have the size of its learning rate however small the error has become, which is the floor of what a
    constant one can reach. So it falls, along a cosine.
    """

    def pairs(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two of a batch of rows of :func:`onelayer.reproduction.learning.whitening.whitened_rows`, as bytes."""
        input_shape, output_shape = self.pipeline.input_shape, self.pipeline.output_shape
        rows, inputs = batch.view(torch.float32), math.prod(input_shape)
        return rows[:, :inputs].reshape(-1, *input_shape), rows[:, inputs:].reshape(-1, *output_shape)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and its schedule."""
        adam = self.adam()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
