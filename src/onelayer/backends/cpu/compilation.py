"""Compile kernels with Numba, and keep the machine code on disk.

Numba's own cache looks at nothing but the file that a kernel is in, so that a change of a function that the kernel uses
would run stale machine code. Here the folder's name is a hash of all sources that kernels are made of.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching
from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys

from onelayer.cache_folder import cache_folder
from onelayer.frontends import drawn_moves, placement

WITHOUT_KERNELS = {
    "__init__.py",
    "any_size.py",
    "drawing.py",
    "float_any_size.py",
    "launch.py",
    "memory.py",
    "opencv_any_size.py",
    "patch_layout.py",
    "program.py",
    "split.py",
    "threads.py",
    "warmup.py",
}
"""Files of this package that kernels are not made of. All others count, so that a new file is not forgotten."""

OLD_FOLDERS = 3
"""Folders of other sources or versions that stay, for environments that are used side by side."""

_rebuild: Any = CompileResult._rebuild
_index_and_data_files: Any = caching.IndexDataCacheFile

_LOG = logging.getLogger(__name__)

WRITE_ERRORS: dict[Path, str] = {}
"""Folders that this process could not write to, with the reason."""

# Sums may be reordered and contracted, but NaN and infinities keep their meaning.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

# Called from nowhere but kernels, they need no entries for Python and for C, which LLVM would compile.
_ONLY_CALLED: Any = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_ONLY_INLINED: Any = {**_ONLY_CALLED, "forceinline": True}

inlined = numba.njit(fastmath=_FAST, **_ONLY_INLINED)
"""Decorate a part of a kernel. An array is seven arguments, and a call that is not inlined takes longer than the
arithmetic on a small image."""

exact_inlined = numba.njit(**_ONLY_INLINED)
"""Decorate a part of a kernel whose every operation is done as it is written."""


inlined_table = numba.njit(error_model="numpy", **_ONLY_INLINED)
"""Decorate a part of a table kernel."""

table_part = numba.njit(error_model="numpy", **_ONLY_CALLED)
"""Decorate a part of a table kernel that is called: there is one copy of its machine code in a kernel."""

table_inline = numba.njit(nogil=True, inline="always", error_model="numpy")
"""Decorate a part of one table kernel, whose source becomes the kernel's: it is not compiled once more by itself."""


def kernel(function: Callable[..., Any]) -> Any:
    """Decorate a kernel."""
    return _kept(numba.njit(fastmath=_FAST, nogil=True)(function))


def exact_kernel(function: Callable[..., Any]) -> Any:
    """Decorate a kernel whose every operation is done as it is written."""
    return _kept(numba.njit(nogil=True)(function))


def locked_kernel(function: Callable[..., Any]) -> Any:
    """Decorate an exact kernel of microseconds that does not release the interpreter's lock."""
    return _kept(numba.njit(function))


def table_kernel(function: Callable[..., Any]) -> Any:
    """Decorate a kernel that fills tables: exact, and without a check of each division, which LLVM vectorises not."""
    return _kept(numba.njit(nogil=True, error_model="numpy")(function))


def address_of(function: Any, *arguments: Any) -> int:
    """Return the address of the machine code of a kernel, which is compiled where it is missing.

    Kernels that are called by their address (:func:`onelayer.backends.cpu.simd.call_at`) are not compiled and optimized
    once more in each that calls them.

    Args:
        function: The kernel.
        arguments: Types of its arguments, Numba's.
    """
    function.compile(arguments)
    overload = function.overloads[arguments]
    address: int = overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)
    return address


def _kept(dispatcher: Any) -> Any:
    """Keep a kernel's machine code on disk: what ``njit(cache=True)`` does, with a cache of our own."""
    dispatcher._cache = _KernelCache(dispatcher.py_func)
    return dispatcher


def source_hash(folder: Path = Path(__file__).parent) -> str:
    """Hash what machine code depends on and Numba does not put into its keys: the kernels' sources, and versions.

    Args:
        folder: Folder of the sources.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.implementation.cache_tag}".encode())
    for path in (Path(drawn_moves.__file__), Path(placement.__file__), *sorted(folder.glob("*.py"))):
        if path.name not in WITHOUT_KERNELS:
            source = path.read_bytes()
            digest.update(f"\n{path.name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]


@cache
def kernel_folder() -> Path:
    """Return the folder that machine code is read from and written to in this process."""
    return cache_folder() / "kernels" / source_hash()


class _KernelCache(caching.NullCache):  # type: ignore[misc, unused-ignore]  # some versions of Numba have no types
    """Machine code of a kernel on disk: files of its own for each signature and processor.

    (Numba's own cache has an index of all signatures. Two processes that compile different ones at the same time may
    overwrite each other's, and then one signature runs the code of the other.) A file that cannot be read counts as
    missing; machine code that cannot be written is compiled anew in the next process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load the machine code of a signature; None if there is none."""
        # Numba refreshes the context here, which imports all that it can compile: 0.3 s that loaded code does without.
        rtsys.initialize(target_context)
        key = self._key(sig, target_context.codegen())
        try:
            stored = self._file(key).load(key)
            found = None if stored is None else _rebuild(target_context, *stored)
        except Exception:  # noqa: BLE001 - whatever is wrong with a file, the kernel is compiled instead
            found = None
        if found is None:
            _LOG.info("Compiling the CPU kernel %s; this takes some seconds …", self._name)
        else:
            _mark_as_used(kernel_folder())
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store the machine code of a signature."""
        key = self._key(sig, data.codegen)
        folder = kernel_folder()
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_old(folder)
            file = self._file(key)
            # What lies there may be no index.
            file.flush()
            file.save(key, data._reduce())
        except OSError as error:
            _report_once(folder, error)

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return sig, codegen.magic_tuple()

    def _file(self, key: tuple[Any, ...]) -> Any:
        name = f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
        return _index_and_data_files(str(kernel_folder()), name, source_stamp=kernel_folder().name)


@cache
def _mark_as_used(folder: Path) -> None:
    try:
        os.utime(folder)
    except OSError:
        # Others may read the folder, and only its owner can mark it.
        return


def _report_once(folder: Path, error: OSError) -> None:
    if folder not in WRITE_ERRORS:
        WRITE_ERRORS[folder] = error.strerror or str(error)
        _LOG.warning(
            "onelayer compiles its CPU kernels anew in every process: %s cannot be written (%s). "
            "Set ONELAYER_CACHE to a folder that can.",
            folder.parent,
            WRITE_ERRORS[folder],
        )


def _remove_old(folder: Path) -> None:
    """Remove the folders of other sources or versions, but for those that were used last."""
    hashes = [path for path in folder.parent.iterdir() if re.fullmatch("[0-9a-f]{16}", path.name) and path != folder]
    by_age = sorted(hashes, key=lambda path: path.stat().st_mtime)
    for path in by_age[:-OLD_FOLDERS]:
        shutil.rmtree(path, ignore_errors=True)
