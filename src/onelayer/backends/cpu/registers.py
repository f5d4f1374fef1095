"""Vector registers of bytes and whole numbers in LLVM's terms: what intrinsics are made of."""

from __future__ import annotations

from llvmlite import binding, ir
from numba.core import cgutils, config

from onelayer.backends.cpu.byte_windows import BYTES
from onelayer.backends.cpu.windows import LANES

BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES_16, BYTES_32 = ir.VectorType(BYTE, BYTES), ir.VectorType(BYTE, 2 * BYTES)
SHORTS_16, INTS_8 = ir.VectorType(SHORT, BYTES), ir.VectorType(INT, LANES)


def has_avx2():
    """Whether Numba compiles for a processor that has AVX2."""
    if config.CPU_FEATURES is not None:
        return "+avx2" in config.CPU_FEATURES
    return bool(binding.get_host_cpu_features().get("avx2"))


def constant(value):
    """A whole number of 64 bits."""
    return ir.Constant(LONG, value)


def shuffled(builder, one, other, order):
    """The elements of two vectors at the places in ``order``."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def side_by_side(builder, one, other):
    """Two vectors as one."""
    return shuffled(builder, one, other, range(one.type.count + other.type.count))


def loaded(builder, data, at, kind):
    """What lies from ``data[at]`` on, as a value of a kind."""
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)


def stored(builder, values, data, at):
    """Write a vector from ``data[at]`` on."""
    builder.store(values, builder.bitcast(builder.gep(data, [at]), values.type.as_pointer()), align=1)


def splat(builder, value, count):
    """A vector of ``count`` equal values."""
    kind = ir.VectorType(value.type, count)
    vector = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
    return shuffled(builder, vector, vector, [0] * count)


def instruction(builder, name, result, *arguments):
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
