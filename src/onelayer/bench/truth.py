"""What is right, and how far from it a result is."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.bench.peers_record import Difference
from onelayer.bench.workloads import Pictures
from onelayer.errors import OnelayerError
from onelayer.layer import compile as compile_transforms

MOST = 32
"""Images that are compared: the reference is slow."""


class Truth:
    """The first images of a workload, done in NumPy and float64.

    Args:
        work: What is to be done.
        images: Of a pass.
    """

    def __init__(self, work: Work, images: Pictures) -> None:
        reference = compile_transforms(v2_transforms(work), rounding="fused", backend="reference")
        self.expected: torch.Tensor = torch.stack([reference(image) for image in images[:MOST]])
        self._grey_levels = grey_levels(work, images[0].dtype)

    @property
    def shape(self) -> torch.Size:
        """Of what becomes of one image, C'×H'×W'."""
        return self.expected.shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Of what becomes of the images."""
        return self.expected.dtype

    def difference(self, results: Iterable[torch.Tensor]) -> Difference:
        """Compare results, as many as there are or the reference has.

        Args:
            results: In the order of the images, each of one image or of a batch; no more of them are asked for than are
                compared.

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


def grey_levels(work: Work, dtype: torch.dtype) -> torch.Tensor:
    """What one unit of the output is in grey levels, [C', 1, 1] or a single number, float64.

    Args:
        work: What is done.
        dtype: Of the images that it is done to.
    """
    if work.std is not None:
        return 255 * torch.tensor(work.std, dtype=torch.float64)[:, None, None]
    return torch.tensor(255.0 if dtype.is_floating_point else 1.0, dtype=torch.float64)
