"""Count the work that threads of a kernel launch share: each takes what to do next, and adds what it has done."""

from __future__ import annotations

from platform import machine

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from onelayer.backends.cpu.compilation import kernel
from onelayer.backends.cpu.simd import element

TAKEN, DONE, HAS_NAN = range(3)
"""Pieces of work that were taken; pieces that are done; whether one of the results may be NaN."""

_TURNS = 2000
"""How often to look whether other threads are done, before going to sleep: some forty microseconds."""


@intrinsic
def take(_typing, counters, at, count):
    """Add ``count`` to ``counters[at]`` before any other thread sees it, and return what it was."""
    signature = types.uint64(counters, at, count)

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", element(context, builder, signature, arguments), arguments[2], "monotonic")

    return signature, generate


@intrinsic
def add(_typing, counters, at, count):
    """Add ``count`` to ``counters[at]``; who reads the sum sees all that this thread wrote before."""
    signature = types.void(counters, at, count)

    def generate(context, builder, signature, arguments):
        builder.atomic_rmw("add", element(context, builder, signature, arguments), arguments[2], "release")

    return signature, generate


@intrinsic
def read(_typing, counters, at):
    """Return ``counters[at]``, with all that was written before it was added to."""
    signature = types.uint64(counters, at)

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(element(context, builder, signature, arguments), "acquire", 8)

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


@kernel
def wait_a_little(shared, pieces):
    """Return whether all pieces are done, or will be within some microseconds."""
    for _ in range(_TURNS):
        if read(shared, DONE) >= pieces:
            return True
        pause()
    return False
