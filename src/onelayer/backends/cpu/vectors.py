"""What Numba has no words for: sums in vector registers, memory by its address, prefetching, shared counters.

Each function is written in LLVM's own terms, for eight float32 at a time; LLVM splits these on processors with narrower
registers. Its vectoriser does not keep sums in registers through a loop of unknown length by itself.

Memory is of uint8, float32, or float16: Numba does not compute with that, and has it as int16.
"""

from __future__ import annotations

from platform import machine

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.windows import LANES

ROWS = 8
"""Rows of the output that are computed together."""

_FLOAT, _HALF = ir.FloatType(), ir.HalfType()
_FLOATS, _HALVES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_HALF, LANES)


def data_of(context, builder, kind, array):
    """The memory of an array, in an intrinsic."""
    return context.make_array(kind)(context, builder, array).data


def _place(context, builder, signature, arguments):
    """Where the element of an array is, the first two arguments of an intrinsic."""
    return builder.gep(data_of(context, builder, signature.args[0], arguments[0]), [arguments[1]])


def _widened(builder, values, vector):
    """What memory holds, one value or eight, as float32."""
    element = values.type.element if vector else values.type
    to, half = (_FLOATS, _HALVES) if vector else (_FLOAT, _HALF)
    if element == ir.IntType(8):
        return builder.uitofp(values, to)
    if element == ir.IntType(16):
        return builder.fpext(builder.bitcast(values, half), to)
    return values


def _loaded(builder, data, at):
    """Eight neighbours from ``data[at]`` on, as float32."""
    element = data.type.pointee
    place = builder.bitcast(builder.gep(data, [at]), ir.VectorType(element, LANES).as_pointer())
    align = element.width // 8 if isinstance(element, ir.IntType) else 4
    return _widened(builder, builder.load(place, align=align), vector=True)


def _splat(builder, value):
    vector = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _accumulate(builder, total, factor, values):
    """``total += factor · values``, in one instruction where the processor has it."""
    product = builder.fmul(factor, values, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def _zeros(builder, count):
    totals = [cgutils.alloca_once(builder, _FLOATS) for _ in range(count)]
    for total in totals:
        builder.store(ir.Constant(_FLOATS, [0.0] * LANES), total)
    return totals


def _stored(builder, total, data, at):
    builder.store(builder.load(total), builder.bitcast(builder.gep(data, [at]), _FLOATS.as_pointer()), align=4)


def sum_of_rows_by(vectors):
    """``lines[at + i] = Σ_k weights[k] · x[origins[k] + begin + i]`` for 0 ≤ i < 8·``vectors``."""

    @intrinsic
    def sum_of_rows(_typing, x, origins, weights, terms, begin, lines, at):
        signature = types.void(x, origins, weights, terms, begin, lines, at)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, lines = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 5))
            terms, begin, at = arguments[3], arguments[4], arguments[6]
            totals = _zeros(builder, vectors)
            with cgutils.for_range(builder, terms) as loop:
                origin = builder.add(builder.load(builder.gep(origins, [loop.index])), begin)
                weight = _splat(builder, builder.load(builder.gep(weights, [loop.index])))
                for i, total in enumerate(totals):
                    place = builder.add(origin, ir.Constant(origin.type, i * LANES))
                    _accumulate(builder, total, weight, _loaded(builder, x, place))
            for i, total in enumerate(totals):
                _stored(builder, total, lines, builder.add(at, ir.Constant(at.type, i * LANES)))

        return signature, generate

    return sum_of_rows


@intrinsic
def columns(_typing, lines, at, between_lines, places, weights, weights_at, taps, sums, to, between_sums):
    """``sums[to + r·between_sums + j] = Σ_k weights[weights_at + 8k + j] · lines[at + r·between_lines + places[k]]``.

    For eight rows r, in their order, and eight outputs j.
    """
    signature = types.void(lines, at, between_lines, places, weights, weights_at, taps, sums, to, between_sums)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        lines, places, weights, sums = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 3, 4, 7))
        _, at, between_lines, _, _, weights_at, taps, _, to, between_sums = arguments
        totals = _zeros(builder, ROWS)
        rows = [builder.gep(lines, [at])]
        for _ in totals[1:]:
            rows.append(builder.gep(rows[-1], [between_lines]))
        with cgutils.for_range(builder, taps) as loop:
            eight = builder.mul(loop.index, ir.Constant(loop.index.type, LANES))
            factors = _loaded(builder, weights, builder.add(weights_at, eight))
            # From memory, because of a product LLVM would make one pointer that moves from row to row, and each load
            # would wait for the one before.
            place = builder.load(builder.gep(places, [loop.index]))
            for total, row in zip(totals, rows, strict=True):
                _accumulate(builder, total, _splat(builder, builder.load(builder.gep(row, [place]))), factors)
        for total in totals:
            _stored(builder, total, sums, to)
            to = builder.add(to, between_sums)

    return signature, generate


@intrinsic
def value_at(_typing, x, at):
    """``x[at]`` as float32."""
    signature = types.float32(x, at)

    def generate(context, builder, signature, arguments):
        return _widened(builder, builder.load(_place(context, builder, signature, arguments)), vector=False)

    return signature, generate


@intrinsic
def store(_typing, out, at, value):
    """``out[at] = value``, a float32, in the dtype of ``out``; where that is uint8, a whole number in its range."""
    signature = types.void(out, at, value)

    def generate(context, builder, signature, arguments):
        out, at, value = arguments
        data = data_of(context, builder, signature.args[0], out)
        if data.type.pointee == ir.IntType(8):
            value = builder.trunc(builder.fptosi(value, ir.IntType(32)), ir.IntType(8))
        elif data.type.pointee == ir.IntType(16):
            value = builder.bitcast(builder.fptrunc(value, _HALF), ir.IntType(16))
        builder.store(value, builder.gep(data, [at]))

    return signature, generate


@intrinsic
def memory_at(_typing, address, like):
    """The memory at an address as an array of the dtype of ``like``; nobody looks at its length."""
    signature = like(address, like)

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[1])(context, builder, arguments[1])
        array.data = builder.inttoptr(arguments[0], array.data.type)
        # Nobody owns it as far as Numba knows: nothing is counted, and nothing freed.
        for owner in ("meminfo", "parent"):
            setattr(array, owner, ir.Constant(getattr(array, owner).type, None))
        return array._getvalue()

    return signature, generate


@intrinsic
def fetch_line(_typing, x, at):
    """Have the cache line of ``x[at]`` brought nearer, without waiting for it."""
    signature = types.void(x, at)

    def generate(context, builder, signature, arguments):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
        )
        # To read, into the first-level cache, data.
        flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
        builder.call(prefetch, [builder.bitcast(_place(context, builder, signature, arguments), byte), *flags])

    return signature, generate


@intrinsic
def take(_typing, counters, at, count):
    """``counters[at]``, to which ``count`` is added before any other thread sees it."""
    signature = types.uint64(counters, at, count)

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _place(context, builder, signature, arguments), arguments[2], "monotonic")

    return signature, generate


@intrinsic
def add(_typing, counters, at, count):
    """``counters[at] += count``; all that this thread wrote before is seen by who sees the sum."""
    signature = types.void(counters, at, count)

    def generate(context, builder, signature, arguments):
        builder.atomic_rmw("add", _place(context, builder, signature, arguments), arguments[2], "release")

    return signature, generate


@intrinsic
def seen(_typing, counters, at):
    """``counters[at]``, with all that was written before it was added to."""
    signature = types.uint64(counters, at)

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return signature, generate


_PAUSES = {
    "x86_64": ("llvm.x86.sse2.pause", ()),
    "AMD64": ("llvm.x86.sse2.pause", ()),
    "aarch64": ("llvm.aarch64.hint", (1,)),
    "arm64": ("llvm.aarch64.hint", (1,)),
}


@intrinsic
def pause(_typing):
    """Leave the processor's core to its other thread for a moment, where there is an instruction for that."""

    def generate(_context, builder, _signature, _arguments):
        if machine() in _PAUSES:
            name, arguments = _PAUSES[machine()]
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [number] * len(arguments))
            instruction = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(instruction, [ir.Constant(number, argument) for argument in arguments])

    return types.void(), generate
