"""Give Numba vectors of numbers, with the operators of numbers, as types and intrinsics in LLVM's terms.

LLVM keeps them in registers, two or more for each. Its own vectoriser does so within one loop, but not where what the
loop does is chosen while it runs.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from onelayer.backends.cpu.simd import BYTE, FLOAT, INT, SHORT, has_avx512, instruction, joined, shuffled, splat

COUNT = 32 if has_avx512() else 16
"""Numbers of a vector: two registers of float32, of which one is computed while the other waits. With a single one,
blends of saturation took a third longer."""

_DOUBLE, _BIT = ir.DoubleType(), ir.IntType(1)
_BYTES, _SHORTS = ir.VectorType(BYTE, COUNT), ir.VectorType(SHORT, COUNT)


class _Vector(types.Type):
    """A vector.

    Args:
        name: What it is of.
        element: LLVM's type of a number.
    """

    def __init__(self, name, element):
        self.vector = ir.VectorType(element, COUNT)
        super().__init__(name=f"vector of {COUNT} {name}")


@register_model(_Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.vector)


_FLOATS, _DOUBLES = _Vector("float32", FLOAT), _Vector("float64", _DOUBLE)
_INTS, _MASKS = _Vector("int32", INT), _Vector("bits", _BIT)


def _operator(function, kinds, result, generate):
    """Define an operator of two vectors of the same kind, one of several."""

    @infer_global(function)
    class _Typed(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and args[0] in kinds and args[0] == args[1] and not kws:
                return signature(result or args[0], *args)
            return None

    def lowered(_context, builder, sig, args):
        return generate(builder, sig.args[0], *args)

    lower_builtin(function, _Vector, _Vector)(lowered)


def _arithmetic(of_floats, of_ints):
    def generate(builder, kind, x, y):
        return getattr(builder, of_ints if kind in (_INTS, _MASKS) else of_floats)(x, y)

    return generate


def _comparison(sign):
    def generate(builder, kind, x, y):
        return builder.icmp_signed(sign, x, y) if kind == _INTS else builder.fcmp_ordered(sign, x, y)

    return generate


_REAL, _ALL = (_FLOATS, _DOUBLES), (_FLOATS, _DOUBLES, _INTS)
_operator(operator.add, _ALL, None, _arithmetic("fadd", "add"))
_operator(operator.sub, _ALL, None, _arithmetic("fsub", "sub"))
_operator(operator.mul, _ALL, None, _arithmetic("fmul", "mul"))
_operator(operator.truediv, _REAL, None, _arithmetic("fdiv", None))
_operator(operator.and_, (_INTS, _MASKS), None, _arithmetic(None, "and_"))
_operator(operator.or_, (_INTS, _MASKS), None, _arithmetic(None, "or_"))
_operator(operator.lshift, (_INTS,), None, _arithmetic(None, "shl"))
_operator(operator.rshift, (_INTS,), None, _arithmetic(None, "ashr"))
for _function, _sign in ((operator.eq, "=="), (operator.ge, ">="), (operator.lt, "<")):
    _operator(_function, _ALL, _MASKS, _comparison(_sign))


_OF_NUMBERS = {types.float32: _FLOATS, types.float64: _DOUBLES, types.int32: _INTS}


@intrinsic
def every(_typing, number):
    """Return a vector of equal numbers."""
    result = _OF_NUMBERS[number]

    def generate(_context, builder, _signature, arguments):
        return splat(builder, arguments[0], COUNT)

    return result(number), generate


@intrinsic
def lanes(_typing):
    """Return the numbers 0, 1, 2, …, int32."""

    def generate(_context, _builder, _signature, _arguments):
        return ir.Constant(_INTS.vector, list(range(COUNT)))

    return _INTS(), generate


def _converted_to(result):
    @intrinsic
    def convert(_typing, x):
        def generate(_context, builder, sig, arguments):
            (kind,), (x,) = sig.args, arguments
            if result == _INTS:
                return builder.fptosi(x, _INTS.vector)
            if kind == _INTS:
                return builder.sitofp(x, result.vector)
            return (builder.fpext if result == _DOUBLES else builder.fptrunc)(x, result.vector)

        return result(x), generate

    return convert


floats, doubles, ints = (_converted_to(kind) for kind in (_FLOATS, _DOUBLES, _INTS))
"""Convert a vector to float32, float64 or, cut off toward zero, to int32."""


@intrinsic
def where(_typing, mask, x, y):
    """Return the numbers of one vector where a mask says so, and those of another elsewhere."""

    def generate(_context, builder, _signature, arguments):
        return builder.select(*arguments)

    return x(mask, x, y), generate


def _chosen(sign):
    @intrinsic
    def choose(_typing, x, y):
        def generate(_context, builder, _signature, arguments):
            x, y = arguments
            return builder.select(builder.fcmp_ordered(sign, x, y), x, y)

        return x(x, y), generate

    return choose


larger, smaller = _chosen(">"), _chosen("<")
"""Return the larger, or the smaller, of each two numbers, none of which is NaN."""


def _of_llvm(name):
    @intrinsic
    def call(_typing, x, y, z):
        def generate(_context, builder, _signature, arguments):
            return instruction(builder, f"llvm.{name}.v{COUNT}f32", _FLOATS.vector, *arguments)

        return x(x, y, z), generate

    return call


fused, multiplied_and_added = _of_llvm("fma"), _of_llvm("fmuladd")
"""Return ``x · y + z`` in float32, with one rounding; or with one or two, whatever the processor is quicker at."""


@intrinsic
def floored(_typing, x):
    """Return the largest whole numbers that are not larger."""

    def generate(_context, builder, _signature, arguments):
        return instruction(builder, f"llvm.floor.v{COUNT}f32", _FLOATS.vector, *arguments)

    return x(x), generate


@intrinsic
def total_of(_typing, x):
    """Return the sum of int32 numbers."""

    def generate(_context, builder, _signature, arguments):
        (total,) = arguments
        half = COUNT
        while half > 1:
            half //= 2
            both = [shuffled(builder, total, total, range(first, first + half)) for first in (0, half)]
            total = builder.add(*both)
        return builder.extract_element(total, ir.Constant(INT, 0))

    return types.int32(x), generate


def _extreme(sign):
    @intrinsic
    def extreme_of(_typing, x):
        def generate(_context, builder, _signature, arguments):
            (values,) = arguments
            half = COUNT
            while half > 1:
                half //= 2
                both = [shuffled(builder, values, values, range(first, first + half)) for first in (0, half)]
                values = builder.select(builder.fcmp_ordered(sign, *both), *both)
            return builder.extract_element(values, ir.Constant(INT, 0))

        return types.float32(x), generate

    return extreme_of


largest_of, smallest_of = _extreme(">"), _extreme("<")
"""Return the largest, or the smallest, of float32 numbers."""


def _memory(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _loaded(builder, address, kind):
    return builder.load(_memory(builder, address, kind), align=1)


def _stored(builder, value, address):
    builder.store(value, _memory(builder, address, value.type), align=1)


_THREE = types.UniTuple(_FLOATS, 3)
_PIXELS_OF_3, _PIXELS_OF_4 = (ir.VectorType(BYTE, size * COUNT) for size in (3, 4))


def _as_bytes(builder, values):
    return builder.trunc(builder.fptosi(values, _INTS.vector), _BYTES)


@intrinsic
def bytes_loaded(_typing, address):
    """Return the bytes at an address as float32."""

    def generate(_context, builder, _signature, arguments):
        return builder.uitofp(_loaded(builder, arguments[0], _BYTES), _FLOATS.vector)

    return _FLOATS(address), generate


@intrinsic
def bytes_stored(_typing, values, address):
    """Write whole numbers 0 … 255, float32, as bytes to an address."""

    def generate(_context, builder, _signature, arguments):
        _stored(builder, _as_bytes(builder, arguments[0]), arguments[1])

    return types.void(values, address), generate


@intrinsic
def floats_loaded(_typing, address):
    """Return the float32 numbers at an address."""

    def generate(_context, builder, _signature, arguments):
        return _loaded(builder, arguments[0], _FLOATS.vector)

    return _FLOATS(address), generate


@intrinsic
def points_loaded(_typing, address):
    """Return the first and the second of pairs of float32 numbers at an address."""

    def generate(context, builder, _signature, arguments):
        pairs = _loaded(builder, arguments[0], ir.VectorType(FLOAT, 2 * COUNT))
        each = [shuffled(builder, pairs, pairs, range(which, 2 * COUNT, 2)) for which in (0, 1)]
        return context.make_tuple(builder, types.UniTuple(_FLOATS, 2), each)

    return types.UniTuple(_FLOATS, 2)(address), generate


@intrinsic
def numbers_stored(_typing, values, address):
    """Write float32 or int32 numbers to an address."""

    def generate(_context, builder, _signature, arguments):
        _stored(builder, *arguments)

    return types.void(values, address), generate


@intrinsic
def pixels_of_4_loaded(_typing, address):
    """Return the first three bytes of pixels of four, each as float32."""

    def generate(context, builder, _signature, arguments):
        pixels = _loaded(builder, arguments[0], _INTS.vector)
        byte = ir.Constant(_INTS.vector, [255] * COUNT)
        colors = []
        for channel in range(3):
            moved = builder.lshr(pixels, ir.Constant(_INTS.vector, [8 * channel] * COUNT)) if channel else pixels
            colors.append(builder.sitofp(builder.and_(moved, byte), _FLOATS.vector))
        return context.make_tuple(builder, _THREE, colors)

    return _THREE(address), generate


@intrinsic
def pixels_of_4_stored(_typing, red, green, blue, address):
    """Write pixels of four bytes, the last of which is 255."""

    def generate(_context, builder, _signature, arguments):
        *colors, address = arguments
        pixels = ir.Constant(_INTS.vector, [-1 << 24] * COUNT)
        for channel, color in enumerate(colors):
            whole = builder.fptosi(color, _INTS.vector)
            moved = builder.shl(whole, ir.Constant(_INTS.vector, [8 * channel] * COUNT)) if channel else whole
            pixels = builder.or_(pixels, moved)
        _stored(builder, pixels, address)

    return types.void(red, green, blue, address), generate


@intrinsic
def pixels_of_3_loaded(_typing, address):
    """Return the bytes of pixels of three, each as float32."""

    def generate(context, builder, _signature, arguments):
        pixels = _loaded(builder, arguments[0], _PIXELS_OF_3)
        colors = []
        for channel in range(3):
            one = shuffled(builder, pixels, pixels, range(channel, 3 * COUNT, 3))
            colors.append(builder.uitofp(one, _FLOATS.vector))
        return context.make_tuple(builder, _THREE, colors)

    return _THREE(address), generate


@intrinsic
def pixels_of_3_stored(_typing, red, green, blue, address):
    """Write pixels of three bytes."""

    def generate(_context, builder, _signature, arguments):
        *colors, address = arguments
        red, green, blue = (_as_bytes(builder, color) for color in colors)
        halves = joined(builder, red, green), joined(builder, blue, blue)
        order = [pixel + COUNT * channel for pixel in range(COUNT) for channel in range(3)]
        _stored(builder, shuffled(builder, *halves, order), address)

    return types.void(red, green, blue, address), generate


@intrinsic
def smoothed(_typing, above, here, below, step):
    """Return the rounded means of bytes and their eight neighbours, in which the middle counts five times, as float32.

    Args:
        above: Address of the bytes above.
        here: Address of the bytes.
        below: Address of the bytes below.
        step: Bytes to the neighbours in a row.
    """

    def generate(_context, builder, _signature, arguments):
        *rows, step = arguments
        middle = None
        total = ir.Constant(_SHORTS, [6] * COUNT)
        for row in rows:
            for address in (builder.sub(row, step), row, builder.add(row, step)):
                values = builder.zext(_loaded(builder, address, _BYTES), _SHORTS)
                total = builder.add(total, values)
                middle = values if address is rows[1] else middle
        total = builder.add(total, builder.shl(middle, ir.Constant(_SHORTS, [2] * COUNT)))
        # Thirteenths are never halves, so that however the libraries add up, they round like this, which divides by 13.
        wide = builder.mul(builder.zext(total, _INTS.vector), ir.Constant(_INTS.vector, [5042] * COUNT))
        means = builder.trunc(builder.lshr(wide, ir.Constant(_INTS.vector, [16] * COUNT)), _SHORTS)
        return builder.uitofp(means, _FLOATS.vector)

    return _FLOATS(above, here, below, step), generate
