"""Find what a function does to images of every size: the rules of its sizes, fitted at a few and tried at others."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec
from onelayer.frontends.placement import Size
from onelayer.frontends.torchvision.by_rule import CropBy, PadBy, ResizeBy
from onelayer.identification.black_box import BlackBox, Levels
from onelayer.identification.identified import Identified, size_of, steps_of, unexplained
from onelayer.identification.size_rules import (
    INTERPOLATIONS,
    Seen,
    SizeRule,
    WindowBorder,
    WindowCrop,
    WindowRule,
    resize_arguments,
    size_rules,
    window_rules,
)
from onelayer.identification.value_transforms import (
    LevelTable,
    composed,
    conversion,
    values_of_bytes,
    values_of_floats,
)
from onelayer.image_spec import Container
from onelayer.images.containers import pixels_of, spec_of
from onelayer.layer import OneLayer
from onelayer.programs import Transforms
from onelayer.recognition import AxisSteps

FEWEST = 2
"""Smallest number of examples that rules are fitted to."""
_HELD_OUT = 10
"""Number of sizes, other than the examples', that a pipeline is tried at."""
_FEWEST_HELD_OUT = 4
"""Smallest number of these that the function has to take."""
_DRAWN = 2000
"""Number of sizes that these are chosen from."""
_FLOATS = 1e-5
"""Error of floating point images, relative to the range of the outputs."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class IdentifiedPipeline:
    """A function that was identified for images of every size.

    Attributes:
        transform: Transforms that do the same.
        description: Description of each part: ``resize``, ``filter``, ``window``, ``values``.
        examples: Heights and widths that the rules were fitted at.
        held_out: Heights and widths that nothing was found from, and at which every image came out the same.
        largest_error: Largest error at any of these; 0 where every bit is the same, as of bytes it always is.
        images: Number of images that the function was asked about.
        seconds: Seconds that it all took, the function's own time included.
    """

    transform: v2.Compose
    description: dict[str, str]
    examples: tuple[Size, ...]
    held_out: tuple[Size, ...]
    largest_error: float
    images: int
    seconds: float

    def layer(self) -> OneLayer:
        """Make a layer of the transforms, for images of every size."""
        return OneLayer(Transforms(self.transform))

    def to_text(self) -> str:
        """Return the table as plain text."""
        console = Console(file=io.StringIO(), width=110, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich__(self) -> Table:
        table = Table(title="Identified, for every size", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for name, text in self.description.items():
            table.add_row(name, text)
        for name, sizes in (("fitted at", self.examples), ("tried at", self.held_out)):
            table.add_row(name, ", ".join(f"{height}×{width}" for height, width in sizes))
        table.add_row("largest error", f"{self.largest_error:.3g}")
        table.add_row("took", f"{self.images:,} images, {self.seconds:.1f} s")
        return table

    __str__ = __repr__ = to_text


AskAt = Callable[[ImageSpec], BlackBox]
"""Makes a box of the function for images of a spec."""


@dataclass(frozen=True)
class _Truth:
    """What the function makes of a few images of a size, as float64 [N, C', H', W']."""

    box: BlackBox
    images: Levels
    results: FloatArray

    @property
    def size(self) -> Size:
        return self.box.input_spec.shape[1], self.box.input_spec.shape[2]

    @classmethod
    def of(cls, box: BlackBox, seed: int) -> _Truth:
        generator = np.random.default_rng([seed, *box.input_spec.shape])
        noise = generator.integers(0, box.levels + 1, box.input_spec.shape)
        edges = np.where(generator.random(box.input_spec.shape) < 0.5, 0, box.levels)
        coarse = torch.from_numpy(generator.random((1, box.input_spec.shape[0], 5, 5)) * box.levels)
        smooth = nn.functional.interpolate(coarse, box.input_spec.shape[1:], mode="bilinear")[0].numpy()
        images: Levels = np.rint(np.stack([noise, edges, smooth])).astype(np.int16)
        return cls(box, images, box(images))

    def error(self, layer: OneLayer) -> float:
        """Return the largest error of a layer; infinity for results of another kind, or none at all."""
        largest = 0.0
        for levels, right in zip(self.images, self.results, strict=True):
            try:
                result = layer(self.box.image_of_levels(levels))
                spec = spec_of(result)
            except OnelayerError:
                return np.inf
            if spec != self.box.output_spec:
                return np.inf
            values = pixels_of(result).to(torch.float64).numpy()
            if not np.isfinite(values).all():
                return np.inf
            largest = max(largest, float(np.abs(values - right).max()))
        return largest


def identify_pipeline(found: Sequence[Identified], ask_at: AskAt, seed: int) -> IdentifiedPipeline:
    """Find the transforms behind a function that was identified at several sizes.

    Args:
        found: What it does at each of them; all sizes differ.
        ask_at: Makes boxes for other sizes.
        seed: Seed of the images.

    Raises:
        NotAffineError: If no rule explains the sizes, or no pipeline gives the function's results at other sizes, with
            what was tried.
    """
    begin = time.perf_counter()
    steps = {size_of(each): steps_of(each) for each in found}
    resizes = size_rules({size: (rows.resized, cols.resized) for size, (rows, cols) in steps.items()})
    windows = window_rules([_seen(rows, cols) for rows, cols in steps.values()])
    if not resizes or not windows:
        raise unexplained("no known rule explains " + ("the windows" if resizes else "the resizes"), found)
    boxes: list[BlackBox] = []

    def truth_at(size: Size) -> _Truth:
        spec = found[0].input_spec
        boxes.append(ask_at(replace(spec, shape=(spec.shape[0], *size))))
        return _Truth.of(boxes[-1], seed)

    examples = [truth_at(size_of(each)) for each in found]
    builder = _Builder.of(found, examples)
    tolerance = _FLOATS * max(each.output_range for each in found) if found[0].input_spec.is_float else 0.0
    resampled, errors = _resampling(builder, resizes[0], windows[0], examples, tolerance, _filters(steps))
    if resampled is None:
        raise unexplained(f"at the sizes of the examples no resize gives the same: {errors}", found)
    held_out = [truth for size in _other_sizes(list(steps), resizes, windows) if (truth := _try(truth_at, size))]
    if len(held_out) < _FEWEST_HELD_OUT:
        raise unexplained(f"the function takes {len(held_out)} of the other sizes that were tried", found)
    tried: list[str] = []
    for resize, window in product(resizes, windows):
        explained = all(
            window.size(*resize(*truth.size)) == tuple(truth.results.shape[-2:]) for truth in (*held_out, *examples)
        )
        if not explained:
            tried.append(f"{resize}, window {window}: sizes differ")
            continue
        transform = builder.pipeline(resize, window, resampled)
        layer = OneLayer(Transforms(transform))
        worst = max(truth.error(layer) for truth in (*examples, *held_out))
        if worst <= tolerance:
            return IdentifiedPipeline(
                transform=transform,
                description={
                    "resize": str(resize),
                    "filter": "none" if resize.kind == "unchanged" else str(resampled),
                    "window": str(window),
                    "values": builder.described,
                },
                examples=tuple(steps),
                held_out=tuple(truth.size for truth in held_out),
                largest_error=worst,
                images=sum(each.images for each in found) + sum(each.images for each in boxes),
                seconds=time.perf_counter() - begin + sum(each.seconds for each in found),
            )
        tried.append(f"{resize}, window {window}: off by up to {worst:.3g}")
    raise unexplained(f"at other sizes nothing gives the same. Tried: {'; '.join(tried)}", found)


def _seen(rows: AxisSteps, cols: AxisSteps) -> Seen:
    # An axis is cropped before it is flipped, and bordered behind that, as pipelines are built.
    sizes = [axis.before + axis.kept + axis.after for axis in (rows, cols)]
    starts = [axis.start - axis.before for axis in (rows, cols)]
    return (rows.resized, cols.resized), (starts[0], starts[1]), (sizes[0], sizes[1])


def _filters(steps: dict[Size, tuple[AxisSteps, AxisSteps]]) -> list[str]:
    """List the filters that every resized axis may have."""
    named = [axis.filters for axes in steps.values() for axis in axes if axis.filters]
    common = [name for name in INTERPOLATIONS if all(name in filters for filters in named)]
    return common or list(INTERPOLATIONS)


@dataclass(frozen=True)
class _Resampling:
    """The arithmetic of a resize: a filter, and whose."""

    filter: str
    through: str

    def __str__(self) -> str:
        whose = {"as it comes": "of its container", "v1": "torchvision's v1, in float32", "PIL": "Pillow's"}
        return f"{self.filter}, {whose[self.through]}"


def _resampling(
    builder: _Builder,
    resize: SizeRule,
    window: WindowRule,
    examples: Sequence[_Truth],
    tolerance: float,
    filters: Sequence[str],
) -> tuple[_Resampling | None, str]:
    """Find the resize that gives the function's results at the sizes of the examples, or what others give."""
    errors = []
    container = builder.container
    throughs = ["as it comes"] if container == "pil" else ["as it comes", "v1", "PIL"]
    for through, name in product(throughs, filters):
        tried = _Resampling(name, through)
        try:
            layer = OneLayer(Transforms(builder.pipeline(resize, window, tried)))
            worst = max(truth.error(layer) for truth in examples)
        except OnelayerError as error:
            errors.append(f"{tried}: {error.problem}")
            continue
        if worst <= tolerance:
            return tried, ""
        errors.append(f"{tried}: off by up to {worst:.3g}")
    return None, "; ".join(errors)


def _other_sizes(examples: Sequence[Size], resizes: Sequence[SizeRule], windows: Sequence[WindowRule]) -> list[Size]:
    """List sizes to try rules at: those at which they disagree, and others unlike the examples."""
    generator = np.random.default_rng(0)
    low, high = min(map(min, examples)), max(map(max, examples))
    drawn = [(int(height), int(width)) for height, width in generator.integers(max(low // 2, 2), high + 1, (_DRAWN, 2))]
    outcomes = {size: _outcomes(size, resizes, windows) for size in drawn if size not in examples}
    sizes: dict[Size, None] = {}
    told_apart: list[tuple[object, ...]] = [()] * (len(resizes) + len(windows))
    while outcomes and len(sizes) < _HELD_OUT // 2:
        best = max(outcomes, key=lambda size: len(set(zip(told_apart, outcomes[size], strict=True))))
        told_apart = list(zip(told_apart, outcomes.pop(best), strict=True))
        sizes[best] = None
    for height, width in examples:
        sizes.update(dict.fromkeys([(width, height), (height * 4 // 5, width), (height, max(width * 3 // 5, 1))]))
    return [size for size in sizes if size not in examples][:_HELD_OUT]


def _outcomes(size: Size, resizes: Sequence[SizeRule], windows: Sequence[WindowRule]) -> list[object]:
    """List what each rule makes of a size; windows behind the first resize."""
    resized = [rule(*size) for rule in resizes]
    return [*resized, *((window.starts(*resized[0]), window.size(*resized[0])) for window in windows)]


def _try(truth_at: Callable[[Size], _Truth], size: Size) -> _Truth | None:
    """Ask at a size; None where the function refuses it."""
    try:
        return truth_at(size)
    except OnelayerError:
        return None


@dataclass(frozen=True)
class _Builder:
    """Makes pipelines of what is known but for the rules.

    Args:
        container: Container of the images that arrive.
        channels: Number of their channels.
        flips: Flips that come behind the window's crop.
        values: Transforms from resized bytes, or floats, to what comes out.
        fill: Values of a border, as they come out, one per channel; None where none was seen.
        black: Values that black comes out as, one per channel.
        described: Description of the transforms of values.
    """

    container: Container
    channels: int
    flips: tuple[Callable[[Any], Any], ...]
    values: tuple[Callable[[Any], Any], ...]
    fill: tuple[float, ...] | None
    black: tuple[float, ...]
    described: str

    @classmethod
    def of(cls, found: Sequence[Identified], examples: Sequence[_Truth]) -> _Builder:
        first = found[0]
        rows, cols = steps_of(first)
        flips = [flip for axis, flip in ((rows, f2.vertical_flip), (cols, f2.horizontal_flip)) if axis.flipped]
        fill = next((fill for each, truth in zip(found, examples, strict=True) if (fill := _fill(each, truth))), None)
        if first.input_spec.is_float:
            values, described, black = values_of_floats(first)
        else:
            values, described, black = values_of_bytes(first, examples[0].box)
        return cls(
            first.input_spec.container, first.input_spec.shape[0], tuple(flips), tuple(values), fill, black, described
        )

    def pipeline(self, resize: SizeRule, window: WindowRule, resampling: _Resampling) -> v2.Compose:
        """Make the transforms of two rules and a resize."""
        steps: list[Callable[[Any], Any]] = []
        if resampling.through == "PIL":
            steps.append(v2.ToPILImage())
        interpolation, antialias = INTERPOLATIONS[resampling.filter]
        arguments = resize_arguments(resize)
        if resize.kind != "unchanged" and arguments is not None and resampling.through != "v1":
            steps.append(v2.Resize(**arguments, interpolation=interpolation, antialias=antialias))
        elif resize.kind != "unchanged":
            function = f1.resize if resampling.through == "v1" else f2.resize
            steps.append(ResizeBy(resize, interpolation, antialias, function))
        has_black_border = self.fill is None or self.fill == self.black
        is_centred = window.is_centre_crop and has_black_border
        if is_centred:
            steps.append(v2.CenterCrop((window.height, window.width)))
        elif window.kind == "fixed":
            steps.append(CropBy(WindowCrop(window)))
        steps += [*self.flips, *self._back(resampling), *self.values]
        if window.kind != "whole" and not is_centred:
            steps.append(PadBy(WindowBorder(window), self.fill or self.black))
        return composed(steps)

    def _back(self, resampling: _Resampling) -> list[Callable[[Any], Any]]:
        """List what brings a PIL image back to the container of the images that arrive."""
        if resampling.through != "PIL":
            return []
        if self.container == "numpy":
            spec = ImageSpec((self.channels, 1, 1), "uint8", "numpy")
            return [LevelTable(np.tile(np.arange(256.0), (self.channels, 1)), range(self.channels), spec)]
        return conversion("pil", self.container) or []


def _fill(found: Identified, truth: _Truth) -> tuple[float, ...] | None:
    """Read what lies around the image, if there is anything."""
    rows, cols = steps_of(found)
    result = truth.results[0]
    for axis, steps in ((1, rows), (2, cols)):
        if steps.before or steps.after:
            place = 0 if steps.before else -1
            return tuple(map(float, result.take(place, axis=axis)[:, 0]))
    return None
