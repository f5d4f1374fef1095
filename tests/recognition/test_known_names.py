"""Names of axes and of channel mixings, from their taps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onelayer.algebra import AxisMap
from onelayer.algebra.axis import Interpolation
from onelayer.errors import OnelayerError
from onelayer.recognition import named_axis, named_channels
from onelayer.recognition.known_channels import named_offset

FILTERS: list[tuple[Interpolation, bool]] = [
    ("nearest", False),
    ("bilinear", False),
    ("bilinear", True),
    ("bicubic", False),
    ("bicubic", True),
    ("box", True),
    ("hamming", True),
    ("lanczos", True),
]


@given(
    st.sampled_from(FILTERS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.integers(0, 2**32 - 1),
)
def test_a_resize_then_a_crop_then_a_flip_is_found_in_noisy_taps(
    filtering: tuple[Interpolation, bool], n_in: int, n_out: int, flipped: bool, part: float, place: float, seed: int
) -> None:
    interpolation, antialias = filtering
    length = max(1, round(n_out * part))
    start = round((n_out - length) * place)
    true = AxisMap.crop(n_out, start, length) @ AxisMap.resample(n_in, n_out, interpolation, antialias)
    if flipped:
        true = AxisMap.flip(length) @ true
    noise = 1e-5
    taps = true.to_dense()
    assume(np.abs(taps).max(axis=1).min() > 0.01)
    found = named_axis(taps + np.random.default_rng(seed).uniform(-noise, noise, taps.shape), 10 * noise)
    if found is None:
        # Nothing is claimed where two maps are equally near; so there is another one by a hair, or the very same one: a
        # box that only enlarges copies the nearest samples.
        exact = named_axis(taps, 1e-9)
        assert exact is None or min(length, n_in) < 4 or (interpolation == "box" and n_out >= n_in)
    else:
        # Another map may have the same taps, but never other ones.
        np.testing.assert_allclose(found.map.to_dense(), taps, atol=2 * noise)


@pytest.mark.parametrize(
    ("axis", "name"),
    [
        (AxisMap.identity(9), "identity"),
        (AxisMap.flip(9), "flipped"),
        (AxisMap.flip(8), "flipped"),
        (AxisMap.flip(28) @ AxisMap.resample(32, 28, "bilinear", True), "bilinear antialias 32→28, flipped"),
        (AxisMap.crop(11, 2, 7), "crop 2…8 of 11"),
        (AxisMap.resample(32, 28, "bilinear", True), "bilinear antialias 32→28"),
        (AxisMap.resample(17, 11, "lanczos", True), "lanczos 17→11"),
        (AxisMap.resample(5, 12, "nearest", False), "nearest 5→12"),
        (
            AxisMap.crop(28, 2, 24) @ AxisMap.resample(40, 28, "bicubic", True),
            "bicubic antialias 40→28, crop 2…25 of 28",
        ),
        (
            AxisMap.resample(20, 8, "bilinear", True) @ AxisMap.crop(33, 6, 20),
            "crop 6…25 of 33, bilinear antialias 20→8",
        ),
        (AxisMap.pad(8, 2, 3, "zero"), "identity, padded by 2 and 3 (zeros)"),
        (AxisMap.pad(8, 2, 3, "edge"), "identity, padded by 2 and 3 (edge)"),
        (AxisMap.pad(8, 3, 2, "reflect"), "identity, padded by 3 and 2 (reflect)"),
        (AxisMap.pad(8, 3, 3, "symmetric") @ AxisMap.flip(8), "flipped, padded by 3 and 3 (symmetric)"),
    ],
)
def test_names(axis: AxisMap, name: str) -> None:
    found = named_axis(axis.to_dense(), 1e-6)
    assert found is not None
    assert found.name == name
    assert found.distance < 1e-12
    np.testing.assert_allclose(found.map.to_dense(), axis.to_dense(), atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(9, 4), (90, 40), (17, 11), (64, 63), (5, 1)])
def test_means_over_intervals_are_known(n_in: int, n_out: int) -> None:
    # So many copies of each sample that intervals hold whole copies.
    means = np.repeat(np.eye(n_in), n_out, axis=0).reshape(n_out, n_in, n_in).mean(axis=1)
    found = named_axis(means, 1e-9)
    assert found is not None
    assert found.name.startswith("box" if n_in % n_out == 0 else f"area {n_in}→{n_out}")
    np.testing.assert_allclose(found.map.to_dense(), means, atol=1e-12)


def test_zeros() -> None:
    axis, channels = named_axis(np.full((3, 4), 1e-13), 0.0), named_channels(np.zeros((2, 3)), 0.1)
    assert axis is not None
    assert channels is not None
    assert (axis.name, channels.name) == ("zeros", "zeros")
    assert not axis.map.to_dense().any()
    assert axis.distance == 1e-13


def test_what_is_nothing_known_has_no_name() -> None:
    blur = AxisMap.convolve(9, [0.15, 0.5, 0.35], "zero").to_dense()
    assert named_axis(blur, 0.01) is None
    # A tolerance as large as the taps would let anything pass.
    assert named_axis(np.eye(5), 0.6) is None


def test_two_maps_that_noise_hides_are_not_told_apart() -> None:
    one, other = (AxisMap.resample(12, 5, name, True).to_dense() for name in ("bilinear", "hamming"))
    half = (one + other) / 2
    assert named_axis(half, float(np.abs(one - other).max())) is None


@pytest.mark.parametrize("matrix", [np.zeros((0, 3)), np.zeros(3), np.full((2, 2), np.nan)])
def test_matrices_that_are_none(matrix: np.ndarray) -> None:
    for function in (named_axis, named_channels):
        with pytest.raises(OnelayerError, match="expected finite"):
            function(matrix, 0.1)


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        ([[0.2989, 0.587, 0.114]], "luma (torchvision: 0.2989, 0.587, 0.114)"),
        ([[0.114, 0.587, 0.299]], "luma (Rec. 601: 0.299, 0.587, 0.114) of BGR"),
        ([[0.2126, 0.7152, 0.0722]] * 3, "luma (Rec. 709: 0.2126, 0.7152, 0.0722), in 3 channels"),
        ([[1 / 3, 1 / 3, 1 / 3]], "mean of 3 channels"),
        (np.eye(3)[::-1], "channels in the order 2, 1, 0"),
        (np.eye(3) / 255, "divided by 255"),
        (np.diag([1 / 0.229, 1 / 0.224, 1 / 0.225]), "divided by the standard deviations of ImageNet"),
        ([[0.0, 1.0]], "channel 1"),
        (np.diag([0.5, 2.5]), "scaled by 0.5, 2.5"),
        (np.zeros((1, 3)), "zeros"),
        (np.eye(7), "identity"),
    ],
)
def test_names_of_channel_mixings(matrix: object, name: str) -> None:
    found = named_channels(np.asarray(matrix), 1e-5)
    assert found is not None
    assert found.name == name
    np.testing.assert_allclose(found.matrix, np.asarray(matrix), atol=1e-12)


def test_names_of_offsets() -> None:
    known = {
        "means of ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "means of CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        "means of CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "mean 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "constant: -0.25, 0.125, 1": ((0.25, -0.125, -1.0), (1.0, 1.0, 1.0)),
    }
    noise = np.random.default_rng(0).normal(0, 1e-7, (3, 5, 4))
    for name, (means, deviations) in known.items():
        exact = -np.array(means) / np.array(deviations)
        found = named_offset(exact[:, None, None] + noise, 1.0)
        assert found.name == name
        np.testing.assert_allclose(found.bias, exact, atol=1e-7)
    assert named_offset(np.full((1, 2, 2), -1.0), 1.0).name == "mean 0.5"
    image = np.zeros((3, 5, 4))
    image[1, 2, 3] = 0.5
    assert named_offset(image, 1.0).name == "image"


def test_a_mixing_of_no_name() -> None:
    assert named_channels([[0.5, 0.4, 0.1]], 1e-4) is None
