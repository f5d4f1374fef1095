"""A kind of operator and a kind of activation that nothing else in the project knows of: they work everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

import onelayer
from onelayer import ImageSpec, OnelayerError
from onelayer.algebra import (
    Activation,
    AxisMap,
    Clamp,
    Operator,
    Program,
    Range,
    Separable,
    Shape,
    Stage,
    affine_part,
    compose,
    difference_range,
    simplify,
)
from onelayer.algebra.checks import lengths, real_number, real_numbers
from onelayer.algebra.operator import as_images
from onelayer.backends import LoweringTarget, choose
from onelayer.backends.pytorch.lowering import lower
from onelayer.verification.bound import proved_bound


@dataclass(frozen=True, eq=False)
class Centred(Operator, kind="centred"):
    """A share of the mean of each channel taken away, then a number per channel added."""

    in_shape: Shape
    share: float
    offsets: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_shape", lengths("in_shape", self.in_shape, 3))
        object.__setattr__(self, "share", real_number("share", self.share))
        object.__setattr__(self, "offsets", real_numbers("offsets", self.offsets, self.in_shape[:1]))

    @property
    def out_shape(self) -> Shape:  # type: ignore[override]
        return self.in_shape

    @property
    def description(self) -> str:
        return f"take away {self.share:g} of the mean"

    def apply(self, x: ArrayLike) -> NDArray[np.float64]:
        return self.apply_transposed(x) + self.offsets[:, None, None]

    def apply_transposed(self, y: ArrayLike) -> NDArray[np.float64]:
        images = as_images(y, self.in_shape)
        return images - self.share * images.mean(axis=(-2, -1), keepdims=True)


@dataclass(frozen=True)
class Softened(Activation, kind="softened"):
    """``x / (softness + |x|)``"""

    softness: float

    def apply(self, x: ArrayLike) -> NDArray[np.float64]:
        values = np.asarray(x, dtype=np.float64)
        return values / (self.softness + np.abs(values))

    def output_range(self, input_range: Range) -> Range:
        return Range(self.apply(input_range.low), self.apply(input_range.high))


SHAPE = (2, 6, 5)
CENTRED = Centred(SHAPE, 0.5, np.array([0.25, -1.0]))
CROP = Separable.of_axes(2, AxisMap.crop(6, 1, 4), AxisMap.flip(5))
SPEC = ImageSpec(SHAPE, "float32", "tensor")


class Centre:
    """The transform that they came from."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        offsets = torch.tensor(CENTRED.offsets, dtype=images.dtype)[:, None, None]
        return images - 0.5 * images.mean((-2, -1), keepdim=True) + offsets


class Soften(Centre):
    """The same, and softened; its gradient is known to PyTorch alone."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        centred = super().__call__(images)
        return centred / (2.0 + centred.abs())


@onelayer.register(Centre)
def centre(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    return [CENTRED], given


@onelayer.register(Soften)
def soften(transform: Any, given: ImageSpec) -> tuple[list[Stage], ImageSpec]:
    return [CENTRED, Softened(2.0)], given


def images(*batch: int) -> np.ndarray:
    return np.random.default_rng(len(batch)).normal(size=(*batch, *SHAPE))


def test_the_algebra_computes_with_it() -> None:
    dense = CENTRED.to_dense()
    x = images(3)
    np.testing.assert_allclose(CENTRED.apply(x), dense.apply(x), rtol=0, atol=1e-12)
    input_range = Range(np.array([0.0, -1.0]), np.array([1.0, 3.0]))
    ranges = [operator.output_range(input_range) for operator in (CENTRED, dense)]
    for end in ("low", "high"):
        np.testing.assert_allclose(*(getattr(reached, end) for reached in ranges), rtol=0, atol=1e-12)
    # Each value less half of the mean of thirty, of which it is one.
    assert ranges[0].high[0] == pytest.approx(1 - 0.5 / 30 + 0.25)
    low, high = difference_range(CENTRED, dense, input_range)
    np.testing.assert_allclose([low, high], 0.0, rtol=0, atol=1e-12)
    assert CENTRED.roundings == 31
    assert CENTRED.with_weights(np.abs).apply(np.ones(SHAPE)).min() > 1.4
    assert not CENTRED.is_identity
    assert CENTRED.cost.multiplications == 60 * 60


def test_rules_leave_it_alone() -> None:
    program = Program(SHAPE, (CENTRED, Clamp(-9, 9), Separable.identity(SHAPE), Softened(2.0), CROP))
    simplified = simplify(program, Range.of(2, 0, 1)).program
    assert [type(stage).__name__ for stage in simplified.stages] == ["Centred", "Separable", "Softened"]
    np.testing.assert_allclose(simplified.apply(images()), program.apply(images()), rtol=0, atol=1e-12)
    with pytest.raises(OnelayerError, match="Centred and Separable have no product"):
        compose(CENTRED, CROP)
    assert affine_part(simplified) is None
    assert affine_part(Program(SHAPE, (CENTRED, CROP))) is None
    assert affine_part(Program(SHAPE, (CENTRED, Clamp(0, 1)))) == (CENTRED, (Clamp(0, 1),))


def test_it_runs_on_pytorch() -> None:
    program = Program(SHAPE, (CENTRED, Softened(2.0), CROP))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        target = LoweringTarget(torch.device("cpu"), dtype, dtype)
        assert choose("auto", program, target).name == "torch"
        for batch in ((), (0,), (2, 3)):
            result = lower(program, target)(torch.from_numpy(images(*batch)).to(dtype))
            assert result.dtype == dtype
            np.testing.assert_allclose(result.numpy(), program.apply(images(*batch)), rtol=0, atol=tolerance)
    x = torch.from_numpy(images()).requires_grad_()
    centred = lower(Program(SHAPE, (CENTRED,)), LoweringTarget(x.device, x.dtype, x.dtype))(x)
    centred.backward(torch.from_numpy(images(1)[0]))
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), CENTRED.apply_transposed(images(1)[0]), rtol=0, atol=1e-12)
    softened = lower(Program(SHAPE, (Softened(2.0),)), LoweringTarget(x.device, x.dtype, x.dtype))(x)
    with pytest.raises(OnelayerError, match="a gradient through Softened"):
        softened.sum().backward()


def test_layers_have_it(tmp_path: Path) -> None:
    layer = onelayer.compile(Soften())
    image = torch.from_numpy(images()).float()
    torch.testing.assert_close(layer(image), Soften()(image), rtol=0, atol=1e-6)
    explanation = onelayer.explain(layer, SPEC)
    assert [stage.description for stage in explanation.stages] == ["take away 0.5 of the mean", "Softened"]
    assert "take away 0.5 of the mean" in str(explanation)
    explanation.figure()
    onelayer.save(layer, tmp_path, images=[SPEC])
    loaded = onelayer.load(tmp_path)
    assert torch.equal(loaded(image), layer(image))
    # Damage is refused like that of every other stage.
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"share": 0.5', '"share": "half"'))
    with pytest.raises(OnelayerError, match=r"stage 0\.0\.0 \(centred\): share is 'half'"):
        onelayer.load(tmp_path)


def test_it_is_verified() -> None:
    image = torch.from_numpy(images()).float()
    certificate = onelayer.verify(onelayer.compile(Centre()), Centre(), [image])
    assert certificate.record.all.max_units < 1e-6
    # A mean of thirty values of up to 1, in float32.
    bound = proved_bound(onelayer.compile(Centre()), Centre(), SPEC)
    assert 0 < bound.units < 1e-4
    with pytest.raises(OnelayerError, match="not affine: it ends with a Softened"):
        proved_bound(onelayer.compile(Soften()), Soften(), SPEC)
