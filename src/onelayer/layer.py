"""Compile transforms into layers: ``compile()``, and the modules that it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args, overload

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook
from torchvision.transforms import v2

from onelayer.algebra import Simplified
from onelayer.any_size import AnySizePipeline, CopyPipeline, OriginalPipeline, any_size_pipeline, kind_of_image
from onelayer.backends import Apply, BackendName, LoweringTarget, check_name, choose
from onelayer.backends.cpu.threads import ENDING, for_each, stay
from onelayer.backends.kernel_memory import only_for_pytorch
from onelayer.backends.target import computes_in, with_out
from onelayer.errors import OnelayerError
from onelayer.frontends import ImageSpec, RoundingMode, Transform, transforms_of
from onelayer.frontends.base import refuse_class
from onelayer.images.containers import (
    TORCH_DTYPES,
    check_memory,
    format_of,
    image_of,
    is_image,
    pixels_of,
    refuse_missing_storage,
    spec_of,
)
from onelayer.memory_limits import BoundedCache, refuse_impossible
from onelayer.programs import Output, Source, Transforms

PLANS = 64
"""Number of plans that a layer keeps: the images of a data set differ in size."""

PLAN_BYTES = 128 << 20
"""Maximum number of bytes of these plans. Most are a few arrays of O(height + width) numbers; rotations have taps for
every pixel, and constant padding has an image."""

Plan = Callable[[torch.Tensor, torch.Tensor | None], Any]
"""Takes pixels [..., C, H, W], and memory for the result or None, and returns what the transforms would."""


def lowering_target(
    spec: ImageSpec, output: Output, device: torch.device, threads: int | None = None
) -> LoweringTarget:
    """Return what the program of an output is lowered for, where the images lie on a device."""
    dtype = computes_in(spec, output.spec, output.rounding)
    return LoweringTarget(device, dtype, TORCH_DTYPES[output.spec.dtype], threads)


class OneLayer(nn.Module):
    """A pipeline of transforms as one layer, derived and fused.

    On uint8 and PIL images the result is the original's bit for bit, with every rounding that torchvision and Pillow do
    ("exact" rounding), on every device what they give on the CPU. On floating point images the arithmetic is that of
    real numbers ("fused" rounding), and the result is the original's up to float32 rounding. Fused rounding of uint8
    images, if asked for, rounds once, at the end, so values may be a grey level or two apart; more, on content of
    extremes, after bicubic and Lanczos resizes, which overshoot and saturate in the original between their two passes.

    It works where the image lies. It has no parameters: weights follow from the transforms and the size of the image.
    So its ``state_dict`` is empty, and a model keeps its checkpoints when this is put before it.

    Args:
        source: Source of the programs; :func:`compile` derives them from transforms.
        backend: ``auto`` takes the fastest that can run a program; ``numba`` is one fused kernel on the CPU, ``triton``
            one on an NVIDIA GPU; ``torch`` runs on every device; ``reference`` is NumPy in float64, slow, without
            gradients.
        threads: Maximum number of CPU threads per call; None for ``torch.get_num_threads()`` at the time of the call.
            PyTorch's own work, where the layer leaves something to it, is not bound by it.

    Raises:
        OnelayerError: If there is no such backend, or fewer than one thread is asked for.
    """

    def __init__(self, source: Source, backend: BackendName = "auto", threads: int | None = None) -> None:
        super().__init__()
        self.source = source
        check_name(backend)
        if threads is not None and threads < 1:
            raise OnelayerError(
                f"{threads} threads were asked for", expected="at least 1, or None for PyTorch's number"
            )
        self.backend: BackendName = backend
        self.threads = threads
        self._plans = BoundedCache[Plan](PLAN_BYTES, PLANS)
        self._any_size: dict[Any, AnySizePipeline | CopyPipeline | OriginalPipeline | None] = {}

    @property
    def transforms(self) -> Transforms:
        """Source of the programs, if they are derived from transforms.

        Raises:
            OnelayerError: If the layer was loaded: then its programs are all there is.
        """
        if not isinstance(self.source, Transforms):
            raise OnelayerError("the layer has no transforms, only programs", hint="Use .program(spec).")
        return self.source

    @property
    def transform(self) -> Transform:
        """Transforms that the layer was compiled from.

        Raises:
            OnelayerError: If the layer was loaded: then its programs are all there is.
        """
        return self.transforms.transform

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the pipeline; see :meth:`forward`.

        Where nothing watches the call, it takes a shorter way than through :class:`torch.nn.Module`.
        """
        is_watched = (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or has_any_global_hook()  # type: ignore[no-untyped-call]
            or type(self) is not OneLayer
            or torch.compiler.is_dynamo_compiling()
            or torch._C._get_tracing_state()
        )
        return super().__call__(*args, **kwargs) if is_watched else self._preprocess(*args, **kwargs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, image: Any, *, out: torch.Tensor | None = None) -> Any:
        """Apply the pipeline.

        Args:
            image: A tensor [..., C, H, W], uint8 or floating point; a PIL image of mode RGB or L; an array
                [..., H, W, C]; or a list of images, which may differ in size. A batch may be empty. Images of a list
                are spread over the threads.
            out: Memory for the result, if that is one tensor: of its shape, dtype and device, and of any strides. A
                loop that hands in the same memory again writes to memory that is warm. For a list of N images a
                batch [N, C', H', W'], whose images are filled: what a collate function and a server do.

        Returns:
            What the transforms would return: a tensor [..., C', H', W'], a ``tv_tensors.Image``, a PIL image; for an
            array that no transform turns into a tensor, an array; a tuple of crops, or a stack of them, after
            ``FiveCrop`` and ``TenCrop``; for a list, a list. ``out``, if that was given.

        Raises:
            OnelayerError: If the image is none of these, a transform is not supported, or ``out`` cannot hold the
                result.
        """
        return self._preprocess(image, out=out)

    def _preprocess(self, image: Any, *, out: torch.Tensor | None = None) -> Any:
        if ENDING:
            stay()
        if isinstance(image, list | tuple):
            return self._of_list(image, out)
        any_size = self._of_any_size(image)
        if any_size is not None and (result := any_size(image, out)) is not None:
            return result
        return self.apply_program(image, out=out)

    def _of_list(self, images: Sequence[Any], out: torch.Tensor | None) -> Any:
        if out is not None and (not isinstance(out, torch.Tensor) or out.ndim < 1 or len(out) != len(images)):
            given = f"a tensor {list(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
            raise OnelayerError(
                f"{given} was given as out= with a list of {len(images)} images",
                expected=f"a batch of {len(images)} results",
            )
        if out is not None:
            refuse_missing_storage(out, "out=")
        parts = [None] * len(images) if out is None else list(out)
        results = [None] * len(images)
        # In other threads PyTorch has other modes, so that only what is not PyTorch's runs there.
        found = (None if isinstance(image, list | tuple) else self._of_any_size(image) for image in images)
        pipelines = [pipeline for pipeline in found if isinstance(pipeline, AnySizePipeline)]
        if len(pipelines) == len(images):

            def compute(number: int) -> None:
                results[number] = pipelines[number](images[number], parts[number], threads=1)

            can_share = not torch.is_inference_mode_enabled()
            for_each(compute, len(images), (self.threads or torch.get_num_threads()) if can_share else 1)
        for number, image in enumerate(images):
            if results[number] is None:
                results[number] = self(image) if out is None else self(image, out=parts[number])
        return results if out is None else out

    def apply_program(self, image: Any, *, out: torch.Tensor | None = None) -> Any:
        """Apply the pipeline through the program for images of this size, of which a plan is made and kept.

        :meth:`forward` does so where the pipeline cannot be stated for images of every size, and gives the same pixels.

        Args:
            image: As in :meth:`forward`, but no list.
            out: As in :meth:`forward`.

        Raises:
            OnelayerError: As in :meth:`forward`.
        """
        if ENDING:
            stay()
        spec = spec_of(image)
        pixels = pixels_of(image)
        refuse_missing_storage(pixels, "the image")
        plan = self._plans.get((spec, pixels.device), lambda: self._new_plan(spec, pixels.device))
        return plan(pixels, out)

    def _of_any_size(self, image: Any) -> AnySizePipeline | CopyPipeline | OriginalPipeline | None:
        """Return the pipeline for images of every size of such a kind; None where each size takes a plan of its own."""
        key = kind_of_image(image)
        if key not in self._any_size:
            pipeline = any_size_pipeline(
                self.source, spec_of(image), pixels_of(image).device, self.backend, self.threads
            )
            self._any_size[key] = None if isinstance(pipeline, str) else pipeline
        return self._any_size[key]

    def program(self, spec: ImageSpec) -> Simplified:
        """Return the simplified program for images of a spec, with the rules that made it.

        Raises:
            OnelayerError: If the pipeline makes several images of each; all have programs in
                ``source.outputs(spec)``.
        """
        outputs = self.source.outputs(spec)
        if len(outputs.each) > 1:
            raise OnelayerError(
                f"the pipeline makes {len(outputs.each)} images of each, and every one has a program",
                hint="Their programs are in layer.source.outputs(spec).each.",
            )
        return outputs.each[0].simplified

    def _new_plan(self, spec: ImageSpec, device: torch.device) -> tuple[Plan, int]:
        outputs = self.source.outputs(spec)
        for output in outputs.each:
            refuse_impossible("a result", output.spec.shape, TORCH_DTYPES[output.spec.dtype].itemsize)
        each = [(self._lowered(output, spec, device), output.spec) for output in outputs.each]

        def single(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
            ((apply, output_spec),) = each
            if out is not None:
                check_memory(out, (*pixels.shape[:-3], *output_spec.shape), output_spec, pixels)
            return image_of(apply(pixels, out), output_spec)

        def several(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
            if out is not None:
                raise OnelayerError(
                    f"out= was given, and the result is a tuple of {len(each)} images", hint="Leave it out."
                )
            return tuple(image_of(apply(pixels), output_spec) for apply, output_spec in each)

        def stacked(pixels: torch.Tensor, out: torch.Tensor | None) -> Any:
            if out is None:
                return torch.stack([image_of(apply(pixels), output_spec) for apply, output_spec in each])  # type: ignore[misc]
            output_spec = each[0][1]
            check_memory(out, (len(each), *pixels.shape[:-3], *output_spec.shape), output_spec, pixels)
            for (apply, _), part in zip(each, out, strict=True):
                apply(pixels, part)
            return out

        # The kernels have numbers of their own besides the program's.
        return {"one": single, "tuple": several, "stacked": stacked}[outputs.joined], 2 * outputs.nbytes

    def _lowered(self, output: Output, spec: ImageSpec, device: torch.device) -> Apply:
        program, target = output.simplified.program, lowering_target(spec, output, device, self.threads)
        # Without stages a copy, as most transforms return one even where they change nothing.
        apply = choose(self.backend, program, target).lower() if program.stages else with_out(torch.clone, target)
        if spec.container in ("pil", "numpy") and output.spec.container == "tensor":
            # Their memory is HWC; what ToTensor returns is not.
            return lambda pixels, out=None: apply(pixels, out) if out is not None else apply(pixels).contiguous()
        return _keeping_channels_last(apply) if spec.container == "tensor" else apply

    def __getstate__(self) -> dict[str, Any]:
        # Plans hold functions, which cannot be pickled, and are made anew.
        return {name: value for name, value in self.__dict__.items() if name not in ("_plans", "_any_size")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plans = BoundedCache[Plan](PLAN_BYTES, PLANS)
        self._any_size = {}

    def extra_repr(self) -> str:
        """Return the transforms, or the sizes that there are programs for."""
        return repr(self.source)


def _keeping_channels_last(apply: Apply) -> Apply:
    """Keep the memory format, as torchvision does: of a batch in channels_last the result is in channels_last."""

    def run(images: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        result = apply(images, out)
        if out is not None or only_for_pytorch(images):
            return result
        return result.contiguous(memory_format=format_of(images))

    return run


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
) -> OneLayer | PartialLayer: ...


def compile(  # noqa: A001
    transform: Transform,
    *,
    fullgraph: bool = True,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> OneLayer | PartialLayer:
    """Compile transforms into one layer; see :class:`OneLayer`.

    Nothing is derived before the first image comes, because the weights depend on its size. Transforms that are changed
    afterwards change nothing for sizes that came before. A NumPy array is an image here for every transform, where
    torchvision's v2 transforms would leave it alone, except those that make a tensor of it.

    Args:
        transform: Torchvision transforms, v1 or v2, or a preset; see ``onelayer.frontends`` for what is known.
        fullgraph: Whether a transform that cannot be derived is an error. If not, it stays as it is, and what lies on
            either side of it is compiled: see :class:`PartialLayer`.
        rounding: ``exact`` returns what the transforms return bit for bit, and refuses a transform whose rounding is
            not known; ``fused`` computes in real arithmetic and rounds once, at the end. None for exact where an image
            is uint8 or a PIL image, and fused where it is floating point.
        backend: ``auto`` takes the fastest that can run a program; ``numba`` is one fused kernel on the CPU, ``triton``
            one on an NVIDIA GPU; ``torch`` runs on every device; ``reference`` is NumPy in float64, slow, without
            gradients.
        threads: Maximum number of CPU threads per call of the fused kernel; None for ``torch.get_num_threads()`` at the
            time of the call.

    Raises:
        OnelayerError: If there is no such backend or rounding, ``transform`` cannot be called, or fewer than one thread
            is asked for. A backend that cannot run the pipeline says so when an image comes.
    """
    refuse_class(transform)
    if not callable(transform):
        raise OnelayerError(
            f"{type(transform).__name__} was given as a transform",
            expected="a transform object or a function",
            hint=_hint_instead_of(transform),
        )
    if rounding not in (None, *get_args(RoundingMode)):
        raise OnelayerError(f"the rounding {rounding!r} was asked for", expected="exact, fused or None")
    if fullgraph:
        return OneLayer(Transforms(transform, rounding), backend, threads)
    return PartialLayer(transforms_of(transform), rounding, backend, threads)


def _hint_instead_of(transform: object) -> str | None:
    if isinstance(transform, str):
        return (
            'Use onelayer.pipelines.named("resnet50") (onelayer.pipelines.names() lists the names), or '
            "torchvision.models.ResNet50_Weights.DEFAULT.transforms()."
        )
    if isinstance(transform, list | tuple):
        return "Put the transforms into a v2.Compose."
    return "Call its .transforms()." if hasattr(transform, "transforms") else None


class PartialLayer(nn.Module):
    """A pipeline of which some transforms cannot be derived: they run as they are, and those in between are compiled.

    ``compile(transform, fullgraph=False)`` returns it. Random transforms draw the numbers that they would draw in the
    original, as long as the original draws none for the transforms that are compiled (a flip with p of 1 draws a
    number).

    Args:
        parts: Transforms in order, none of them a container of others.
        rounding: Rounding of the compiled transforms; see :func:`compile`. Where it is exact, a transform whose
            rounding is not known cannot be derived.
        backend: Backend of the compiled transforms.
        threads: Maximum number of CPU threads per call.
    """

    def __init__(
        self,
        parts: Sequence[Transform],
        rounding: RoundingMode | None = None,
        backend: BackendName = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        # In a tuple, because as attributes modules among them would become submodules, with parameters.
        self._parts = tuple(parts)
        self._rounding: RoundingMode | None = rounding
        self._backend: BackendName = backend
        self._threads = threads
        self._layers: dict[tuple[int, int], OneLayer] = {}
        self._end = lru_cache(maxsize=PLANS)(self._reach)

    def forward(self, image: Any) -> Any:
        """Apply the pipeline; see :meth:`OneLayer.forward`.

        Raises:
            OnelayerError: If ``image`` is no image.
        """
        if isinstance(image, list):
            return [self(item) for item in image]
        if not is_image(image):
            spec_of(image)  # raises: only images come in, though transforms may return other things
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
            spec = spec_of(image)
        except OnelayerError:
            # Such as a PIL image of mode RGBA, which the next transform may well convert.
            return place
        return self._end(place, spec)

    def _reach(self, place: int, spec: ImageSpec) -> int:
        """Return the place behind the last transform that can be derived together with the one at ``place``."""
        try:
            Transforms(v2.Compose(self._parts[place:]), self._rounding).outputs(spec)
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
        """Return the transforms, a line for each."""
        return "\n".join(map(repr, self._parts))
