"""`onelayer.ray.apply`: what an actor does with a batch, without Ray; the page about data sets runs it with Ray."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from data_sets import encoded, picture
from torchvision.transforms import v2

import onelayer
from onelayer.errors import OnelayerError

if importlib.util.find_spec("ray") is None:
    pytest.skip("the extra `ray` is not installed", allow_module_level=True)


class FakeDataset:
    """Computes at once what `map_batches` is told to."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def map_batches(self, actor: Any, *, fn_constructor_args: tuple[Any, ...], compute: Any, **options: Any) -> Any:
        assert options == {"batch_size": 32, "batch_format": "numpy", "num_cpus": 1}
        assert (compute.min_size, compute.max_size) == (2, 2)
        return actor(*fn_constructor_args)(self.batch)


def column(*values: Any) -> Any:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def apply(images: Any, transform: Any, **options: Any) -> Any:
    batch = {"image": images, "name": column(*(f"{number}.png" for number in range(len(images))))}
    result = onelayer.ray.apply(FakeDataset(batch), onelayer.compile(transform), concurrency=2, **options)
    assert (result["name"] == batch["name"]).all()
    return result["image"]


def test_encoded_and_decoded_images_give_what_the_transforms_give() -> None:
    transform = v2.Compose([v2.Resize(12), v2.CenterCrop(10), v2.ToImage()])
    expected = [transform(picture(number)).numpy() for number in range(4)]
    files = [encoded(picture(number), "PNG") for number in range(4)]
    decoded = [np.asarray(picture(number)) for number in range(4)]
    for images in (column(*files), column(*({"bytes": file, "path": ""} for file in files)), column(*decoded)):
        results = apply(images, transform)
        assert results.shape == (4, 3, 10, 10)
        assert (results == expected).all()
    # Results of several sizes are a column of arrays; so are grey images of one channel.
    results = apply(column(*files), v2.Compose([v2.Resize(12), v2.ToImage()]), mode="L")
    assert [each.shape for each in results] == [(1, 18, 12), (1, 12, 30), (1, 12, 12), (1, 12, 12)]
    assert apply(column(decoded[0][..., :1]), v2.ToImage(), mode="stored").shape == (1, 1, 17, 11)


def test_refusals() -> None:
    images = column(encoded(picture(0), "PNG"), encoded(picture(1), "PNG"))
    drawing = v2.Compose([v2.RandomCrop(5), v2.ToImage()])
    with pytest.raises(OnelayerError, match="the pipeline draws random numbers"):
        apply(images, drawing)
    with pytest.raises(OnelayerError, match="the seed 7 and the key None were given"):
        apply(images, drawing, seed=7)
    both, alone = (apply(images[:count], drawing, seed=7, key="name") for count in (2, 1))
    assert (both[:1] == alone).all()
    with pytest.raises(OnelayerError, match=r"the image 1.png in the column name cannot be used: it is no PNG"):
        apply(column(images[0], b""), v2.ToImage(), seed=7, key="name")
    with pytest.raises(OnelayerError, match="it is float32 of shape"):
        apply(column(np.zeros((3, 4), np.float32)), v2.ToImage())
    with pytest.raises(OnelayerError, match="has no column picture; its columns are image, name"):
        apply(images, v2.ToImage(), column="picture")
    with pytest.raises(OnelayerError, match="has no column id; its columns are image, name"):
        apply(images, drawing, seed=7, key="id")
    with pytest.raises(OnelayerError, match="the image 0 of a batch cannot be used: it has no bytes"):
        apply(column({"path": "a.png"}), v2.ToImage())
    with pytest.raises(OnelayerError, match="it is of type Image, expected bytes, a struct of them, or an array"):
        apply(column(picture(0), picture(1)), v2.ToImage())
    with pytest.raises(OnelayerError, match="the container 'jpeg' and the mode 'RGB' were given"):
        apply(images, v2.ToImage(), container="jpeg")
