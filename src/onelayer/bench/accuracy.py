"""The distance of results from real arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from onelayer.bench.record import Difference
from onelayer.bench.workloads import WorkloadImages
from onelayer.errors import OnelayerError
from onelayer.frontends import Transform, UnsupportedTransformError
from onelayer.layer import compile as compile_transforms

MOST = 32
"""Number of images that are compared: the reference is slow."""


class Reference:
    """Results of a transform for the first images of a workload, computed with NumPy in float64.

    Where the transform cannot be derived, they are the results of the transform itself.

    Args:
        transform: torchvision transform of tensors.
        images: Images of a pass.
        std: Standard deviations that the transform ends with dividing by; None if it does not normalise.
    """

    def __init__(self, transform: Transform, images: WorkloadImages, std: tuple[float, ...] | None = None) -> None:
        self.expected = _results(transform, images[:MOST])
        self._grey_levels = grey_levels(images[0].dtype, std)

    @property
    def shape(self) -> torch.Size:
        """Shape of the result for one image, C'×H'×W'."""
        return self.expected.shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the results."""
        return self.expected.dtype

    def difference(self, results: Iterable[torch.Tensor]) -> Difference:
        """Compare results, as many as there are or the reference has.

        Args:
            results: Results in the order of the images, each of one image or of a batch; no more of them are asked for
                than are compared.

        Raises:
            OnelayerError: If one is not of the right shape or dtype, is on another device than the CPU, or holds a
                value that is not finite.
        """
        total = largest = 0.0
        done = values = 0
        for result in results:
            self._check(result)
            images = result.reshape(-1, *self.shape)[: len(self.expected) - done]
            expected = self.expected[done : done + len(images)]
            errors = (images.double() - expected.double()).abs() * self._grey_levels
            largest, total = max(largest, float(errors.max())), total + float(errors.sum())
            done, values = done + len(images), values + errors.numel()
            if done == len(self.expected):
                break
        return Difference(largest=largest, mean=total / values, images=done)

    def _check(self, result: torch.Tensor) -> None:
        if result.shape[-3:] != self.shape or result.dtype != self.dtype or result.device.type != "cpu":
            raise OnelayerError(
                f"it gives {tuple(result.shape)} of {result.dtype} on {result.device}",
                expected=f"(…, {', '.join(map(str, self.shape))}) of {self.dtype} on cpu",
            )
        if not torch.isfinite(result).all():
            raise OnelayerError("it gives values that are not finite")


def _results(transform: Transform, images: WorkloadImages) -> torch.Tensor:
    reference = compile_transforms(transform, fullgraph=True, rounding="fused", backend="reference")
    try:
        return torch.stack([reference(image) for image in images])
    except UnsupportedTransformError:
        results = transform(images) if isinstance(images, torch.Tensor) else list(map(transform, images))
        return results if isinstance(results, torch.Tensor) else torch.stack(results)


def grey_levels(dtype: torch.dtype, std: tuple[float, ...] | None) -> torch.Tensor:
    """Compute how many grey levels one unit of the output is, [C', 1, 1] or a single number, float64.

    Args:
        dtype: Dtype of the images.
        std: Standard deviations that the output was divided by, one for each channel; None for none.
    """
    if std is not None:
        return 255 * torch.tensor(std, dtype=torch.float64)[:, None, None]
    return torch.tensor(255.0 if dtype.is_floating_point else 1.0, dtype=torch.float64)
