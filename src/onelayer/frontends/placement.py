"""Place an image of any size in the result of crops, resizes, flips and pads, in a few integers per axis.

What a pipeline does to rows and columns follows from the size of the image by simple arithmetic. Each step of that kind
is one move. :func:`place` makes the moves; the CPU backend compiles it, and fills a kernel's tables with what it gives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from onelayer.frontends.drawn_moves import SAME, Code
from onelayer.image_spec import ImageSpec, RoundingMode

if TYPE_CHECKING:
    from onelayer.frontends.base import Derivation


Size = tuple[int, int]
"""Height and width."""

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
    "opencv_linear",
    "opencv_area",
    "opencv_nearest",
    "opencv_nearest_exact",
    "opencv_nearest_fixed",
]
"""Filters with their arithmetic: five that widen, in fixed point; PyTorch's two that do not; its two that widen, in
float32; three that copy samples; and OpenCV's, of which two are in fixed point, and three copy
samples: `INTER_NEAREST`, and `INTER_NEAREST_EXACT` of versions 5 and 4."""

OPENCV: tuple[SumsName, ...] = (
    "opencv_linear",
    "opencv_area",
    "opencv_nearest",
    "opencv_nearest_exact",
    "opencv_nearest_fixed",
)
"""OpenCV's filters."""

FirstPass = Literal[0, 1, 2]

COLUMNS_FIRST: FirstPass = 0
ROWS_FIRST_IF_TALL: FirstPass = 1
ROWS_FIRST_IF_SHORTENED: FirstPass = 2
"""Choices of the first of two passes of a resize: always along columns; along rows where a very tall image becomes
shorter; along rows where it becomes shorter by more than twice of what it becomes narrower by."""


def rows_first(choice: FirstPass, height: int, width: int, new_height: int, new_width: int) -> bool:
    """Whether the first pass of a resize is along rows."""
    shorter, narrower = height - new_height, width - new_width
    if choice == ROWS_FIRST_IF_TALL:
        return height > 100 * width and shorter > 0
    return choice == ROWS_FIRST_IF_SHORTENED and shorter > 0 and shorter > 2 * narrower


@dataclass(frozen=True)
class Sums:
    """The arithmetic of a resize of bytes, every rounding of which is known.

    Args:
        name: Filter, with its arithmetic.
        limit: Number that the largest weight in fixed point stays below; 0 for always 22 bits of fraction.
        unfused: Products in float32 per group whose products are rounded before they are added; 0 for none.
        first: Choice of the first pass.
    """

    name: SumsName
    limit: int
    unfused: int
    first: FirstPass

    @property
    def in_any_order(self) -> bool:
        """Whether sums are the same in any order of the samples: of whole numbers, in the kernel for bytes."""
        return self.name not in ("float32_bilinear", "float32_bicubic", *OPENCV)


(
    RESIZE_TO,  # Height, width; the last number is free for a choice.
    RESIZE_SHORT,  # New length of the shorter side, largest length of the longer side or 0.
    RESIZE_LONG,  # New length of the longer side.
    CROP_MIDDLE,  # Height, width; with a frame where the image is smaller.
    CROP,  # Top, left, height, width; with a frame where the window leaves the image.
    PAD,  # Left, top, right, bottom.
    CROP_EDGE,  # Top, left, height, width; where the window leaves the image, its outermost samples.
    CROP_REFLECT,  # The same; where the window leaves the image, the image mirrored about its outermost samples.
    CROP_SYMMETRIC,  # The same, mirrored about its edges.
    FLIP_ROWS,
    FLIP_COLS,
) = range(11)
"""Kinds of moves, with their arguments."""

BORDERS = {"edge": CROP_EDGE, "reflect": CROP_REFLECT, "symmetric": CROP_SYMMETRIC}
"""Kinds of moves whose border is made of the image, by torchvision's names of the padding."""

MOVE = 5
"""Numbers of a move: its kind and four arguments."""

Move = tuple[int, int, int, int, int]

(
    START,  # First sample of the part of the image that is resized.
    LENGTH,  # Length of that part.
    RESIZED,  # Length that it is resized to.
    LOW,  # First of these samples that is kept; where nothing is resized, with a border it may be negative.
    KEPT,  # Number of these that are kept, with the border.
    FLIP,  # 1 if the last of them comes first, and 2 more if the samples are reversed before they are resized.
    BEFORE,  # Samples of the frame before them.
    AFTER,  # Samples of the frame after them.
    SIZE,  # Samples that come out, with the frame.
) = range(9)
"""Numbers of an axis."""

ROWS, COLS, FRAME, BORDER = 0, 9, 18, 19
"""Where the numbers of both axes begin in those of an image; the place of the step that made its frame or its border,
-1 without either; and the kind of the border: one of :data:`BORDERS`, 0 without a border."""

NUMBERS = 20
"""Numbers that place an image."""


def place(moves: Sequence[int], height: int, width: int, placed: MutableSequence[int]) -> bool:
    """Make the moves for an image, on integers alone: Numba compiles this function, too.

    Sources of the arithmetic: torchvision's ``_compute_resized_output_size`` and ``center_crop``.

    Args:
        moves: Moves, one after the other, :data:`MOVE` numbers each.
        height: Rows of the image, at least 1.
        width: Columns of the image, at least 1.
        placed: :data:`NUMBERS` numbers, to be set.

    Returns:
        False if only stages can say what becomes of an image of this size.
    """
    for axis, length in ((ROWS, height), (COLS, width)):
        placed[axis + START] = placed[axis + LOW] = placed[axis + FLIP] = 0
        placed[axis + BEFORE] = placed[axis + AFTER] = 0
        placed[axis + LENGTH] = placed[axis + RESIZED] = placed[axis + KEPT] = placed[axis + SIZE] = length
    placed[FRAME], placed[BORDER] = -1, 0
    for step in range(len(moves) // MOVE):
        at = MOVE * step
        kind, first, second, third, fourth = moves[at], moves[at + 1], moves[at + 2], moves[at + 3], moves[at + 4]
        rows, cols = placed[ROWS + SIZE], placed[COLS + SIZE]
        if kind >= FLIP_ROWS:
            axis = ROWS if kind == FLIP_ROWS else COLS
            placed[axis + FLIP] ^= 1
            before, after = placed[axis + BEFORE], placed[axis + AFTER]
            placed[axis + BEFORE], placed[axis + AFTER] = after, before
        elif kind <= RESIZE_LONG:
            new_rows, new_cols = first, second
            if kind != RESIZE_TO:
                short, long = min(rows, cols), max(rows, cols)
                new_short, new_long = first, int(first * long / short)
                if kind == RESIZE_LONG:
                    new_short, new_long = int(first * short / long), first
                elif second > 0 and new_long > second:
                    new_short, new_long = int(second * new_short / new_long), second
                new_rows, new_cols = (new_short, new_long) if rows < cols else (new_long, new_short)
            # PyTorch computes some resizes to a width of 1 wrongly, which the stages know.
            if new_rows < 1 or new_cols <= 1:
                return False
            for axis, size in ((ROWS, new_rows), (COLS, new_cols)):
                if size == placed[axis + SIZE]:
                    continue
                is_framed = placed[axis + BEFORE] > 0 or placed[axis + AFTER] > 0
                is_bordered = placed[axis + LOW] < 0 or placed[axis + LOW] + placed[axis + KEPT] > placed[axis + LENGTH]
                if is_framed or is_bordered or placed[axis + RESIZED] != placed[axis + LENGTH]:
                    return False
                placed[axis + START] += placed[axis + LOW]
                placed[axis + LENGTH] = placed[axis + SIZE]
                placed[axis + RESIZED] = placed[axis + KEPT] = placed[axis + SIZE] = size
                placed[axis + LOW] = 0
                placed[axis + FLIP] *= 2
        else:
            top, left, new_rows, new_cols = first, second, third, fourth
            if kind == CROP_MIDDLE:
                new_rows, new_cols = first, second
                # Torchvision's padding rounds down, its crops round half to even.
                top, left = rows - new_rows, cols - new_cols
                top = top // 2 + (top & (top // 2) & 1) if top > 0 else -(-top // 2)
                left = left // 2 + (left & (left // 2) & 1) if left > 0 else -(-left // 2)
            elif kind == PAD:
                top, left, new_rows, new_cols = -second, -first, rows + second + fourth, cols + first + third
            if top < 0 or left < 0 or top + new_rows > rows or left + new_cols > cols:
                is_framed = False
                for axis in (ROWS, COLS):
                    is_framed = is_framed or placed[axis + BEFORE] > 0 or placed[axis + AFTER] > 0
                if is_framed or (kind > PAD and placed[BORDER] > 0 and placed[BORDER] != kind):
                    # A frame around a frame, which may be of another fill, or a border of another kind.
                    return False
                placed[FRAME] = step
            for axis, start, size in ((ROWS, top, new_rows), (COLS, left, new_cols)):
                length = placed[axis + SIZE]
                before, after = max(-start, 0), max(start + size - length, 0)
                if kind > PAD and max(before, after) > 0:
                    is_bordered = (
                        placed[axis + LOW] < 0 or placed[axis + LOW] + placed[axis + KEPT] > placed[axis + LENGTH]
                    )
                    reach = max(before, after) + (1 if kind == CROP_REFLECT else 0)
                    if is_bordered or placed[axis + RESIZED] != placed[axis + LENGTH]:
                        return False
                    if size < 1 or (kind != CROP_EDGE and reach > length):
                        return False
                    placed[BORDER] = kind
                    placed[axis + START] += placed[axis + LOW]
                    placed[axis + LENGTH] = placed[axis + RESIZED] = length
                    placed[axis + LOW] = length - start - size if placed[axis + FLIP] else start
                    placed[axis + KEPT] = placed[axis + SIZE] = size
                    continue
                end, kept_from = start + size, placed[axis + BEFORE]
                kept_to = kept_from + placed[axis + KEPT]
                begin, last = min(max(start, kept_from), kept_to), min(max(end, kept_from), kept_to)
                if last <= begin:
                    return False
                placed[axis + LOW] += (kept_to - last) if placed[axis + FLIP] & 1 else (begin - kept_from)
                placed[axis + KEPT] = last - begin
                placed[axis + BEFORE], placed[axis + AFTER], placed[axis + SIZE] = begin - start, end - last, size
    return True


class Moves(NamedTuple):
    """Moves for an image of a certain size.

    Args:
        numbers: The moves, one after the other; see :func:`place`.
        size: Height and width of what they make of it.
    """

    numbers: tuple[int, ...]
    size: Size


def size_after(move: Move, height: int, width: int) -> Size:
    """Return the size of what a move makes of an image of a size; where it cannot be made, of nearly that."""
    kind, first, second, third, fourth = move
    if kind >= FLIP_ROWS:
        return height, width
    if kind in (RESIZE_TO, CROP_MIDDLE):
        return first, second
    if kind == PAD:
        return height + second + fourth, width + first + third
    if kind >= CROP:
        return third, fourth
    numbers = [0] * NUMBERS
    place(move, height, width, numbers)
    return numbers[ROWS + SIZE], numbers[COLS + SIZE]


@dataclass(frozen=True)
class RealSums:
    """The arithmetic of a resize in real numbers: weights in float64, which add up to one.

    Args:
        name: Filter.
        in_float32: Whether samples are placed in float32, as PyTorch does in floating point images.
        fused: Whether such a place is multiplied and subtracted with one rounding where the filter does not widen.
        saturates: Whether results are clamped to the values of bytes.
    """

    name: SumsName
    in_float32: bool
    fused: bool
    saturates: bool


class PilResult(IntEnum):
    """What a transform that takes a PIL image and gives one returns. Of several transforms, the largest counts."""

    SAME = 0
    """The image itself."""
    KEEPS_INFO = 1
    """A new image with the ``info`` of the old one: EXIF data, color profile, resolution."""
    NEW = 2
    """A new image that knows nothing of the old one."""


Window = tuple[int, int, int, int, int, int]
"""Start and length of the part of an axis that is resized, its new length, the first output that is kept, the number of
these, and whether they or the samples are reversed: see :data:`FLIP`."""


class Placed(NamedTuple):
    """The place of images of one size in the result.

    Args:
        rows: What becomes of the rows.
        cols: What becomes of the columns.
        top: Rows of the frame above the image.
        left: Columns of the frame to the left of it.
        height: Rows that come out, with the frame.
        width: Columns that come out, with the frame.
        frame: Number of the step that made the frame or the border; -1 without either.
        border: Kind of the border, see :data:`BORDER`.
    """

    rows: Window
    cols: Window
    top: int
    left: int
    height: int
    width: int
    frame: int
    border: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Placed:
        """Take the place of an image from the numbers of :func:`place`."""
        start, length, resized, low, kept, flip, top, _, height = numbers[:COLS]
        rows = start, length, resized, low, kept, flip
        start, length, resized, low, kept, flip, left, _, width, frame, border = numbers[COLS:]
        return cls(rows, (start, length, resized, low, kept, flip), top, left, height, width, frame, border)

    @property
    def is_turned(self) -> bool:
        """Whether samples are reversed before they are resized."""
        return max(self.rows[5], self.cols[5]) > 1


class Step(ABC):
    """A transform that moves and resizes rows and columns in a way that follows from their numbers.

    It states the same twice: as a move for images of any size, and as stages for one size, which are the definition of
    what is right, and serve all that the move does not.
    """

    resizes: ClassVar[bool] = False
    """Whether it sums or selects samples along an axis, other than crops and flips do."""

    by_rule: ClassVar[bool] = False
    """Whether the move follows from the size by a rule of its own, in Python: see :meth:`move_for`."""

    draws: ClassVar[bool] = False
    """Whether that rule draws random numbers."""

    draws_from_python: ClassVar[bool] = False
    """Whether it draws them from Python's generator, and not from PyTorch's alone."""

    def sums(self, spec: ImageSpec, rounding: RoundingMode) -> Sums | RealSums | None:  # noqa: ARG002 - for steps that resize
        """Return the arithmetic of the resize, or None if it is not known for every size.

        Args:
            spec: The image; its height and width mean nothing.
            rounding: ``exact`` for :class:`Sums`, of bytes alone; ``fused`` for :class:`RealSums`.
        """
        return None

    def choices(self, spec: ImageSpec, rounding: RoundingMode) -> Sequence[Sums | RealSums | None]:
        """Return the arithmetic of each resize that one is drawn from; :meth:`sums` where there is nothing to choose.

        The last number of a move is the index of the choice.
        """
        return (self.sums(spec, rounding),)

    @abstractmethod
    def move(self) -> Move | None:
        """Return the step's move; None if only stages can say what it does. Of one by a rule, the kind alone counts.

        Raises:
            OnelayerError: If the transform refuses images of every size.
        """

    def move_for(self, height: int, width: int) -> Move:  # noqa: ARG002 - for steps by a rule
        """Return the move for images of a size, of the kind of :meth:`move`.

        Raises:
            OnelayerError: If the transform refuses images of this size.
        """
        move = self.move()
        assert move is not None, "only steps that move pixels are asked"
        return move

    def code(self) -> Code | None:
        """Return what compiled code draws the move by, see :mod:`onelayer.frontends.drawn_moves`; None if it cannot."""
        move = None if self.by_rule else self.move()
        return None if move is None else (SAME, *move)

    @abstractmethod
    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:
        """Derive the stages for images of a spec.

        Raises:
            OnelayerError: For what cannot be derived.
        """

    def forgets(self, is_framed: bool) -> bool:  # noqa: ARG002 - for steps that pad
        """Whether PIL images that it makes know nothing of the old one.

        Args:
            is_framed: Whether the frame around the image is of this step.
        """
        return False

    def fills(self, spec: ImageSpec) -> Sequence[float]:
        """Return what lies around the image where the step leaves it, a value per channel."""
        return [0.0] * spec.shape[0]
