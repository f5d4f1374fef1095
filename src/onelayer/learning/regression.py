"""The learning problem: predict what the pipeline would have given, under mean squared error."""

from __future__ import annotations

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

    def _mse(self, pixels: torch.Tensor) -> torch.Tensor:
        images = unit_range(pixels)
        return nn.functional.mse_loss(self.layer(images), self.pipeline(images))

    def training_step(self, pixels: torch.Tensor) -> torch.Tensor:
        """MSE of one batch, uint8 [B, C, H, W]."""
        loss = self._mse(pixels)
        self.log(TRAIN_MSE, loss, on_step=False, on_epoch=True, batch_size=len(pixels), sync_dist=True)
        return loss

    def validation_step(self, pixels: torch.Tensor) -> None:
        """Adds one batch, uint8 [B, C, H, W], to the validation MSE."""
        self.log(VALIDATION_MSE, self._mse(pixels), batch_size=len(pixels), sync_dist=True, prog_bar=True)

    def adam(self) -> torch.optim.Optimizer:
        """Adam, in one fused kernel: the same arithmetic in one pass over the weights instead of several."""
        return torch.optim.Adam(self.layer.parameters(), lr=self.lr, fused=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam alone."""
        return self.adam()


class DecayingRegression(Regression):
    """The same, with a learning rate that falls to zero over all epochs, along a cosine.

    Steps of Adam have the size of its learning rate however small the error has become, which is the floor of what a
    constant one can reach.
    """

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and its schedule."""
        adam = self.adam()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
