"""The certificate that ``verify()`` returns: errors of a layer against its pipeline, measured and proved."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from safetensors.numpy import save as serialized

from onelayer.atomic_write import write_whole
from onelayer.errors import require
from onelayer.records import Part, Record, Shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILE = "certificate.json"
_WIDTH = 100
"""Width of the text form in characters."""
_UNLIMITED = 10_000
"""Width of a terminal on which any table fits."""
_SHOWN = 60
"""Maximum number of characters of a layer or a pipeline in the title."""


class ErrorFigures(Part):
    """Errors over a group of images."""

    count: int
    """Number of images."""
    max_units: float
    """Largest absolute error of any output value, in units of the output."""
    max_grey_levels: float
    """Largest absolute error in grey levels, over all channels."""
    mse: float
    """Mean squared error, in squared units of the output."""
    psnr_db: float | None
    """PSNR with a peak of 255 grey levels; None without any error."""
    ssim: float | None
    """Mean SSIM, black and white being 0 and 1, exactly 1 where no value differs. Images of less than 11×11 values are
    left out, and so are the extreme images of single output pixels; None where that leaves none."""
    mismatch_rate: float
    """Fraction of the output values that are not exactly equal, 0 … 1."""


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
    """Dtypes of the outputs."""
    low: float
    """Smallest value that an image is assumed to have: black."""
    high: float
    """Largest value that an image is assumed to have: white."""
    outside_range: int
    """Number of the caller's images with values below or above these; the bound does not hold for them."""
    grey_level_units: tuple[float, ...]
    """One grey level in units of the output, per channel of the worst image: 1/255 of the way from black to white as
    they come out, which is 1/(255·std) behind a ``Normalize``; for uint8, 1. Where black and white give the same, 1/255
    of the range of the channel, or 1/255 where that has one value only."""

    images: ErrorFigures | None
    """Errors on the caller's images; None without any."""
    adversarial: ErrorFigures
    """Errors on black, white, checkerboards, stripes, an impulse, noise, and extreme images."""
    all: ErrorFigures
    """Errors on all images."""
    adversarial_shapes: tuple[Shape, ...]
    """Sizes of the adversarial images: the most frequent ones of the caller's images."""
    extreme_images: int
    """Number of adversarial images on which an output pixel, or its difference, is highest or lowest."""
    extreme_pixels: int
    """Number of output pixels with such images, summed over the sizes."""
    no_extremes_because: str | None
    """Why there are no such images; None where there are."""
    result_difference: str | None
    """How results of the layer differ from those of the pipeline in container or number of dimensions; None where they
    do not."""

    worst_image: str | None
    """The image with the largest error in grey levels: "image 12", "white", "highest value of output pixel (0, 3, 7)",
    …; None where nothing differs."""
    worst_shape: Shape | None
    """Shape of that image."""
    worst_pixel: Shape | None
    """Channel, row and column of that error."""

    bound_units: float | None
    """Largest error of any output value, of any image of these shapes and this range; None where that is not proved."""
    bound_grey_levels: float | None
    """The same bound in grey levels."""
    bound_pixel: Shape | None
    """Channel, row and column of the output value that can be furthest off."""
    bound_rounding_units: float | None
    """The part of the bound that allows for the rounding of the layer's own arithmetic."""
    bound_shapes: tuple[Shape, ...]
    """Sizes of the images that the bound holds for."""
    bit_exact: bool
    """Whether both sides are proved to give the same bits for every image of these shapes, whatever its values."""
    no_bound_because: str | None
    """Why there is no bound; None where there is one."""

    @property
    def guarantee(self) -> str:
        """The proved bound as a sentence, or why there is none."""
        sizes = _listed([_size(shape) for shape in self.bound_shapes])
        if self.bit_exact and self.all.mismatch_rate > 0:
            return (
                "Both sides are the same program as the libraries are documented to round, but their outputs differ: "
                "`onelayer selfcheck` compares the installed versions."
            )
        if self.bit_exact:
            return f"Proved: identical for every image of {sizes}."
        if self.bound_grey_levels is None:
            return f"Nothing is proved of other images: {self.no_bound_because}."
        larger = " (larger were measured, as they include it)" if self._original_rounds_further else ""
        return (
            f"Proved: no image of {sizes} in [{self.low:g}, {self.high:g}] can come out more than "
            f"{at_most(self.bound_grey_levels)} grey levels wrong, against the pipeline in real arithmetic, without "
            f"the original's own rounding{larger}."
        )

    @property
    def _original_rounds_further(self) -> bool:
        return self.bound_units is not None and self.all.max_units > self.bound_units


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """A record, and the worst image.

    Attributes:
        record: The figures, as they go to JSON.
        worst_image: The image with the largest error, or the first image where nothing differs; [C, H, W], in its own
            dtype.
        truth: Output of the pipeline for it, [C', H', W'].
        prediction: Output of the layer for it.
        error_map: Their absolute difference, float32 [C', H', W'], in units of the output.
    """

    record: CertificateRecord
    worst_image: NDArray[Any]
    truth: NDArray[Any]
    prediction: NDArray[Any]
    error_map: NDArray[np.float32]

    def to_json(self) -> str:
        """Return the record as indented JSON."""
        return self.record.model_dump_json(indent=2)

    def write(self, path: str | Path) -> Path:
        """Write the record, and beside it the worst image and its outputs as safetensors.

        Args:
            path: A file ``….json``, or a folder for ``certificate.json``, which is made if need be.

        Returns:
            Path of the file with the record.

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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _fitting_table(self.record, console, options)
        yield from map(Text, self._notes())

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        console = Console(file=io.StringIO(), width=_WIDTH, record=True, legacy_windows=False)
        console.print(self)
        code = console.export_html(inline_styles=True, code_format="{code}")
        return f'<pre style="font-family: monospace; line-height: normal">{code}</pre>'

    def figure(self) -> Figure:
        """Draw the worst image, the outputs of the pipeline and the layer, and the error map in grey levels.

        Raises:
            OnelayerError: If matplotlib is not installed.
        """
        require("matplotlib", extra="reproduce", purpose="The figure of a certificate")
        from matplotlib.figure import Figure

        record = self.record
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        axes = figure.subplots(1, 4)
        low, high = self._span()
        pictures = {
            "image" if record.worst_image is None else f"worst image: {record.worst_image}": (
                self.worst_image,
                record.low,
                record.high,
            ),
            "pipeline": (self.truth, low, high),
            "layer": (self.prediction, low, high),
        }
        for axis, (title, (picture, darkest, brightest)) in zip(axes, pictures.items(), strict=False):
            axis.imshow(_displayed(picture, darkest, brightest), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=9, wrap=True)
        axes[3].set_title("absolute error", fontsize=9)
        if record.worst_image is None:
            axes[3].text(0.5, 0.5, "no difference", ha="center", va="center", transform=axes[3].transAxes)
        else:
            levels = self.error_map / np.array(record.grey_level_units)[:, None, None]
            shown = axes[3].imshow(levels.max(axis=0), cmap="magma", vmin=0, interpolation="nearest")
            figure.colorbar(shown, ax=axes[3], label="grey levels")
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
        return figure

    def _span(self) -> tuple[float, float]:
        outputs = np.stack([self.truth, self.prediction]).astype(np.float64)
        finite = outputs[np.isfinite(outputs)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)

    def _notes(self) -> list[str]:
        record = self.record
        notes = [self._worst_note(), record.guarantee]
        if record.result_difference is not None:
            notes.insert(0, f"Results differ in form: {record.result_difference}.")
        if record.outside_range:
            values = f"values outside of [{record.low:g}, {record.high:g}]"
            notes.append(f"{record.outside_range:,} of the images have {values}.")
        if record.no_extremes_because is not None:
            notes.append(f"No extreme images of output pixels: {record.no_extremes_because}.")
        return notes

    def _worst_note(self) -> str:
        record = self.record
        if record.worst_shape is None or record.worst_pixel is None:
            of_values = "" if record.result_difference is None else " of values"
            return f"No difference{of_values} on any of {record.all.count:,} images."
        place = ", ".join(map(str, record.worst_pixel))
        return f"Worst image: {record.worst_image}, {_size(record.worst_shape)}, at ({place})."


_COLUMNS: dict[str, Callable[[ErrorFigures], str]] = {
    "": lambda figures: f"{figures.count:,}",
    "Max. error\n(levels)": lambda figures: f"{figures.max_grey_levels:.3g}",
    "Max. error\n(units)": lambda figures: f"{figures.max_units:.3g}",
    "MSE": lambda figures: f"{figures.mse:.3g}",
    "PSNR": lambda figures: "∞ dB" if figures.psnr_db is None else f"{figures.psnr_db:.1f} dB",
    "SSIM": lambda figures: _similarity(figures.ssim),
    "Mismatches": lambda figures: _percentage(figures.mismatch_rate),
}
"""Heading and text of each column."""
_LEAST_NEEDED = ("MSE", "Max. error\n(units)", "SSIM", "PSNR")
"""Columns to leave out where the terminal is too narrow, in that order."""


def _fitting_table(record: CertificateRecord, console: Console, options: ConsoleOptions) -> Table:
    """Tabulate the measured errors, leaving out columns rather than cutting off digits."""
    names = list(_COLUMNS)
    table = certificate_table(record, names)
    for name in _LEAST_NEEDED:
        if Measurement.get(console, options.update(max_width=_UNLIMITED), table).maximum <= options.max_width:
            break
        names.remove(name)
        table = certificate_table(record, names)
    return table


def certificate_table(record: CertificateRecord, columns: Sequence[str] = tuple(_COLUMNS)) -> Table:
    """Tabulate the measured errors, one row for each group of images."""
    title = Text(f"{_shortened(record.layer)}\nagainst {_shortened(record.transform)}")
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("Images", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    groups = {"given": record.images, "adversarial": record.adversarial, "all": record.all}
    for name, figures in groups.items():
        if figures is not None:
            table.add_row(name, *(_COLUMNS[column](figures) for column in columns))
    return table


def _similarity(ssim: float | None) -> str:
    # Never 1 by rounding alone.
    return "–" if ssim is None else "> 0.9999" if 0.99995 <= ssim < 1 else f"{ssim:.4f}"


def _percentage(rate: float) -> str:
    # Never 0 or 100 % by rounding alone.
    if 0 < rate < 0.0001:
        return "< 0.01%"
    return "> 99.99%" if 0.9999 < rate < 1 else f"{rate:.2%}"


def at_most(value: float) -> str:
    """Format a number with three significant digits, rounded up: a proved bound must hold as it is printed."""
    return f"{Context(prec=3, rounding=ROUND_CEILING).create_decimal(value).normalize():g}"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _listed(names: Sequence[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} or {last}" if others else last


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _displayed(picture: NDArray[Any], darkest: float, brightest: float) -> NDArray[np.float64]:
    """Scale a picture to 0 … 1: [3, H, W] in colours; of any other number of channels the first, in grey."""
    values = (picture.astype(np.float64) - darkest) / ((brightest - darkest) or 1.0)
    return np.clip(np.nan_to_num(np.moveaxis(values, 0, -1) if len(values) == 3 else values[0]), 0, 1)
