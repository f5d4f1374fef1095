"""Find transforms for what a function does to values: conversions, scalings, normalizations, or a table of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer.algebra import Lookup, Separable, Stage
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.frontends.base import Derivation, register
from onelayer.identification.black_box import BlackBox
from onelayer.identification.identified import Identified, steps_of, unexplained
from onelayer.image_spec import Container, RoundingMode
from onelayer.images.containers import image_of, pixels_of

ValueTransforms = tuple[list[Callable[[Any], Any]], str, tuple[float, ...]]
"""Transforms of values, their description, and what black comes out as in each channel."""

_DECIMALS = range(1, 7)
"""Digits that people write means and standard deviations with."""


@final
class LevelTable(nn.Module):
    """Look up each byte in a table per channel.

    Args:
        table: Value of each byte by output channel, float64 [C', 256].
        sources: Input channel of each output channel, [C'].
        spec: Dtype and container of the result; its shape means nothing.
    """

    def __init__(self, table: FloatArray, sources: Sequence[int], spec: ImageSpec) -> None:
        super().__init__()
        self.table, self.sources, self.spec = table, list(sources), spec

    def forward(self, image: Any) -> Any:
        """Look up an image."""
        pixels = pixels_of(image)[..., self.sources, :, :].long()
        channels = torch.arange(len(self.sources))[:, None, None]
        return image_of(torch.from_numpy(self.table)[channels, pixels], self.spec)

    def extra_repr(self) -> str:
        """Return what there is of it in short."""
        return f"{len(self.table)} channels to {self.spec.dtype}"


@register(LevelTable, any_size=True)
def level_table(transform: LevelTable, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG001 - of both
    """Derive a table for each channel, which rounds nothing."""
    if spec.is_float:
        raise OnelayerError("a table of 256 values was given floating point images", expected="bytes")
    stages: list[Stage] = []
    if transform.sources != list(range(spec.shape[0])):
        selection = np.eye(spec.shape[0])[transform.sources]
        stages.append(Separable.of_channels(selection, np.zeros(len(selection)), spec.shape[1:]))
    shape = (len(transform.sources), *spec.shape[1:])
    output = ImageSpec(shape, transform.spec.dtype, transform.spec.container)
    return [*stages, Lookup(transform.table)], output


def values_of_bytes(found: Identified, box: BlackBox) -> ValueTransforms:
    """Find the value that each byte comes out as, by images of one level, and transforms that say so."""
    channel = getattr(found.operator, "channel", None)
    weights = np.zeros((1, 1)) if channel is None else channel.matrix
    is_read = np.abs(weights) > 1e-6 * np.abs(weights).max(initial=0.0)
    if not (is_read.sum(axis=1) == 1).all():
        raise unexplained(f"it mixes channels ({found.description.get('channels')})", [found])
    sources = is_read.argmax(axis=1).tolist()
    rows, cols = steps_of(found)
    middle = rows.before + rows.kept // 2, cols.before + cols.kept // 2
    table = np.zeros((len(sources), 256))
    for level in range(256):
        image = np.full((1, *found.input_spec.shape), level, np.int16)
        table[:, level] = box(image)[0][:, middle[0], middle[1]]
    black = tuple(map(float, table[:, 0]))
    spec, output = found.input_spec, found.output_spec
    if sources == list(range(spec.shape[0])):
        every = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(spec.shape[0], 1, 1)
        for steps, described in _known_values(spec.container, output, table):
            result = composed(steps)(image_of(every, spec))
            if np.array_equal(pixels_of(result).flatten(1).double().numpy(), table):
                return steps, described, black
    levels = LevelTable(table, sources, replace(output, shape=(len(sources), 1, 1)))
    return [levels], f"a table of 256 values for each of {len(sources)} channels", black


def _known_values(
    before: Container, output: ImageSpec, table: FloatArray
) -> Iterator[tuple[list[Callable[[Any], Any]], str]]:
    """Yield transforms of values that a table may come from."""
    converted = conversion(before, output.container)
    if converted is None:
        return
    if output.dtype == "uint8":
        yield converted, "bytes as they are"
    if output.dtype != "float32":
        return
    slope = (table[:, 255] - table[:, 0]) / 255
    scaled: list[list[Callable[[Any], Any]]] = [[*converted, v2.ToDtype(torch.float32, scale=True)]]
    if before in ("pil", "numpy") and output.container == "tensor":
        # It divides by 255, and multiplies by no inverse.
        scaled.append([v1.ToTensor()])
    for steps in scaled:
        yield steps, "divided by 255"
        std, mean = 1 / (255 * slope), -table[:, 0] / (255 * slope)
        for decimals in _DECIMALS if slope.all() else ():
            means, stds = ([float(value) for value in np.round(part, decimals)] for part in (mean, std))
            if all(stds):
                described = ", ".join(map(str, means)), ", ".join(map(str, stds))
                yield (
                    [*steps, v2.Normalize(means, stds)],
                    f"divided by 255; means {described[0]}; deviations {described[1]}",
                )
    yield [*converted, v2.ToDtype(torch.float32)], "bytes as floats"


def values_of_floats(found: Identified) -> ValueTransforms:
    """State what happens to floating point values, which is one factor and one offset per channel."""
    channel = getattr(found.operator, "channel", None)
    weights = np.zeros((1, 1)) if channel is None else channel.matrix
    is_square = weights.shape[0] == weights.shape[1]
    factors = np.diag(weights) if is_square else np.zeros(0)
    if not is_square or np.abs(weights - np.diag(factors)).max() > 1e-6 * np.abs(weights).max() or not factors.all():
        raise unexplained(f"it mixes channels ({found.description.get('channels')})", [found])
    bias = np.asarray(getattr(found.operator, "bias", np.zeros(len(weights))), dtype=np.float64)
    offsets = bias if bias.ndim == 1 else np.median(bias, axis=(1, 2))
    black = tuple(map(float, offsets))
    if np.allclose(factors, 1, atol=1e-6) and np.allclose(offsets, 0, atol=1e-6):
        return [], "floats as they are", black
    mean, std = -offsets / factors, 1 / factors
    for decimals in _DECIMALS:
        short = np.round([mean, std], decimals)
        if np.allclose(short, [mean, std], rtol=1e-5, atol=1e-6):
            mean, std = short
            break
    means, stds = ([float(value) for value in part] for part in (mean, std))
    return [v2.Normalize(means, stds)], f"means {means}, deviations {stds}", black


def conversion(before: Container, after: Container) -> list[Callable[[Any], Any]] | None:
    """Return transforms from a container to another; None where there are none."""
    if before == after:
        return []
    if after == "tensor":
        return [v2.PILToTensor()] if before == "pil" else [v2.ToImage(), v2.ToPureTensor()]
    ends: dict[Container, list[Callable[[Any], Any]]] = {"image": [v2.ToImage()], "pil": [v2.ToPILImage()]}
    return ends.get(after)


def composed(steps: Sequence[Callable[[Any], Any]]) -> v2.Compose:
    """Compose transforms; none at all are an identity."""
    return v2.Compose(list(steps) or [v2.Identity()])
