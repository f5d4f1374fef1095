"""Sums of bytes with whole weights in vector registers: what Numba has no words for.

Everything is made of pairs: two numbers of 16 bits, times two weights of 16 bits, added to a sum of 32 bits. With
weights of 16 bits a pair is two neighbouring samples. A weight of 22 bits is split: a pair is a sample s and 128·s, and
its weights are the lower seven bits and the rest.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.numba_vectors import ROWS, data_of
from onelayer.backends.windows import LANES

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _INTS = ir.VectorType(_BYTE, LANES), ir.VectorType(_INT, LANES)
_SHORTS = ir.VectorType(_SHORT, 2 * LANES)


def _constant(values):
    return ir.Constant(ir.VectorType(_INT, len(values)), values)


def _products(builder, samples, weights):
    """Of sixteen samples and weights, added in pairs to eight."""
    if binding.get_host_cpu_features().get("avx2"):
        kind = ir.FunctionType(_INTS, [_SHORTS, _SHORTS])
        multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
        return builder.call(multiply, [samples, weights])
    wide = ir.VectorType(_INT, 2 * LANES)
    each = builder.mul(builder.sext(samples, wide), builder.sext(weights, wide))
    even, odd = (
        builder.shuffle_vector(each, each, _constant([2 * lane + part for lane in range(LANES)])) for part in (0, 1)
    )
    return builder.add(even, odd)


def _splat(builder, value):
    """A pair, 32 bits, sixteen times sixteen bits."""
    vector = builder.insert_element(ir.Constant(_INTS, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(vector, vector, _constant([0] * LANES))


def _loaded(builder, data, at, kind):
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)


def _zeros(builder, count):
    totals = [cgutils.alloca_once(builder, _INTS) for _ in range(count)]
    for total in totals:
        builder.store(ir.Constant(_INTS, [0] * LANES), total)
    return totals


def _rounded(builder, total, bits):
    """``(sum + half) >> bits``, saturated to bytes; bits is a number of 64 bits."""
    shift = builder.trunc(bits, _INT)
    half = builder.shl(ir.Constant(_INT, 1), builder.sub(shift, ir.Constant(_INT, 1)))
    sums = builder.add(builder.load(total), _splat(builder, half))
    sums = builder.ashr(sums, _splat(builder, shift))
    for limit, comparison in ((0, "<"), (255, ">")):
        bound = ir.Constant(_INTS, [limit] * LANES)
        sums = builder.select(builder.icmp_signed(comparison, sums, bound), bound, sums)
    return builder.trunc(sums, _BYTES)


def _stored(builder, values, data, at):
    builder.store(values, builder.bitcast(builder.gep(data, [at]), _BYTES.as_pointer()), align=1)


@intrinsic
def pairs_of_columns(_typing, lines, at, between_lines, weights, weights_at, pairs, bits, out, places, to):
    """``out[places[r] + to + j] = round(Σ_k pair(weights, k, j) · pair(lines[at + r·between_lines], k))``.

    For eight rows r and eight outputs j. Pair k of a line is its elements 2k and 2k + 1.
    """
    signature = types.void(lines, at, between_lines, weights, weights_at, pairs, bits, out, places, to)

    def generate(context, builder, signature, arguments):
        kinds = signature.args
        lines, weights, out, places = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 3, 7, 8))
        _, at, between, _, weights_at, pairs, bits, _, _, to = arguments
        totals = _zeros(builder, ROWS)
        rows = [builder.gep(lines, [at])]
        for _ in totals[1:]:
            rows.append(builder.gep(rows[-1], [between]))
        with cgutils.for_range(builder, pairs) as loop:
            sixteen = builder.mul(loop.index, ir.Constant(_LONG, 2 * LANES))
            factors = _loaded(builder, weights, builder.add(weights_at, sixteen), _SHORTS)
            place = builder.mul(loop.index, ir.Constant(_LONG, 2))
            for total, row in zip(totals, rows, strict=True):
                samples = builder.bitcast(_splat(builder, _loaded(builder, row, place, _INT)), _SHORTS)
                builder.store(builder.add(builder.load(total), _products(builder, samples, factors)), total)
        for number, total in enumerate(totals):
            place = builder.load(builder.gep(places, [ir.Constant(_LONG, number)]))
            _stored(builder, _rounded(builder, total, bits), out, builder.add(place, to))

    return signature, generate


def _pairs_of_rows_by(vectors, wide):
    @intrinsic
    def pairs_of_rows(_typing, x, origins, weights, weights_at, pairs, begin, bits, out, to):
        signature = types.void(x, origins, weights, weights_at, pairs, begin, bits, out, to)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, origins, weights, out = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 1, 2, 7))
            _, _, _, weights_at, pairs, begin, bits, _, to = arguments
            totals = _zeros(builder, vectors)
            two = ir.Constant(_LONG, 2)
            with cgutils.for_range(builder, pairs) as loop:
                pair = builder.mul(loop.index, two)
                weight = _loaded(builder, weights, builder.add(weights_at, pair), _INT)
                factors = builder.bitcast(_splat(builder, weight), _SHORTS)
                rows = [loop.index] if wide else [pair, builder.add(pair, ir.Constant(_LONG, 1))]
                places = [builder.add(builder.load(builder.gep(origins, [row])), begin) for row in rows]
                for i, total in enumerate(totals):
                    offset = ir.Constant(_LONG, i * LANES)
                    read = [_loaded(builder, x, builder.add(place, offset), _BYTES) for place in places]
                    samples = _split(builder, *read) if wide else _side_by_side(builder, *read)
                    builder.store(builder.add(builder.load(total), _products(builder, samples, factors)), total)
            for i, total in enumerate(totals):
                _stored(builder, _rounded(builder, total, bits), out, builder.add(to, ir.Constant(_LONG, i * LANES)))

        return signature, generate

    return pairs_of_rows


def _side_by_side(builder, one, other):
    """Bytes of two rows, each beside the other's, as numbers of 16 bits."""
    order = [lane + LANES * row for lane in range(LANES) for row in (0, 1)]
    return builder.zext(builder.shuffle_vector(one, other, _constant(order)), _SHORTS)


def _split(builder, values):
    """Each byte s as s and 128·s."""
    numbers = builder.zext(values, _INTS)
    shifted = builder.shl(numbers, ir.Constant(_INTS, [23] * LANES))
    return builder.bitcast(builder.or_(numbers, shifted), _SHORTS)


pairs_of_32_columns = _pairs_of_rows_by(4, wide=False)
pairs_of_8_columns = _pairs_of_rows_by(1, wide=False)
split_32_columns = _pairs_of_rows_by(4, wide=True)
split_8_columns = _pairs_of_rows_by(1, wide=True)


def _unpacked(builder, values, split):
    """Eight bytes as numbers of 16 bits, each followed by 128 times itself if ``split``."""
    return _split(builder, values) if split else builder.zext(values, ir.VectorType(_SHORT, LANES))


def _unpack_by(channels, step, split):
    """``lines[to + c·between + i] = x[at + i·step + c]`` for eight columns i; twice as many numbers if ``split``."""

    @intrinsic
    def unpack(_typing, x, at, lines, to, between):
        signature = types.void(x, at, lines, to, between)

        def generate(context, builder, signature, arguments):
            x, lines = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 2))
            _, at, _, to, between = arguments
            # Not a byte more than there are: the last ones may be the last of the image.
            count = (LANES - 1) * step + channels
            values = _loaded(builder, x, at, ir.VectorType(_BYTE, count))
            for channel in range(channels):
                own = builder.shuffle_vector(values, values, _constant([channel + i * step for i in range(LANES)]))
                unpacked = _unpacked(builder, own, split)
                place = builder.bitcast(builder.gep(lines, [to]), unpacked.type.as_pointer())
                builder.store(unpacked, place, align=2)
                to = builder.add(to, between)

        return signature, generate

    return unpack


unpack_line, unpack_line_split = _unpack_by(1, 1, split=False), _unpack_by(1, 1, split=True)
unpack_three, unpack_three_split = _unpack_by(3, 3, split=False), _unpack_by(3, 3, split=True)
unpack_four, unpack_four_split = _unpack_by(3, 4, split=False), _unpack_by(3, 4, split=True)


@intrinsic
def mix_three(_typing, values, at, between, first, second, third, half, out, to):
    """``out[to + i] = trunc(fused sums of three lines + half)`` for eight bytes, in float32."""
    signature = types.void(values, at, between, first, second, third, half, out, to)

    def generate(context, builder, signature, arguments):
        values, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 7))
        _, at, between, *weights, half, _, to = arguments
        single = ir.VectorType(ir.FloatType(), LANES)
        multiply_and_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(single, [single] * 3), "llvm.fma.v8f32"
        )
        total = None
        for weight in weights:
            numbers = builder.uitofp(_loaded(builder, values, at, _BYTES), single)
            factor = _single_splat(builder, weight, single)
            total = (
                builder.fmul(numbers, factor)
                if total is None
                else builder.call(multiply_and_add, [numbers, factor, total])
            )
            at = builder.add(at, between)
        total = builder.fadd(total, _single_splat(builder, half, single))
        _stored(builder, builder.trunc(builder.fptosi(total, _INTS), _BYTES), out, to)

    return signature, generate


def _single_splat(builder, value, kind):
    vector = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(vector, vector, _constant([0] * LANES))


@intrinsic
def copy_bytes(_typing, values, at, count, out, to):
    """``out[to + i] = values[at + i]`` for 0 ≤ i < ``count``, bytes."""
    signature = types.void(values, at, count, out, to)

    def generate(context, builder, signature, arguments):
        values, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3))
        _, at, count, _, to = arguments
        pointer = _BYTE.as_pointer()
        source, target = (
            builder.bitcast(builder.gep(data, [place]), pointer) for data, place in ((values, at), (out, to))
        )
        cgutils.raw_memcpy(builder, target, source, count, 1)

    return signature, generate


@intrinsic
def fused(_typing, x, y, z):
    """``x · y + z`` in float32 with one rounding."""
    signature = types.float32(x, y, z)

    def generate(_context, builder, _signature, arguments):
        single = ir.FloatType()
        kind = ir.FunctionType(single, [single] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f32"), list(arguments))

    return signature, generate
