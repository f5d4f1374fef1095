"""Run pipelines on images of any size, without a plan for each: sizes are computed, tables filled, the kernel run.

Tables lie in memory that each thread has for itself and uses again. As long as sizes and windows are those of the image
before, they stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from struct import Struct
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.algebra import AxisMap, Range, simplify
from onelayer.backends.cpu import byte_call as field
from onelayer.backends.cpu import fill, memory, taps
from onelayer.backends.cpu.byte_kernel import resized_bytes
from onelayer.backends.cpu.compilation import address_of
from onelayer.backends.cpu.launch import (
    MULTIPLICATIONS_PER_THREAD,
    SAMPLE,
    ByteLaunch,
    in_dtype,
    run_in_threads,
    shares_of,
)
from onelayer.backends.cpu.split import ByteSegment, byte_segments_of
from onelayer.backends.cpu.tables import BYTES, LANES
from onelayer.backends.kernel_memory import written_dtype
from onelayer.backends.target import ComputeAnySize, LoweringTarget, PixelMemory, ResultMemory
from onelayer.frontends.placement import (
    BEFORE,
    COLS,
    COLUMNS_FIRST,
    KEPT,
    MOVE,
    Placed,
    RealSums,
    Sums,
    SumsName,
    Window,
)
from onelayer.frontends.structure import Structure
from onelayer.images.pillow_memory import layout

KINDS: dict[SumsName, int] = {
    "box": taps.BOX,
    "bilinear": taps.BILINEAR,
    "hamming": taps.HAMMING,
    "bicubic": taps.BICUBIC,
    "lanczos": taps.LANCZOS,
    "bilinear_without_antialiasing": taps.LINEAR_PAIRS,
    "bicubic_without_antialiasing": taps.CUBIC_FOURS,
    "float32_bilinear": taps.FLOAT32_BILINEAR,
    "float32_bicubic": taps.FLOAT32_BICUBIC,
    "nearest": taps.NEAREST,
    "nearest_exact": taps.NEAREST_EXACT,
    "pillow_nearest": taps.PILLOW_NEAREST,
    "opencv_linear": taps.OPENCV_LINEAR,
    "opencv_area": taps.OPENCV_AREA,
    "opencv_nearest": taps.OPENCV_NEAREST,
    "opencv_nearest_exact": taps.PILLOW_NEAREST,
    "opencv_nearest_fixed": taps.OPENCV_NEAREST_FIXED,
}
"""Kernels' numbers of the filters."""

_OF_IMAGE, _PLACE = Struct(f"{field.ROW_START}q"), Struct(f"{field.AROUND - field.ROW_START}q")
"""Fields of a call that are set for each image, and those of its place in the result."""

_MOVES = Struct("QQ")
"""Fields of a call that say which moves are made, from :data:`field.MOVES` on."""

_numbers = lru_cache(maxsize=64)(lambda count: Struct(f"{count}q"))
"""Layout of as many numbers."""

_NO_SHARES = 1, 1 << 40
"""One piece, which has all rows."""


_NO_CONSTANTS: Mapping[int, int] = {}

MAX_KEPT = 16 << 20
"""Maximum number of bytes of the tables that a thread keeps for its next image."""


_Numbers = tuple[int, ...] | None


class _Workspace:
    """Memory for the tables of one call at a time.

    Args:
        outputs: Number of outputs of an axis that there is room for.
        taps: Number of taps that there is room for.
        lines: Length of an axis of an image that there is room for.
    """

    def __init__(self, outputs: int = 512, taps: int = 32, lines: int = 1024) -> None:
        long = outputs + 2 * BYTES
        all_taps = (taps + 2 * BYTES) * long
        arrays: dict[int, NDArray[Any]] = {
            fill.FIRST: np.empty(long, np.int32),
            fill.COUNTS: np.empty(long, np.int32),
            fill.REAL: np.empty(all_taps, np.float64),
            fill.WHOLE: np.empty(all_taps, np.int32),
            fill.STARTS: np.empty(all_taps, np.uint64),
            fill.PLACES: np.empty(all_taps, np.int32),
            fill.COL_WEIGHTS: np.empty(4 * all_taps, np.int32),
            fill.ROW_STARTS: np.empty(long, np.uint64),
            fill.ROW_WEIGHTS: np.empty(2 * all_taps, np.int32),
            fill.COPIES: np.empty(long, np.uint64),
            fill.NATURAL: np.arange(max(lines, long), dtype=np.uint64),
        }
        room = {fill.ROOM_OUTPUTS: outputs, fill.ROOM_TAPS: taps, fill.ROOM_LINES: lines}
        parts = {place: array.ctypes.data for place, array in arrays.items()} | room
        table = np.array([parts[place] for place in range(len(parts))], np.uint64)
        self._arrays = *arrays.values(), table
        self.address = table.ctypes.data
        self.nbytes = sum(array.nbytes for array in self._arrays)
        self.call = np.zeros(field.FIELDS, np.uint64)
        self.memory: Any = memoryview(self.call)  # type: ignore[arg-type]  # NumPy's arrays are buffers
        self.kernel: PlacedKernel | None = None
        self._room_for_moves(16 * MOVE)
        self.filled_for: tuple[int, int, int, _Numbers, _Numbers] | None = None
        """Height, width, bytes of a pixel, place and moves that the tables are for."""

    def _room_for_moves(self, numbers: int) -> None:
        moves = np.zeros(numbers, np.int64)
        self._moves: Any = memoryview(moves)  # type: ignore[arg-type]  # NumPy's arrays are buffers
        self._moves_at = moves.ctypes.data

    def take_moves(self, moves: tuple[int, ...]) -> None:
        """Make moves those of the next call."""
        if (count := len(moves)) > len(self._moves):
            self._room_for_moves(2 * count)
        _numbers(count).pack_into(self._moves, 0, *moves)
        _MOVES.pack_into(self.memory, 8 * field.MOVES, self._moves_at, count)


class _OfThread(local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.workspaces = [_Workspace(), _Workspace()]
        """For what comes out, and for a first pass along rows."""


_OF_THREAD = _OfThread()


class PlacedKernel:
    """A kernel for bytes with the moves, filter, channels, mix, table and frames of a pipeline.

    Args:
        segment: What happens to each pixel, as a segment for images of 1×1.
        sums: Arithmetic of the resize; None without one.
        moves: Moves; see :func:`onelayer.frontends.placement.place`.
        frames: Values of the frame that each step makes, [steps, C'].
        out: Dtype of the results.
        number: Number of the workspace of a thread that its tables are kept in.
        kernel: Compiled function.
        constants: More fields of the call that are the same for all images.
    """

    def __init__(
        self,
        segment: ByteSegment,
        sums: Sums | None,
        moves: Sequence[int],
        frames: NDArray[np.float64],
        out: torch.dtype,
        number: int = 0,
        kernel: Any = resized_bytes,
        constants: Mapping[int, int] = _NO_CONSTANTS,
    ) -> None:
        # The arrays keep the memory alive that the call has the addresses of.
        template, self._arrays = ByteLaunch(segment).call_for(out)
        self._template, self._run = template.copy(), kernel
        self._moves, self._frames = np.array(moves, np.int64), in_dtype(frames, out)
        self._into, self._number = SAMPLE[out], number
        self._channels = len(segment.channels)
        self._is_pixel = segment.channels.tolist() == [0, 1, 2]
        self._kind = taps.BILINEAR if sums is None else KINDS[sums.name]
        found = layout()
        limit, unfused, first = (0, 0, COLUMNS_FIRST) if sums is None else (sums.limit, sums.unfused, sums.first)
        in_float32 = self._kind in (taps.FLOAT32_BILINEAR, taps.FLOAT32_BICUBIC)
        for place, number in (
            (field.PLACE_WITH, address_of(fill.placed, fill.CALL)),
            (
                field.FILL_WITH,
                address_of(fill.filled_with_float32 if in_float32 else fill.filled_with_bytes, fill.CALL),
            ),
            (field.COPY_WITH, address_of(fill.filled_with_bytes, fill.CALL)),
            (field.ROWS_AT, 0 if found is None else found.rows_at),
            (field.MOVES, self._moves.ctypes.data),
            (field.MOVE_NUMBERS, len(moves)),
            (field.FRAMES, self._frames.ctypes.data),
            (field.OF_FRAME, self._frames.itemsize * frames.shape[1]),
            (field.FIRST_PASS, first),
            (field.FILTER, self._kind),
            (field.LIMIT, limit),
            (field.UNFUSED, unfused),
            *constants.items(),
        ):
            self._template[place] = number
        self.support = taps.SUPPORT[self._kind]

    def place(self, height: int, width: int, moves: _Numbers = None) -> _Numbers:
        """Return the numbers that place images of a size, see :func:`onelayer.frontends.placement.place`; or None."""
        workspace = self._workspace()
        filled_for = workspace.filled_for
        if filled_for is None or filled_for[:2] != (height, width) or filled_for[3:] != (None, moves):
            workspace.filled_for = None
            if moves is not None:
                workspace.take_moves(moves)
            numbers = 0, 0, 0, 0, 0, 0, 0, 0, 0, *_NO_SHARES, 0, 0, field.PLACE, workspace.address, 0, height, width
            _OF_IMAGE.pack_into(workspace.memory, 0, *numbers)
            if self._run(workspace.call, self._into) == field.UNPLACED:
                return None
        return self.last_place()

    def last_place(self) -> tuple[int, ...]:
        """Return the numbers that placed the last image of this thread."""
        memory = _OF_THREAD.workspaces[self._number].memory
        return _PLACE.unpack_from(memory, 8 * field.ROW_START)

    def __call__(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        place: _Numbers = None,
        moves: _Numbers = None,
    ) -> int:
        """Compute; return the outcome.

        What is done here is done for each image, in cold caches: numbers go into the call all at once.

        Args:
            images: Images.
            height: Rows of each.
            width: Columns of each.
            results: Memory for the results.
            threads: Maximum number of threads.
            place: Numbers that place the images in the result; None for those that follow from the moves.
            moves: Moves for this call; None for those of the pipeline.
        """
        workspace = _OF_THREAD.workspaces[self._number]
        if workspace.kernel is not self:
            workspace = self._workspace()
        address, of_image, of_channel, of_row, of_column, structure, count, _ = images
        # Of a tensor with a gap behind each pixel, the last gap may lie outside of its memory.
        is_whole = of_column == 3 or (of_column == 4 and structure != 0)
        pixel = of_column if of_channel == 1 and self._is_pixel and is_whole else 0
        filled_for = height, width, pixel, place, moves
        if workspace.filled_for == filled_for:
            stages = field.COMPUTE
        else:
            stages = field.FILL | field.COMPUTE if place else field.PLACE | field.FILL | field.COMPUTE
            workspace.filled_for = None
        result, result_structure, _ = results
        # Alone, a thread takes all images at once.
        own, shares = count if threads == 1 else 0, (*_NO_SHARES, count, 0)
        of_size = stages, workspace.address, pixel, height, width
        _OF_IMAGE.pack_into(
            workspace.memory, 0, address, of_image, of_channel, of_row, of_column, structure, own,
            result, result_structure, *shares, *of_size,
        )  # fmt: skip
        if place:
            _PLACE.pack_into(workspace.memory, 8 * field.ROW_START, *place)
        elif moves is not None and stages != field.COMPUTE:
            workspace.take_moves(moves)
        outcome: int = self._run(workspace.call, self._into)
        if outcome == field.NO_ROOM:
            self._make_room()
            return self(images, height, width, results, threads, place, moves)
        if outcome == field.COMPLETE:
            workspace.filled_for = filled_for
            if threads > 1:
                self._run_in_threads(workspace, count, threads, (images, results))
        if workspace.nbytes > MAX_KEPT:
            _OF_THREAD.workspaces[self._number] = _Workspace()
        return outcome

    def _workspace(self) -> _Workspace:
        """Return this thread's workspace, with the constants of this kernel."""
        workspace = _OF_THREAD.workspaces[self._number]
        if workspace.kernel is not self:
            workspace.call[:] = self._template
            workspace.kernel, workspace.filled_for = self, None
        return workspace

    def _make_room(self) -> None:
        """Give this thread a workspace with room for twice what a call takes."""
        rows, cols = _windows(self.last_place())
        outputs, most = max(*rows[2:5:2], *cols[2:5:2]), max(self._most_taps(rows), self._most_taps(cols))
        _OF_THREAD.workspaces[self._number] = _Workspace(2 * outputs, 2 * most, 2 * (rows[0] + rows[1]))

    def _run_in_threads(self, workspace: _Workspace, count: int, threads: int, memory: object) -> None:
        """Run a call whose tables are filled, in several threads if there is work for them."""
        rows, cols = _windows(self.last_place())
        read = cols[4] * self._most_taps(cols) * rows[1] // BYTES
        summed = rows[4] * cols[4] * (self._most_taps(rows) + 1) // LANES
        threads = min(threads, 1 + count * self._channels * (read + summed) // MULTIPLICATIONS_PER_THREAD)
        # Threads that come late still read the call, and find nothing left to do.
        call, counters = workspace.call.copy(), np.zeros(3, np.uint64)
        shares = shares_of(count, rows[4], threads)
        call[[field.COUNT, field.PIECES, field.PIECE_ROWS, field.AT_ONCE]] = shares
        call[[field.SHARED, field.STAGES]] = counters.ctypes.data, field.COMPUTE
        run = partial(self._run, call, self._into)
        try:
            run_in_threads(run, threads, shares, counters, (self, memory, workspace))
        except BaseException:
            # Interrupted while another thread still reads the tables: they are left to it.
            _OF_THREAD.workspaces[self._number] = _Workspace()
            raise

    def _most_taps(self, window: Window) -> int:
        return taps.most_taps(window[1], window[2], self._kind)


def _windows(numbers: tuple[int, ...]) -> tuple[Window, Window]:
    """Return what becomes of rows and columns, without their frames."""
    placed = Placed.of(numbers)
    return placed.rows, placed.cols


class AnySize:
    """A pipeline of bytes on the CPU, for images of any size.

    Args:
        structure: The pipeline.
        segment: What it does to each pixel, as a segment for images of 1×1.
        out: Dtype of the results: uint8, float16 or float32.
    """

    writes_pixels = False

    def __init__(self, structure: Structure, segment: ByteSegment, out: torch.dtype) -> None:
        sums = structure.sums
        assert not isinstance(sums, RealSums), "bytes are rounded"
        frames = np.array(structure.fills).reshape(-1, structure.output_spec.shape[0])
        self._kernel = PlacedKernel(segment, sums, structure.moves, frames, out)
        self._channels = channels = structure.input_spec.shape[0]
        self._rows_alone = PlacedKernel(_copies(channels), sums, (), np.zeros((0, channels)), torch.uint8, number=1)
        self._rows_first: tuple[int, int, _Numbers, tuple[int, ...]] = (0, 0, None, ())
        """Height, width and moves of the last image whose rows came first, and the numbers that placed it."""

    def place(self, height: int, width: int, moves: tuple[int, ...] | None = None) -> Placed | None:
        """Place images; see :meth:`onelayer.backends.target.ComputeAnySize.place`."""
        known_height, known_width, known_moves, known = self._rows_first
        is_known = known_height == height and known_width == width and known_moves == moves
        numbers = known if is_known else self._kernel.place(height, width, moves)
        return None if numbers is None else Placed.of(numbers)

    def __call__(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        moves: tuple[int, ...] | None = None,
    ) -> bool:
        """Compute; see :class:`onelayer.backends.target.ComputeAnySize`."""
        known_height, known_width, known_moves, numbers = self._rows_first
        if known_height != height or known_width != width or known_moves != moves:
            outcome = self._kernel(images, height, width, results, threads, None, moves)
            if outcome != field.ROWS_FIRST:
                return outcome == field.COMPLETE
            numbers = self._kernel.last_place()
            self._rows_first = height, width, moves, numbers
        return self._in_two_calls(images, height, width, results, threads, numbers) == field.COMPLETE

    def _in_two_calls(
        self,
        images: PixelMemory,
        height: int,
        width: int,
        results: ResultMemory,
        threads: int,
        numbers: tuple[int, ...],
    ) -> int:
        """Resize rows to bytes, and then columns; only those columns that are read."""
        rows, cols = numbers[:COLS], numbers[COLS:]
        start, length, resized, low, kept, flip, *frame = cols
        scale = length / resized
        reach = self._kernel.support * max(scale, 1.0) + 1
        begin = max(int((low + 0.5) * scale - reach), 0)
        span = min(int((low + kept - 0.5) * scale + reach) + 1, length) - begin
        lines, channels = rows[KEPT], self._channels
        between = memory.empty((images.images, channels, lines, span), torch.uint8)
        written = ResultMemory(between.data_ptr(), 0, between)
        # All that is read is copied, in its order, and nothing lies around it.
        copied = (*rows[:BEFORE], 0, 0, lines), (start + begin, span, span, 0, span, 0, 0, 0, span)
        outcome = self._rows_alone(images, height, width, written, threads, (*copied[0], *copied[1], -1, 0))
        if outcome != field.COMPLETE:
            return outcome
        of_channel = lines * span
        read = PixelMemory(between.data_ptr(), channels * of_channel, of_channel, span, 1, 0, images.images, between)
        rows = 0, lines, lines, 0, lines, 0, *rows[BEFORE:]
        cols = -begin, length, resized, low, kept, flip, *frame
        return self._kernel(read, height, width, results, threads, (*rows, *cols))


def _copies(channels: int) -> ByteSegment:
    """Return a segment that copies images of 1×1."""
    one = np.zeros(1, np.int64)
    return ByteSegment(
        (channels, 1, 1), (channels, 1, 1), np.arange(channels), AxisMap.identity(1), one, None, None, None, None, True
    )


def lower_any_size(structure: Structure, target: LoweringTarget) -> tuple[ComputeAnySize, torch.dtype] | str:
    """Lower a structure to the byte kernel.

    Returns:
        A function that computes, and the dtype that it writes; or the reason why the kernel cannot run it.
    """
    found = segment_of(structure, target)
    return found if isinstance(found, str) else (AnySize(structure, *found), found[1])


def segment_of(structure: Structure, target: LoweringTarget) -> tuple[ByteSegment, torch.dtype] | str:
    """Return what a structure does to each pixel as a segment, and the dtype of the results; or why there is none."""
    pixels = structure.pixels
    program = simplify(pixels, Range.of(pixels.in_shape[0], 0.0, 255.0)).program
    segments = byte_segments_of(program) if program.stages else [_copies(pixels.in_shape[0])]
    if isinstance(segments, str):
        return segments
    if len(segments) > 1:
        return "what happens to each pixel takes several kernels"
    (segment,) = segments
    written = written_dtype(target, segment.is_rounded)
    if written == torch.uint8 and any((np.clip(np.rint(fill), 0, 255) != fill).any() for fill in structure.fills):
        return "its padding is no byte"
    return segment, written
