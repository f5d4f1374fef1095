"""``compile()``: transforms as one layer, or as few layers as can be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, get_args, overload

from torch import nn
from torchvision.transforms import v2

from onelayer.backends import BackendName
from onelayer.errors import OnelayerError
from onelayer.frontends import Given, RoundingMode, Transform, parts_of
from onelayer.images import given_of, is_image
from onelayer.layer import PLANS, OneLayer
from onelayer.outputs import Transforms


@overload
def compile(  # noqa: A001 - torch.compile is named so too
    transform: Transform,
    *,
    fullgraph: Literal[True] = True,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> OneLayer: ...


@overload
def compile(  # noqa: A001
    transform: Transform,
    *,
    fullgraph: bool,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> OneLayer | FewLayers: ...


def compile(  # noqa: A001
    transform: Transform,
    *,
    fullgraph: bool = True,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> OneLayer | FewLayers:
    """Turn transforms into one layer; see :class:`OneLayer`.

    Nothing is derived before the first image comes, because the weights depend on its size. Transforms that are changed
    afterwards change nothing for sizes that were seen. A NumPy array is an image here for every transform, where
    torchvision's v2 transforms would leave it alone, except those that make a tensor of it.

    Args:
        transform: Torchvision transforms, v1 or v2, or a preset; see ``onelayer.frontends`` for what is known.
        fullgraph: Whether a transform that cannot be derived is an error. If not, it stays as it is, and what lies on
            either side of it is compiled: see :class:`FewLayers`.
        rounding: ``exact`` gives what the transforms give bit for bit, and refuses a transform whose rounding is not
            known; ``fused`` computes in real arithmetic and rounds once, at the end. None for exact where an image is
            uint8 or a PIL image, and fused where it is floating point.
        backend: ``auto`` takes the fastest that can run a program; ``numba`` is one fused kernel on the CPU, ``triton``
            one on an NVIDIA GPU; ``torch`` runs on every device; ``reference`` is NumPy in float64, slow, without
            gradients.
        threads: Of the CPU that may work on one call at most, in the fused kernel; None for ``torch.get_num_threads()``
            at the time of the call.

    Raises:
        OnelayerError: If there is no such backend or rounding, ``transform`` cannot be called, or fewer than one thread
            is asked for. A backend that cannot run the pipeline says so when an image comes.
    """
    if not callable(transform):
        raise OnelayerError(f"{type(transform).__name__} was given as a transform", expected="something to call")
    if rounding not in (None, *get_args(RoundingMode)):
        raise OnelayerError(f"the rounding {rounding!r} was asked for", expected="exact, fused or None")
    if fullgraph:
        return OneLayer(Transforms(transform, rounding), backend, threads)
    return FewLayers(parts_of(transform), rounding, backend, threads)


class FewLayers(nn.Module):
    """Transforms of which some cannot be derived: those are called as they are, the others in between are compiled.

    Random transforms draw the numbers that they would draw in the original, as long as the original draws none for the
    transforms that are compiled (a flip with p of 1 draws one).

    Args:
        parts: Transforms in order, none of them a container of others.
        rounding: Of the compiled ones; see :func:`compile`. A transform whose rounding is not known counts as one that
            cannot be derived where it is to be exact.
        backend: Of the compiled ones.
        threads: That one of them may use at most.
    """

    def __init__(
        self,
        parts: Sequence[Transform],
        rounding: RoundingMode | None = None,
        backend: BackendName = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        # In a tuple, because as an attribute each would become a submodule with weights of its own.
        self._parts = tuple(parts)
        self._rounding: RoundingMode | None = rounding
        self._backend: BackendName = backend
        self._threads = threads
        self._layers: dict[tuple[int, int], OneLayer] = {}
        self._end = lru_cache(maxsize=PLANS)(self._reach)

    def forward(self, image: Any) -> Any:
        """Apply the pipeline; see :meth:`OneLayer.forward`.

        Raises:
            OnelayerError: If what is given is no image.
        """
        if isinstance(image, list):
            return [self(one) for one in image]
        if not is_image(image):
            given_of(image)  # only images are taken, though a transform may give what it likes
        place = 0
        while place < len(self._parts):
            end = self._derivable(place, image)
            image = self._layer(place, end)(image) if end > place else self._parts[place](image)
            place = max(end, place + 1)
        return image

    def _derivable(self, place: int, image: Any) -> int:
        if not is_image(image):
            return place
        try:
            given = given_of(image)
        except OnelayerError:
            # Such as a PIL image of mode RGBA, which the next transform may well convert.
            return place
        return self._end(place, given)

    def _reach(self, place: int, given: Given) -> int:
        """The place behind the last transform that can be derived together with the one at ``place``."""
        try:
            Transforms(v2.Compose(self._parts[place:]), self._rounding).outputs(given)
        except OnelayerError as error:
            if error.stage is None:
                raise
            return place + error.stage
        return len(self._parts)

    def _layer(self, place: int, end: int) -> OneLayer:
        if (place, end) not in self._layers:
            transforms = Transforms(v2.Compose(self._parts[place:end]), self._rounding)
            self._layers[place, end] = OneLayer(transforms, self._backend, self._threads)
        return self._layers[place, end]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_end", "_layers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._layers = {}
        self._end = lru_cache(maxsize=PLANS)(self._reach)

    def extra_repr(self) -> str:
        """The transforms, one per line."""
        return "\n".join(map(repr, self._parts))
