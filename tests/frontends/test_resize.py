"""Resizes in real arithmetic, against torchvision's own result."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as f1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f2

from onelayer.algebra import Clamp, Quantize
from onelayer.frontends import ImageSpec, derive
from onelayer.frontends.torchvision import rounding_rules
from onelayer.frontends.torchvision.rounding_rules import tensors_have_lanczos

Mode = v2.InterpolationMode
FLOATS = ImageSpec((3, 17, 11), "float32", "tensor")
BYTES = replace(FLOATS, dtype="uint8")
PICTURE = replace(BYTES, container="pil")


def test_float_tensors(assert_floats: Any) -> None:
    for transform in (
        v2.Resize(13),
        v2.Resize([29]),
        v2.Resize((5, 31)),
        v2.Resize(8, max_size=10),
        v2.Resize(None, max_size=21),
        v2.Resize((9, 14), interpolation=Mode.BICUBIC),
        v2.Resize((9, 14), interpolation=Image.Resampling.BICUBIC.value, antialias=False),
        v2.Resize((9, 14), antialias=None),
        v2.Resize((31, 7), antialias=False),
        v2.Resize((31, 1), antialias=False),
        v2.Resize((1, 1)),
        v2.Resize((1, 9), interpolation=Mode.BICUBIC),
        *([v2.Resize((31, 7), interpolation=Mode.LANCZOS)] if tensors_have_lanczos() else []),
        v2.Resize((17, 11)),
        v1.Resize(13),
        v1.Resize((9, 14), interpolation=Mode.BICUBIC),
        v1.Resize((9, 14), interpolation=Mode.BICUBIC, antialias=False),
        partial(f2.resize, size=[7, 5]),
        partial(f1.resize, size=6, antialias=False),
    ):
        for shape in ((3, 17, 11), (3, 40, 23), (1, 17, 11), (3, 1, 1)):
            assert_floats(transform, shape)


def test_nearest(assert_floats: Any) -> None:
    # On float64 images torch chooses now and then, at large sizes, other samples than on float32 ones.
    for size in [(5, 31), (13, 13), (1, 50), (80, 3)]:
        for mode in (Mode.NEAREST, Mode.NEAREST_EXACT):
            for library in (v1, v2):
                assert_floats(library.Resize(size, interpolation=mode), (3, 17, 11), exact=0.0)


def test_bytes(assert_bytes: Any) -> None:
    # Two passes that round each, of weights that round too: one level, of which two may add up.
    for transform in (v2.Resize(13), v1.Resize((5, 31)), v2.Resize((5, 1))):
        for shape in ((3, 17, 11), (3, 40, 23), (1, 17, 11)):
            for container in ("tensor", "pil"):
                assert_bytes(transform, ImageSpec(shape, "uint8", container), 2)


def test_overshooting_filters_on_bytes(assert_bytes: Any) -> None:
    # Values in the middle stay clear of the saturation between the two passes, which is left out with the rounding.
    for mode in (Mode.BICUBIC, Mode.LANCZOS):
        for size in ((30, 9), (9, 30)):
            for spec in (BYTES, PICTURE):
                if spec is BYTES and mode is Mode.LANCZOS and not tensors_have_lanczos():
                    continue
                assert_bytes(v2.Resize(size, interpolation=mode), spec, 2, low=80, high=175)
                stages = derive(v2.Resize(size, interpolation=mode), spec).program.stages
                assert [type(stage) for stage in stages[1:]] == [Clamp, Quantize]


def test_overshoot_saturates_at_the_end(assert_bytes: Any) -> None:
    # Along one axis there is one pass, and the whole range can be asked for.
    transform = v2.Resize((17, 60), interpolation=Mode.BICUBIC)
    for spec in (BYTES, PICTURE):
        assert_bytes(transform, spec, 1)
    assert len(derive(transform, FLOATS).program.stages) == 1


def test_filters_of_pillow(assert_bytes: Any) -> None:
    for mode, levels in ((Mode.BOX, 2), (Mode.HAMMING, 2), (Mode.NEAREST, 0), (Mode.NEAREST_EXACT, 0)):
        for size in [(30, 9), (9, 30), (50, 60)]:
            assert_bytes(v2.Resize(size, interpolation=mode), PICTURE, levels)


def test_pillow_takes_the_nearest_sample_at_every_size(assert_bytes: Any) -> None:
    # Sums of a step in float64 decide ties, so sizes with many are tried.
    for length in range(1, 90):
        assert_bytes(v1.Resize((length, 90 - length), Mode.NEAREST), ImageSpec((1, 45, 30), "uint8", "pil"), 0)


def test_pillow_always_widens(assert_bytes: Any) -> None:
    with pytest.warns(UserWarning, match="antialias is ignored"):
        assert_bytes(v2.Resize((5, 7), antialias=False), PICTURE, 2)


def test_bytes_without_antialiasing(assert_bytes: Any) -> None:
    for mode in (Mode.BILINEAR, Mode.NEAREST):
        assert_bytes(v2.Resize((5, 7), mode, antialias=False), BYTES, 1)
    assert_bytes(v2.Resize((30, 7), Mode.BICUBIC, antialias=False), BYTES, 1, low=80, high=175)


def test_refusals(assert_refused: Any) -> None:
    for transform, spec, text in (
        (v2.Resize(5, "box"), FLOATS, "no interpolation box; expected a PIL image"),
        (v2.Resize(5, "hamming"), BYTES, "no interpolation hamming"),
        (v1.Resize(5, Mode.LANCZOS), FLOATS, "v1 Resize"),
        (v2.Resize(5, "cubic"), FLOATS, "no interpolation 'cubic'"),
        (v2.Resize((5, 1)), FLOATS, "to a width of 1 wrongly"),
        (v2.Resize((5, 6), max_size=8), FLOATS, "max_size 8"),
        (v2.Resize(8, max_size=8), FLOATS, "must be strictly greater"),
        (v2.Resize(0), PICTURE, "from 17×11 to 0×0 pixels"),
        (v2.Resize((0, 5)), FLOATS, "from 17×11 to 0×5 pixels"),
        (v2.Resize(None, max_size=2), replace(BYTES, shape=(3, 17, 1)), "from 17×1 to 2×0 pixels"),
    ):
        assert "Register" not in assert_refused(transform, spec, text).hint


def test_lanczos_of_tensors(assert_refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, text in (
        ("0.26.1", "resizes no tensors with lanczos; expected a PIL image, or torchvision 0.27"),
        ("0.27.0+cpu", "no interpolation 'lanczos' without antialiasing"),
    ):
        monkeypatch.setattr(rounding_rules, "version", lambda package, installed=installed: installed)
        for spec in (BYTES, FLOATS):
            assert_refused(v2.Resize(5, "lanczos", antialias=False), spec, text)
        derive(v2.Resize(5, "lanczos"), PICTURE)


def test_what_is_not_bit_exact(assert_refused: Any) -> None:
    for transform, spec in (
        (v1.Resize(9, antialias=False), BYTES),
        (v2.Resize((9, 1)), replace(BYTES, shape=(5, 17, 11))),
        (v2.Resize(9), replace(FLOATS, dtype="float16")),
        *([(v2.Resize(9, "lanczos"), FLOATS)] if tensors_have_lanczos() else []),
    ):
        hint = assert_refused(transform, spec, "cannot be reproduced bit for bit", "exact").hint
        assert "rounding='fused'" in hint
        assert "without fullgraph=True" in hint
