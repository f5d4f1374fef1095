"""The explanation of a pipeline that runs in pieces: which transforms are compiled, which are not, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import PIL.Image
import torch

from onelayer.breaks import PieceRun, why
from onelayer.errors import OnelayerError
from onelayer.explanation import tables
from onelayer.explanation.explanation import Explanation
from onelayer.frontends import ImageSpec
from onelayer.frontends.base import name_of
from onelayer.images.containers import TORCH_DTYPES, image_of
from onelayer.layer import OneLayer
from onelayer.random_state import unchanged_random_state

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class ExplainedPiece:
    """Transforms that are compiled together, or one that is called: as it is, or a quicker function in its place.

    Args:
        transforms: Indices of the transforms.
        names: Names of their classes or functions.
        reason: Reason for calling a transform as it is, and what to do about it; None for others.
        takes: Description of what arrives.
        gives: Description of what leaves.
        milliseconds: Time of one call, after a first one.
        explanation: What the compiled transforms became; None for a transform that is called.
    """

    transforms: tuple[int, ...]
    names: tuple[str, ...]
    reason: str | None
    takes: str
    gives: str
    milliseconds: float
    explanation: Explanation | None


@dataclass(frozen=True)
class PiecewiseExplanation:
    """What a pipeline with breaks does with one image; ``print`` shows it as tables.

    Args:
        pieces: The pieces in order.
    """

    pieces: tuple[ExplainedPiece, ...]

    @property
    def breaks(self) -> tuple[ExplainedPiece, ...]:
        """The transforms that are called as they are."""
        return tuple(piece for piece in self.pieces if piece.reason is not None)

    def to_dict(self) -> dict[str, Any]:
        """Convert everything to dictionaries, lists, numbers and strings, as in JSON."""

        def plain(piece: ExplainedPiece) -> dict[str, Any]:
            explanation = None if piece.explanation is None else piece.explanation.to_dict()
            return {**vars(piece), "explanation": explanation, "transforms": list(piece.transforms)}

        return {"pieces": [plain(piece) for piece in self.pieces]}

    def figure(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to draw weights, which each compiled piece has for itself.

        Raises:
            OnelayerError: Always.
        """
        raise OnelayerError(
            "the pipeline runs in pieces, and each has weights of its own",
            expected="a piece that is compiled",
            hint="Use .pieces[0].explanation.figure(), for example.",
        )

    def __rich__(self) -> RenderableType:
        return tables.pieces_for_terminal(self)

    def __str__(self) -> str:
        return tables.as_text(self)

    def _repr_html_(self) -> str:
        return tables.pieces_as_html(self)


def explain_pieces(layer: OneLayer, image: Any, explain: Any) -> PiecewiseExplanation:
    """Run a layer with breaks on an image, and explain each piece.

    Args:
        layer: The layer.
        image: An image; or the spec of one, in whose place a black one runs.
        explain: Function that explains a compiled piece for the image that arrived there.
    """
    if isinstance(image, ImageSpec):
        image = image_of(torch.zeros(image.shape, dtype=TORCH_DTYPES[image.dtype], device="cpu"), image)
    runs: list[PieceRun] = []
    with unchanged_random_state():
        # The first call compiles kernels; the second is timed.
        layer.in_pieces().of_sample((image,))
        layer.in_pieces().of_sample((image,), runs.append)
    transforms = layer.in_pieces().transforms
    return PiecewiseExplanation(
        tuple(
            ExplainedPiece(
                tuple(range(run.piece.first, run.piece.end)),
                tuple(map(name_of, transforms[run.piece.first : run.piece.end])),
                None if run.piece.layer is not None or run.piece.function is not None else _reason(run),
                _described(run.before),
                _described(run.after),
                run.seconds * 1000,
                None if run.piece.layer is None else explain(run.piece.layer, run.before),
            )
            for run in runs
        )
    )


def _reason(run: PieceRun) -> str:
    return "images of this size are left to it" if run.piece.reason is None else why(run.piece.reason, run.piece.first)


def _described(value: Any) -> str:
    if isinstance(value, PIL.Image.Image):
        return f"PIL {value.mode} {value.height}×{value.width}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    shape = "×".join(map(str, getattr(value, "shape", ())))
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    return " ".join(text for text in (type(value).__name__, shape, dtype) if text)
