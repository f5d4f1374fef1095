"""Preprocess several images together, and make batches of samples with them, as a collate function does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch.utils.data import default_collate, get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from onelayer.any_size import AnySizePipeline
from onelayer.backends.cpu import memory
from onelayer.backends.cpu.threads import for_each
from onelayer.errors import OnelayerError
from onelayer.random_state import present_state, put_back
from onelayer.samples import CONTAINERS, image_among_labels


class PreparedBatch:
    """Several images, each with a pipeline and its moves. Random numbers are drawn here, in the order of the images.

    Args:
        images: The images.
        pipelines: A pipeline for each.
    """

    def __init__(self, images: Sequence[Any], pipelines: Sequence[AnySizePipeline]) -> None:
        of_python = any(pipeline.draws_from_python for pipeline in pipelines)
        self._state = present_state(of_python=of_python) if any(pipeline.draws for pipeline in pipelines) else None
        self._images, self._pipelines = images, pipelines
        self._moves = [pipeline.moves_for(image) for pipeline, image in zip(pipelines, images, strict=True)]

    def memory_for_results(self) -> torch.Tensor | None:
        """Return memory for the results as one tensor; None where their shapes are not known before, or differ."""
        if any(isinstance(image, torch.Tensor) and (image.ndim != 3 or image.requires_grad) for image in self._images):
            return None
        of_each = zip(self._pipelines, self._moves, strict=True)
        kinds = {pipeline.kind_of_result(moves) for pipeline, moves in of_each}
        found = kinds.pop() if len(kinds) == 1 else None
        return None if found is None else _memory_of_batch((len(self._images), *found[0]), found[1])

    def compute(self, parts: Sequence[torch.Tensor | None], threads: int) -> list[Any]:
        """Compute the results. Where one of them is left to the layer, all are None, and no numbers were drawn.

        Args:
            parts: Memory for each result, or None.
            threads: Maximum number of threads. In other threads PyTorch has other modes: only what is not PyTorch's
                runs there.
        """
        results: list[Any] = [None] * len(self._images)

        def compute(number: int) -> None:
            results[number] = self._pipelines[number](self._images[number], parts[number], 1, self._moves[number])

        for_each(compute, len(results), threads)
        if self._state is None or all(result is not None for result in results):
            return results
        put_back(self._state)
        return [None] * len(results)


def listed_images(images: Iterable[Any]) -> list[Any]:
    """List the images of a batch.

    Raises:
        OnelayerError: If it is no collection of images, such as a single one, a path or a sample.
    """
    is_one = isinstance(images, str | bytes | Mapping) or (isinstance(images, np.ndarray) and images.ndim < 4)
    if is_one or not isinstance(images, Iterable):
        shape = f" of shape {list(images.shape)}" if isinstance(images, np.ndarray) else ""
        raise OnelayerError(
            f"a {type(images).__name__}{shape} was given as a batch",
            expected="a list of images, or a tensor [N, C, H, W]",
            hint="Give a single image to the layer itself, and samples with labels to layer.collate.",
        )
    return list(images)


class _Place:
    """Where the image of a sample was, while the rest is collated."""


_PLACE = _Place()


def collated(
    samples: Sequence[Any],
    batch_of: Callable[[list[Any]], torch.Tensor | list[Any]],
    of_sample: Callable[[Any], Any],
) -> Any:
    """Make the batch of samples, with all images preprocessed one after the other.

    Args:
        samples: Samples, see :meth:`onelayer.OneLayer.collate`.
        batch_of: Function that preprocesses images: to their batch, or to a list of results.
        of_sample: Function that preprocesses a sample which is more than one image and what stays as it is.

    Raises:
        Exception: What ``of_sample`` raises, with a note that says why whole samples went there.
    """
    found = [_image_of(sample) for sample in samples]
    images = [each[0] for each in found if each is not None]
    if not samples or len(images) < len(found):
        try:
            return default_collate([of_sample(sample) for sample in samples])
        except Exception as error:
            error.add_note(
                "A sample has no lone image to preprocess (the only PIL image or tv_tensors.Image, or else the only"
                " tensor or array of pixels), so that whole samples went through the layer."
            )
            raise
    results = batch_of(images)
    with_images = [each[1] for each in found if each is not None]
    if isinstance(results, list):
        return default_collate([put(result) for put, result in zip(with_images, results, strict=True)])
    return collate(
        [put(_PLACE) for put in with_images],
        collate_fn_map={**default_collate_fn_map, _Place: lambda *_, **__: results},
    )


def _image_of(sample: Any) -> tuple[Any, Callable[[Any], Any]] | None:
    """Return the image of a sample, and a function that puts another into its place; None for other samples."""
    if isinstance(sample, CONTAINERS):
        return image_among_labels(sample)
    is_image = isinstance(sample, torch.Tensor | PIL.Image.Image | np.ndarray)
    return (sample, lambda image: image) if is_image else None


def _memory_of_batch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return memory on the CPU; in a worker of a loader, memory that it shares with the main process."""
    if get_worker_info() is None:
        return memory.empty(shape, dtype)
    shared = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype, device="cpu").set_(shared).view(shape)
