"""Place an image of any size in the result of crops, resizes, flips and pads, in a few integers per axis.

What a pipeline does to rows and columns follows from the size of the image by simple arithmetic. Steps of that kind do
the arithmetic alone; with the size that it gives, compiled code fills the tables of a kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from onelayer.image_spec import ImageSpec, RoundingMode

if TYPE_CHECKING:
    from onelayer.frontends.base import Derivation


Size = tuple[int, int]
"""Height and width."""

FirstPass = Literal["rows", "cols"]

SumsName = Literal[
    "box",
    "bilinear",
    "hamming",
    "bicubic",
    "lanczos",
    "bilinear_without_antialiasing",
    "bicubic_without_antialiasing",
    "float32_bilinear",
    "float32_bicubic",
    "nearest",
    "nearest_exact",
    "pillow_nearest",
]
"""Filters with their arithmetic: five that widen, in fixed point; PyTorch's two that do not; its two that widen, in
float32; three that copy samples."""


@dataclass(frozen=True)
class Sums:
    """The arithmetic of a resize of bytes, every rounding of which is known.

    Args:
        name: Filter, with its arithmetic.
        limit: Number that the largest weight in fixed point stays below; 0 for always 22 bits of fraction.
        unfused: Products in float32 per group whose products are rounded before they are added; 0 for none.
        first: Choice of the axis of the first pass, by the sizes before and after.
    """

    name: SumsName
    limit: int
    unfused: int
    first: Callable[[Size, Size], FirstPass]


Window = tuple[int, int, int, int, int, int]
"""Start and length of the part of an axis that is resized, its new length, the first output that is kept, the number of
these, and 1 if the last comes first."""


class Axis:
    """What becomes of the rows, or of the columns, of an image.

    A part of the image, ``length`` samples from ``start`` on, is resized to ``resized`` samples. Of these those from
    ``low`` up to before ``high`` are kept, in reverse order with ``flip``. Around them lies a frame of ``before`` and
    ``after`` samples.
    """

    __slots__ = ("after", "before", "flip", "high", "length", "low", "resized", "size", "start")

    def __init__(self, length: int) -> None:
        self.start = self.low = self.before = self.after = 0
        self.length = self.resized = self.high = self.size = length
        """The last is the number of samples that come out."""
        self.flip = False

    @property
    def window(self) -> Window:
        """What a kernel needs to know of the axis."""
        return self.start, self.length, self.resized, self.low, self.high - self.low, int(self.flip)

    @property
    def is_framed(self) -> bool:
        """Whether there is a frame on either side."""
        return self.before > 0 or self.after > 0

    def resize(self, size: int) -> bool:
        """Resize what comes out; False if that cannot be said in these numbers, because it is flipped or framed."""
        if self.flip or self.before or self.after or self.resized != self.length:
            return False
        self.start += self.low
        self.length = self.size
        self.resized = self.high = self.size = size
        self.low = 0
        return True

    def crop(self, start: int, size: int) -> bool:
        """Keep ``size`` samples from ``start`` on, with a frame where they leave the axis; False if none is left."""
        end = start + size
        if not (self.flip or self.before or self.after) and start >= 0 and end <= self.size:
            self.high = self.low + end
            self.low += start
            self.size = size
            return True
        kept_from, kept_to = self.before, self.size - self.after
        begin, last = min(max(start, kept_from), kept_to), min(max(end, kept_from), kept_to)
        if last <= begin:
            return False
        front, back = begin - kept_from, kept_to - last
        if self.flip:
            front, back = back, front
        self.low += front
        self.high -= back
        self.before, self.after, self.size = begin - start, end - last, size
        return True

    def reverse(self) -> None:
        """Reverse what comes out."""
        self.flip = not self.flip
        self.before, self.after = self.after, self.before


class Placed(NamedTuple):
    """The place of images of one size in the result.

    Args:
        rows: What becomes of the rows.
        cols: What becomes of the columns.
        top: Rows of the frame above the image.
        left: Columns of the frame to the left of it.
        height: Rows that come out, with the frame.
        width: Columns that come out, with the frame.
        fill: Step whose fill the frame has; None without a frame.
    """

    rows: Window
    cols: Window
    top: int
    left: int
    height: int
    width: int
    fill: Step | None


class Placement:
    """Rows and columns of an image in the result, and the step whose fill their frame has.

    Args:
        height: Rows of the image.
        width: Columns of the image.
    """

    __slots__ = ("cols", "fill", "rows")

    def __init__(self, height: int, width: int) -> None:
        self.rows, self.cols = Axis(height), Axis(width)
        self.fill: Step | None = None

    def crop(self, step: Step, top: int, left: int, height: int, width: int) -> bool:
        """Crop both axes, for a step whose fill lies where the window leaves the image.

        Returns:
            False if nothing of the image is left, or a frame of another fill is there already.
        """
        rows, cols = self.rows, self.cols
        if top < 0 or left < 0 or top + height > rows.size or left + width > cols.size:
            if self.fill is not None and self.fill is not step and (rows.is_framed or cols.is_framed):
                return False
            self.fill = step
        return rows.crop(top, height) and cols.crop(left, width)

    def placed(self) -> Placed:
        """Return the numbers."""
        rows, cols = self.rows, self.cols
        return Placed(rows.window, cols.window, rows.before, cols.before, rows.size, cols.size, self.fill)


class Step(ABC):
    """A transform that moves and resizes rows and columns in a way that follows from their numbers.

    It states the same twice: as arithmetic for images of any size, and as stages for one size, which are the definition
    of what is right, and serve all that the arithmetic does not.
    """

    resizes: ClassVar[bool] = False
    """Whether it sums or selects samples along an axis, other than crops and flips do."""

    def sums(self, spec: ImageSpec) -> Sums | None:  # noqa: ARG002 - for steps that resize
        """Return the arithmetic with which bytes are resized exactly, or None if that is not known.

        Args:
            spec: The image, of uint8; its height and width mean nothing.
        """
        return None

    @abstractmethod
    def place(self, placement: Placement) -> bool:
        """Do the step's arithmetic on a placement; False if it has no place there, and only stages can say it.

        Raises:
            OnelayerError: If the transform refuses an image of this size.
        """

    @abstractmethod
    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        """Derive the stages for images of a spec.

        Raises:
            OnelayerError: For what cannot be derived.
        """

    def fills(self, spec: ImageSpec) -> Sequence[float]:
        """Return what lies around the image where the step leaves it, a value per channel."""
        return [0.0] * spec.shape[0]
