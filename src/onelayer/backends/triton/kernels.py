"""Compute a separable stage in Triton: rows, channels, columns, bias, clamp, rounding and cast in one launch.

Each program makes a tile of one image: some rows of the output by up to 32 of its columns, of one channel or of all.

1. *Rows*, and the mixing of channels, are sums over taps of lines that are read from memory. A line that several rows
   read comes from the nearest cache after the first time. The lines of a tile are cut into cells, which lie in the
   registers of one warp, one cell per lane.
2. *Columns* are sums over neighbouring cells, handed from lane to lane. Where the image is reduced in width, a cell is
   what lies between the first samples of two neighbouring outputs, and is summed in its lane before; otherwise it is a
   single sample.

Sums are of float32 products in float32, never of the matrix units' shorter ones, and a weight of zero touches nothing,
so NaN and infinities stay where they are read and nobody has to look for them afterwards.
"""

# What Triton knows when it compiles is written in capitals, as its users do. It takes types from the arguments.
# ruff: noqa: N803
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators, no-check-untyped-defs

from __future__ import annotations

# No types are known of it; and it is not on every system.
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]

NO_ROUNDING = tl.constexpr(0)
HALF_EVEN = tl.constexpr(1)
HALF_UP = tl.constexpr(2)
TRUNCATE = tl.constexpr(3)


@triton.jit
def _as_float32(values):
    """Convert values to float32."""
    if values.dtype == tl.uint8:
        # 2²³ + v has v as its last bits: two quick operations, where the conversion of bytes is a slow one.
        numbers = (values.to(tl.int32) | 0x4B000000).to(tl.float32, bitcast=True) - 8388608.0
    else:
        numbers = values.to(tl.float32)
    return numbers


@triton.jit
def _times(values, weights, KEEPS: tl.constexpr):
    """Multiply; with ``KEEPS``, products are zero where weights are, whatever the value."""
    if KEEPS:
        values = tl.where(weights != 0.0, values, 0.0)
    return values * weights


@triton.jit
def _down(rows, CELL: tl.constexpr):
    """Return a vector of rows in a shape that spreads over the columns of a tile."""
    return rows[:, None] if CELL == 1 else rows[:, None, None]


@triton.jit
def _across(columns):
    """Return the columns of a tile in a shape that spreads over its rows."""
    return tl.expand_dims(columns, 0)


@triton.jit
def _tap_of_rows(
    image, starts, k, i, in_image, row_weights, channel, d, columns, inside,
    of_channel, of_row, last_row, height,
    CELL: tl.constexpr, CHANNELS: tl.constexpr, MIXED: tl.constexpr, KEEPS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """Return what a tap of every row adds to the lines of a tile."""
    weights = tl.load(row_weights + k * height + i, mask=in_image, other=0.0)
    # Taps that fill up a group have weights of zero, and may lie behind the image.
    places = tl.minimum(starts + k, last_row) * (of_row * ALIGN)
    places = _down(places, CELL) + _across(columns)
    inside = _across(inside)
    if MIXED:
        total = tl.zeros(places.shape, tl.float32)
        for c in tl.static_range(CHANNELS):
            weight = tl.load(channel + d * CHANNELS + c) * weights
            values = tl.load(image + c * (of_channel * ALIGN) + places, mask=inside, other=0)
            total += _times(_as_float32(values), _down(weight, CELL), KEEPS)
    else:
        values = tl.load(image + places, mask=inside, other=0)
        total = _times(_as_float32(values), _down(weights, CELL), KEEPS)
    return total


@triton.jit
def _step_of_columns(
    lines, bases, m, j, in_tile, cells, column_weights, width, all_cells,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CELLS: tl.constexpr, CELL: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """Return what the cell ``m`` places behind the first that an output reads adds to it."""
    # Steps that fill up a group may lie behind the last cell.
    lanes = tl.broadcast_to(tl.minimum(bases + m, CELLS - 1)[None, :], (ROWS, COLUMNS))
    if CELL == 1:
        weights = tl.load(column_weights + m * width + j, mask=in_tile, other=0.0)
        values = _times(tl.gather(lines, lanes, 1), weights[None, :], KEEPS)
    else:
        places = (m * all_cells + cells)[:, None] * CELL + tl.arange(0, CELL)[None, :]
        weights = tl.load(column_weights + places)
        sums = tl.sum(_times(lines, weights[None, :, :], KEEPS), 2)
        # What stands in the last cell is another output's then.
        values = tl.where((bases + m < CELLS)[None, :], tl.gather(sums, lanes, 1), 0.0)
    return values


@triton.jit
def _rounded(values, ROUNDING: tl.constexpr):
    """Round values of 0 … 255 to integers."""
    if ROUNDING == HALF_EVEN:
        # Beyond 2²³ there are integers only.
        whole = (values + 12582912.0) - 12582912.0
    elif ROUNDING == HALF_UP:
        whole = tl.floor(values + 0.5)
    else:
        whole = tl.floor(values)
    return whole


@triton.jit(
    do_not_specialize_on_alignment=[
        "of_image", "of_channel", "of_row", "of_column", "row_taps", "last_row", "column_steps", "channels_out",
        "height", "width", "tiles_down", "tiles_across",
    ]
)  # fmt: skip
def separable(
    images, of_image, of_channel, of_row, of_column, outputs,
    row_starts, row_weights, row_taps, last_row,
    tile_outputs, cell_starts, cell_ends, bases, column_weights, column_steps,
    channel, only, bias, low, high,
    channels_out, height, width, tiles_down, tiles_across,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CELLS: tl.constexpr, CELL: tl.constexpr,
    ROW_GROUP: tl.constexpr, ROW_GROUPS: tl.constexpr, COLUMN_GROUP: tl.constexpr, COLUMN_GROUPS: tl.constexpr,
    CHANNELS: tl.constexpr, EACH: tl.constexpr, MIXED: tl.constexpr, BIAS_IMAGE: tl.constexpr, ALIGN: tl.constexpr,
    KEEPS_ROWS: tl.constexpr, KEEPS_COLUMNS: tl.constexpr, ROUNDING: tl.constexpr,
):  # fmt: skip
    """Compute ``clamp(channel · (rows ⊗ cols) x + bias)``, rounded, for a tile of an image.

    Programs are numbered tile by tile along the rows, down the columns, through the channels and the images.

    Args:
        images: uint8, float16 or float32.
        of_image: Elements from one image to the next, in units of ``ALIGN``, as in the following two.
        of_channel: Elements from one channel to the next.
        of_row: Elements from one row to the next.
        of_column: Elements from one column to the next; if it is not 1, ``ALIGN`` is.
        outputs: float32, float16 or uint8 [N, C', H', W'], contiguous.
        row_starts: int32 [H'].
        row_weights: float32 [taps, H'], taps filled up to whole groups.
        row_taps: Number of taps.
        last_row: H − 1.
        tile_outputs: int32 [tiles + 1], first output of each tile of columns.
        cell_starts: int32 [tiles, CELLS], first column of each cell, a multiple of ``ALIGN``; or if ``CELL`` is 1,
            [tiles], first column of the first cell.
        cell_ends: int32 of the same shape, column behind the cell, or behind the last cell.
        bases: int32 [W'], first cell of its tile that each output reads.
        column_weights: float32 [steps, tiles, CELLS, CELL], factors of the samples of a cell for the output whose first
            cell lies ``step`` cells before; or if ``CELL`` is 1, [steps, W']. Steps are filled up to whole groups.
        column_steps: Number of steps.
        channel: float32 [C', C].
        only: int32 [C'], without ``MIXED`` the channel that each output channel is made of.
        bias: float32 [C'], or with ``BIAS_IMAGE`` [C', H', W'].
        low: float32 [C'], may be infinite.
        high: float32 [C'], may be infinite.
        channels_out: C'.
        height: H'.
        width: W'.
        tiles_down: Number of tiles of ``ROWS`` rows.
        tiles_across: Number of tiles of columns.
        ROWS: Rows of a tile. This and the following three are powers of two.
        COLUMNS: Columns of a tile, at least as many as the widest has.
        CELLS: Cells of a line.
        CELL: Maximum number of samples of a cell.
        ROW_GROUP: Taps of rows that are computed without a loop.
        ROW_GROUPS: Whether there is more than one group of them.
        COLUMN_GROUP: Steps of columns that are computed without a loop.
        COLUMN_GROUPS: Whether there is more than one group of them.
        CHANNELS: C.
        EACH: Output channels that a program makes, one after the other.
        MIXED: Whether an output channel is made of several.
        BIAS_IMAGE: Whether the bias differs from pixel to pixel.
        ALIGN: Number of elements that addresses of rows are a multiple of.
        KEEPS_ROWS: Whether weights of zero, of rows and channels, must be kept from what is no number.
        KEEPS_COLUMNS: Whether weights of zero, of columns, must be.
        ROUNDING: One of the four constants above.
    """
    program = tl.program_id(0)
    across = program % tiles_across
    program = program // tiles_across
    down = program % tiles_down
    program = program // tiles_down
    groups = channels_out // EACH
    n = (program // groups).to(tl.int64)
    first_channel = (program % groups) * EACH

    i = down * ROWS + tl.arange(0, ROWS)
    in_image = i < height
    starts = tl.load(row_starts + i, mask=in_image, other=0)

    first_output = tl.load(tile_outputs + across)
    j = first_output + tl.arange(0, COLUMNS)
    in_tile = j < tl.load(tile_outputs + across + 1)
    base = tl.load(bases + j, mask=in_tile, other=0)

    cells = across * CELLS + tl.arange(0, CELLS)
    if CELL == 1:
        columns = tl.multiple_of(tl.load(cell_starts + across), ALIGN) + tl.arange(0, CELLS)
        inside = columns < tl.multiple_of(tl.load(cell_ends + across), ALIGN)
    else:
        begins = tl.multiple_of(tl.load(cell_starts + cells), ALIGN)
        ends = tl.multiple_of(tl.load(cell_ends + cells), ALIGN)
        columns = begins[:, None] + tl.arange(0, CELL)[None, :]
        inside = columns < ends[:, None]
    columns = columns * of_column

    for d in range(first_channel, first_channel + EACH):
        image = images + n * of_image * ALIGN
        if not MIXED:
            image += tl.load(only + d) * (of_channel * ALIGN)
        lines = tl.zeros((ROWS, CELLS) if CELL == 1 else (ROWS, CELLS, CELL), tl.float32)
        for group in range(0, row_taps if ROW_GROUPS else ROW_GROUP, ROW_GROUP):
            for k in tl.static_range(ROW_GROUP):
                lines += _tap_of_rows(
                    image, starts, group + k, i, in_image, row_weights, channel, d, columns, inside,
                    of_channel, of_row, last_row, height, CELL, CHANNELS, MIXED, KEEPS_ROWS, ALIGN,
                )  # fmt: skip

        values = tl.zeros((ROWS, COLUMNS), tl.float32)
        for group in range(0, column_steps if COLUMN_GROUPS else COLUMN_GROUP, COLUMN_GROUP):
            for m in tl.static_range(COLUMN_GROUP):
                values += _step_of_columns(
                    lines, base, group + m, j, in_tile, cells, column_weights, width, tiles_across * CELLS,
                    ROWS, COLUMNS, CELLS, CELL, KEEPS_COLUMNS,
                )  # fmt: skip

        if not MIXED:
            values = _times(values, tl.load(channel + d * CHANNELS + tl.load(only + d)), True)
        places = i[:, None] * width + j[None, :]
        written = in_image[:, None] & in_tile[None, :]
        if BIAS_IMAGE:
            values += tl.load(bias + d * (height * width) + places, mask=written, other=0.0)
        else:
            values += tl.load(bias + d)
        lowest, highest = tl.load(low + d), tl.load(high + d)
        # Comparisons that NaN fails leave it as it is.
        values = tl.where(values < lowest, lowest, values)
        values = tl.where(values > highest, highest, values)
        if ROUNDING != NO_ROUNDING:
            values = _rounded(values, ROUNDING)
        if outputs.dtype.element_ty == tl.uint8:
            # There is no byte for NaN; it becomes zero, as where PyTorch casts it.
            values = tl.where(values == values, values, 0.0).to(tl.int32)
        to = outputs + (n * channels_out + d) * (height * width) + places
        tl.store(to, values.to(outputs.dtype.element_ty), mask=written)


IS_INTERPRETED = not isinstance(separable, triton.JITFunction)
"""Whether Triton runs the kernel in Python, on the CPU: TRITON_INTERPRET=1 when this was imported."""
