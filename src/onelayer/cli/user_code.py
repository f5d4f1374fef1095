"""Import a user's module or run a user's file; whatever goes wrong in it becomes an error that names the line."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import onelayer
from onelayer.errors import OnelayerError

_COUNT = itertools.count(1)

# Their frames lie between a user's code and its caller.
_NOT_THE_USERS = tuple(Path(str(module.__file__)).parent for module in (onelayer, importlib))

_WITHOUT_PIPELINES = {"PIL", "albumentations", "cv2", "numpy", "scipy", "skimage", "torch", "torchvision"}
"""Packages beside the standard library that never make an :class:`onelayer.Pipeline`."""


def check_place(place: str) -> None:
    """Refuse a file or a module that does not exist, without importing or running anything.

    Args:
        place: A dotted module name, or a path that ends with ``.py`` or has a separator.

    Raises:
        OnelayerError: If there is no such file, it is no Python file, or there is no such module.
    """
    if is_path(place):
        _checked_file(Path(place))
        return
    top, *inner = place.split(".")
    if not all(part.isidentifier() for part in (top, *inner)):
        raise _no_module(place)
    with _searched_first(Path.cwd()):
        try:
            there = top in sys.modules or importlib.util.find_spec(top) is not None
        except (ImportError, ValueError):
            there = False
    if not there:
        raise _no_module(place)


def imports_only_libraries(place: str) -> bool:
    """Whether the source of a file shows that nothing in it can be an :class:`onelayer.Pipeline`.

    False for a module, and for a file that cannot be read, is no Python, or imports anything but well-known libraries.
    """
    if not is_path(place):
        return False
    try:
        source = Path(place).read_bytes()
        nodes = list(ast.walk(ast.parse(source)))
    except (OSError, SyntaxError, ValueError):
        return False
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {"." * node.level + str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    known = {name.split(".")[0] for name in imported} <= sys.stdlib_module_names | _WITHOUT_PIPELINES
    # A module can also be imported by its name as a string.
    return known and b"onelayer" not in source


@contextmanager
def load(place: str) -> Iterator[ModuleType]:
    """Import a module by its name, or run a file as a module of its own.

    Until the end of the ``with`` statement, imports are looked for in the file's folder first; for a module, in the
    current folder.

    Args:
        place: A dotted module name, or a path that ends with ``.py`` or has a separator.

    Raises:
        OnelayerError: If there is no such module or file, or it raises.
    """
    path = _checked_file(Path(place)) if is_path(place) else None
    with _searched_first(path.parent if path else Path.cwd()):
        yield _import_file(path) if path else _import_module(place)


@contextmanager
def naming_errors(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into an OnelayerError that names the line of that code.

    Args:
        what: The code, as the subject of a sentence.
    """
    try:
        yield
    except SystemExit as error:
        raise OnelayerError(
            f"{what} ends the program with sys.exit({error.code!r}){_line(error)}",
            expected="code that only makes transforms",
            hint="Put what runs something behind: if __name__ == '__main__'",
        ) from error
    except SyntaxError as error:
        raise OnelayerError(
            f"{what} is not Python: {error.msg}{_at(error.filename, error.lineno)}", expected="a Python file"
        ) from error
    except Exception as error:  # whatever it is
        raise OnelayerError(
            f"{what} raises {type(error).__name__}: {error}{_line(error)}", expected="code that only makes transforms"
        ) from error


def is_path(place: str) -> bool:
    """Whether a place of code is a path, not the name of a module."""
    return place.lower().endswith(".py") or "/" in place or "\\" in place


def _checked_file(path: Path) -> Path:
    if path.is_dir() or not path.exists():
        raise OnelayerError(
            f"{path} is a folder" if path.is_dir() else f"there is no file {path}",
            expected="a Python file before the colon",
            hint=f"It was looked for from {Path.cwd()}.",
        )
    if path.suffix.lower() != ".py":
        raise OnelayerError(f"{path} is no Python file", expected="a name that ends with .py")
    return path.resolve()


@contextmanager
def _searched_first(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # The user's code may have changed the list, or put another in its place.
        if entry in sys.path:
            sys.path.remove(entry)


def _import_file(path: Path) -> ModuleType:
    # Each loading is a module of its own, so that objects of an earlier one still find theirs when they are pickled.
    name = f"onelayer_pipeline_file_{next(_COUNT)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OnelayerError(f"{path} is no Python file", expected="a name that ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with naming_errors(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise _no_module(name)
    with naming_errors(f"module {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Another module that this one asks for may be what is missing.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
    raise _no_module(name)


def _no_module(name: str) -> OnelayerError:
    return OnelayerError(
        f"there is no module {name!r}",
        expected="one that is installed, or lies in the current folder",
        hint="Of a file give the path: file.py:attribute.",
    )


def _line(error: BaseException) -> str:
    """Name the line of the user's own files that raised an error, as the end of a sentence."""
    files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    outside = [
        (file, line)
        for file, line in files
        if not file.name.startswith("<") and not any(map(file.is_relative_to, _NOT_THE_USERS))
    ]
    if not outside:
        return ""
    # The outermost of these is the user's. A library that it called lies elsewhere, or in an environment below.
    folder = outside[0][0].parent
    users = [
        (file, line)
        for file, line in outside
        if file.is_relative_to(folder) and "site-packages" not in file.relative_to(folder).parts
    ]
    return _at(*users[-1])


def _at(file: Path | str | None, line: int | None) -> str:
    return "" if file is None or line is None else f", in line {line} of {file}"
