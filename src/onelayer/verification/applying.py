"""A layer or a pipeline on images, and what comes out as tensors that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.images.containers import Image, image_of, is_image, pixels_of

Side = Callable[..., Any]
"""A layer or a pipeline: takes an image and gives one."""


@dataclass(frozen=True)
class Kind:
    """Images that are treated alike.

    Args:
        given: Of one image.
        batched: Whether they go in as one batch, tensors [N, C, H, W] or arrays [N, H, W, C], or one by one.
        device: Where tensors lie.
    """

    given: ImageSpec
    batched: bool
    device: torch.device

    def image_of(self, pixels: FloatArray) -> Image:
        """Pixels [C, H, W] as an image of this kind, or as a batch of one."""
        tensor = torch.tensor(pixels[None] if self.batched else pixels, device=self.device)
        return image_of(tensor, self.given)


def outputs_of(
    side: Side, name: str, kind: Kind, images: Sequence[Image], descriptions: Sequence[str]
) -> Sequence[torch.Tensor]:
    """What a side makes of images of one kind.

    Args:
        side: A layer or a pipeline.
        name: "layer" or "pipeline", for messages.
        kind: Of the images; where they are batched, each is a batch of one.
        images: At least one.
        descriptions: What to call them in messages.

    Returns:
        A tensor [C', H', W'] for each image; several images that come out of one are joined along the channels.

    Raises:
        OnelayerError: If the side fails, or gives no image.
    """
    # Sides get copies, as some transforms work in place.
    if not kind.batched:
        pairs = zip(images, descriptions, strict=True)
        return [_joined(_called(side, name, _copied(image), what), name, stack_at=0) for image, what in pairs]
    tensors = isinstance(images[0], torch.Tensor)
    batch: Any = torch.cat(images) if tensors else np.concatenate(images)  # type: ignore[arg-type]  # all are alike
    pixels = _joined(_called(side, name, batch, _span(descriptions)), name, stack_at=1)
    if pixels.dim() != 4 or len(pixels) != len(images):
        raise OnelayerError(
            f"the {name} gave {tuple(pixels.shape)} for a batch of {len(images)} images",
            expected="as many images",
            hint="Give a list of images if it does not take batches.",
        )
    return pixels.unbind()


def _copied(image: Image) -> Image:
    return image.clone() if isinstance(image, torch.Tensor) else image.copy()


def _called(side: Side, name: str, image: Any, what: str) -> Any:
    try:
        return side(image)
    except OnelayerError:
        raise
    except Exception as error:  # anybody's code may raise anything
        raise OnelayerError(
            f"the {name} failed on {what}: {type(error).__name__}: {error}",
            expected="a pipeline and a layer that both take the images given",
        ) from error


def _span(descriptions: Sequence[str]) -> str:
    first, *_, last = [*descriptions, descriptions[-1]]
    return first if first == last else f"a batch from {first} to {last}"


def _joined(output: Any, name: str, stack_at: int) -> torch.Tensor:
    """One image or batch of an output; crops are joined along the channels.

    Args:
        output: What a side gave.
        name: "layer" or "pipeline".
        stack_at: How many dimensions an image has before its channels.
    """
    if isinstance(output, list | tuple) and output:
        return torch.cat([_joined(part, name, stack_at) for part in output], dim=-3)
    if not is_image(output):
        raise OnelayerError(
            f"the {name} gave {type(output).__name__}",
            expected="a tensor, a PIL image or an array",
            hint="Wrap it so that it gives the image alone.",
        )
    pixels = pixels_of(output)
    if pixels.dim() == stack_at + 4:
        # Stacked crops stand before a batch.
        return pixels.movedim(0, stack_at).flatten(stack_at, stack_at + 1)
    if pixels.dim() != stack_at + 3:
        raise OnelayerError(
            f"the {name} gave a tensor of shape {tuple(pixels.shape)}", expected="channels, height and width"
        )
    return pixels


def comparable(prediction: torch.Tensor, truth: torch.Tensor, description: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two outputs [C', H', W'] as finite tensors on the CPU; NaN and infinities that both have become zero.

    Raises:
        OnelayerError: If they differ in shape or dtype, or where one is not finite.
    """
    if prediction.shape != truth.shape or prediction.dtype != truth.dtype:
        raise OnelayerError(
            f"the layer gave {_described(prediction)} for {description}",
            expected=f"{_described(truth)}, as the pipeline gave",
        )
    prediction, truth = prediction.detach().cpu(), truth.detach().cpu()
    odd = ~(prediction.isfinite() & truth.isfinite())
    if not bool(odd.any()):
        return prediction, truth
    unlike = odd & (prediction != truth) & ~(prediction.isnan() & truth.isnan())
    if bool(unlike.any()):
        place = tuple(unlike.nonzero()[0].tolist())
        raise OnelayerError(
            f"the layer gave {float(prediction[place])} for {description} at {place}",
            expected=f"{float(truth[place])}, as the pipeline gave",
            hint="Errors can be measured between finite numbers only.",
        )
    return prediction.masked_fill(odd, 0), truth.masked_fill(odd, 0)


def _described(output: torch.Tensor) -> str:
    return f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}"
