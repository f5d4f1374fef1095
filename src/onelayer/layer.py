"""Compile transforms into layers: ``compile()``, and the module that it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, get_args, overload

import numpy as np
import PIL.Image
import torch
from torch import nn
from torch._C import _len_torch_function_stack as number_of_modes
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from onelayer.algebra import Simplified
from onelayer.any_size import AnySizePipeline, OriginalPipeline, any_size_pipeline, kind_of_image
from onelayer.backends import BackendName, check_name
from onelayer.backends.cpu.threads import ENDING, stay
from onelayer.backends.portable.module import PlainModule
from onelayer.batches import PreparedBatch, collated, listed_images
from onelayer.breaks import PiecewisePipeline, first_break, raise_impossible, why
from onelayer.copying import CopyPipeline
from onelayer.custom_operator import MetaPipeline, define_operator, number_of, single_output
from onelayer.errors import OnelayerError
from onelayer.frontends import (
    ImageSpec,
    RoundingMode,
    Transform,
    UnsupportedTransformError,
    front_end_of,
    transforms_of,
)
from onelayer.frontends.base import Function, has_function, quicker_function, refuse_class
from onelayer.frontends.placement import PilResult
from onelayer.frontends.probing import pil_results
from onelayer.images.containers import (
    DTYPE_NAMES,
    Image,
    NoImageError,
    is_image,
    pixels_of,
    refuse_missing_storage,
    spec_of,
)
from onelayer.memory_limits import BoundedCache
from onelayer.plans import PLAN_BYTES, PLANS, DrawingPipeline, Plan, new_plan, portable_output
from onelayer.programs import Source, Transforms
from onelayer.random_state import unchanged_random_state
from onelayer.samples import CONTAINERS, image_and_others, lone_image, no_lone_image, takes_samples

_USUAL_SIZE = 500, 500
"""Height and width of an image that most pipelines take."""

_Pipeline = AnySizePipeline | CopyPipeline | OriginalPipeline | DrawingPipeline | PiecewisePipeline | MetaPipeline
"""Pipelines for images of every size."""


class OneLayer(nn.Module):
    """A pipeline of transforms as one layer, derived and fused.

    On uint8 and PIL images the result is the original's bit for bit, with every rounding that torchvision and Pillow do
    ("exact" rounding), on every device what they give on the CPU. On floating point images the arithmetic is that of
    real numbers ("fused" rounding), and the result is the original's up to float32 rounding. Fused rounding of uint8
    images, if asked for, rounds once, at the end, so values may be a grey level or two apart; more, on content of
    extremes, after bicubic and Lanczos resizes, which overshoot and saturate in the original between their two passes.

    It works where the image lies. It has no parameters: weights follow from the transforms and the size of the image.
    So its ``state_dict`` is empty, and a model keeps its checkpoints when this is put before it.

    What cannot be compiled runs as it is, between compiled neighbours, and what comes out is the original's all the
    same: transforms that are not known, random ones, images of other kinds, samples with boxes or masks. With bytes
    that come in, all that follows is exact, also where an image is floating point by then.

    Args:
        source: Source of the programs; :func:`compile` derives them from transforms.
        backend: ``auto`` takes the fastest that can run a program; ``numba`` is one fused kernel on the CPU, ``triton``
            one on an NVIDIA GPU; ``torch`` runs on every device; ``reference`` is NumPy in float64, slow, without
            gradients.
        threads: Maximum number of CPU threads per call; None for ``torch.get_num_threads()`` at the time of the call.
            PyTorch's own work, where the layer leaves something to it, is not bound by it.
        fullgraph: Whether what cannot be compiled is an error. It always is where the source has no transforms.

    Raises:
        OnelayerError: If there is no such backend, or fewer than one thread is asked for.
    """

    def __init__(
        self, source: Source, backend: BackendName = "auto", threads: int | None = None, fullgraph: bool = True
    ) -> None:
        super().__init__()
        self.source = source
        check_name(backend)
        if threads is not None and threads < 1:
            raise OnelayerError(
                f"{threads} threads were asked for", expected="at least 1, or None for PyTorch's number"
            )
        self.backend: BackendName = backend
        self.threads = threads
        self.fullgraph = fullgraph
        self._number = number_of(self)
        self._forget()

    def _forget(self) -> None:
        """Drop what was made for kinds and sizes of images."""
        self._default_dtype = torch.get_default_dtype()
        self._plans = BoundedCache[Plan](PLAN_BYTES, PLANS)
        self._pil_results = lru_cache(maxsize=PLANS)(self._new_pil_results)
        self._any_size: dict[Any, _Pipeline | None] = {}
        self._piecewise: PiecewisePipeline | None = None
        self._elsewhere: dict[Any, bool] = {}
        self._needs_image = False

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

    @property
    def may_have_pieces(self) -> bool:
        """Whether a pipeline that is no single layer runs in pieces; with ``fullgraph`` only where none is a break."""
        if not isinstance(self.source, Transforms):
            return False
        return not self.fullgraph or any(map(has_function, transforms_of(self.source.transform)))

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
            or torch.compiler._is_compiling_flag
            or torch._C._get_tracing_state()
        )
        return super().__call__(*args, **kwargs) if is_watched else self._preprocess(*args, **kwargs)

    def forward(self, *inputs: Any, out: torch.Tensor | None = None) -> Any:
        """Apply the pipeline.

        In a graph that PyTorch compiles, exports or traces it is one operator, ``onelayer::preprocess``, as long as the
        image is a tensor without a gradient, one tensor comes out, and nothing is random.

        Args:
            inputs: An image: a tensor [..., C, H, W], a PIL image, or an array [..., H, W, C]; a batch may be empty. Or
                a sample, as torchvision's v2 transforms take it: several arguments, or a tuple, list or dictionary, in
                which images change (``tv_tensors`` and PIL images, or else the first plain tensor), and labels stay. Or
                whatever else the transforms take.
            out: Memory for the result of an image, if that is one tensor: of its shape, dtype and device, and of any
                strides. A loop that hands in the same memory again writes to memory that is warm.

        Returns:
            What the transforms would return: a tensor [..., C', H', W'], a ``tv_tensors.Image``, a PIL image; for an
            array that no transform turns into a tensor, an array; a tuple of crops, or a stack of them, after
            ``FiveCrop`` and ``TenCrop``; for a sample, the same containers. ``out``, if that was given.

        Raises:
            OnelayerError: If ``out`` cannot hold the result; with ``fullgraph``, for what cannot be compiled.
        """
        if (torch.compiler.is_compiling() or torch._C._get_tracing_state()) and out is None and len(inputs) == 1:
            (image,) = inputs
            is_tensor = isinstance(image, torch.Tensor) and not isinstance(image, tv_tensors.TVTensor)
            wants_gradient = is_tensor and image.requires_grad and torch.is_grad_enabled()
            if is_tensor and not wants_gradient and self._is_operator(image.dtype):
                result: torch.Tensor = torch.ops.onelayer.preprocess(image, self._number)
                return result
        return self._between_graphs(*inputs, out=out)

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def _is_operator(self, dtype: torch.dtype) -> bool:
        """Whether images of a dtype go through the operator, tried with color and without; define it before."""
        define_operator()
        return dtype in DTYPE_NAMES and any(
            single_output(self.source, ImageSpec((channels, *_USUAL_SIZE), DTYPE_NAMES[dtype], "tensor")) is not None
            for channels in (3, 1)
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _between_graphs(self, *inputs: Any, out: torch.Tensor | None) -> Any:
        return self._preprocess(*inputs, out=out)

    def _preprocess(self, image: Any, *others: Any, out: torch.Tensor | None = None) -> Any:
        if ENDING:
            stay()
        if others or isinstance(image, CONTAINERS):
            return self._of_sample((image, *others), out)
        if number_of_modes() and self._goes_elsewhere(image):
            return self.in_pieces().as_they_are((image,), out)
        any_size = self._of_any_size(image)
        if any_size is not None and (result := any_size(image, out)) is not None:
            return result
        return self._of_one_size(image, out)

    def _of_sample(self, inputs: tuple[Any, ...], out: torch.Tensor | None) -> Any:
        is_list = len(inputs) == 1 and isinstance(inputs[0], list)
        if out is not None:
            hint = "Use layer.batch(images, out=memory)." if is_list else "Leave it out."
            raise OnelayerError("out= was given with a sample", expected="one image", hint=hint)
        if not isinstance(self.source, Transforms):
            return self._of_lone_image(inputs)
        if number_of_modes() and torch.get_default_device().type != "cpu":
            return self.in_pieces().as_they_are(inputs, None)
        found = image_and_others(inputs if len(inputs) > 1 else inputs[0])
        if found is not None and (made := self._of_image_and_others(*found, unpacks=len(inputs) > 1)) is not None:
            return made
        try:
            return self.in_pieces().of_sample(inputs)
        except Exception as error:
            if is_list and all(map(is_image, inputs[0])):
                error.add_note("A list of images is one sample here. layer.batch(images) computes each of them.")
            raise

    def _of_image_and_others(
        self, image: Any, others: Any, together: Callable[[Any, Any], Any], *, unpacks: bool
    ) -> Any:
        """Compute an image, and have the original do what it does with the rest; None if it has to do both.

        Both draw the same numbers, because these depend on sizes alone.
        """
        transforms = transforms_of(self.transform)
        is_known = all(takes_samples(each) for each in transforms)
        # Plain tensors are images where there is no other.
        if self._needs_image or not is_known or any(isinstance(each, v2.ToPureTensor) for each in transforms[:-1]):
            return None
        pipeline = self._of_any_size(image)
        if not isinstance(pipeline, AnySizePipeline | CopyPipeline | DrawingPipeline):
            return None
        state = torch.default_generator.get_state()
        if (result := pipeline(image, None)) is None:
            return None
        torch.default_generator.set_state(state)
        try:
            return together(result, self.transform(*others) if unpacks else self.transform(others))
        except Exception:  # noqa: BLE001 - the original says what is wrong, if it is not only that the image is missing
            torch.default_generator.set_state(state)
            self._needs_image = True
            return None

    def _of_lone_image(self, inputs: tuple[Any, ...]) -> Any:
        found = lone_image(inputs if len(inputs) > 1 else inputs[0])
        if found is None:
            raise no_lone_image("Give each image alone, or several to layer.batch(images).")
        image, with_image = found
        return with_image(self._preprocess(image))

    def _goes_elsewhere(self, image: Any) -> bool:
        """Whether the transforms move such an image to another default device, as those that read a PIL image do."""
        device = torch.get_default_device()
        if device.type == "cpu" or not isinstance(self.source, Transforms):
            return False
        key = kind_of_image(image), device
        if key not in self._elsewhere:
            found = self._of_any_size(image)
            with unchanged_random_state():
                result = None if isinstance(found, PiecewisePipeline) else self.transform(image)
            here = image.device if isinstance(image, torch.Tensor) else torch.device("cpu")
            self._elsewhere[key] = not isinstance(result, torch.Tensor | PIL.Image.Image) or (
                isinstance(result, torch.Tensor) and result.device != here
            )
        return self._elsewhere[key]

    def _of_one_size(self, image: Any, out: torch.Tensor | None) -> Any:
        try:
            return self.apply_program(image, out=out)
        except (UnsupportedTransformError, NoImageError) as error:
            raise_impossible(error)
            # Of what draws random numbers, there is no program for a single image.
            refuses = self.fullgraph and not getattr(self._of_any_size(image), "draws", False)
            # Arrays are images here, which most transforms of torchvision would leave as they are.
            if refuses or not isinstance(self.source, Transforms) or isinstance(image, np.ndarray):
                raise
            try:
                return self.in_pieces().as_they_are((image,), out)
            except Exception as theirs:
                theirs.add_note(f"onelayer called it as it is: {why(error, error.stage)}")
                raise

    def batch(
        self, images: Iterable[Any] | torch.Tensor, *, out: torch.Tensor | list[torch.Tensor] | None = None
    ) -> Any:
        """Apply the pipeline to each of several images, which may differ in size, spread over the threads.

        That is what a collate function and a server do. Random numbers are drawn for each image, in order, as if the
        images came one after the other; a call of the layer itself draws once for a batch, as torchvision does.

        Args:
            images: The images, in whatever can be iterated; or a tensor [N, C, H, W].
            out: Batch [N, C', H', W'] that is filled with the results of N images, or a list of N tensors; or None.

        Returns:
            A list of the results, or their batch [N, C', H', W'] if a tensor was given; ``out``, if that was given.

        Raises:
            OnelayerError: As in :meth:`forward`, if these are no images but one, or no collection, if ``out`` is no
                batch of as many results, and if the results of a tensor are no tensors of one shape.
        """
        if isinstance(images, torch.Tensor):
            return self._of_each(images, out)
        images = listed_images(images)
        is_batch = isinstance(out, list) or (isinstance(out, torch.Tensor) and out.ndim > 0)
        if out is not None and (not is_batch or len(out) != len(images)):
            given = f"a tensor {list(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
            raise OnelayerError(
                f"{given} was given as out= with {len(images)} images", expected=f"a batch of {len(images)} results"
            )
        if isinstance(out, torch.Tensor):
            refuse_missing_storage(out, "out=")
        if ENDING:
            stay()
        results = self._results(images, self._prepared(images), [None] * len(images) if out is None else list(out))
        return results if out is None else out

    def _prepared(self, images: Sequence[Any]) -> PreparedBatch | None:
        """Prepare images for which pipelines are the same for all sizes; None if one of them takes another way."""
        pipelines = self._of_any_sizes(images)
        return None if pipelines is None else PreparedBatch(images, pipelines)

    def _results(
        self, images: Sequence[Any], prepared: PreparedBatch | None, parts: Sequence[torch.Tensor | None]
    ) -> list[Any]:
        """Return the results of several images, with memory for each or None."""
        results = [None] * len(images) if prepared is None else prepared.compute(parts, self._threads_of_batch())
        for number, (image, part) in enumerate(zip(images, parts, strict=True)):
            if results[number] is None:
                results[number] = self(image) if part is None else self(image, out=part)
        return results

    def _of_any_sizes(self, images: Sequence[Any]) -> list[AnySizePipeline] | None:
        """Return a pipeline for each of several images; None if one of them takes another way."""
        found = []
        for image in images:
            if isinstance(image, CONTAINERS) or (number_of_modes() and self._goes_elsewhere(image)):
                return None
            pipeline = self._of_any_size(image)
            if not isinstance(pipeline, AnySizePipeline):
                return None
            found.append(pipeline)
        return found

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch of samples whose images are not preprocessed yet: ``DataLoader(…, collate_fn=layer.collate)``.

        The data set gives images as they are decoded. A worker decodes all of a batch first and preprocesses them one
        after the other then, right into the memory of the batch. That is quicker than to preprocess each after it
        was decoded, because decoding leaves nothing of the code of a layer in the processor's caches, and no image is
        copied. The results and the random numbers are those of ``layer(image)`` in the data set, as long as the data
        set draws none between two images.

        Args:
            samples: Images; or tuples, lists and dictionaries with an image each, and labels, which stay as they are.
                The image is the only PIL image or ``tv_tensors.Image`` of a sample; where there is none, the only
                tensor or array that has three dimensions, or has two and holds bytes. Samples with boxes, masks,
                videos or several images go through the layer one by one.

        Returns:
            What ``torch.utils.data.default_collate`` makes of the samples with preprocessed images: the images become
            a tensor [N, ...], in a worker in shared memory.

        Raises:
            OnelayerError: As in :meth:`forward`.
            RuntimeError: If the results differ in shape; raised by ``default_collate``.
        """
        return collated(samples, self._batch_of, self)

    def _batch_of(self, images: list[Any]) -> torch.Tensor | list[Any]:
        """Preprocess images: to their batch, where the shape of the results is known before, or to a list."""
        prepared = self._prepared(images)
        batch = None if prepared is None else prepared.memory_for_results()
        results = self._results(images, prepared, [None] * len(images) if batch is None else list(batch))
        return results if batch is None else batch

    def _of_each(self, images: torch.Tensor, out: torch.Tensor | list[torch.Tensor] | None) -> Any:
        """Apply the pipeline to each image of a tensor, and make one of the results."""
        if images.ndim < 4:
            raise OnelayerError(f"a tensor {list(images.shape)} was given as a batch", expected="[N, C, H, W]")
        if not len(images) and out is None:
            with unchanged_random_state():
                return self(images)
        if (results := self._of_equal_sizes(images, out)) is not None:
            return results
        is_wrapped = isinstance(images, tv_tensors.TVTensor)
        each = [tv_tensors.wrap(image, like=images) if is_wrapped else image for image in images.unbind()]
        results = self.batch(each, out=out)
        if out is not None:
            return out
        first = results[0]
        if not all(isinstance(result, torch.Tensor) and result.shape == first.shape for result in results):
            raise OnelayerError(
                "a batch was given as a tensor, and its results cannot be one",
                expected="results that are tensors of one shape",
                hint="Give a list: layer.batch([*images]).",
            )
        stacked = torch.stack(results)
        return tv_tensors.wrap(stacked, like=first) if isinstance(first, tv_tensors.TVTensor) else stacked

    def _of_equal_sizes(self, images: torch.Tensor, out: torch.Tensor | list[torch.Tensor] | None) -> Any:
        """Apply the pipeline to each image of a tensor in one step; None where that is done one by one."""
        is_plain = type(images) is torch.Tensor and images.is_cpu and images.ndim == 4 and len(images) > 0
        if not is_plain or isinstance(out, list) or (out is not None and out.shape[:1] != images.shape[:1]):
            return None
        pipelines = self._of_any_sizes([images])
        return None if pipelines is None else pipelines[0].of_each(images, out, self._threads_of_batch())

    def _threads_of_batch(self) -> int:
        """Return the maximum number of threads for the images of a batch: in others there is no inference mode."""
        return 1 if torch.is_inference_mode_enabled() else self.threads or torch.get_num_threads()

    def apply_program(self, image: Any, *, out: torch.Tensor | None = None) -> Any:
        """Apply the pipeline through the program for images of this size, of which a plan is made and kept.

        :meth:`forward` does so where the pipeline cannot be stated for images of every size, and gives the same pixels.

        Args:
            image: An image, as in :meth:`forward`.
            out: As in :meth:`forward`.

        Raises:
            OnelayerError: If the pipeline cannot be compiled as a whole for such an image, or ``out`` cannot hold the
                result.
        """
        if ENDING:
            stay()
        spec = spec_of(image)
        pixels = pixels_of(image)
        refuse_missing_storage(pixels, "the image")
        plan = self._plans.get((spec, pixels.device), lambda: self._new_plan(spec, pixels.device))
        result = plan(pixels, out)
        return self._informed(result, image, spec) if spec.container == "pil" else result

    def _informed(self, result: Any, image: PIL.Image.Image, spec: ImageSpec) -> Any:
        """Put what a PIL image knows about itself into the PIL images that were made of it, where the original does."""
        if not isinstance(self.source, Transforms):
            return result
        is_several = isinstance(result, tuple)
        each = list(result) if is_several else [result]
        if not all(isinstance(made, PIL.Image.Image) for made in each):
            return result
        for at, of_pil in enumerate(self._pil_results(spec)[: len(each)]):
            if of_pil is PilResult.SAME:
                each[at] = image
            elif of_pil is PilResult.KEEPS_INFO:
                each[at].info = image.info.copy()
        return tuple(each) if is_several else each[0]

    def _new_pil_results(self, spec: ImageSpec) -> tuple[PilResult, ...]:
        return pil_results(self.transform, spec)

    def _of_any_size(self, image: Any) -> _Pipeline | None:
        """Return the pipeline for images of every size of such a kind; None where each size takes a plan of its own."""
        if torch.get_default_dtype() is not self._default_dtype:
            # ToTensor gives numbers of the default dtype.
            self._forget()
        key = kind_of_image(image)
        if key not in self._any_size:
            self._any_size[key] = self._new_pipeline(image)
        return self._any_size[key]

    def _new_pipeline(self, image: Any) -> _Pipeline | None:
        source = self.source
        if isinstance(image, torch.Tensor) and image.is_meta and self._is_operator(image.dtype):
            return MetaPipeline(self._number)
        if not self.fullgraph and isinstance(source, Transforms):
            try:
                spec_of(image)
            except OnelayerError:
                return self.in_pieces()
        spec = spec_of(image)
        pipeline = any_size_pipeline(source, spec, pixels_of(image).device, self.backend, self.threads)
        if isinstance(pipeline, str):
            breaks = isinstance(source, Transforms) and self.may_have_pieces and first_break(source, spec) is not None
            return self.in_pieces() if breaks else None
        if isinstance(pipeline, OriginalPipeline) or pipeline.draws:
            return pipeline
        draws = source.draws(spec)
        return DrawingPipeline(pipeline, draws) if draws else pipeline

    def in_pieces(self) -> PiecewisePipeline:
        """Return the pipeline that takes samples, and what cannot be compiled as a whole."""
        if self._piecewise is None:
            transforms, backend, threads = self.transforms, self.backend, self.threads

            def make_layer(parts: Sequence[Transform], rounding: RoundingMode | None) -> OneLayer:
                return OneLayer(Transforms(v2.Compose(parts), rounding), backend, threads)

            def find_function(part: Transform, spec: ImageSpec, rounding: RoundingMode | None) -> Function | None:
                def compile_parts(parts: Sequence[Transform]) -> OneLayer:
                    return OneLayer(Transforms(v2.Compose(parts), rounding), backend, threads, self.fullgraph)

                return quicker_function(part, spec, compile_parts) if backend in ("auto", "numba") else None

            self._piecewise = PiecewisePipeline(
                transforms_of(transforms.transform), transforms.rounding, make_layer, find_function, self.fullgraph
            )
        return self._piecewise

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

    def to_module(self, like: Image | ImageSpec, *, rounding: RoundingMode | None = None) -> nn.Module:
        """Make a module of the same arithmetic for images of one size, in plain tensor operations.

        It takes tensors [..., C, H, W] and gives tensors, and goes through ``torch.export``, ``torch.compile``,
        ``torch.jit.trace``, ``torch.func.vmap``, the meta device and whatever takes their graphs; on the CPU this layer
        itself is many times faster. Float32 products have to be of full precision: TF32, bfloat16 and autocast make
        exact sums inexact.

        Args:
            like: Image, or its spec: the size, the dtype, and whose rounding is meant, Pillow's or a tensor's.
            rounding: ``exact`` or ``fused``; None for the layer's.

        Raises:
            OnelayerError: If the pipeline cannot be compiled as a whole for such images, several images come out, or
                plain operations cannot compute it.
        """
        spec = like if isinstance(like, ImageSpec) else spec_of(like)
        output, steps = portable_output(self.source, spec, rounding)
        return PlainModule(steps, spec, output.spec)

    def _new_plan(self, spec: ImageSpec, device: torch.device) -> tuple[Plan, int]:
        return new_plan(self.source, spec, device, self.backend, self.threads)

    def __getstate__(self) -> dict[str, Any]:
        # Plans hold functions, which cannot be pickled, and are made anew.
        made = (
            "_number",
            "_plans",
            "_pil_results",
            "_any_size",
            "_piecewise",
            "_elsewhere",
            "_needs_image",
            "_default_dtype",
        )
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._number = number_of(self)
        self._forget()

    def extra_repr(self) -> str:
        """Return the transforms, or the sizes that there are programs for."""
        return repr(self.source)


@overload
def compile(  # noqa: A001 - torch.compile is named so too
    transform: nn.Module | v1.Compose,
    *,
    fullgraph: bool = False,
    example: Any = None,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> OneLayer: ...


@overload
def compile(  # noqa: A001 - see above
    transform: Callable[..., Any],
    *,
    fullgraph: bool = False,
    example: Any = None,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> Any: ...


def compile(  # noqa: A001 - see above
    transform: Callable[..., Any],
    *,
    fullgraph: bool = False,
    example: Any = None,
    rounding: RoundingMode | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> Any:
    """Compile transforms into one layer; see :class:`OneLayer`.

    Nothing is derived before the first image comes, because the weights depend on its size. Transforms that are changed
    afterwards change nothing for sizes that came before. A NumPy array is an image here for every transform that is
    compiled, where torchvision's v2 transforms would leave it alone, except those that make a tensor of it.

    Args:
        transform: Torchvision transforms, v1 or v2, or a preset; those of a library that there is a front end for; or
            any other function of an image. Of an object that is called in another way, such as a processor of samples,
            another comes back that is called in the same way.
        fullgraph: Whether what cannot be compiled is an error: at once where ``example`` is given, and otherwise when
            the first image comes. If not, it runs as it is, between compiled neighbours, with the original's result;
            :func:`onelayer.explain` shows what does.
        example: Image, of the kind and size that will come, on which the layer is tried: what is to be compiled for it
            is compiled now. Random generators stay where they are.
        rounding: ``exact`` returns what the transforms return bit for bit, and does not compile a transform whose
            rounding is not known; ``fused`` computes in real arithmetic and rounds once, at the end. None for exact
            where an image is uint8 or a PIL image, and fused where it is floating point.
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

    # A partial, because front ends keep it, and what they make is pickled.
    make_layer = partial(_layer_of, rounding=rounding, backend=backend, threads=threads, fullgraph=fullgraph)
    front_end = front_end_of(transform)
    made = make_layer(transform) if front_end is None else front_end.compile(transform, make_layer)
    if example is not None:
        with unchanged_random_state():
            made(example)
    return made


def register_with_transformers(*model_types: str) -> None:
    """Make compiled image processors a backend of Hugging Face's ``AutoImageProcessor``.

    ``AutoImageProcessor.from_pretrained(folder, backend="onelayer")`` then returns what :func:`compile` makes of the
    processor with the torchvision backend.

    Args:
        model_types: Types of models, such as ``clip`` or ``qwen2_vl``; none for all, which imports all their modules.

    Raises:
        OnelayerError: If there is no image processor for such a type.
    """
    # Only here, because it imports transformers.
    from onelayer.frontends.libraries.huggingface.processor import register_backend

    make_layer = partial(_layer_of, rounding=None, backend="auto", threads=None, fullgraph=False)
    register_backend(make_layer, model_types)


def _layer_of(
    transforms: Transform, *, rounding: RoundingMode | None, backend: BackendName, threads: int | None, fullgraph: bool
) -> OneLayer:
    return OneLayer(Transforms(transforms, rounding), backend, threads, fullgraph)


def _hint_instead_of(transform: object) -> str | None:
    if isinstance(transform, str):
        return (
            'Use onelayer.pipelines.named("resnet50") (onelayer.pipelines.names() lists the names), or '
            "torchvision.models.ResNet50_Weights.DEFAULT.transforms()."
        )
    if isinstance(transform, list | tuple):
        return "Put the transforms into a v2.Compose."
    return "Call its .transforms()." if hasattr(transform, "transforms") else None
