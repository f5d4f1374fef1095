"""Provide vector registers and raw memory, which Numba cannot express, as intrinsics in LLVM's terms.

LLVM splits registers of eight float32 on processors with narrower ones. Its vectoriser does not keep sums in registers
through a loop of unknown length by itself.

Memory is of uint8, float32, or float16: Numba does not compute with that, and has it as int16.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from onelayer.backends.cpu.tables import BYTES, LANES

ROWS = 8
"""Rows of the output that the float kernel computes together."""

ROW_OUTPUTS = 32
"""Neighbours along a row that the byte kernel computes together in sums of rows."""

BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
HALF, FLOAT = ir.HalfType(), ir.FloatType()
BYTES_8, BYTES_16, BYTES_32 = (ir.VectorType(BYTE, count) for count in (LANES, BYTES, 2 * BYTES))
SHORTS_16, INTS_8 = ir.VectorType(SHORT, BYTES), ir.VectorType(INT, LANES)
HALVES_8, FLOATS_8 = ir.VectorType(HALF, LANES), ir.VectorType(FLOAT, LANES)

# Helpers of intrinsics: they add instructions to a function that is being built.


def has_avx2():
    """Whether Numba compiles for a processor that has AVX2."""
    if config.CPU_FEATURES is not None:
        return "+avx2" in config.CPU_FEATURES
    return bool(binding.get_host_cpu_features().get("avx2"))


def has_avx512():
    """Whether Numba compiles for a processor that has registers of 512 bits."""
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return bool(binding.get_host_cpu_features().get("avx512f"))


def data_of(context, builder, kind, array):
    """Return the memory of an array."""
    return context.make_array(kind)(context, builder, array).data


def element(context, builder, signature, arguments):
    """Return the address of an element of an array, the first two arguments of an intrinsic."""
    return builder.gep(data_of(context, builder, signature.args[0], arguments[0]), [arguments[1]])


def line_at(builder, lines, row, at):
    """Return the memory at the address ``lines[row] + at``."""
    address = builder.add(builder.load(builder.gep(lines, [row])), at)
    return builder.inttoptr(address, BYTE.as_pointer())


def constant(value):
    """Return an integer of 64 bits."""
    return ir.Constant(LONG, value)


def shuffled(builder, first, second, order):
    """Return the elements of two vectors at the places in ``order``."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def joined(builder, first, second):
    """Return two vectors as one of twice the length."""
    return shuffled(builder, first, second, range(first.type.count + second.type.count))


def loaded(builder, data, at, kind):
    """Return what lies from ``data[at]`` on, as a value of a kind."""
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)


def stored(builder, values, data, at):
    """Write a vector from ``data[at]`` on."""
    builder.store(values, builder.bitcast(builder.gep(data, [at]), values.type.as_pointer()), align=1)


def splat(builder, value, count):
    """Return a vector of ``count`` equal values."""
    kind = ir.VectorType(value.type, count)
    vector = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
    return shuffled(builder, vector, vector, [0] * count)


def instruction(builder, name, result, *arguments):
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def permuted(builder, values, places):
    """Return the bytes of each half at places in that half, and zeros where the place is 128."""
    if has_avx2():
        return instruction(builder, "llvm.x86.avx2.pshuf.b", BYTES_32, values, places)
    result = ir.Constant(BYTES_32, [0] * 2 * BYTES)
    for lane in range(2 * BYTES):
        index = ir.Constant(INT, lane)
        place = builder.extract_element(places, index)
        within = builder.and_(builder.zext(place, INT), ir.Constant(INT, BYTES - 1))
        in_half = builder.add(within, ir.Constant(INT, lane // BYTES * BYTES))
        is_zero = builder.icmp_signed("<", place, ir.Constant(BYTE, 0))
        value = builder.select(is_zero, ir.Constant(BYTE, 0), builder.extract_element(values, in_half))
        result = builder.insert_element(result, value, index)
    return result


def _as_float32(builder, values, is_vector):
    """Convert what memory holds, one value or eight, to float32."""
    kind = values.type.element if is_vector else values.type
    to, half = (FLOATS_8, HALVES_8) if is_vector else (FLOAT, HALF)
    if kind == BYTE:
        return builder.uitofp(values, to)
    if kind == SHORT:
        return builder.fpext(builder.bitcast(values, half), to)
    return values


def _loaded_as_float32(builder, data, at):
    """Return eight neighbours from ``data[at]`` on as float32."""
    kind = data.type.pointee
    place = builder.bitcast(builder.gep(data, [at]), ir.VectorType(kind, LANES).as_pointer())
    align = kind.width // 8 if isinstance(kind, ir.IntType) else 4
    return _as_float32(builder, builder.load(place, align=align), is_vector=True)


def _accumulate(builder, total, factor, values):
    """Add ``factor · values`` to ``total``, in one instruction where the processor has it."""
    product = builder.fmul(factor, values, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def _zeros(builder, count):
    totals = [cgutils.alloca_once(builder, FLOATS_8) for _ in range(count)]
    for total in totals:
        builder.store(ir.Constant(FLOATS_8, [0.0] * LANES), total)
    return totals


def _store_total(builder, total, data, at):
    builder.store(builder.load(total), builder.bitcast(builder.gep(data, [at]), FLOATS_8.as_pointer()), align=4)


# Sums of float32.


def sum_of_rows_by(vectors):
    """Make ``lines[at + i] = Σ_k weights[weights_at + k] · x[first + k·between + i]`` for 8·``vectors`` neighbours.

    They are those from ``begin`` on. With 0 vectors it is one value, its products added as those of a vector are.
    """

    @intrinsic
    def sum_of_rows(_typing, x, first, between, weights, weights_at, terms, begin, lines, at):
        signature = types.void(x, first, between, weights, weights_at, terms, begin, lines, at)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            x, weights, lines = (data_of(context, builder, kinds[i], arguments[i]) for i in (0, 3, 7))
            _, first, between, _, weights_at, terms, begin, _, at = arguments
            first = builder.add(first, begin)
            if vectors == 0:
                totals = [cgutils.alloca_once_value(builder, ir.Constant(FLOAT, 0.0))]
            else:
                totals = _zeros(builder, vectors)
            with cgutils.for_range(builder, terms) as loop:
                origin = builder.add(first, builder.mul(loop.index, between))
                weight = builder.load(builder.gep(weights, [builder.add(weights_at, loop.index)]))
                if vectors == 0:
                    value = _as_float32(builder, builder.load(builder.gep(x, [origin])), is_vector=False)
                    _accumulate(builder, totals[0], weight, value)
                else:
                    factor = splat(builder, weight, LANES)
                    for i, total in enumerate(totals):
                        place = builder.add(origin, ir.Constant(origin.type, i * LANES))
                        _accumulate(builder, total, factor, _loaded_as_float32(builder, x, place))
            to = builder.add(at, begin)
            if vectors == 0:
                builder.store(builder.load(totals[0]), builder.gep(lines, [to]))
            else:
                for i, total in enumerate(totals):
                    _store_total(builder, total, lines, builder.add(to, ir.Constant(to.type, i * LANES)))

        return signature, generate

    return sum_of_rows


@intrinsic
def columns(_typing, lines, at, between_lines, places, weights, weights_at, taps, sums, to, between_sums):
    """Sum columns: ``sums[to + r·between_sums + j] = Σ_k weights[weights_at + 8k + j] · line_r[places[k]]``.

    For eight rows r, in their order, and eight outputs j; ``line_r`` begins at ``lines[at + r·between_lines]``.
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
            factors = _loaded_as_float32(builder, weights, builder.add(weights_at, eight))
            # From memory, because of a product LLVM would make one pointer that moves from row to row, and each load
            # would wait for the one before.
            place = builder.load(builder.gep(places, [loop.index]))
            for total, row in zip(totals, rows, strict=True):
                sample = builder.load(builder.gep(row, [place]))
                _accumulate(builder, total, splat(builder, sample, LANES), factors)
        for total in totals:
            _store_total(builder, total, sums, to)
            to = builder.add(to, between_sums)

    return signature, generate


# Single values, and memory.


@intrinsic
def multiply_add(_typing, x, y, z):
    """Return ``x · y + z`` in float32, with one rounding wherever the processor is quick at that.

    LLVM contracts a product and a sum in some copies of a loop and not in others.
    """
    signature = types.float32(x, y, z)

    def generate(_context, builder, _signature, arguments):
        return instruction(builder, "llvm.fmuladd.f32", FLOAT, *arguments)

    return signature, generate


@intrinsic
def value_at(_typing, x, at):
    """Return ``x[at]`` as float32."""
    signature = types.float32(x, at)

    def generate(context, builder, signature, arguments):
        return _as_float32(builder, builder.load(element(context, builder, signature, arguments)), is_vector=False)

    return signature, generate


@intrinsic
def store(_typing, out, at, value):
    """Set ``out[at]`` to a float32 in the dtype of ``out``; where that is uint8, to an integer in its range."""
    signature = types.void(out, at, value)

    def generate(context, builder, signature, arguments):
        out, at, value = arguments
        data = data_of(context, builder, signature.args[0], out)
        if data.type.pointee == BYTE:
            value = builder.trunc(builder.fptosi(value, INT), BYTE)
        elif data.type.pointee == SHORT:
            value = builder.bitcast(builder.fptrunc(value, HALF), SHORT)
        builder.store(value, builder.gep(data, [at]))

    return signature, generate


@intrinsic
def call_at(_typing, address, call):
    """Call the machine code of a kernel at an address with an array, and return the integer that it returns."""
    signature = types.int64(address, call)

    def generate(context, builder, _signature, arguments):
        convention = context.call_conv
        function = convention.get_function_type(types.int64, (call,))
        code = builder.inttoptr(arguments[0], function.as_pointer())
        status, outcome = convention.call_function(builder, code, types.int64, (call,), (arguments[1],))
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return outcome

    return signature, generate


@intrinsic
def memory_at(_typing, address, like):
    """Return the memory at an address as an array of the dtype of ``like``; its length means nothing."""
    signature = like(address, like)

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[1])(context, builder, arguments[1])
        array.data = builder.inttoptr(arguments[0], array.data.type)
        # Without an owner as far as Numba knows: nothing is counted, and nothing freed.
        for owner in ("meminfo", "parent"):
            setattr(array, owner, ir.Constant(getattr(array, owner).type, None))
        return array._getvalue()

    return signature, generate


def _memory_of(kind):
    array = types.Array(kind, 1, "C")

    @intrinsic
    def memory(_typing, address):
        def generate(context, builder, _signature, arguments):
            # Only here, because much of Numba comes with it, which machine code from disk does without.
            from numba.np.arrayobj import populate_array

            result = context.make_array(array)(context, builder)
            data = builder.inttoptr(arguments[0], result.data.type)
            size = constant(kind.bitwidth // 8)
            length = (constant(1 << 48),)
            populate_array(result, data=data, shape=length, strides=(size,), itemsize=size, meminfo=None)
            return result._getvalue()

        return array(address), generate

    return memory


bytes_at, shorts_at = _memory_of(types.uint8), _memory_of(types.int16)
ints_at, longs_at = _memory_of(types.int32), _memory_of(types.uint64)
floats_at, doubles_at = _memory_of(types.float32), _memory_of(types.float64)
"""Return the memory at an address as an array of uint8, int16, int32, uint64, float32 or float64.

Its length is that of all memory, so that a part of it can be taken.
"""


@intrinsic
def fetch_line(_typing, x, at):
    """Have the cache line of ``x[at]`` brought nearer, without waiting for it."""
    signature = types.void(x, at)

    def generate(context, builder, signature, arguments):
        byte = BYTE.as_pointer()
        prefetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, INT, INT, INT]), "llvm.prefetch.p0"
        )
        # To read, into the first-level cache, data.
        flags = [ir.Constant(INT, flag) for flag in (0, 3, 1)]
        builder.call(prefetch, [builder.bitcast(element(context, builder, signature, arguments), byte), *flags])

    return signature, generate


@intrinsic
def copy_bytes(_typing, values, at, count, out, to):
    """Set ``out[to + i] = values[at + i]`` for 0 ≤ i < ``count``, bytes."""
    signature = types.void(values, at, count, out, to)

    def generate(context, builder, signature, arguments):
        values, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3))
        _, at, count, _, to = arguments
        cgutils.raw_memcpy(builder, builder.gep(out, [to]), builder.gep(values, [at]), count, 1)

    return signature, generate


def _split_pixels_of(step):
    @intrinsic
    def split_pixels(_typing, address, out, to, between):
        signature = types.void(address, out, to, between)

        def generate(context, builder, signature, arguments):
            out = data_of(context, builder, signature.args[1], arguments[1])
            address, _, to, between = arguments
            data = builder.inttoptr(address, BYTE.as_pointer())
            if step == 3:
                values, places = loaded(builder, data, constant(0), ir.VectorType(BYTE, 3 * BYTES)), [*range(3 * BYTES)]
            else:
                # Not a byte more than there are: the last one may be the last of all memory.
                quarters = [loaded(builder, data, constant(at), BYTES_16) for at in (0, 16, 32, 47)]
                halves = [joined(builder, *quarters[i : i + 2]) for i in (0, 2)]
                values, places = joined(builder, *halves), [*range(48), *range(49, 64)]
            for channel in range(3):
                plane = shuffled(builder, values, values, [places[channel + step * i] for i in range(BYTES)])
                stored(builder, plane, out, to)
                to = builder.add(to, between)

        return signature, generate

    return split_pixels


split_pixels_of_3, split_pixels_of_4 = _split_pixels_of(3), _split_pixels_of(4)
"""Set ``out[to + c·between + i]`` to channel c < 3 of pixel i, for sixteen pixels of 3, or of 4, bytes."""


@intrinsic
def join_pixels(_typing, planes, at, between, out, to):
    """Set sixteen pixels of four bytes from ``out[to]`` on: three of planes ``between`` bytes apart, and 255."""
    signature = types.void(planes, at, between, out, to)

    def generate(context, builder, signature, arguments):
        planes, out = (data_of(context, builder, signature.args[i], arguments[i]) for i in (0, 3))
        _, at, between, _, to = arguments
        channels = []
        for _ in range(3):
            channels.append(loaded(builder, planes, at, BYTES_16))
            at = builder.add(at, between)
        channels.append(ir.Constant(BYTES_16, [255] * BYTES))
        halves = [joined(builder, *channels[i : i + 2]) for i in (0, 2)]
        order = [pixel + BYTES * channel for pixel in range(BYTES) for channel in range(4)]
        stored(builder, shuffled(builder, *halves, order), out, to)

    return signature, generate
