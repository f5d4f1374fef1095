"""Draw the moves of an image in compiled code, with the numbers that PyTorch's functions would draw.

PyTorch's generator for the CPU, a Mersenne Twister, makes words of 32 bits. ``random_`` takes the remainder of a word,
``uniform_`` of float32 its last 24 bits. The words that come next follow from the generator's state; once it is known
how many were needed, the state moves on by as many.

Sources: ``mt19937.h`` in ``aten/src/ATen/core``, ``TransformationHelper.h`` and ``DistributionsHelper.h`` of PyTorch;
``make_params`` and ``get_params`` of torchvision's classes.
"""

from __future__ import annotations

import math

import numpy as np

from onelayer.backends.cpu.compilation import exact_inlined, locked_kernel, table_kernel
from onelayer.backends.cpu.simd import doubles_at, ints_at, longs_at
from onelayer.frontends.drawn_moves import (
    CODE,
    FLIP_OR_NOT,
    REFUSED,
    SAME,
    TRIES,
    UNCERTAIN,
    WINDOW,
)
from onelayer.frontends.placement import (
    COLS,
    CROP,
    CROP_REFLECT,
    CROP_SYMMETRIC,
    MOVE,
    NUMBERS,
    RESIZE_TO,
    ROWS,
    SIZE,
    place,
)

MOST_WORDS = 200
"""Maximum number of words of a call. The next 227 follow from the state by one step of the recurrence each."""

MOST_WORDS_OF_STEP = 2 * TRIES + 2
"""Maximum number of words of a step: of a random crop, two for each window that is tried, and two for its place."""

LEFT, NEXT, WORDS = 0, 2, 3
"""Places in a state, uint32 each: one more than the number of words that are left; the index of the next; the words."""

LENGTH = 624
"""Number of words of a state."""

STATE = WORDS + LENGTH
"""Length of a state."""

_STEP = 397
"""Distance of the recurrence."""

_UNIT = 2.0**-24

_MARGIN = 1e-5
"""Relative distance from a half up to which PyTorch's exponential may decide how a root is rounded: a hundred times the
error of float32."""

_LARGEST_LOG = 40.0
"""Largest logarithm whose exponential is computed here."""

_f32, _f64, _int64, _uint = np.float32, np.float64, np.int64, np.uint64

_place = table_kernel(place)


@exact_inlined
def _next_word(state, first, second, distant):
    """Return what takes the place of a word of a state, by the recurrence of that word and two others."""
    z = (_uint(state[first]) & _uint(0x80000000)) | (_uint(state[second]) & _uint(0x7FFFFFFF))
    return _uint(state[distant]) ^ (z >> _uint(1)) ^ ((z & _uint(1)) * _uint(0x9908B0DF))


@exact_inlined
def _word(state, at):
    """Return the word that the generator will give after ``at`` others."""
    left = _uint(state[LEFT]) - _uint(1)
    if at < left:
        y = _uint(state[WORDS + _uint(state[NEXT]) + at])
    else:
        j = _uint(WORDS) + at - left
        y = _next_word(state, j, j + _uint(1), j + _uint(_STEP))
    y ^= y >> _uint(11)
    y ^= (y << _uint(7)) & _uint(0x9D2C5680)
    y ^= (y << _uint(15)) & _uint(0xEFC60000)
    return y ^ (y >> _uint(18))


@exact_inlined
def _move_on(state, words):
    """Leave words of a state behind, no more than there are in one."""
    left = _int64(state[LEFT]) - 1
    if words <= left:
        state[LEFT], state[NEXT] = left + 1 - words, _int64(state[NEXT]) + words
        return
    for j in range(LENGTH):
        second, distant = (j + 1) % LENGTH, (j + _STEP) % LENGTH
        state[WORDS + j] = _next_word(state, _uint(WORDS + j), _uint(WORDS + second), _uint(WORDS + distant))
    used = words - left
    state[LEFT], state[NEXT] = LENGTH + 1 - used, used


@exact_inlined
def _unit(word):
    return _f64(word & _uint(0xFFFFFF)) * _UNIT


@exact_inlined
def _between(word, start, length, is_fused):
    """Return a number of a range, in float32."""
    product = _unit(word) * length
    if is_fused:
        return _f64(_f32(product + start))
    return _f64(_f32(_f64(_f32(product)) + start))


@exact_inlined
def _below(word, count):
    return _int64(word % _uint(count))


@exact_inlined
def _set(move, kind, first, second, third, fourth):
    move[0], move[1], move[2], move[3], move[4] = kind, first, second, third, fourth


@exact_inlined
def _drawn(state, code, steps, height, width, word, moves, placed):
    """Draw the moves of an image from a word on; return the index of the word behind its last, UNCERTAIN or REFUSED."""
    for step in range(steps):
        at = _uint(step) * _uint(CODE)
        kind = _int64(code[at])
        move = moves[2 + MOVE * step : 2 + MOVE * (step + 1)]
        if word > MOST_WORDS - MOST_WORDS_OF_STEP:
            return _int64(UNCERTAIN)
        if kind == SAME:
            for k in range(MOVE):
                move[k] = _int64(code[at + _uint(1 + k)])
            if height < 1 or width < 1 or not _place(move, height, width, placed):
                return _int64(UNCERTAIN)
            height, width = placed[ROWS + SIZE], placed[COLS + SIZE]
        elif kind == FLIP_OR_NOT:
            if _unit(_word(state, word)) < code[at + _uint(2)]:
                _set(move, _int64(code[at + _uint(1)]), 0, 0, 0, 0)
            else:
                _set(move, RESIZE_TO, height, width, 0, 0)
            word += _uint(1)
        elif kind == WINDOW:
            rows, cols = _int64(code[at + _uint(1)]), _int64(code[at + _uint(2)])
            left, top = _int64(code[at + _uint(3)]), _int64(code[at + _uint(4)])
            whole_height = height + top + _int64(code[at + _uint(6)])
            whole_width = width + left + _int64(code[at + _uint(5)])
            if code[at + _uint(7)] != 0:
                above, before = max(rows - whole_height, 0), max(cols - whole_width, 0)
                top, left = top + above, left + before
                whole_height, whole_width = whole_height + 2 * above, whole_width + 2 * before
            down, across = whole_height - rows, whole_width - cols
            border = _int64(code[at + _uint(9)])
            if down < 0 or across < 0:
                return _int64(REFUSED)
            if border in (CROP_REFLECT, CROP_SYMMETRIC):
                beyond = _int64(1 if border == CROP_REFLECT else 0)
                of_rows, of_columns = max(top, whole_height - top - height), max(left, whole_width - left - width)
                if of_rows + beyond > height or of_columns + beyond > width:
                    return _int64(REFUSED)
            both = code[at + _uint(8)] != 0 and (down > 0 or across > 0)
            i = j = _int64(0)
            if both or down > 0:
                i = _below(_word(state, word), down + 1)
                word += _uint(1)
            if both or across > 0:
                j = _below(_word(state, word), across + 1)
                word += _uint(1)
            _set(move, border, i - top, j - left, rows, cols)
            height, width = rows, cols
        else:
            is_fused = code[at + _uint(7)] != 0
            area, is_found = _f64(height * width), False
            top = left = rows = cols = _int64(0)
            for _ in range(TRIES):
                target = area * _between(_word(state, word), code[at + _uint(1)], code[at + _uint(2)], is_fused)
                log = _between(_word(state, word + _uint(1)), code[at + _uint(3)], code[at + _uint(4)], is_fused)
                word += _uint(2)
                if not (target >= 0 and -_LARGEST_LOG < log < _LARGEST_LOG):
                    return _int64(UNCERTAIN)
                root, aspect = math.sqrt(target), math.exp(0.5 * log)
                across, down = root * aspect, root / aspect
                nearest_cols, nearest_rows = np.rint(across), np.rint(down)
                if not (
                    abs(across - nearest_cols) < 0.5 - _MARGIN * across
                    and abs(down - nearest_rows) < 0.5 - _MARGIN * down
                ):
                    return _int64(UNCERTAIN)
                rows, cols = _int64(nearest_rows), _int64(nearest_cols)
                if 0 < cols <= width and 0 < rows <= height:
                    top = _below(_word(state, word), height - rows + 1)
                    left = _below(_word(state, word + _uint(1)), width - cols + 1)
                    word += _uint(2)
                    is_found = True
                    break
            if not is_found:
                shape = _f64(width) / _f64(height)
                rows, cols = height, width
                if shape < code[at + _uint(5)]:
                    rows = _int64(np.rint(width / code[at + _uint(5)]))
                elif shape > code[at + _uint(6)]:
                    cols = _int64(np.rint(height * code[at + _uint(6)]))
                # It may be larger than the image.
                top, left = (height - rows) // 2, (width - cols) // 2
            _set(move, CROP, top, left, rows, cols)
            height, width = rows, cols
        if height < 1 or width < 1:
            return _int64(UNCERTAIN)
    moves[0], moves[1] = height, width
    return _int64(word)


@exact_inlined
def _leads_out(state):
    """Whether a state leads out of its words, as one might that another thread is just changing."""
    return not 1 <= _int64(state[LEFT]) <= LENGTH + 1 - _int64(state[NEXT])


@locked_kernel
def take_words(state_at, count, words_at):
    """Take words from the generator, no more than MOST_WORDS.

    Args:
        state_at: Address of the generator's state, uint32 [STATE].
        count: Number of words.
        words_at: Address of int64 [count], to be set.

    Returns:
        The number of words; or UNCERTAIN, and the generator is where it was.
    """
    state, words = ints_at(_uint(state_at)).view(np.uint32), longs_at(_uint(words_at))
    if _leads_out(state):
        return _int64(UNCERTAIN)
    for at in range(count):
        words[at] = _word(state, _uint(at))
    _move_on(state, _int64(count))
    return _int64(count)


# It keeps the interpreter's lock, so that no other Python thread draws meanwhile.
@locked_kernel
def draw(state_at, before_at, code_at, steps, height, width, images, moves_at):
    """Draw the moves of images of one size, one after the other, and move the generator on.

    Args:
        state_at: Address of the generator's state, uint32 [STATE].
        before_at: Address of uint32 [STATE], to be set: the state as it was.
        code_at: Address of float64 [steps, CODE].
        steps: Number of steps.
        height: Rows of each image.
        width: Columns of each image.
        images: Number of images.
        moves_at: Address of int64 [images · (2 + MOVE · steps) + NUMBERS], to be set: for each image height and width
            of what comes out, and the moves; what is behind means nothing.

    Returns:
        Number of words that were used; or UNCERTAIN or REFUSED, and the generator is where it was.
    """
    state = ints_at(_uint(state_at)).view(np.uint32)
    before = ints_at(_uint(before_at)).view(np.uint32)
    code, length = doubles_at(_uint(code_at)), 2 + MOVE * steps
    moves = longs_at(_uint(moves_at)).view(np.int64)
    placed = moves[images * length : images * length + NUMBERS]
    if _leads_out(state):
        return _int64(UNCERTAIN)
    word = _int64(0)
    for image in range(images):
        of_image = moves[image * length : (image + 1) * length]
        word = _drawn(state, code, steps, _int64(height), _int64(width), _uint(word), of_image, placed)
        if word < 0:
            return word
    for j in range(STATE):
        before[j] = state[j]
    _move_on(state, word)
    return word
