"""Lay out a call of the byte kernel as one array of integers: addresses, lengths and choices.

Numba spends some 60 ns on each argument of a call, and more on an array. Tables that are filled in compiled code, for
an image size that was never seen before, become part of the call without any of that.
"""

from __future__ import annotations

NARROW, WIDE, FLOAT32, FLOAT32_UNFUSED = range(4)
"""Arithmetic of sums: integer weights of 16 bits; wider ones, in two parts; float32 with fused products; float32 with
some products that are rounded before they are added."""

NO_MIX, CUT_OFF, HALF_UP = range(3)
"""Mix of the channels: none, one whose fraction is cut off, one that is rounded half up."""

COPIED, NEAR, FAR, PIXELS = range(4)
"""Columns: copied as they are; summed a channel at a time, in one of the layouts of
:mod:`onelayer.backends.cpu.tables`; or summed as pixels, whose three channels lie side by side."""

(
    # Images.
    IMAGES,  # Address of the first element of the first image, uint8.
    OF_IMAGE,  # Elements from one image to the next.
    OF_CHANNEL,  # Elements from one channel to the next.
    OF_ROW,  # Elements from one row to the next.
    OF_COLUMN,  # Elements from one column to the next.
    ROWS,  # Address of uint64 [H], address of each row of the only image; 0 where rows are OF_ROW apart.
    COUNT,  # Number of images N.
    # Results.
    RESULTS,  # Address of memory for [N, C', H', W'] with the frame, contiguous; 0 with RESULT_ROWS.
    RESULT_ROWS,  # Address of uint64 [H'], address of each row of the only result, an image of Pillow's; or 0.
    # Shares of the work.
    PIECES,  # Number of pieces, of whole rows, that an image is divided into.
    PIECE_ROWS,  # Rows of a piece.
    AT_ONCE,  # Number of pieces to take at a time.
    SHARED,  # Address of counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`; or 0.
    # Frame.
    TOP,  # Rows of the frame above the image.
    LEFT,  # Columns of the frame to the left of it.
    WHOLE_HEIGHT,  # H' and the frame.
    WHOLE_WIDTH,  # W' and the frame.
    AROUND,  # Address of [C'] of the dtype of the results, values of the frame.
    # Size, for which the fields of both passes are to be filled.
    FILLS,  # Address of a workspace, see :mod:`onelayer.backends.cpu.fill`; 0 where they are filled.
    PIXEL,  # Bytes from one pixel to the next, 3 or 4, where its three channels lie side by side; else 0.
    ROW_START,  # Start of the part of the rows that is resized; may be negative, as int64.
    ROW_LENGTH,  # Length of that part.
    ROW_RESIZED,  # Length that it is resized to.
    ROW_LOW,  # First of these that is kept.
    ROW_KEPT,  # Number of these that are kept.
    ROW_FLIP,  # Whether the last comes first, 0 or 1.
    COL_START,  # The same of the columns.
    COL_LENGTH,
    COL_RESIZED,
    COL_LOW,
    COL_KEPT,
    COL_FLIP,
    # From here on a call of a pipeline is the same for all images, but for the passes. Arithmetic of the resize.
    FILTER,  # See :mod:`onelayer.backends.cpu.taps`.
    LIMIT,  # Number that the largest weight stays below as a whole number; 0 for always 22 bits.
    UNFUSED,  # Products in float32 per group whose products are rounded before they are added.
    # Channels.
    CHANNELS,  # C.
    SOURCES,  # Address of uint64 [C], channel of the image that each channel is.
    # Pass along columns.
    FIRST_COLUMN,  # First column that is read.
    LENGTH,  # Columns from there on that are read.
    COL_KIND,  # COPIED, NEAR, FAR or PIXELS.
    COL_ARITHMETIC,  # One of the four kinds of arithmetic.
    COL_BITS,  # Fractional bits of the weights.
    COL_BLOCKS,  # Number of blocks of outputs.
    COL_STEPS,  # Number of steps per block.
    COL_STARTS,  # Address of uint64, ``starts`` of :class:`onelayer.backends.cpu.tables.Windows`, or [W'] bytes.
    COL_PLACES,  # Address of uint8, ``places`` of the same, or [W', 32].
    COL_WEIGHTS,  # Address of int16 [blocks, steps, parts, …], ``weights`` in parts; or of float32.
    WIDTH,  # W'.
    # Pass along rows.
    BETWEEN,  # Address of uint64 [rows], row of the image that each row before this pass is.
    ROWS_BETWEEN,  # Number of these rows.
    ROW_TAPS,  # Number of these rows that an output reads.
    DESCENDS,  # Whether later outputs read earlier rows, 0 or 1.
    ROW_STARTS,  # Address of uint64 [H'], first of these rows that each output reads.
    ROW_ARITHMETIC,  # Arithmetic as of the columns; both are of float32 or neither is.
    ROW_BITS,  # Fractional bits of the weights.
    ROW_STEPS,  # Pairs of taps, or taps of float32; 0 where rows are copies.
    ROW_WEIGHTS,  # Address of int16 [H', pairs, parts, 2], or of float32 [H', taps, 2].
    HEIGHT,  # H'.
    # Mix of channels.
    CHANNELS_OUT,  # C'.
    MIX,  # NO_MIX, CUT_OFF or HALF_UP.
    MIX_FUSED,  # Whether products are added with one rounding, 0 or 1.
    MIX_WEIGHTS,  # Address of float32 [C', C].
    # Values.
    TABLE,  # Address of [C', 256] of the dtype of the results, 0 for none.
    AFFINE,  # Address of float32 [C', 5], see :mod:`onelayer.backends.cpu.affine`; or 0.
) = range(64)
"""Places of the arguments in a call, uint64 each."""

FIELDS = 64
"""Length of a call."""

OF_IMAGE_FIELDS = FILTER
"""Number of fields, from the first on, that are set for each image."""
