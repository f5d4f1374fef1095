"""The one error type users meet.

Every refusal names what was given, what was expected and what to do about it. The command line prints the text
and exits with code 2; library users catch :class:`OnelayerError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class OnelayerError(Exception):
    """Input, data or a file that onelayer cannot work with.

    Args:
        problem: Input and what is wrong with it, as one sentence without a full stop.
        expected: Input that would have been accepted.
        hint: Remedy, as one sentence with a full stop.
        transform: The transform concerned, by name, where there is one.
        stage: The place of that transform in its pipeline, counted from 0.
        shape: The shape at that place.
        dtype: The dtype at that place, by name.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: str | None = None,
        hint: str | None = None,
        transform: str | None = None,
        stage: int | None = None,
        shape: tuple[int, ...] | None = None,
        dtype: str | None = None,
    ) -> None:
        self.problem = problem
        self.expected = expected
        self.hint = hint
        self.transform = transform
        self.stage = stage
        self.shape = shape
        self.dtype = dtype
        super().__init__(self._text())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments survive pickling, as they must to cross from a DataLoader worker.
        fields = {key: value for key, value in vars(self).items() if key != "problem"}
        return (_rebuild, (type(self), self.problem, fields))

    def _text(self) -> str:
        parts = [self.problem]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        where = []
        if self.transform is not None:
            at = f" (step {self.stage})" if self.stage is not None else ""
            where.append(f"in {self.transform}{at}")
        if self.shape is not None:
            where.append(f"shape {self.shape}")
        if self.dtype is not None:
            where.append(f"dtype {self.dtype}")
        if where:
            parts.append(", ".join(where))
        text = "; ".join(parts)
        return text if self.hint is None else f"{text}. {self.hint}"


def _rebuild(kind: type[OnelayerError], problem: str, fields: dict[str, object]) -> OnelayerError:
    return kind(problem, **fields)  # type: ignore[arg-type]  # the fields are those of __init__


class Interrupted(Exception):  # noqa: N818 - not an error: what was done so far is kept
    """A signal ended a step early. The text says what is kept, and how to go on."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Make a hint of the known name that is nearest to an unknown one, whatever its capitals; None if none is near.

    Args:
        name: Name that was given.
        known: Names that exist.
        cutoff: Similarity, from 0 to 1, at which a name is near.
    """
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f"Did you mean {by_lower[near[0]]}?" if near else None


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of a package that only an extra of onelayer installs.

    Args:
        module: Dotted name of the module.
        extra: Name of the extra that installs its package.
        purpose: Work that needs the package, as the subject of a sentence: "Learning by gradient descent".

    Raises:
        OnelayerError: If the package is not installed; it names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise OnelayerError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed",
            hint=f"Install it with: pip install 'onelayer[{extra}]'",
        ) from error
