"""Images and results whose storage was made smaller are refused before anything reads or writes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import vmap
from torchvision import tv_tensors
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.images.containers import refuse_missing_storage

FLOAT = v2.ToDtype(torch.float32, scale=True)
PIPELINES: dict[str, Any] = {
    "byte kernel": v2.Compose([v2.Resize((5, 6)), FLOAT]),
    "flip": v2.RandomHorizontalFlip(1),
    "padding": v2.Pad(2),
    "nothing to do": v2.CenterCrop((9, 11)),
    "through a program": v2.Compose([v2.Resize((5, 6)), v2.Pad(1), v2.Resize((7, 7)), FLOAT]),
}
MADE: dict[str, Callable[[], torch.Tensor]] = {
    "an image": lambda: torch.randint(0, 256, (3, 9, 11), dtype=torch.uint8),
    "channels last": lambda: torch.randint(0, 256, (9, 11, 3), dtype=torch.uint8).permute(2, 0, 1),
    "a batch": lambda: torch.randint(0, 256, (2, 3, 9, 11), dtype=torch.uint8),
    "a part": lambda: torch.randint(0, 256, (2, 3, 12, 14), dtype=torch.uint8)[1, :, 2:11, 1:12],
    "a tv_tensor": lambda: tv_tensors.Image(torch.randint(0, 256, (3, 9, 11), dtype=torch.uint8)),
    "floats": lambda: torch.rand(3, 9, 11),
}


def shrunk(tensor: torch.Tensor, left: int) -> torch.Tensor:
    """Take the storage of a tensor away, but for some bytes."""
    tensor.untyped_storage().resize_(left)
    return tensor


def end_of(tensor: torch.Tensor) -> int:
    """Bytes of the storage up to behind the last number."""
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.storage_offset() + last + 1) * tensor.itemsize


@pytest.mark.parametrize("name", PIPELINES)
def test_images(name: str) -> None:
    layer = onelayer.compile(PIPELINES[name])
    for made in MADE.values():
        image = made()
        end = end_of(image)
        right = layer(image)
        # All that it needs is enough.
        assert torch.equal(layer(shrunk(image, end)), right)
        for left in (end - 1, end // 2, 0):
            with pytest.raises(
                OnelayerError, match=rf"the image takes {end:,} bytes of a storage that holds {left:,};"
            ):
                layer(shrunk(image, left))
        with pytest.raises(OnelayerError, match="the image takes"):
            layer.apply_program(image)


def test_results() -> None:
    for name, transform in PIPELINES.items():
        layer = onelayer.compile(transform)
        image = MADE["an image"]()
        right = layer(image)
        out = torch.empty_like(right)
        assert torch.equal(layer(image, out=out), right), name
        for left in (out.nbytes - 1, 0):
            shrunk(out, left)
            for call in (layer, layer.apply_program):
                with pytest.raises(OnelayerError, match=rf"out= takes {out.nbytes:,} bytes"):
                    call(image, out=out)
        batch = shrunk(right[None].clone(), 0)
        with pytest.raises(OnelayerError, match="out= takes"):
            layer.batch([image], out=batch)


def test_a_crop_is_refused_as_pytorch_refuses_it() -> None:
    image = shrunk(MADE["an image"](), 0)
    with pytest.raises(RuntimeError, match="out of bounds"):
        image[..., 3:6, 3:6]
    with pytest.raises(OnelayerError, match="the image takes"):
        onelayer.compile(v2.CenterCrop(3))(image)


def test_what_claims_nothing_is_let_pass() -> None:
    refuse_missing_storage(shrunk(torch.empty(3, 0, 5), 0), "x")
    refuse_missing_storage(torch.rand(1).expand(3, 7, 7), "x")
    refuse_missing_storage(torch.eye(3).to_sparse(), "x")
    refuse_missing_storage(torch.from_numpy(np.zeros((3, 2))[:, ::2]), "x")
    vmap(lambda each: refuse_missing_storage(each, "x") or each)(torch.rand(2, 3))
