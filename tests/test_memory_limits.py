"""Memory is bounded by bytes: what is kept, and what is asked for."""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.transforms import v2

import onelayer
from onelayer import ImageSpec, OnelayerError
from onelayer import any_size as any_size_module
from onelayer import layer as layer_module
from onelayer.algebra import AxisMap
from onelayer.any_size import OriginalPipeline
from onelayer.backends.cpu import any_size
from onelayer.explanation import explain
from onelayer.memory_limits import BoundedCache, bounded_cache, machine_memory, refuse_impossible

BYTES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 40), dtype=np.uint8))
FLOAT = v2.ToDtype(torch.float32, scale=True)
ROTATION = v2.RandomRotation((30, 30), fill=7)


def test_a_cache_keeps_what_was_used_last() -> None:
    kept, made = BoundedCache[str](max_bytes=10, max_entries=3), []

    def get(key: str, nbytes: int = 1) -> str:
        return kept.get(key, lambda: (made.append(key) or key.upper(), nbytes))

    assert [get(key) for key in "abcabc"] == list("ABCABC")
    assert made == list("abc")
    get("d")
    # a was used longest ago.
    assert [get(key) for key in "bcd"] == list("BCD")
    assert made == list("abcd")
    get("e", 9)
    assert len(kept) == 2
    assert kept.nbytes == 10
    get("d")
    assert made == list("abcde")
    for _ in range(2):
        get("larger than all", 11)
    assert made[5:] == ["larger than all"] * 2
    assert kept.nbytes == 10


def test_a_function_with_a_bounded_cache() -> None:
    calls = []

    @bounded_cache(len, max_bytes=5, max_entries=9)
    def text(length: int, of: str = "x") -> str:
        calls.append(length)
        return of * length

    assert [text(2), text(2), text(2, of="y"), text(3), text(2)] == ["xx", "xx", "yy", "xxx", "xx"]
    assert calls == [2, 2, 3, 2]
    assert text.__name__ == "text"


def test_maps_of_axes_are_kept_by_bytes() -> None:
    assert AxisMap.resample(31, 7, "bilinear", True) is AxisMap.resample(31, 7, "bilinear", True)
    long = 4_000_000
    assert AxisMap.identity(long) is not AxisMap.identity(long)


def test_plans_are_kept_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant padding behind a conversion, and rotations, have numbers for every pixel."""
    monkeypatch.setattr(layer_module, "PLAN_BYTES", 4 << 20)
    for transform in (v2.Compose([v2.Pad(30, fill=114), FLOAT]), ROTATION):
        layer = onelayer.compile(transform)
        for width in range(100, 130):
            layer.apply_program(torch.zeros(3, 90, width, dtype=torch.uint8))
        assert 1 < len(layer._plans) < 30
        assert layer._plans.nbytes <= 4 << 20
        (outputs,) = (layer.source.outputs(ImageSpec((3, 90, 129), "uint8", "tensor")) for _ in range(1))
        assert outputs.nbytes > 3 * 90 * 129
        assert len(pickle.loads(pickle.dumps(layer))._plans) == 0


def test_tables_that_are_large_are_not_kept() -> None:
    layer = onelayer.compile(v2.Resize((3, 60_000)))
    layer(BYTES)
    assert any_size._OF_THREAD.workspaces[0].nbytes <= any_size.MAX_KEPT
    assert torch.equal(layer(BYTES), v2.Resize((3, 60_000))(BYTES))


IMPOSSIBLE: dict[str, Any] = {
    "resize": v2.Resize((200_000, 200_000)),
    "resize of floats": v2.Compose([FLOAT, v2.Resize((10**6, 10**6))]),
    "nearest": v2.Resize((10**6, 10**6), v2.InterpolationMode.NEAREST),
    "padding": v2.Pad(10**9),
    "crop": v2.CenterCrop(10**6),
    "two": v2.Compose([v2.Resize((99, 99)), v2.Pad(10**6, fill=3), v2.Resize((10, 10))]),
    "turned": v2.Compose([v2.Pad(10**6, fill=3), v2.RandomRotation((90, 90))]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_sizes_say_what_was_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onelayer.memory_limits, "machine_memory", lambda: 16 << 30)
    images = (BYTES, BYTES / 255, PIL.Image.fromarray(BYTES.movedim(0, -1).numpy()), BYTES.movedim(0, -1).numpy())
    for image in images[: 1 if "floats" in name else 4]:
        for call in (onelayer.compile(IMPOSSIBLE[name]), onelayer.compile(IMPOSSIBLE[name]).apply_program):
            begin = time.monotonic()
            with pytest.raises(OnelayerError, match=r" of shape \[[\d, ]+\] was asked for, which takes [\d,.]+ GiB; e"):
                call(image)
            assert time.monotonic() - begin < 2


def test_what_fits_is_not_refused() -> None:
    refuse_impossible("x", (machine_memory(),), 1)
    with pytest.raises(OnelayerError, match="x of shape"):
        refuse_impossible("x", (machine_memory() + 1,), 1)
    assert machine_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_warps_of_bytes_are_left_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    pil = PIL.Image.fromarray(BYTES.movedim(0, -1).numpy())
    pipeline = v2.Compose([ROTATION, v2.Resize(20), v2.ToImage(), FLOAT])
    for image in (BYTES, pil):
        layer = onelayer.compile(pipeline)
        monkeypatch.setattr(layer, "apply_program", None)
        assert torch.equal(layer(image), pipeline(image))
        assert isinstance(next(iter(layer._any_size.values())), OriginalPipeline)
        monkeypatch.undo()
        # An explicit backend computes, and so does a result in memory of the caller's.
        computed = onelayer.compile(pipeline, backend="torch")
        monkeypatch.setattr(computed.source, "transform", None)
        assert "left to the original" in explain(pipeline, image).sizes
        monkeypatch.undo()
        assert torch.equal(onelayer.compile(pipeline, backend="torch")(image), pipeline(image))
        assert torch.equal(layer(image, out=torch.empty(3, 20, 25)), pipeline(image))


def test_only_large_warps_of_floats_are(monkeypatch: pytest.MonkeyPatch) -> None:
    image = BYTES / 255
    for limit, is_left in ((32 * 40, True), (32 * 40 + 1, False)):
        monkeypatch.setattr(any_size_module, "WARPED", limit)
        assert ("left to the original" in explain(ROTATION, image).sizes) is is_left
        layer = onelayer.compile(ROTATION)
        assert torch.equal(layer(image), ROTATION(image))
        assert len(layer._plans) == (0 if is_left else 1)
    for transform in (v2.RandomRotation((90, 90)), v2.Resize(9)):
        assert "left to the original" not in explain(transform, image).sizes
    layer = onelayer.compile(ROTATION, rounding="fused")
    layer(BYTES)
    assert len(layer._plans) == 1
