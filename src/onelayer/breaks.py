"""Run a pipeline of which some transforms cannot be compiled: these are called as they are, between compiled pieces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

from onelayer.any_size import kind_of_image
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, RoundingMode, Transform, UnsupportedTransformError, derive_outputs
from onelayer.frontends.base import UNREADABLE, Function, has_function
from onelayer.frontends.structure import Structure, structure_of
from onelayer.images.containers import NoImageError, pixels_of, spec_of
from onelayer.memory_limits import TooMuchMemoryError
from onelayer.programs import Transforms
from onelayer.random_state import unchanged_random_state
from onelayer.samples import CONTAINERS, lone_image, no_lone_image, takes_samples

Compile = Callable[[Sequence[Transform], RoundingMode | None], Callable[[Any], Any]]
"""Makes a layer of transforms."""

FindFunction = Callable[[Transform, ImageSpec, RoundingMode | None], Function | None]
"""Finds a quicker function for a transform of which no layer can be made, and images of a spec."""


@dataclass(frozen=True)
class Piece:
    """Transforms that run together: several that are compiled to a layer, or one that is called.

    Args:
        first: Index of the first transform.
        end: Index behind the last.
        layer: The compiled transforms; None for a transform that is called.
        function: Quicker function that is called in place of the transform; None for the transform as it is.
        reason: Reason why the transform is called as it is; None for others.
        order: Dimensions of the original's result in the order in which they lie in memory, the outermost first; None
            for what is no tensor. What comes behind the piece may give other bits for another order: PyTorch has a
            convolution for each.
        returns_image: Whether the original returns the image that arrives, and not another of the same values.
    """

    first: int
    end: int
    layer: Callable[[Any], Any] | None = None
    function: Function | None = None
    reason: OnelayerError | None = None
    order: tuple[int, ...] | None = None
    returns_image: bool = False


@dataclass(frozen=True)
class PieceRun:
    """What a piece did with a sample.

    Args:
        piece: The piece.
        before: The sample that arrived.
        after: The sample that left.
        seconds: Time that it took.
    """

    piece: Piece
    before: Any
    after: Any
    seconds: float


def why(reason: OnelayerError, place: int | None) -> str:
    """Say why a transform is called as it is, without the advice to do so.

    Args:
        reason: Error that it would be.
        place: Index of the transform in the pipeline.
    """
    hint = reason.hint
    if hint is not None and "fullgraph" in hint:
        hint = "Registered with onelayer.register, it could be compiled." if "onelayer.register" in hint else None
    return str(_with(reason, hint=hint, stage=place))


def _with(reason: OnelayerError, **fields: Any) -> OnelayerError:
    """Return a reason with other values in some of its fields."""
    kept = {name: value for name, value in vars(reason).items() if name != "__notes__"}
    return type(reason)(**{**kept, **fields})


def first_break(source: Transforms, spec: ImageSpec) -> OnelayerError | None:
    """Return the reason why a pipeline cannot be compiled as a whole for images of a spec; None if it can be."""
    if not isinstance(source.structure(spec), str):
        return None
    try:
        source.derived(spec)
    except UnsupportedTransformError as error:
        raise_impossible(error)
        return error
    return None


def raise_impossible(error: OnelayerError) -> None:
    """Raise an error again that comes of a size for which the machine has not the memory: the original has not either.

    Raises:
        OnelayerError: The error.
    """
    if isinstance(error.__cause__, TooMuchMemoryError):
        raise error


class PiecewisePipeline:
    """A pipeline that runs piece by piece. How far a piece goes depends on the image that arrives at it.

    Args:
        transforms: The transforms in order, none of them a container of others.
        rounding: Rounding that was asked for. With None that of a piece follows from the image that entered the
            pipeline, not from the one that arrives at the piece: bytes are exact from end to end.
        make_layer: Function that compiles transforms.
        find_function: Function that finds a quicker one for a transform of which no layer can be made.
        fullgraph: Whether to refuse what cannot be compiled.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        rounding: RoundingMode | None,
        make_layer: Compile,
        find_function: FindFunction,
        fullgraph: bool,
    ) -> None:
        self.transforms = tuple(transforms)
        self._rounding = rounding
        self._make_layer = make_layer
        self._find_function = find_function
        self._fullgraph = fullgraph
        self._pieces: dict[object, Piece] = {}

    def __call__(self, image: Any, out: torch.Tensor | None = None) -> Any:
        """Apply the pipeline to an image, or to anything else that its first transform takes.

        Args:
            image: The image.
            out: Memory for the result, which is copied there; or None.

        Raises:
            OnelayerError: If ``out`` cannot hold the result.
        """
        result = self.of_sample((image,))
        return result if out is None else _written(result, out)

    def as_they_are(self, inputs: tuple[Any, ...], out: torch.Tensor | None) -> Any:
        """Call every transform as it is.

        Args:
            inputs: One sample, or its parts.
            out: Memory for the result, which is copied there; or None.
        """
        unpacks = len(inputs) > 1
        sample = inputs if unpacks else inputs[0]
        for transform in self.transforms:
            sample = transform(*sample) if unpacks else transform(sample)
        return sample if out is None else _written(sample, out)

    def of_sample(self, inputs: tuple[Any, ...], watch: Callable[[PieceRun], object] | None = None) -> Any:
        """Apply the pipeline to the arguments of a call, as torchvision's v2 transforms are.

        Args:
            inputs: One sample, or its parts.
            watch: Function to call after each piece.

        Raises:
            OnelayerError: With ``fullgraph``, for what cannot be compiled.
        """
        unpacks, place = len(inputs) > 1, 0
        sample = inputs if unpacks else inputs[0]
        rounding = self._rounding_for(sample)
        while place < len(self.transforms):
            begin, before = time.perf_counter(), sample
            piece, sample = self._advanced(place, sample, rounding, unpacks)
            if watch is not None:
                watch(PieceRun(piece, before, sample, time.perf_counter() - begin))
            place = piece.end
        return sample

    def _advanced(self, place: int, sample: Any, rounding: RoundingMode | None, unpacks: bool) -> tuple[Piece, Any]:
        """Apply the piece that begins at a place, and return it with what it made."""
        is_alone = not isinstance(sample, CONTAINERS)
        found = (sample, _itself) if is_alone else lone_image(sample)
        if found is not None:
            image, with_image = found
            piece = self._piece(place, image, rounding, is_alone)
            if piece.function is not None:
                return piece, with_image(piece.function(image))
            if piece.layer is not None:
                try:
                    result = piece.layer(image)
                    if piece.order is not None:
                        result = _in_order(result, piece.order)
                    return piece, with_image(image if piece.returns_image else result)
                except (UnsupportedTransformError, NoImageError):
                    # The images of this kind can be compiled, but one of this size cannot.
                    if self._fullgraph:
                        raise
                    piece = Piece(place, place + 1)
        else:
            piece = Piece(
                place,
                place + 1,
                reason=no_lone_image("Leave out fullgraph=True, and the transforms are called as they are."),
            )
        if self._fullgraph and piece.reason is not None:
            raise _with(piece.reason, stage=piece.first)
        transform = self.transforms[place]
        try:
            return piece, transform(*sample) if unpacks else transform(sample)
        except Exception as error:
            if piece.reason is not None:
                error.add_note(f"onelayer called it as it is: {why(piece.reason, piece.first)}")
            raise

    def _rounding_for(self, sample: Any) -> RoundingMode | None:
        if self._rounding is not None:
            return self._rounding
        found = lone_image(sample) if isinstance(sample, CONTAINERS) else (sample, _itself)
        dtype = getattr(found[0], "dtype", None) if found is not None else None
        is_float = dtype.is_floating_point if isinstance(dtype, torch.dtype) else getattr(dtype, "kind", "") == "f"
        return None if is_float else "exact"

    def _piece(self, place: int, image: Any, rounding: RoundingMode | None, is_alone: bool) -> Piece:
        key = place, kind_of_image(image), _order(image), rounding, is_alone
        if key not in self._pieces:
            self._pieces[key] = self._new_piece(place, image, rounding, is_alone)
        return self._pieces[key]

    def _new_piece(self, place: int, image: Any, rounding: RoundingMode | None, is_alone: bool) -> Piece:
        rest = self.transforms[place:]
        if not is_alone:
            rest = rest[: next((at for at, each in enumerate(rest) if not takes_samples(each)), len(rest))]
        try:
            if not rest:
                raise OnelayerError("it takes whole samples, and may change any part of them")
            if place > 0 and isinstance(image, np.ndarray):
                raise OnelayerError("it gets an array of another transform, which torchvision may leave as it is")
            length, reason = _reach(rest, spec_of(image), rounding)
        except OnelayerError as error:
            raise_impossible(error)
            length, reason = 0, error
        if length == 0:
            function = self._function(self.transforms[place], image, rounding, is_alone)
            return Piece(place, place + 1, function=function, reason=reason if function is None else None)
        made = None
        if place + length < len(self.transforms):
            every = _results(rest[:length], image)
            if rounding == "exact" and not _reads_any_strides(self.transforms[place + length], image):
                # A crop of all of an image is a view, too, of which a larger one shows the gaps.
                larger = _results(rest[:length], _larger(image))
                while length and not all(_is_dense(made[length - 1]) for made in (every, larger) if made):
                    length -= 1
            if length == 0:
                reason = OnelayerError("it gives a view of the image, which it is as quick to make as it is")
                return Piece(place, place + 1, reason=reason)
            made = every[length - 1] if every else None
        layer = self._make_layer(rest[:length], rounding)
        # What comes behind the piece may write into the image that entered the pipeline. Where numbers are drawn, the
        # image may return from one call and not from another.
        returns_image = made is not None and made is image and not _draws(rest[:length], spec_of(image), rounding)
        return Piece(place, place + length, layer, order=_order(made), returns_image=returns_image)

    def _function(
        self, transform: Transform, image: Any, rounding: RoundingMode | None, is_alone: bool
    ) -> Function | None:
        # In a sample, transforms that consist of others may change any part of it.
        if not is_alone and (not takes_samples(transform) or hasattr(transform, "transforms")):
            return None
        try:
            spec = spec_of(image)
        except OnelayerError:
            return None
        on_cpu = pixels_of(image).device.type == "cpu"
        return self._find_function(transform, spec, rounding) if on_cpu else None


def _draws(transforms: Sequence[Transform], spec: ImageSpec, rounding: RoundingMode | None) -> bool:
    """Whether transforms that can be compiled together do other things for other random numbers."""
    structure = structure_of(transforms, spec, rounding or ("fused" if spec.is_float else "exact"))
    return isinstance(structure, Structure) and structure.draws


def _results(transforms: Sequence[Transform], image: Any) -> list[Any]:
    """Return the results of each of several transforms that are called as they are; none if one refuses its image."""
    every = []
    try:
        with unchanged_random_state():
            for transform in transforms:
                image = transform(image)
                every.append(image)
    except UNREADABLE:
        return []
    return every


def _reads_any_strides(transform: Transform, image: Any) -> bool:
    """Whether the strides of an image do not matter to a transform, but for their order.

    The strides of a view follow from what it is a view of. PyTorch computes other bits of floats for other strides, and
    fails at some bytes that become one column, or does not.
    """
    is_floats = isinstance(image, torch.Tensor) and image.is_floating_point()
    return not is_floats and has_function(transform)


def _larger(image: Any) -> Any:
    """Make a black image of the kind of a tensor, some pixels higher and wider; return the image if it is no tensor."""
    if not isinstance(image, torch.Tensor):
        return image
    black = torch.zeros((*image.shape[:-2], image.shape[-2] + 9, image.shape[-1] + 7), dtype=image.dtype, device="cpu")
    black = black.to(image.device)
    return tv_tensors.wrap(black, like=image) if isinstance(image, tv_tensors.TVTensor) else black


def _is_dense(image: Any) -> bool:
    """Whether an image is no tensor that skips some of its memory."""
    return not isinstance(image, torch.Tensor) or torch.empty_like(image).stride() == image.stride()


def _order(image: Any) -> tuple[int, ...] | None:
    """Return the dimensions of a tensor as they lie in memory, the outermost first; None for what is no tensor."""
    if not isinstance(image, torch.Tensor):
        return None
    # One of length 1 has its place too: from its stride PyTorch tells whether colors lie side by side.
    shape, strides = image.shape, image.stride()
    return tuple(sorted(range(len(strides)), key=lambda dim: (-strides[dim], shape[dim] == 1)))


def _in_order(image: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Return a tensor whose dimensions lie in memory in an order; of floats, without gaps. Copied only where needed."""
    strides, step = [0] * len(order), 1
    for dim in reversed(order):
        strides[dim], step = step, step * image.shape[dim]
    if image.stride() == tuple(strides) or (not image.is_floating_point() and _order(image) == order):
        return image
    copied = torch.empty_strided(image.shape, strides, dtype=image.dtype, device=image.device).copy_(image)
    return tv_tensors.wrap(copied, like=image) if isinstance(image, tv_tensors.TVTensor) else copied


def _itself(image: Any) -> Any:
    return image


def _reach(
    transforms: Sequence[Transform], spec: ImageSpec, rounding: RoundingMode | None
) -> tuple[int, OnelayerError | None]:
    """Return the number of transforms, from the first on, that can be compiled together, and why no more can be."""
    rounding = rounding or ("fused" if spec.is_float else "exact")
    try:
        derive_outputs(transforms, spec, rounding)
    except UnsupportedTransformError as error:
        raise_impossible(error)
        return max(error.stage or 0, _reach_with_numbers(transforms, spec, rounding)), error
    return len(transforms), None


def _reach_with_numbers(transforms: Sequence[Transform], spec: ImageSpec, rounding: RoundingMode) -> int:
    """Return the number of transforms that can be compiled for every size, some of which draw random numbers."""
    for length in range(len(transforms), 0, -1):
        structure = structure_of(transforms[:length], spec, rounding)
        if isinstance(structure, Structure):
            return length if structure.draws else 0
    return 0


def _written(result: Any, out: torch.Tensor) -> Any:
    """Copy a result into the memory of ``out=``."""
    if not isinstance(result, torch.Tensor):
        raise OnelayerError("out= was given, and the result is no tensor", expected="a pipeline that ends with one")
    if not isinstance(out, torch.Tensor) or (out.shape, out.dtype, out.device) != (
        result.shape,
        result.dtype,
        result.device,
    ):
        given = (
            f"a tensor {list(out.shape)}, {out.dtype}, on {out.device}"
            if isinstance(out, torch.Tensor)
            else type(out).__name__
        )
        raise OnelayerError(
            f"{given} was given as out=", expected=f"a tensor {list(result.shape)}, {result.dtype}, on {result.device}"
        )
    if torch.is_grad_enabled() and (out.requires_grad or result.requires_grad):
        raise OnelayerError("out= was given where a gradient is wanted", hint="Leave it out, or use torch.no_grad().")
    out.copy_(result)
    return tv_tensors.wrap(out, like=result) if isinstance(result, tv_tensors.TVTensor) else out
