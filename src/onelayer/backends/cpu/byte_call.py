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

PLACE, FILL, COMPUTE = 1, 2, 4
"""What a call is to do: place images of its size in the result; fill the fields of both passes; compute."""

COMPLETE, UNPLACED, ROWS_FIRST, NO_ROOM, TOO_LARGE = range(5)
"""Outcomes of a call: all was done; no place can be stated; rows are to be resized first, which takes two calls; the
workspace is too small; sums could exceed 32 bits. All but the first leave out what was to be done after."""

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
    STRUCTURE,  # Address of the address of Pillow's structure of the only image; 0 where rows are OF_ROW apart.
    COUNT,  # Number of images N.
    # Results.
    RESULTS,  # Address of memory for [N, C', H', W'] with the frame, contiguous; 0 with RESULT_STRUCTURE.
    RESULT_STRUCTURE,  # Address of the address of Pillow's structure of the only result; or 0.
    # Shares of the work.
    PIECES,  # Number of pieces, of whole rows, that an image is divided into.
    PIECE_ROWS,  # Rows of a piece.
    AT_ONCE,  # Number of pieces to take at a time.
    SHARED,  # Address of counters, uint64 [3], zeros at first: see :mod:`onelayer.backends.cpu.counters`; or 0.
    # What to do for the size of the images.
    STAGES,  # Sum of PLACE, FILL and COMPUTE.
    WORKSPACE,  # Address of a workspace, see :mod:`onelayer.backends.cpu.fill`; for FILL.
    PIXEL,  # Bytes from one pixel to the next, 3 or 4, where its three channels lie side by side, else 0; for FILL.
    IMAGE_HEIGHT,  # H; for PLACE.
    IMAGE_WIDTH,  # W; for PLACE.
    # Place in the result, int64: the numbers of :func:`onelayer.frontends.placement.place` in their order.
    ROW_START,
    ROW_LENGTH,
    ROW_RESIZED,
    ROW_LOW,
    ROW_KEPT,
    ROW_FLIP,
    TOP,  # Rows of the frame above the image.
    BELOW,
    WHOLE_HEIGHT,  # H' and the frame.
    COL_START,
    COL_LENGTH,
    COL_RESIZED,
    COL_LOW,
    COL_KEPT,
    COL_FLIP,
    LEFT,  # Columns of the frame to the left of it.
    RIGHT,
    WHOLE_WIDTH,  # W' and the frame.
    FRAME,
    BORDER,
    AROUND,  # Address of [C'] of the dtype of the results, values of the frame.
    # From here on a call of a pipeline is the same for all images, but for the passes. Place and tables:
    PLACE_WITH,  # Address of the function that places, see :mod:`onelayer.backends.cpu.fill`.
    FILL_WITH,  # Address of the function that fills, where axes are resized.
    COPY_WITH,  # Address of the function that fills where none is.
    ROWS_AT,  # Offset in Pillow's structure of the address of uint64 [H], the address of each row.
    MOVES,  # Address of int64, see :func:`onelayer.frontends.placement.place`.
    MOVE_NUMBERS,  # Length of these.
    FRAMES,  # Address of [steps, C'] of the dtype of the results, values of the frame that each step makes.
    OF_FRAME,  # Bytes from one step's values to the next.
    FIRST_PASS,  # See :func:`onelayer.frontends.placement.rows_first`.
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
    # For OpenCV's arithmetic.
    RESULT_PIXELS,  # Whether the colors of a pixel lie side by side in the results, [N, H', W', C'], 0 or 1.
    IMAGE_CHANNELS,  # Channels of the image.
) = range(82)
"""Places of the arguments in a call, uint64 each."""

FIELDS = 82
"""Length of a call."""
