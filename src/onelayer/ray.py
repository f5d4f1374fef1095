"""Apply layers to Ray datasets: ``onelayer.ray.apply(dataset, layer)``, which imports Ray when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from onelayer.data.encoded import BadImage
from onelayer.errors import OnelayerError, require
from onelayer.image_spec import Container
from onelayer.offline.decoding import COLOR_MODES, ColorMode, array_of, as_container, decode
from onelayer.offline.part_writer import drawing_error
from onelayer.offline.seeds import generator_states, seed_generators

if TYPE_CHECKING:
    from ray.data import Dataset

Batch = dict[str, NDArray[Any]]


def apply(
    dataset: Dataset,
    layer: Callable[[Any], Any],
    *,
    column: str = "image",
    container: Container = "pil",
    mode: ColorMode = "RGB",
    seed: int | None = None,
    key: str | None = None,
    batch_size: int = 32,
    concurrency: int | tuple[int, int] | None = None,
    **options: Any,
) -> Dataset:
    """Apply a layer to the images of a Ray dataset, lazily, in actors that hold it.

    Args:
        dataset: Dataset with a column of images: encoded ones (bytes, or a struct with a field ``bytes``), or arrays
            [H, W, C] or [H, W] of uint8, as ``ray.data.read_images`` makes them.
        layer: Layer, or another function of an image; it can be pickled.
        column: Name of the column of images, in whose place the results come.
        container: Container in which the layer gets images.
        mode: Mode that images are converted to; ``stored`` leaves grey images grey.
        seed: Seed of the random numbers of each image, with ``key``; None for a layer that draws none.
        key: Column that names images, so that their random numbers do not depend on their place.
        batch_size: Number of images of a batch.
        concurrency: Number of actors, or the smallest and the largest number; None for as many as there are CPUs.
        options: Further options of ``Dataset.map_batches``, such as ``num_cpus`` or ``runtime_env``.

    Returns:
        Dataset in which the column holds results as arrays, [C, H, W] of tensors, and all others are as they were.

    Raises:
        OnelayerError: If Ray is not installed, an option is none of these, or only one of ``seed`` and ``key`` is
            given. When the dataset is computed: for a column that is not there, a bad image, a result that no array
            holds, and a layer that draws random numbers without a seed.
    """
    data = require("ray.data", extra="ray", purpose="onelayer.ray.apply")
    if container not in get_args(Container) or mode not in COLOR_MODES:
        raise OnelayerError(
            f"the container {container!r} and the mode {mode!r} were given",
            expected=f"one of {', '.join(get_args(Container))}, and one of {', '.join(COLOR_MODES)}",
        )
    if (seed is None) != (key is None):
        raise OnelayerError(f"the seed {seed} and the key {key} were given", expected="both or none of them")
    low, high = concurrency if isinstance(concurrency, tuple) else (concurrency or 1, concurrency)
    return dataset.map_batches(
        _Actor,
        fn_constructor_args=(layer, column, container, mode, seed, key),
        batch_size=batch_size,
        batch_format="numpy",
        compute=data.ActorPoolStrategy(min_size=low, max_size=high),
        **{"num_cpus": 1, **options},
    )


class _Actor:
    """What Ray calls for each batch."""

    def __init__(
        self,
        layer: Callable[[Any], Any],
        column: str,
        container: Container,
        mode: ColorMode,
        seed: int | None,
        key: str | None,
    ) -> None:
        torch.set_num_threads(1)
        self._layer, self._column, self._container, self._mode = layer, column, container, mode
        self._seed, self._key = seed, key

    def __call__(self, batch: Batch) -> Batch:
        for option, name in (("column", self._column), ("key", self._key)):
            if name is not None and name not in batch:
                raise OnelayerError(
                    f"the dataset has no column {name}; its columns are {', '.join(batch)}", hint=f"Give {option}=…"
                )
        images = batch[self._column]
        keys = range(len(images)) if self._key is None else batch[self._key]
        before = generator_states()
        results = [self._result(image, str(key)) for image, key in zip(images, keys, strict=True)]
        if self._seed is None and generator_states() != before:
            raise drawing_error()
        return {**batch, self._column: _joined(results)}

    def _result(self, image: Any, name: str) -> NDArray[Any]:
        try:
            prepared = self._prepared(image)
        except BadImage as error:
            where = "of a batch" if self._key is None else f"in the column {self._key}"
            raise OnelayerError(f"the image {name} {where} cannot be used: {error}") from error
        if self._seed is not None:
            seed_generators(self._seed, name)
        return array_of(self._layer(prepared))

    def _prepared(self, image: Any) -> Any:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
                raise BadImage(f"it is {image.dtype} of shape {image.shape}, expected uint8 [H, W] or [H, W, C]")
            picture = PIL.Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
            return as_container(picture, self._container, self._mode)
        encoded = image.get("bytes") if isinstance(image, Mapping) else image
        if encoded is not None and not isinstance(encoded, bytes):
            raise BadImage(
                f"it is of type {type(encoded).__name__}, expected bytes, a struct of them, or an array of uint8"
            )
        return decode(encoded, self._container, self._mode)


def _joined(results: list[NDArray[Any]]) -> NDArray[Any]:
    """Make a column of results, which may differ in size."""
    if len({(each.shape, each.dtype) for each in results}) == 1:
        return np.stack(results)
    column = np.empty(len(results), object)
    column[:] = results
    return column
