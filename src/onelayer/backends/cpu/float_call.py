"""Lay out a call of the separable float kernel as one array of integers: addresses, lengths and choices.

As :mod:`onelayer.backends.cpu.byte_call` does for bytes, and for the same reason: tables that are filled in compiled
code become part of the call without an argument each.
"""

from __future__ import annotations

NO_ROUNDING, HALF_EVEN, HALF_UP, TRUNCATE = range(4)
"""Rounding of a value before it is stored as an integer."""

(
    # Images.
    IMAGES,  # Address of the first element of the first image.
    OF_IMAGE,  # Elements from one image to the next.
    OF_CHANNEL,  # Elements from one channel to the next.
    OF_ROW,  # Elements from one row to the next.
    OF_COLUMN,  # Elements from one column to the next: 1, or at least C, in which case channels are 1 apart.
    COUNT,  # Number of images N.
    # Results.
    RESULTS,  # Address of memory for [N, C', H', W'] with the frame, contiguous.
    # Shares of the work.
    PIECES,  # Number of pieces, of whole rows, that an image is divided into.
    PIECE_ROWS,  # Rows of a piece, a multiple of 8 if there is more than one.
    AT_ONCE,  # Number of pieces to take at a time.
    SHARED,  # Address of counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`.
    # Columns.
    FIRST_COLUMN,  # First column that is read.
    LENGTH,  # Columns from there on that are read.
    COL_BLOCKS,  # Number of blocks of eight outputs. They begin at every eighth; the last one at the eighth from the
    # end, or at 0.
    COL_TAPS,  # Columns that a block reads.
    COL_STARTS,  # Address of uint64 [blocks], first column that a block reads, counted from FIRST_COLUMN.
    COL_WEIGHTS,  # Address of float32 [blocks, COL_TAPS, 8].
    WIDTH,  # W'.
    ONLY_COPIES,  # 1 if rows are copied, and columns from FIRST_COLUMN on in their order; 0 if they may be summed.
    # Rows.
    FIRST_ROW,  # First row that is read.
    ROWS_READ,  # Rows from there on that are read.
    BLOCK_ROWS,  # Maximum number of rows of the image that eight neighbouring rows of the output read.
    ROW_TAPS,  # Rows that an output reads.
    ROW_STARTS,  # Address of uint64 [H'], first row that each output reads.
    ROW_WEIGHTS,  # Address of float32 [H', ROW_TAPS].
    HEIGHT,  # H'.
    # Pixels.
    CHANNELS,  # C.
    CHANNELS_OUT,  # C'.
    MIX,  # Address of float32 [C', C].
    BIAS,  # Address of float32 [C', BIASES].
    BIASES,  # 1, or H'·W'.
    LOW,  # Address of float32 [C'], lower bounds, may be infinite.
    HIGH,  # Address of float32 [C'], upper bounds, may be infinite.
    ROUNDING,  # One of the four roundings.
    # Frame.
    TOP,  # Rows of the frame above the image.
    LEFT,  # Columns of the frame to the left of it.
    WHOLE_HEIGHT,  # H' and the frame.
    WHOLE_WIDTH,  # W' and the frame.
    AROUND,  # Address of [C'] of the dtype of the results, values of the frame.
) = range(39)
"""Places of the arguments in a call, uint64 each."""

FIELDS = 39
"""Length of a call."""
