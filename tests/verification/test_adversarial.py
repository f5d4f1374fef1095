from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from onelayer.algebra import AxisMap, Clamp, Program, Range, Separable, SpatialSparse, difference_range
from onelayer.verification import adversarial
from onelayer.verification.adversarial import KnownPrograms, chosen_pixels, extreme_images, linear_rows, plain_images


def resized(kind: str = "bicubic") -> Separable:
    rows, cols = AxisMap.resample(7, 4, kind, True), AxisMap.resample(5, 3, kind, True)
    return Separable(np.array([[0.5, -0.25]]), rows, cols, np.array([0.125]))


def test_plain_images() -> None:
    images = dict(plain_images((2, 4, 5), -1.0, 3.0, seed=5))
    for name, image in images.items():
        assert image.shape == (2, 4, 5), name
        assert image.min() >= -1.0, name
        assert image.max() <= 3.0, name
    assert (images["black"] == -1).all()
    assert (images["white"] == 3).all()
    a, b = -1, 3
    assert images["checkerboard"][1, :2].tolist() == [[a, b, a, b, a], [b, a, b, a, b]]
    assert images["checkerboard of 2×2"][0].tolist() == [
        [a, a, b, b, a],
        [a, a, b, b, a],
        [b, b, a, a, b],
        [b, b, a, a, b],
    ]
    for name in ("checkerboard", "checkerboard of 2×2"):
        np.testing.assert_array_equal(images[f"{name}, inverted"], 2 - images[name])
    assert images["horizontal stripes"][0, :, 0].tolist() == [a, b, a, b]
    assert images["vertical stripes"][0, 0].tolist() == [a, b, a, b, a]
    assert np.argwhere(images["impulse"] == b).tolist() == [[0, 2, 2], [1, 2, 2]]
    assert len(np.unique(images["noise"])) == 40
    np.testing.assert_array_equal(images["noise"], dict(plain_images((2, 4, 5), -1.0, 3.0, seed=5))["noise"])
    assert (images["noise"] != dict(plain_images((2, 4, 5), -1.0, 3.0, seed=6))["noise"]).any()


def test_one_pixel_has_them_too() -> None:
    assert all(image.shape == (1, 1, 1) for _, image in plain_images((1, 1, 1), 0.0, 1.0, seed=0))


def test_extreme_images_attain_the_extremes() -> None:
    original = Program((2, 7, 5), (resized(), Clamp(0.0, 1.0)))
    layer = Program((2, 7, 5), (resized("bilinear"),))
    none = Separable(np.zeros((1, 2)), resized().rows, resized().cols, np.zeros(1))
    known, values = KnownPrograms(original, layer), Range.of(2, -0.5, 2.0)
    images = dict(extreme_images(known, chosen_pixels(known, None, 1), -0.5, 2.0))
    assert len(images) == 4 * 12
    ends = {
        "value": (resized(), difference_range(resized(), none, values)),
        "difference": (None, difference_range(resized("bilinear"), resized(), values)),
    }
    for place in np.ndindex(1, 4, 3):
        for what, (operator, (low, high)) in ends.items():
            names = ("lowest", "highest") if what == "value" else ("smallest", "largest")
            for name, end in zip(names, (low, high), strict=True):
                image = images[f"{name} {what} of output pixel {place}"]
                assert set(np.unique(image)) <= {-0.5, 2.0}
                if operator is None:
                    attained = (resized("bilinear").apply(image) - resized().apply(image))[place]
                else:
                    attained = operator.apply(image)[place]
                assert attained == pytest.approx(end[place], abs=1e-12)


def test_what_is_known_of_one_side_only() -> None:
    program = Program((2, 7, 5), (resized(),))
    for known in (KnownPrograms(program, None), KnownPrograms(None, program)):
        names = [name for name, _ in extreme_images(known, np.array([4]), 0.0, 1.0)]
        assert names == ["highest value of output pixel (0, 1, 1)", "lowest value of output pixel (0, 1, 1)"]


def test_rows_go_through_all_operators() -> None:
    turned = SpatialSparse(np.eye(1), sparse.csr_array(np.eye(12)[::-1]), (4, 3), (4, 3), np.zeros(1))
    program = Program((2, 7, 5), (resized(), Clamp(0.0, 1.0), turned))
    expected = (turned.to_dense().weight @ resized().to_dense().weight)[[0, 5, 11]]
    rows = linear_rows(program, np.array([0, 5, 11]))
    np.testing.assert_allclose(rows.reshape(3, -1), expected, rtol=0, atol=1e-12)
    alone = linear_rows(Program((1, 2, 2), (Clamp(0.0, 1.0),)), np.array([3]))
    assert alone.tolist() == [[[[0, 0], [0, 1]]]]


def identity(shape: tuple[int, int, int]) -> KnownPrograms:
    return KnownPrograms(Program(shape, (Separable.identity(shape),)), None)


def test_few_pixels_are_all_chosen() -> None:
    assert chosen_pixels(identity((1, 32, 32)), None, 4).tolist() == list(range(1024))


def test_of_many_some_and_the_corners() -> None:
    chosen = chosen_pixels(identity((3, 50, 40)), None, 1)
    corners = {channel * 2000 + row * 40 + col for channel in range(3) for row in (0, 49) for col in (0, 39)}
    assert corners <= set(chosen.tolist())
    assert 256 <= len(chosen) <= 256 + 12
    assert np.diff(chosen).max() <= 5999 / 255 + 1
    shared = chosen_pixels(identity((3, 50, 40)), None, 4)
    assert 64 <= len(shared) <= 64 + 12


def test_as_many_as_asked_for() -> None:
    assert len(chosen_pixels(identity((1, 32, 32)), 0, 1)) == 0
    assert chosen_pixels(identity((1, 4, 5)), 3, 1).tolist() == [0, 4, 10, 15, 19]
    assert len(chosen_pixels(identity((1, 4, 5)), 1000, 1)) == 20


def test_large_images_have_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "_DEFAULT_SAMPLES", 2 * 3 * 6000)
    assert chosen_pixels(identity((3, 50, 40)), None, 1).tolist() == [0, 3000, 5999]
    assert chosen_pixels(identity((3, 50, 40)), None, 3).tolist() == [0]
    assert len(chosen_pixels(identity((3, 50, 40)), None, 100)) == 1, "one at least"
    assert len(chosen_pixels(identity((3, 50, 40)), 100, 1)) > 100, "more if asked for"
    monkeypatch.setattr(adversarial, "_MOST_SAMPLES", 2 * 5 * 6000)
    assert len(chosen_pixels(identity((3, 50, 40)), 100, 1)) == 5, "up to a limit"


def test_extreme_images_of_photographs_take_seconds_by_default() -> None:
    for sizes in (1, 4):
        for shape in ((3, 224, 224), (3, 375, 500)):
            images = sizes * len(chosen_pixels(identity(shape), None, sizes)) * 2
            assert 8 <= images <= 2**25 // (shape[0] * shape[1] * shape[2])
