"""State a pipeline for images of every size: how rows and columns are placed, and what happens to each pixel.

That is derived once per container, dtype and number of channels. For an image, only the arithmetic of its size is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress
from typing import Any

import numpy as np

from onelayer.algebra import Clamp, Program, Quantize, Separable, Stage
from onelayer.algebra.operator import FloatArray
from onelayer.errors import OnelayerError
from onelayer.frontends.base import (
    ANY_SIZE,
    DRAWS,
    SEQUENCES,
    STEPS,
    UNREADABLE,
    Derivation,
    Draw,
    kind_of,
    name_of,
    stages_of,
)
from onelayer.frontends.derivation import changes_its_image, check_conversion, returns_plain_tensors
from onelayer.frontends.placement import (
    BORDERS,
    CROP,
    CROP_MIDDLE,
    FLIP_COLS,
    FLIP_ROWS,
    FRAME,
    MOVE,
    NUMBERS,
    PAD,
    RESIZE_LONG,
    RESIZE_TO,
    Move,
    Moves,
    PilResult,
    Placed,
    RealSums,
    Size,
    Step,
    Sums,
    place,
    size_after,
)
from onelayer.frontends.probing import keeps_type, pil_result
from onelayer.image_spec import ImageSpec, RoundingMode


@dataclass(frozen=True, eq=False)
class Structure:
    """A pipeline for images of every size.

    Args:
        steps: What moves and resizes rows and columns, in order; at most one of them is a resize.
        moves: Moves of the steps, one after the other; see :func:`onelayer.frontends.placement.place`. Of steps by a
            rule, only the kinds count; see :meth:`moves_for`.
        sums: Arithmetic of the resize; None without one.
        choices: Arithmetic of each resize that one is drawn from; a single one where there is nothing to choose.
        pixels: What happens to each pixel after the resize, as a program for images of 1×1. In real arithmetic what
            comes before the resize may be in it, because weights that add up to one leave affine maps as they are.
        fills: For each step float64 [C'], what lies around the image where the step leaves it, as it comes out.
        input_spec: The image that arrives; its height and width mean nothing.
        output_spec: The image that leaves; its height and width mean nothing.
        rounding: ``exact`` if every rounding of the original is in it, ``fused`` if it is in real arithmetic.
        of_pil: What the transforms other than the steps return for a PIL image.
    """

    steps: tuple[Step, ...]
    moves: tuple[int, ...]
    sums: Sums | RealSums | None
    choices: tuple[Sums | RealSums | None, ...]
    pixels: Program
    fills: tuple[FloatArray, ...]
    input_spec: ImageSpec
    output_spec: ImageSpec
    rounding: RoundingMode
    of_pil: PilResult

    @property
    def only_copies(self) -> bool:
        """Whether pixels come out as they are, but in other places, and nothing is ever resized."""
        return self.sums is None and not self.pixels.stages and self.input_spec == self.output_spec

    @property
    def only_flips(self) -> bool:
        """Whether nothing is done but flips, whatever the size."""
        are_flips = all(kind in (FLIP_ROWS, FLIP_COLS) for kind in self.moves[::MOVE])
        return are_flips and self.only_copies and not self.by_rule

    @property
    def makes_borders(self) -> bool:
        """Whether a step makes a border of what is in the image."""
        return any(kind in BORDERS.values() for kind in self.moves[::MOVE])

    @cached_property
    def by_rule(self) -> bool:
        """Whether moves follow from the size by rules in Python."""
        return any(step.by_rule for step in self.steps)

    @cached_property
    def draws(self) -> bool:
        """Whether those rules draw random numbers."""
        return any(step.draws for step in self.steps)

    @cached_property
    def draws_from_python(self) -> bool:
        """Whether some of these come from Python's generator."""
        return any(step.draws_from_python for step in self.steps)

    @property
    def place_of_choice(self) -> int | None:
        """Index in the moves of the number of the choice; None where there is nothing to choose."""
        if len(self.choices) == 1:
            return None
        (resize,) = (number for number, step in enumerate(self.steps) if step.resizes)
        return MOVE * resize + MOVE - 1

    def moves_for(self, height: int, width: int) -> Moves | None:
        """Return the moves for images of a size; None if a step refuses them. It draws what the pipeline draws."""
        numbers: list[int] = []
        for step in self.steps:
            try:
                move = step.move_for(height, width)
            except OnelayerError:
                return None
            numbers += move
            height, width = size_after(move, height, width)
            if height < 1 or width < 1:
                return None
        return Moves(tuple(numbers), (height, width))

    @property
    def size(self) -> Size | None:
        """Height and width of what comes out, if these are the same for images of all sizes, whatever rules say."""
        size: Size | None = None
        for at, step in zip(range(0, len(self.moves), MOVE), self.steps, strict=True):
            kind, *numbers = self.moves[at : at + MOVE]
            if step.by_rule:
                return None
            if kind in (RESIZE_TO, CROP_MIDDLE):
                size = numbers[0], numbers[1]
            elif kind == CROP:
                size = numbers[2], numbers[3]
            elif kind == PAD and size is not None:
                left, top, right, bottom = numbers
                size = size[0] + top + bottom, size[1] + left + right
            elif kind <= RESIZE_LONG:
                size = None
        return size

    def place(self, moves: tuple[int, ...], height: int, width: int) -> Placed | None:
        """Place an image in the result; None if only stages can say what becomes of one of this size.

        Args:
            moves: Moves for the image; see :meth:`moves_for`.
            height: Rows of the image.
            width: Columns of the image.
        """
        numbers = [0] * NUMBERS
        if min(height, width) < 1 or not place(moves, height, width, numbers):
            return None
        placed = Placed.of(numbers)
        is_known = not placed.is_turned or (isinstance(self.sums, Sums) and self.sums.in_any_order)
        return placed if is_known else None

    def pil_result(self, placed: Placed, height: int, width: int, moves: tuple[int, ...]) -> PilResult:
        """Return what the original returns for a PIL image.

        Args:
            placed: The place of the image in the result.
            height: Rows of the image.
            width: Columns of the image.
            moves: Moves that placed it.
        """
        if self.of_pil is PilResult.NEW or self._forgets(placed.frame, height, width, moves):
            return PilResult.NEW
        only_resizes = max(moves[::MOVE], default=RESIZE_TO) <= RESIZE_LONG
        stays = only_resizes and (placed.height, placed.width) == (height, width)
        return self.of_pil if stays else PilResult.KEEPS_INFO

    @cached_property
    def _forgetful(self) -> tuple[bool, bool]:
        """Whether a step makes PIL images that know nothing of the old one: always, and if it makes a frame."""
        return any(step.forgets(False) for step in self.steps), any(step.forgets(True) for step in self.steps)

    def _forgets(self, frame: int, height: int, width: int, moves: tuple[int, ...]) -> bool:
        always, if_framed = self._forgetful
        while not always and if_framed and frame >= 0:
            if self.steps[frame].forgets(True):
                return True
            numbers = [0] * NUMBERS
            place(moves[: MOVE * frame], height, width, numbers)
            frame = numbers[FRAME]
        return always


_ROUNDED_FLOATS = "floating point images are rounded as the original rounds them"


@dataclass(frozen=True)
class _NumbersOnly(Step):
    """A step that draws the numbers of a transform of which none matters."""

    numbers: tuple[Draw, ...]

    by_rule = draws = True

    def move(self) -> Move:
        return FLIP_ROWS, 0, 0, 0, 0

    def move_for(self, height: int, width: int) -> Move:
        for draw in self.numbers:
            draw()
        return RESIZE_TO, height, width, 0, 0

    def stages(self, spec: ImageSpec, rounding: RoundingMode) -> Derivation:  # noqa: ARG002 - it does nothing
        return [], spec


class _Draft:
    def __init__(self, spec: ImageSpec, rounding: RoundingMode) -> None:
        self.first = self.spec = spec
        self.rounding = rounding
        self.steps: list[tuple[Step, int, ImageSpec]] = []
        self.moves: list[Move] = []
        self.stages: list[Stage] = []
        self.sums: Sums | RealSums | None = None
        self.choices: tuple[Sums | RealSums | None, ...] = (None,)
        self.of_pil = PilResult.SAME

    def add(self, transform: Any) -> str | None:
        """Add a transform, or return the reason why it cannot be stated for every size."""
        kind, already = kind_of(transform), len(self.steps)
        if (reason := self._add(transform, kind)) is not None:
            return reason
        if kind in DRAWS and not any(step.draws for step, _, _ in self.steps[already:]):
            self._add_step(_NumbersOnly(tuple(DRAWS[kind](transform))))
        return None

    def _add_step(self, step: Step) -> bool:
        if (move := step.move()) is None:
            return False
        self.moves.append(move)
        self.steps.append((step, len(self.stages), self.spec))
        return True

    def drop_numbers(self) -> None:
        """Drop the steps that draw for nothing, where no other draws: then it does not matter when they do."""
        if all(isinstance(step, _NumbersOnly) or not step.draws for step, _, _ in self.steps):
            is_kept = [not isinstance(step, _NumbersOnly) for step, _, _ in self.steps]
            self.steps, self.moves = list(compress(self.steps, is_kept)), list(compress(self.moves, is_kept))

    def _add(self, transform: Any, kind: Hashable) -> str | None:
        before = self.spec
        if self.first.is_float and changes_its_image(transform):
            return f"{name_of(transform)} may change the image itself, in place"
        if kind in SEQUENCES:
            for part in SEQUENCES[kind](transform, self.spec):
                if (reason := self.add(part)) is not None:
                    return reason
            # Where nothing is done, no other container comes out; whether anything is may depend on the size.
            plain = returns_plain_tensors(transform) and before.container == "image"
            return f"{name_of(transform)} of a tv_tensors.Image returns another type" if plain else None
        if kind in STEPS:
            step = STEPS[kind](transform, self.spec)
            if returns_plain_tensors(transform) and self.spec.container == "image":
                return f"{name_of(transform)} of a tv_tensors.Image returns another type"
            if self._makes_border(step) and (self.rounding != "exact" or self.first.dtype != "uint8"):
                return f"the border of {name_of(transform)} is known for every size of bytes alone"
            if self._makes_border(step) and self.sums is not None:
                return "a border that is made of the image comes after a resize"
            if step.resizes:
                if self.sums is not None:
                    return "there are two resizes"
                if any(self._makes_border(before) for before, _, _ in self.steps):
                    return "a resize comes after a border that is made of the image"
                is_exact = self.rounding == "exact"
                if not all(isinstance(stage, Separable) and not is_exact for stage in self.stages):
                    return "a resize comes after what changes values"
                if self.spec.is_float and is_exact:
                    return _ROUNDED_FLOATS
                self.choices = tuple(step.choices(self.spec, self.rounding))
                self.sums = self.choices[0]
                if self.sums is None or None in self.choices:
                    return f"the sums of {name_of(transform)} are not known for every size"
                if len(self.choices) > 1 and not is_exact:
                    return f"{name_of(transform)} draws its interpolation"
                if isinstance(self.sums, RealSums) and self.sums.saturates:
                    self.stages.append(Clamp(0.0, 255.0))
            is_move = self._add_step(step)
            return None if is_move else f"what {name_of(transform)} does is no crop, resize, flip or constant padding"
        if kind not in ANY_SIZE:
            return f"what {name_of(transform)} does depends on the size in another way than by crops, resizes and flips"
        added, output = stages_of(transform, self.spec, self.rounding)
        is_wrapped = output.container == "image" and returns_plain_tensors(transform)
        if is_wrapped and (added or not keeps_type(transform, before)):
            output = replace(output, container="tensor")
        if self.rounding == "exact":
            check_conversion(self.first, self.stages, before, added, output)
        self.stages += added
        self.of_pil = max(self.of_pil, pil_result(transform, before, output))
        self.spec = output
        return None

    @staticmethod
    def _makes_border(step: Step) -> bool:
        move = step.move()
        return move is not None and move[0] in BORDERS.values()

    def round_at_the_end(self) -> None:
        """Round the bytes that come out of real arithmetic."""
        changes_values = self.sums is not None or self.stages
        is_rounded = bool(self.stages) and isinstance(self.stages[-1], Quantize)
        if self.rounding == "fused" and not self.spec.is_float and changes_values and not is_rounded:
            self.stages.append(Quantize("half_even"))

    def fill(self, step: Step, done: int, spec: ImageSpec) -> FloatArray:
        """Find what comes out where a step puts its fill, after ``done`` stages."""
        values = np.asarray(step.fills(spec), dtype=np.float64)[:, None, None]
        result: FloatArray = Program(spec.shape, tuple(self.stages[done:])).apply(values)[:, 0, 0]
        return result


def structure_of(transforms: Sequence[Any], spec: ImageSpec, rounding: RoundingMode) -> Structure | str:
    """State transforms for images of every size, or return the reason why that cannot be.

    Args:
        transforms: The transforms in order, none of which is a container.
        spec: The image that arrives; its height and width mean nothing.
        rounding: Rounding of the result.
    """
    spec = replace(spec, shape=(spec.shape[0], 1, 1))
    draft = _Draft(spec, rounding)
    try:
        for transform in transforms:
            if (reason := draft.add(transform)) is not None:
                return reason
        draft.drop_numbers()
        draft.round_at_the_end()
        fills = tuple(draft.fill(*step) for step in draft.steps)
    except UNREADABLE as error:
        # Derived for the size of the image that comes, it says the same with the size, or has found a way.
        return error.problem if isinstance(error, OnelayerError) else f"{type(error).__name__}: {error}"
    steps = tuple(step for step, _, _ in draft.steps)
    pixels = Program(spec.shape, tuple(draft.stages))
    structure = Structure(
        steps,
        tuple(chain(*draft.moves)),
        draft.sums,
        draft.choices,
        pixels,
        fills,
        spec,
        draft.spec,
        rounding,
        draft.of_pil,
    )
    if spec.is_float and rounding == "exact" and not structure.only_copies:
        return _ROUNDED_FLOATS
    return structure
