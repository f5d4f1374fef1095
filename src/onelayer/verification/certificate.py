"""What ``verify()`` returns: how far a layer is from the pipeline it replaces, measured and proved."""

from __future__ import annotations

import io
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from safetensors.numpy import save as serialized

from onelayer.atomic_write import write_whole
from onelayer.records import Part, Record, Shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILE = "certificate.json"
_WIDTH = 100
"""Characters of the text form."""
_SHOWN = 60
"""Characters of a layer or a pipeline that the title shows."""


class ErrorFigures(Part):
    """The errors over a group of images."""

    images: int
    max_units: float
    """Largest absolute error of any output value, in the units of the output."""
    max_grey_levels: float
    """The same in grey levels, of whichever channel has the largest."""
    mse: float
    """Mean squared error, in squared units of the output."""
    psnr_db: float | None
    """The peak being 255 grey levels; None where there is no error."""
    ssim: float | None
    """Mean SSIM, black and white being 0 and 1. Images of less than 11×11 values are left out, and so are the extreme
    images of single output pixels; None where that leaves none."""
    differing: float
    """Share of the output values that are not exactly equal, 0 … 1."""


class CertificateRecord(Record):
    """certificate.json"""

    layer: str
    """The layer, as it prints itself."""
    transform: str
    """The pipeline, as it prints itself."""
    inputs: tuple[str, ...]
    """Dtype and container of the images, such as "float32 tensor"."""
    input_shapes: tuple[Shape, ...]
    """Sizes of the images, the most frequent first."""
    output_dtypes: tuple[str, ...]
    low: float
    """The smallest value that an image is assumed to have: black."""
    high: float
    """The largest: white."""
    outside_range: int
    """Given images with values below or above these; the bound does not hold for them."""
    grey_level_units: tuple[float, ...]
    """One grey level in units of the output, per channel of the worst image: 1/255 of the way from black to white as
    they come out, which is 1/(255·std) behind a ``Normalize``; for uint8, 1. Where black and white give the same, 1/255
    of the range of the channel, or 1/255 where that has one value only."""

    given: ErrorFigures | None
    """None where no images were given."""
    nasty: ErrorFigures
    """Black, white, checkerboards, stripes, an impulse, noise, and extreme images."""
    all: ErrorFigures
    nasty_shapes: tuple[Shape, ...]
    """The sizes of the nasty images: the most frequent ones of those given."""
    extreme_images: int
    """How many of the nasty images are the highest or lowest of an output pixel, or of its difference."""
    extreme_pixels: int
    """How many output pixels have these, summed over the sizes."""
    no_extremes_because: str | None

    worst_image: str
    """The image with the largest error in grey levels: "given 12", "white", "highest value of output pixel (0, 3, 7)",
    …"""
    worst_shape: Shape
    worst_pixel: Shape
    """Channel, row and column of that error."""

    bound_units: float | None
    """No output value of any image of these shapes and this range is further off; None if that is not proved."""
    bound_grey_levels: float | None
    bound_pixel: Shape | None
    """Channel, row and column of the output value that can be furthest off."""
    bound_rounding_units: float | None
    """How much of the bound is there for the rounding of the layer's own arithmetic."""
    bound_shapes: tuple[Shape, ...]
    no_bound_because: str | None

    @property
    def promise(self) -> str:
        """The proved bound as a sentence, or why there is none."""
        if self.bound_grey_levels is None:
            return f"Nothing is proved of other images: {self.no_bound_because}."
        sizes = ", ".join(map(_size, self.bound_shapes))
        larger = " (larger were measured, as they include it)" if self._original_rounds_further else ""
        return (
            f"No image in [{self.low:g}, {self.high:g}] can come out more than {at_most(self.bound_grey_levels)} grey "
            f"levels wrong: proved for {sizes}, against the pipeline in real arithmetic, without the original's own "
            f"rounding{larger}."
        )

    @property
    def _original_rounds_further(self) -> bool:
        return self.bound_units is not None and self.all.max_units > self.bound_units


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """A record, and the worst image.

    Attributes:
        record: What goes to JSON.
        worst_image: The image with the largest error, [C, H, W], in its own dtype.
        truth: What the pipeline makes of it, [C', H', W'].
        prediction: What the layer makes of it.
        error_map: Their absolute difference, float32 [C', H', W'], in units of the output.
    """

    record: CertificateRecord
    worst_image: NDArray[Any]
    truth: NDArray[Any]
    prediction: NDArray[Any]
    error_map: NDArray[np.float32]

    def to_json(self) -> str:
        """The record as indented JSON."""
        return self.record.model_dump_json(indent=2)

    def write(self, path: str | Path) -> Path:
        """Write the record, and beside it the worst image and its outputs as safetensors.

        Args:
            path: A file ``….json``, or a folder, which is made if need be, for ``certificate.json``.

        Returns:
            The file with the record.

        Raises:
            OSError: If it cannot be written.
        """
        path = Path(path)
        file = path if path.suffix == ".json" else path / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        pictures = {
            "worst_image": self.worst_image,
            "truth": self.truth,
            "prediction": self.prediction,
            "error_map": self.error_map,
        }
        contiguous = {name: np.ascontiguousarray(picture) for name, picture in pictures.items()}
        write_whole(file.with_suffix(".safetensors"), serialized(contiguous))
        self.record.write(file)
        return file

    def __rich__(self) -> Group:
        return Group(certificate_table(self.record), *map(Text, self._notes()))

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        console = Console(file=io.StringIO(), width=_WIDTH, record=True, legacy_windows=False)
        console.print(self)
        code = console.export_html(inline_styles=True, code_format="{code}")
        return f'<pre style="font-family: monospace; line-height: normal">{code}</pre>'

    def figure(self) -> Figure:
        """The worst image, what the pipeline and the layer make of it, and the error map in grey levels."""
        from matplotlib.figure import Figure

        record = self.record
        levels = self.error_map / np.array(record.grey_level_units)[:, None, None]
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        axes = figure.subplots(1, 4)
        low, high = self._span()
        pictures = {
            f"worst image: {record.worst_image}": (self.worst_image, record.low, record.high),
            "pipeline": (self.truth, low, high),
            "layer": (self.prediction, low, high),
        }
        for axis, (title, (picture, darkest, brightest)) in zip(axes, pictures.items(), strict=False):
            axis.imshow(_displayed(picture, darkest, brightest), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=9, wrap=True)
        shown = axes[3].imshow(levels.max(axis=0), cmap="magma", vmin=0, interpolation="nearest")
        axes[3].set_title("absolute error", fontsize=9)
        figure.colorbar(shown, ax=axes[3], label="grey levels")
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
        return figure

    def _span(self) -> tuple[float, float]:
        both = np.stack([self.truth, self.prediction]).astype(np.float64)
        finite = both[np.isfinite(both)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)

    def _notes(self) -> list[str]:
        record = self.record
        place = ", ".join(map(str, record.worst_pixel))
        notes = [f"Worst image: {record.worst_image}, {_size(record.worst_shape)}, at ({place}).", record.promise]
        if record.outside_range:
            values = f"values outside of [{record.low:g}, {record.high:g}]"
            notes.append(f"{record.outside_range:,} of the images given have {values}.")
        if record.no_extremes_because is not None:
            notes.append(f"No extreme images of output pixels: {record.no_extremes_because}.")
        return notes


def certificate_table(record: CertificateRecord) -> Table:
    """The measured errors, one row for each group of images."""
    title = Text(f"{_shortened(record.layer)}\nagainst {_shortened(record.transform)}")
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("Images", no_wrap=True)
    for name in ("", "Largest error\n(grey levels)", "Largest error\n(units)", "MSE", "PSNR", "SSIM", "Differing"):
        table.add_column(name, justify="right", no_wrap=True)
    groups = {"given": record.given, "nasty": record.nasty, "all": record.all}
    for name, figures in groups.items():
        if figures is not None:
            table.add_row(name, *_cells(figures))
    return table


def _cells(figures: ErrorFigures) -> tuple[str, ...]:
    return (
        f"{figures.images:,}",
        f"{figures.max_grey_levels:.3g}",
        f"{figures.max_units:.3g}",
        f"{figures.mse:.3g}",
        "∞ dB" if figures.psnr_db is None else f"{figures.psnr_db:.1f} dB",
        _similarity(figures.ssim),
        f"{figures.differing:.2%}",
    )


def _similarity(ssim: float | None) -> str:
    # Never 1 by rounding alone.
    return "–" if ssim is None else "> 0.9999" if 0.99995 <= ssim < 1 else f"{ssim:.4f}"


def at_most(value: float) -> str:
    """Three significant digits, rounded up: what is proved of a number must hold for what is printed of it."""
    return f"{Context(prec=3, rounding=ROUND_CEILING).create_decimal(value).normalize():g}"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _displayed(picture: NDArray[Any], darkest: float, brightest: float) -> NDArray[np.float64]:
    """[3, H, W] in colours; of any other number of channels the first, in grey; 0 … 1."""
    values = (picture.astype(np.float64) - darkest) / ((brightest - darkest) or 1.0)
    return np.clip(np.nan_to_num(np.moveaxis(values, 0, -1) if len(values) == 3 else values[0]), 0, 1)
