"""A function that is only called: the images it gets, its outputs, and the number of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra.operator import FloatArray, samples_of
from onelayer.errors import OnelayerError
from onelayer.frontends import Container, ImageSpec
from onelayer.identification.evidence import NotAffineError, OverBudgetError
from onelayer.image_spec import CONTAINER_NAMES
from onelayer.images.containers import TORCH_DTYPES, image_of, is_image, pixels_of, spec_of

Levels = NDArray[np.int16]
"""Images as whole steps from black: 0 … 255 for bytes, 0 … 256 for floating point values, [N, C, H, W]."""

_BATCH = 32
_BATCH_BYTES = 2**26
_MOST_CHANNELS = 4
"""Largest number of channels: an array whose last axis is longer, and whose first is not, has its channels first."""


class BlackBox:
    """A function of images, asked about images of one kind.

    Floating point images have values that lie on a grid of 256 steps from black to white. These are exact in float32
    if black and white are 0 and 1, so the function gets exactly the values that the analysis computes with.

    Args:
        function: Takes one image and gives one: a tensor [C', H', W'], a PIL image or an array [H', W', C'].
        input_spec: Images that it takes.
        value_range: Black and white.
        budget: Maximum number of images.
        batched: Whether it takes batches [N, C, H, W], or [N, H, W, C] as arrays; None to try.
        planes: Whether arrays of one channel are [H, W].

    Attributes:
        output_spec: Images that it gives.
        levels: Number of steps from black to white.
        images: Number of images that it was asked about.
        calls: Number of calls.

    Raises:
        OnelayerError: If the function fails, or gives something that is no image.
        NotAffineError: If it gives different results for the same image, or values that are not finite.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        input_spec: ImageSpec,
        value_range: tuple[float, float],
        budget: int,
        *,
        batched: bool | None,
        planes: bool,
    ) -> None:
        self.function = function
        self.input_spec = input_spec
        self.low, self.high = value_range
        self.levels = 256 if input_spec.is_float else 255
        steps = torch.from_numpy(self.low + np.arange(self.levels + 1) * ((self.high - self.low) / self.levels))
        self._values = steps.to(TORCH_DTYPES[input_spec.dtype]).double().numpy()
        self.budget = budget
        self.images = self.calls = 0
        self._planes = planes
        self._at_once = 1
        self._watcher: Callable[[str], None] = _unwatched
        first, second = self._first_images()
        self.output_spec = self._first_result(first)
        once, again, other = self(np.stack([first, first, second]))
        apart = np.abs(once - again)
        if apart.any():
            place = np.unravel_index(int(apart.argmax()), apart.shape)
            raise NotAffineError(
                f"the same image came out differently when it was given twice: by {apart.max():.3g} at output "
                f"{tuple(map(int, place))}",
                expected="one result for one image",
                hint="Random transforms cannot be one layer; make it deterministic, or identify it with its random "
                "choices fixed.",
            )
        if batched or (batched is None and self._takes_batches(first, second, np.stack([once, other]))):
            self._at_once = max(1, min(_BATCH, _BATCH_BYTES // (8 * samples_of(input_spec.shape))))

    @property
    def batched(self) -> bool:
        """Whether calls get several images at a time."""
        return self._at_once > 1

    @property
    def rounding(self) -> float:
        """Error of rounding output values to their dtype, relative to the largest."""
        return (
            0.0 if self.output_spec.dtype == "uint8" else float(torch.finfo(getattr(torch, self.output_spec.dtype)).eps)
        )

    def values(self, levels: NDArray[Any]) -> FloatArray:
        """Convert levels to the values that the function gets, float64 of the same shape."""
        values: FloatArray = self._values[levels]
        return values

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Call a function with the purpose of the images, whenever that changes."""
        self._watcher = watcher

    def reserve(self, count: int, what: str) -> None:
        """Refuse to go on if so many more images are over the budget.

        Raises:
            OverBudgetError: If they are not.
        """
        self._check(count, what)
        self._watcher(what)

    def _check(self, count: int, what: str) -> None:
        if self.images + count > self.budget:
            raise OverBudgetError(
                f"{what} takes {count:,} images, after {self.images:,} that were asked about",
                expected=f"at most {self.budget:,} in all",
                hint=f"Allow more with budget={self.images + count + 100}.",
            )

    def __call__(self, levels: NDArray[Any]) -> FloatArray:
        """Call the function on images.

        Args:
            levels: [N, C, H, W].

        Returns:
            float64 [N, C', H', W'].

        Raises:
            OverBudgetError: If the budget does not allow them.
            OnelayerError: If the function fails, or gives images of different shapes.
            NotAffineError: If a value is not finite.
        """
        self._check(len(levels), "asking on")
        parts = [self._asked(levels[begin : begin + self._at_once]) for begin in range(0, len(levels), self._at_once)]
        results = np.concatenate(parts) if parts else np.zeros((0, *self.output_spec.shape))
        if not np.isfinite(results).all():
            raise NotAffineError(
                f"the function gives values that are not finite, for images with values from {self.low:g} to "
                f"{self.high:g}",
                expected="finite values",
            )
        return results

    def _first_images(self) -> tuple[Levels, Levels]:
        generator = np.random.default_rng(0)
        first, second = (
            generator.integers(0, self.levels + 1, self.input_spec.shape).astype(np.int16) for _ in range(2)
        )
        return first, second

    def image_of_levels(self, levels: NDArray[Any]) -> Any:
        """Make an image as the function gets it, or a batch, of levels [C, H, W] or [N, C, H, W]."""
        values = torch.from_numpy(self.values(levels))
        image = image_of(values, self.input_spec)
        if isinstance(image, np.ndarray):
            return np.ascontiguousarray(image[..., 0] if self._planes else image)
        return image

    def _run(self, levels: NDArray[Any]) -> Any:
        self.calls += 1
        try:
            return self.function(self.image_of_levels(levels))
        except OnelayerError:
            raise
        except Exception as error:
            kind = f"{self.input_spec.shape} {self.input_spec.dtype} ({self.input_spec.container})"
            raise OnelayerError(
                f"the function failed on an image {kind}: {type(error).__name__}: {error}",
                expected="a function that takes such images",
                hint="Say what it takes with `example`: such an image, or onelayer.ImageSpec(…); on the command line,"
                " with --as.",
            ) from error

    def _first_result(self, levels: Levels) -> ImageSpec:
        """Find out what comes out, from a first image."""
        self.images += 1
        result = self._run(levels)
        if isinstance(result, tuple | list | dict):
            raise OnelayerError(
                f"the function gives a {type(result).__name__}",
                expected="one image",
                hint="Wrap it: lambda image: function(image)[…].",
            )
        dims = getattr(result, "ndim", 3)
        if dims == 2 and isinstance(result, torch.Tensor):
            raise _misshapen(result, "a tensor [C, H, W]", "Wrap it: lambda image: function(image)[None].")
        if dims == 2 and isinstance(result, np.ndarray):
            # A layer gives [H, W, C].
            raise _misshapen(result, "an array [H, W, C]", "Wrap it: lambda image: function(image)[..., None].")
        if dims > 3:
            raise _misshapen(
                result, "one image without a batch dimension", "Wrap it: lambda image: function(image)[0]."
            )
        if isinstance(result, np.ndarray) and dims == 3 and result.shape[-1] > _MOST_CHANNELS >= result.shape[0]:
            raise _misshapen(
                result,
                "an array [H, W, C]",
                "If its channels come first, make it a tensor: lambda image: torch.from_numpy(function(image)).",
            )
        if not is_image(result):
            raise OnelayerError(f"the function gives a {type(result).__name__}", expected="one image")
        return spec_of(result)

    def _asked(self, levels: NDArray[Any]) -> FloatArray:
        self.images += len(levels)
        if len(levels) > 1:
            return self._read(self._run(levels), len(levels))
        return self._read(self._run(levels[0]), None)

    def _read(self, result: Any, count: int | None) -> FloatArray:
        if not is_image(result):
            raise OnelayerError(f"the function gives a {type(result).__name__}", expected="one image")
        self._refuse_another_kind(spec_of(result))
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu()
        pixels = pixels_of(result)
        expected = self.output_spec.shape if count is None else (count, *self.output_spec.shape)
        if tuple(pixels.shape) != expected:
            raise OnelayerError(
                f"the function gave an image of shape {tuple(pixels.shape)}",
                expected=f"{expected}, as it gave before: the shape may not depend on the content",
            )
        values: FloatArray = pixels.to(torch.float64).numpy().reshape(-1, *self.output_spec.shape)
        return values

    def _refuse_another_kind(self, spec: ImageSpec) -> None:
        before = self.output_spec
        if (spec.dtype, spec.container) != (before.dtype, before.container):
            raise OnelayerError(
                f"the function gave {CONTAINER_NAMES[spec.container]} of {spec.dtype}",
                expected=f"{CONTAINER_NAMES[before.container]} of {before.dtype}, as it gave before: the type may not "
                "depend on the content",
            )

    def _takes_batches(self, first: Levels, second: Levels, singly: FloatArray) -> bool:
        containers: tuple[Container, ...] = ("tensor", "image", "numpy")
        if self.input_spec.container not in containers:
            return False
        try:
            together = self._asked(np.stack([first, second]))
        except Exception:  # noqa: BLE001 - a function that takes no batches may say so in any way
            return False
        return bool(np.abs(together - singly).max(initial=0.0) <= 8 * self.rounding * np.abs(singly).max(initial=0.0))


def _unwatched(what: str) -> None:
    """Report nothing."""


def _misshapen(result: Any, expected: str, hint: str) -> OnelayerError:
    return OnelayerError(f"the function gives shape {tuple(result.shape)}", expected=expected, hint=hint)
