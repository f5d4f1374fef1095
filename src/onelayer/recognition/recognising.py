"""``recognise()``: finds the structure of a learned dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from onelayer.algebra import AxisMap, ChannelMap, Dense, Separable
from onelayer.algebra.operator import FloatArray
from onelayer.dense_layer import DenseLayer
from onelayer.errors import OnelayerError
from onelayer.recognition.known_axes import NamedAxis, named_axis
from onelayer.recognition.known_channels import NamedChannels, named_channels, named_offset
from onelayer.recognition.kronecker import (
    KroneckerFactors,
    alternated,
    energy,
    expected_noise,
    nearest_product,
    weights_of,
)
from onelayer.recognition.norms import ImageStatistics, Norm, norm_for
from onelayer.recognition.recognised import Names, Recognised, residual_of
from onelayer.recognition.tolerance import above_noise, banded, bands, tap_tolerance, weight_noise, widened

_LEAST_SHARE = 0.98
"""Least fraction of the energy above the noise: regularised layers have blurred weights, and blur is no product."""
_LEAST_SHARE_ON_IMAGES = 0.9999
"""Least fraction of the energy on images, where learning has left little to doubt."""
_NOISE_OF_A_BLUR = 50.0
"""Largest error of the weights above the noise, in standard deviations of noise: in a learned layer, errors near the
support are larger than the noise far from it, but both come from the same directions."""


class NotRecognisedError(OnelayerError):
    """Raised for weights that are no Kronecker product of a channel, a rows and a columns factor."""


@final
@dataclass(frozen=True, eq=False)
class _Fit:
    """A product fitted to weights, without any assumption about its support."""

    weights: FloatArray
    transpose: bool
    factors: KroneckerFactors
    norm: Norm
    singular_values: FloatArray
    noise: FloatArray
    relative: float
    """Residual relative to the weights: on images, or of the weights that stand out of the noise."""
    off: float
    """RMS error of the weights that stand out, in standard deviations of the noise."""

    @property
    def share(self) -> float:
        """Fraction of the energy that is in the product, 0 … 1."""
        return max(1.0 - self.relative**2, 0.0)


def recognise(learned: DenseLayer | Dense, *, refit: ImageStatistics | None = None) -> Recognised:
    """Find the taps and the Kronecker factors in the weights of a learned layer, and name them.

    The product ``channel ⊗ rows ⊗ cols`` that is nearest to the weights is found; its taps that stand out of the noise
    are fitted again, alone; and each factor that is within the noise of a known map gets that map's name and its exact
    taps. Images whose height and width are swapped first are tried too.

    Args:
        learned: A layer, or the operator of one, found by least squares or gradient descent on images.
        refit: Statistics of these images. Weights are then compared by their effect on images, and noise in directions
            that images do not have, which learning cannot find, does not count.

    Returns:
        The structure and the evidence for it.

    Raises:
        NotRecognisedError: If the weights are no such product.
        OnelayerError: If there is no dense layer, or the statistics are those of images of another shape.
    """
    dense = _operator_of(learned)
    if refit is not None and len(refit.covariance) != dense.weight.shape[1]:
        raise OnelayerError(
            f"a covariance of {len(refit.covariance)} values was given",
            expected=f"{dense.weight.shape[1]} values, as images {dense.in_shape} have",
        )
    if not dense.weight.any():
        return _constant(dense)
    covariance = None if refit is None else refit.covariance
    fit = _fitted(dense, covariance, transpose=False)
    if not _is_product(fit, refit is not None):
        swapped = _fitted(dense, covariance, transpose=True)
        if not _is_product(swapped, refit is not None):
            raise _refusal(fit, refit is not None)
        fit = swapped
    factors, rows, cols, channels = _named(fit)
    linear = Separable(
        ChannelMap(factors.channel if channels is None else channels.matrix),
        banded(factors.rows) if rows is None else rows.map,
        banded(factors.cols) if cols is None else cols.map,
        np.zeros(dense.out_shape[0]),
        fit.transpose,
    )
    bias = dense.bias
    if refit is not None and refit.mean is not None:
        # The output for the mean image is known best.
        bias = bias + dense.weight @ refit.mean - linear.apply_linear(refit.mean.reshape(dense.in_shape)).ravel()
    scale = float(np.abs(dense.weight).sum(axis=1).max())
    offset = named_offset(bias.reshape(dense.out_shape), scale)
    operator = Separable(linear.channel, linear.rows, linear.cols, offset.bias, fit.transpose)
    found = {"rows": rows, "cols": cols, "channels": channels}
    names = Names(
        _axis_name(rows, linear.rows), _axis_name(cols, linear.cols), _channel_name(channels, linear), offset.name
    )
    return Recognised(
        operator,
        names,
        tuple(name for name, known in found.items() if known is not None),
        fit.noise.reshape(dense.out_shape),
        _sparsity(dense, fit.noise),
        fit.singular_values,
        fit.share,
        residual_of(dense, operator, covariance, None if refit is None else refit.mean),
    )


def _operator_of(learned: DenseLayer | Dense) -> Dense:
    match learned:
        case Dense():
            return learned
        case DenseLayer():
            return learned.to_operator()
        case _:
            raise OnelayerError(
                f"a {type(learned).__name__} was to be recognised",
                expected="a DenseLayer, as onelayer.learn finds and onelayer.load reads, or its operator",
            )


def _fitted(dense: Dense, covariance: FloatArray | None, *, transpose: bool) -> _Fit:
    weights = weights_of(dense, transpose)
    norm = norm_for(covariance, dense.in_shape, transpose)
    factors, singular_values = nearest_product(weights)
    if covariance is not None:
        factors = alternated(weights, factors, norm, (None, None, None))
    flat = weights.reshape(dense.weight.shape)
    residual = flat - factors.weights.reshape(flat.shape)
    noise = weight_noise(residual, float(np.abs(flat).max()))
    clear = above_noise(flat, noise)
    unexplained = np.where(clear != 0.0, residual, 0.0)
    in_noise = np.where(clear != 0.0, noise[:, None] ** 2, 0.0)
    off = float(np.sqrt(((unexplained / np.maximum(noise[:, None], 1e-300)) ** 2).sum() / max((clear != 0.0).sum(), 1)))
    if covariance is None:
        # Noise is in the weights that stand out as well, and speaks for or against nothing.
        missing, whole = max(float((unexplained**2 - in_noise).sum()), 0.0), float((clear**2).sum())
    else:
        missing, whole = energy(weights - factors.weights, norm), energy(weights, norm)
    relative = float(np.sqrt(missing / whole)) if whole > 0.0 else 1.0
    return _Fit(weights, transpose, factors, norm, singular_values, noise, relative, off)


def _is_product(fit: _Fit, on_images: bool) -> bool:
    if on_images:
        return fit.share >= _LEAST_SHARE_ON_IMAGES
    return fit.share >= _LEAST_SHARE and fit.off <= _NOISE_OF_A_BLUR


def _refusal(fit: _Fit, on_images: bool) -> NotRecognisedError:
    values = ", ".join(f"{value:.4g}" for value in fit.singular_values)
    least = _LEAST_SHARE_ON_IMAGES if on_images else _LEAST_SHARE
    what = "on images" if on_images else "that stands out of the noise"
    return NotRecognisedError(
        f"the weights are no Kronecker product of channels, rows and columns: the singular values of rows against the "
        f"rest are {values}, and one product has {fit.share:.4%} of the energy {what}, with weights that are "
        f"{fit.off:.3g} standard deviations of noise off",
        expected=f"one singular value far above the others, and at least {least:.2%}"
        + ("" if on_images else f" with weights at most {_NOISE_OF_A_BLUR:g} standard deviations off"),
        hint="Rotations and other warps are none; a layer that is one in truth may need more images or longer learning"
        + ("." if on_images else ", or the statistics of its images (refit)."),
    )


def _named(fit: _Fit) -> tuple[KroneckerFactors, NamedAxis | None, NamedAxis | None, NamedChannels | None]:
    """Fit the taps on their support and name the factors; named ones are exact when the rest is fitted again."""
    tolerances = [
        tap_tolerance(factor, expected_noise(fit.weights, fit.factors, fit.norm, along), fit.relative)
        for along, factor in enumerate(fit.factors.each)
    ]
    rows_mask, cols_mask = (bands(fit.factors.each[along], tolerances[along]) for along in (1, 2))
    # A small tap at the end of a band may not stand out of noise that a fit on a band no longer has.
    wide = None, widened(rows_mask), widened(cols_mask)
    factors = alternated(fit.weights, fit.factors, fit.norm, wide)
    known: dict[int, NamedAxis] = {}
    left: tuple[int, ...] = (1, 2, 0)
    # With one axis exact, the other is fitted better, and may have a name then.
    for _ in range(2):
        for along in (1, 2):
            # Images in float32 are what layers are learned on.
            named = known.get(along) or named_axis(factors.each[along], tolerances[along], "float32")
            if named is not None:
                known[along] = named
                left = tuple(axis for axis in (1, 2, 0) if axis not in known)
                factors = alternated(
                    fit.weights, factors.with_factor(along, named.map.to_dense()), fit.norm, wide, left
                )
    factors = alternated(fit.weights, factors, fit.norm, (None, rows_mask, cols_mask), left)
    channels = named_channels(factors.channel, tolerances[0])
    return factors, known.get(1), known.get(2), channels


def _constant(dense: Dense) -> Recognised:
    """Recognise weights of zeros only: every image becomes the same one."""
    channels_out, *size_out = dense.out_shape
    channels_in, *size_in = dense.in_shape
    rows, cols = (
        AxisMap(n_in, np.zeros(n_out, dtype=np.int64), np.zeros((n_out, 1)))
        for n_in, n_out in zip(size_in, size_out, strict=True)
    )
    offset = named_offset(dense.bias.reshape(dense.out_shape), 0.0)
    operator = Separable(ChannelMap(np.zeros((channels_out, channels_in))), rows, cols, offset.bias)
    return Recognised(
        operator,
        names=Names("zeros", "zeros", "zeros", offset.name),
        snapped=("rows", "cols", "channels"),
        noise=np.zeros(dense.out_shape),
        sparsity=1.0,
        singular_values=np.zeros(1),
        share=1.0,
        residual=residual_of(dense, operator, None, None),
    )


def _sparsity(dense: Dense, noise: FloatArray) -> float:
    return 1.0 - np.count_nonzero(above_noise(dense.weight, noise)) / dense.weight.size


def _axis_name(known: NamedAxis | None, axis: AxisMap) -> str:
    return f"fitted: {axis.taps} taps, {axis.n_in}→{axis.n_out}" if known is None else known.name


def _channel_name(known: NamedChannels | None, operator: Separable) -> str:
    if known is not None:
        return " or ".join(definition.name for definition in (known, *known.also))
    return "fitted: " + "; ".join(", ".join(f"{weight:.5g}" for weight in row) for row in operator.channel.matrix)
