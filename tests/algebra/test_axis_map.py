from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.algebra import AxisMap, bands
from onelayer.errors import OnelayerError

FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos")
NEAREST = ("nearest", "nearest_exact")

# Products add the same few dozen terms in another order: a few float64 roundings of values around 1.
ROUNDINGS = 1e-13


@st.composite
def axis_maps(draw: st.DrawFn, n_in: int | None = None) -> AxisMap:
    n = draw(st.integers(1, 40)) if n_in is None else n_in
    match draw(st.sampled_from(("identity", "flip", "crop", "pad", "resample", "plain", "blur"))):
        case "identity":
            return AxisMap.identity(n)
        case "flip":
            return AxisMap.flip(n)
        case "crop":
            return AxisMap.crop(n, draw(st.integers(-n - 2, n + 2)), draw(st.integers(1, 2 * n)))
        case "pad":
            mode = draw(st.sampled_from(("zero", "edge", "reflect", "symmetric")))
            most = n - 1 if mode == "reflect" else 2 * n
            return AxisMap.pad(n, draw(st.integers(0, most)), draw(st.integers(0, most)), mode)
        case "resample":
            return AxisMap.resample(n, draw(st.integers(1, 60)), draw(st.sampled_from(FILTERS)), antialias=True)
        case "plain":
            interpolation = draw(st.sampled_from(("bilinear", "bicubic", *NEAREST)))
            return AxisMap.resample(n, draw(st.integers(1, 60)), interpolation, antialias=False)
        case _:
            reach = draw(st.integers(0, min(n - 1, 4)))
            return AxisMap.gaussian_blur(n, 2 * reach + 1, draw(st.floats(0.2, 5.0)))


@st.composite
def chains(draw: st.DrawFn) -> tuple[AxisMap, AxisMap, AxisMap]:
    first = draw(axis_maps())
    second = draw(axis_maps(first.n_out))
    return first, second, draw(axis_maps(second.n_out))


def assert_reads_in_bounds(axis: AxisMap) -> None:
    assert axis.starts.min() >= 0
    assert axis.starts.max() + axis.taps <= axis.n_in
    assert 1 <= axis.taps <= axis.n_in
    assert axis.weights.flags.c_contiguous


def width_of_widest_row(matrix: np.ndarray) -> int:
    widths = [1]
    for row in matrix:
        places = np.flatnonzero(row)
        if len(places):
            widths.append(int(places[-1] - places[0] + 1))
    return max(widths)


@given(axis_maps())
def test_every_map_reads_in_bounds_and_is_as_narrow_as_it_can_be(axis: AxisMap) -> None:
    assert_reads_in_bounds(axis)
    assert axis.taps == width_of_widest_row(axis.to_dense())


@given(axis_maps(), st.integers(0, 2**32 - 1))
def test_apply_is_the_dense_product_and_its_adjoint_the_transposed(axis: AxisMap, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(2, axis.n_in, 3)), random.normal(size=(2, axis.n_out, 3))
    dense = axis.to_dense()
    np.testing.assert_allclose(axis.apply(x, axis=1), np.einsum("oi,bic->boc", dense, x), atol=ROUNDINGS)
    np.testing.assert_allclose(axis.apply_transposed(y, axis=1), np.einsum("oi,boc->bic", dense, y), atol=ROUNDINGS)
    np.testing.assert_array_equal(axis.to_sparse().toarray(), dense)


@given(chains())
def test_composition_is_the_matrix_product(chain: tuple[AxisMap, AxisMap, AxisMap]) -> None:
    first, second, third = chain
    whole = third @ second @ first
    assert_reads_in_bounds(whole)
    np.testing.assert_allclose(
        whole.to_dense(), third.to_dense() @ second.to_dense() @ first.to_dense(), atol=ROUNDINGS
    )
    assert whole.taps == width_of_widest_row(whole.to_dense())
    assert whole.allclose(third @ (second @ first), atol=ROUNDINGS)


@given(axis_maps())
def test_derived_properties_agree_with_the_matrix(axis: AxisMap) -> None:
    dense = axis.to_dense()
    np.testing.assert_allclose(axis.row_sums, dense.sum(axis=1), atol=ROUNDINGS)
    used = np.flatnonzero(dense.any(axis=0))
    assert axis.reads == len(used)
    start, length = axis.window
    assert (start, start + length - 1) == ((used[0], used[-1]) if len(used) else (0, 0))
    one_copied = ((dense != 0).sum(axis=1) == 1) & (dense.max(axis=1) == 1)
    assert axis.is_selection == bool(one_copied.all())
    assert axis.copies_values == bool((one_copied | (dense == 0).all(axis=1)).all())
    assert axis.keeps_integers == np.array_equal(dense, np.rint(dense))
    assert axis.is_flip == np.array_equal(dense, np.eye(axis.n_in)[::-1])
    selection, rest = axis.split_selection()
    assert selection.is_selection
    assert selection.n_out <= axis.n_in
    np.testing.assert_array_equal((rest @ selection).to_dense(), dense)
    assert axis.is_identity == (dense.shape[0] == dense.shape[1] and np.array_equal(dense, np.eye(len(dense))))
    sums = dense.sum(axis=1)
    if axis.gain is None:
        assert np.ptp(sums) > ROUNDINGS
    else:
        np.testing.assert_allclose(sums, axis.gain, atol=1e-12)


def test_wide_bands_are_composed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # A few rows of these bands have more terms than one block holds, and the last block is not full.
    monkeypatch.setattr(bands, "_TERMS_PER_BLOCK", 2_000)
    first, second = AxisMap.gaussian_blur(151, 31, 8.0), AxisMap.gaussian_blur(151, 11, 3.0)
    product = second @ first
    assert product.taps == 31 + 11 - 1
    np.testing.assert_allclose(product.to_dense(), second.to_dense() @ first.to_dense(), atol=ROUNDINGS)


def test_zero_weights_do_not_widen_a_product() -> None:
    spread = AxisMap(5, np.array([0, 0]), np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 2.0]]))
    assert spread.taps == 5
    assert spread.trim().taps == 1
    nothing = AxisMap(5, np.array([0, 1]), np.zeros((2, 4)))
    np.testing.assert_array_equal((nothing @ AxisMap.gaussian_blur(5, 3, 1.0)).to_dense(), np.zeros((2, 5)))
    product = spread @ AxisMap.flip(5)
    assert product.taps == 1
    np.testing.assert_array_equal(product.to_dense(), spread.to_dense()[:, ::-1])


def test_a_flip_descends_and_undoes_itself() -> None:
    flip = AxisMap.flip(17)
    assert flip.taps == 1
    np.testing.assert_array_equal(flip.starts, np.arange(17)[::-1])
    assert (flip @ flip).is_identity
    np.testing.assert_array_equal(flip.apply(np.arange(17.0)), np.arange(17.0)[::-1])


def test_a_crop_takes_zeros_where_it_leaves_the_axis() -> None:
    for start, length, expected in [
        (1, 2, [11, 12]),
        (-2, 4, [0, 0, 10, 11]),
        (2, 3, [12, 0, 0]),
        (-1, 5, [0, 10, 11, 12, 0]),
        (5, 2, [0, 0]),
        (-4, 2, [0, 0]),
    ]:
        crop = AxisMap.crop(3, start, length)
        np.testing.assert_array_equal(crop.apply([10.0, 11.0, 12.0]), expected)
        assert crop.multiplications == 0
        assert crop.copies_values
        assert crop.is_selection == (0 not in expected)


def test_padding_is_numpys() -> None:
    sizes = [(5, 2, 4), (17, 16, 0), (2, 1, 1), (11, 0, 0)]
    # As often as it takes.
    several_times = [("symmetric", size) for size in [(1, 3, 2), (2, 5, 7), (5, 23, 11)]]
    for mode, (n, before, after) in [*itertools.product(("edge", "reflect", "symmetric"), sizes), *several_times]:
        line = np.random.default_rng(0).normal(size=n)
        padded = AxisMap.pad(n, before, after, mode).apply(line)
        np.testing.assert_array_equal(padded, np.pad(line, (before, after), mode), err_msg=f"{mode} {n}")


def test_negative_padding_crops() -> None:
    line = np.arange(9.0)
    for mode in ("zero", "edge", "reflect", "symmetric"):
        expected = np.pad(line, (0, 2), "constant" if mode == "zero" else mode)[3:]
        np.testing.assert_array_equal(AxisMap.pad(9, -3, 2, mode).apply(line), expected, err_msg=mode)


def test_a_kernel_is_not_reversed() -> None:
    shifted = AxisMap.convolve(4, [0.0, 0.0, 1.0], "edge")
    np.testing.assert_array_equal(shifted.apply([1.0, 2.0, 3.0, 4.0]), [2.0, 3.0, 4.0, 4.0])
    assert shifted.taps == 1


def test_taps_of_the_same_sample_are_added() -> None:
    folded = AxisMap.from_taps(3, [[0, 2, 0], [1, 1, 1]], [[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(folded.to_dense(), [[5.0, 0.0, 2.0], [0.0, 3.0, 0.0]])


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(FILTERS), st.booleans())
def test_resampling_is_normalised(n_in: int, n_out: int, interpolation: str, antialias: bool) -> None:
    if not antialias and interpolation not in ("bilinear", "bicubic"):
        interpolation = "bilinear"
    axis = AxisMap.resample(n_in, n_out, interpolation, antialias)
    np.testing.assert_allclose(axis.row_sums, 1.0, atol=1e-14 * axis.taps)
    assert axis.gain == pytest.approx(1.0, abs=1e-12)
    if interpolation in ("box", "bilinear", "hamming"):
        assert axis.weights.min() >= 0.0


def test_a_resize_to_the_same_size_is_the_identity() -> None:
    for interpolation in FILTERS:
        assert AxisMap.resample(13, 13, interpolation, antialias=True).is_identity
        assert AxisMap.resample(13, 13, interpolation, antialias=True, box=(0, 13)).is_identity
        assert not AxisMap.resample(13, 13, interpolation, antialias=True, box=(0, 6)).is_identity


def test_a_box_is_rounded_to_float32_as_pillow_does() -> None:
    box = (0.1, 9.3)
    rounded = (float(np.float32(box[0])), float(np.float32(box[1])))
    given, expected = (AxisMap.resample(13, 7, "bicubic", antialias=True, box=b) for b in (box, rounded))
    np.testing.assert_array_equal(given.weights, expected.weights)


def test_maps_that_differ_are_not_close() -> None:
    axis = AxisMap.resample(17, 11, "bilinear", antialias=True)
    nudged = AxisMap(17, axis.starts, axis.weights + 1e-6)
    assert axis.allclose(axis)
    assert not axis.allclose(nudged, atol=1e-7)
    assert axis.allclose(nudged, atol=2e-6)
    assert not axis.allclose(AxisMap.resample(17, 12, "bilinear", antialias=True), atol=10.0)


def test_arrays_are_copies_that_cannot_be_written() -> None:
    weights = np.ones((2, 1))
    axis = AxisMap(3, np.array([0, 2]), weights)
    weights[:] = 5.0
    assert axis.weights.tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="read-only"):
        axis.weights[0, 0] = 2.0


REFUSED = [
    (lambda: AxisMap(3, np.array([2]), np.ones((1, 2))), "starts has values from 2 to 2; expected .* 0 … 1"),
    (lambda: AxisMap(3, np.array([-1]), np.ones((1, 1))), "starts has values from -1"),
    (lambda: AxisMap(3, np.array([2**63 - 1, 0]), np.ones((2, 2))), "starts has values from 0 to 92233720368547"),
    (lambda: AxisMap(3, np.array([-(2**63)]), np.ones((1, 3))), "starts has values from -9223372036854775808"),
    (lambda: AxisMap(3, np.array([2**63], np.uint64), np.ones((1, 1))), "starts has a value of 92233720368547"),
    (lambda: AxisMap(2**63, np.array([0]), np.ones((1, 1))), "n_in is 9223372036854775808"),
    (lambda: AxisMap(3, np.array([0.0]), np.ones((1, 1))), "starts is an array .* float64; expected integers"),
    (lambda: AxisMap(3, np.array([0, 1]), np.ones((1, 1))), r"weights is an array of shape \[1, 1\]"),
    (lambda: AxisMap(3, np.array([0]), np.ones((1, 4))), "weights has 4 taps; expected at most n_in = 3"),
    (lambda: AxisMap(3, np.array([0]), np.array([[np.nan]])), "weights has a value that is not finite"),
    (lambda: AxisMap.from_taps(3, [[3]], [[1.0]]), "starts has values from 3"),
    (lambda: AxisMap.from_taps(3, [[0, 1]], [[1.0]]), "weights is an array of shape"),
    (lambda: AxisMap.crop(3, 0, 0), "a crop to 0"),
    (lambda: AxisMap.pad(3, 3, 0, "reflect"), "reflect padding of 3"),
    (lambda: AxisMap.pad(3, -2, -1, "edge"), "leaves none"),
    (lambda: AxisMap.pad(3, 1, 1, "wrap"), "no padding mode 'wrap'"),
    (lambda: AxisMap.resample(3, 0, "bilinear", antialias=True), "from 3 to 0"),
    (lambda: AxisMap.resample(3, 2, "lanczos", antialias=False), "no interpolation 'lanczos' without"),
    (lambda: AxisMap.resample(3, 2, "area", antialias=True), "no interpolation 'area' with"),
    (lambda: AxisMap.resample(3, 2, "bilinear", antialias=False, box=(0, 2)), "the box"),
    (lambda: AxisMap.resample(3, 2, "bilinear", antialias=True, box=(1, 4)), "the box"),
    (lambda: AxisMap.convolve(5, [1.0, 1.0], "edge"), "a kernel of shape"),
    (lambda: AxisMap.gaussian_blur(5, 4, 1.0), "kernel size 4"),
    (lambda: AxisMap.gaussian_blur(5, 3, 0.0), "sigma 0"),
    (lambda: AxisMap.gaussian_blur(2, 5, 1.0), "reflect padding of 2"),
    (lambda: AxisMap.identity(3) @ AxisMap.identity(4), "3 samples was put behind"),
    (lambda: AxisMap.identity(3).apply(np.zeros(4)), "an axis of 4"),
    (lambda: AxisMap.identity(3).apply_transposed(np.zeros(4)), "an axis of 4"),
]


def test_refusals_say_what_was_given() -> None:
    for make, problem in REFUSED:
        with pytest.raises(OnelayerError, match=problem):
            make()
