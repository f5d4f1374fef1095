"""Programs as JSON and arrays: the JSON says which stages there are, the arrays hold their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from onelayer.algebra import (
    AxisMap,
    Clamp,
    Dense,
    Float32Sum,
    FloatOp,
    Gamma,
    Lookup,
    Program,
    Quantize,
    Separable,
    Simplified,
    SpatialSparse,
    Stage,
    Taps,
)
from onelayer.algebra.activations import Arithmetic, FloatType, IntegerType, Rounding
from onelayer.errors import OnelayerError
from onelayer.frontends import Container, ImageSpec, PixelType, RoundingMode
from onelayer.programs import Output, Outputs
from onelayer.records import Part, Record, Shape

Arrays = dict[str, NDArray[Any]]

_FACTORS: tuple[Literal["channel", "rows", "cols"], ...] = ("channel", "rows", "cols")


class ImageConfig(Part):
    """What goes in, or what comes out."""

    shape: Shape
    dtype: PixelType
    container: Container


class SeparableConfig(Part):
    """Arrays: ``channel``, ``bias``, and ``starts`` and ``weights`` of ``rows`` and ``cols``."""

    kind: Literal["separable"] = "separable"
    rows_in: int
    cols_in: int
    transpose: bool


class SpatialSparseConfig(Part):
    """Arrays: ``channel``, ``bias``, and ``data``, ``indices`` and ``indptr`` of the pixel matrix, in CSR."""

    kind: Literal["spatial sparse"] = "spatial sparse"
    in_size: tuple[int, int]
    out_size: tuple[int, int]


class DenseConfig(Part):
    """Arrays: ``weight`` and ``bias``."""

    kind: Literal["dense"] = "dense"
    in_shape: Shape
    out_shape: Shape


class Float32SumConfig(Part):
    """Arrays: ``starts``, ``counts`` and ``weights`` of the sums; ``starts`` of what is copied along the other axes."""

    kind: Literal["single sums"] = "single sums"
    along: Literal["channel", "rows", "cols"]
    in_shape: tuple[int, int, int]
    apart: int


class FloatOpConfig(Part):
    """Array: ``numbers``."""

    kind: Literal["float step"] = "float step"
    operation: Arithmetic
    dtype: FloatType


class ClampConfig(Part):
    """Array: ``bounds``, which may be infinite."""

    kind: Literal["clamp"] = "clamp"


class QuantizeConfig(Part):
    """No arrays."""

    kind: Literal["quantize"] = "quantize"
    rounding: Rounding
    dtype: IntegerType


class LookupConfig(Part):
    """Array: ``table``."""

    kind: Literal["lookup"] = "lookup"


class GammaConfig(Part):
    """No arrays."""

    kind: Literal["gamma"] = "gamma"
    gain: float
    gamma: float


StageConfig = Annotated[
    SeparableConfig
    | SpatialSparseConfig
    | DenseConfig
    | Float32SumConfig
    | FloatOpConfig
    | ClampConfig
    | QuantizeConfig
    | LookupConfig
    | GammaConfig,
    Field(discriminator="kind"),
]


class OutputConfig(Part):
    """One image that comes out; its arrays' names begin with its places: ``output.stage.name``."""

    after: ImageConfig
    stages: tuple[StageConfig, ...]
    rounding: RoundingMode = "fused"


class OutputsConfig(Part):
    """All that comes out for one kind of image."""

    given: ImageConfig
    joined: Literal["one", "tuple", "stacked"]
    each: Annotated[tuple[OutputConfig, ...], Field(min_length=1)]


class ProgramsConfig(Record):
    """config.json of a layer that was derived."""

    kind: Literal["programs"] = "programs"
    pipeline: str | None = None
    """What it stands in for, in words."""
    programs: Annotated[tuple[OutputsConfig, ...], Field(min_length=1)]


def to_config(programs: Mapping[ImageSpec, Outputs], pipeline: str | None) -> tuple[ProgramsConfig, Arrays]:
    """Programs as a configuration, and the arrays that belong to it, by name."""
    arrays: Arrays = {}
    configs = []
    for place, (given, outputs) in enumerate(programs.items()):
        each = []
        for number, output in enumerate(outputs.each):
            stages = []
            for at, stage in enumerate(output.simplified.program.stages):
                config, own = _to_stage_config(stage)
                stages.append(config)
                arrays |= {f"{place}.{number}.{at}.{name}": array for name, array in own.items()}
            each.append(
                OutputConfig(after=_to_image_config(output.after), stages=tuple(stages), rounding=output.rounding)
            )
        configs.append(OutputsConfig(given=_to_image_config(given), joined=outputs.joined, each=tuple(each)))
    return ProgramsConfig(pipeline=pipeline, programs=tuple(configs)), arrays


def from_config(config: ProgramsConfig, arrays: Arrays) -> dict[ImageSpec, Outputs]:
    """The reverse of :func:`to_config`; nothing is believed that does not fit together.

    Raises:
        OnelayerError: If an array is missing, left over, or does not fit its stage.
    """
    left = dict(arrays)

    def taken(prefix: str) -> Arrays:
        return {name.removeprefix(prefix): left.pop(name) for name in list(left) if name.startswith(prefix)}

    programs = {}
    for place, one in enumerate(config.programs):
        given = ImageSpec(**one.given.model_dump())
        each = []
        for number, output in enumerate(one.each):
            stages = tuple(
                _to_stage(stage, taken(f"{place}.{number}.{at}."), f"{place}.{number}.{at}")
                for at, stage in enumerate(output.stages)
            )
            program = Program(given.shape, stages)
            after = ImageSpec(**output.after.model_dump())
            if program.out_shape != after.shape:
                raise OnelayerError(
                    f"program {place}.{number} gives images {program.out_shape}", expected=f"{after.shape}, as it says"
                )
            each.append(
                Output(Simplified(program, tuple((at,) for at in range(len(stages))), (), ()), after, output.rounding)
            )
        programs[given] = Outputs(tuple(each), one.joined)
    if left:
        raise OnelayerError(f"there are arrays that belong to no stage: {', '.join(sorted(left)[:5])}")
    return programs


def _to_image_config(given: ImageSpec) -> ImageConfig:
    return ImageConfig(shape=given.shape, dtype=given.dtype, container=given.container)


def _to_stage_config(stage: Stage) -> tuple[StageConfig, Arrays]:
    match stage:
        case Separable():
            return SeparableConfig(rows_in=stage.rows.n_in, cols_in=stage.cols.n_in, transpose=stage.transpose), {
                "channel": stage.channel,
                "bias": stage.bias,
                "rows.starts": stage.rows.starts,
                "rows.weights": stage.rows.weights,
                "cols.starts": stage.cols.starts,
                "cols.weights": stage.cols.weights,
            }
        case SpatialSparse():
            return SpatialSparseConfig(in_size=stage.in_size, out_size=stage.out_size), {
                "channel": stage.channel,
                "bias": stage.bias,
                "data": stage.matrix.data,
                "indices": stage.matrix.indices,
                "indptr": stage.matrix.indptr,
            }
        case Dense():
            config = DenseConfig(in_shape=stage.in_shape, out_shape=stage.out_shape)
            return config, {"weight": stage.weight, "bias": stage.bias}
        case Float32Sum():
            arrays: Arrays = {"starts": stage.taps.starts, "counts": stage.taps.counts, "weights": stage.taps.weights}
            copied = {
                f"{name}.starts": factor.starts
                for name, factor in zip(_FACTORS, stage.factors, strict=True)
                if isinstance(factor, AxisMap)
            }
            (along,) = set(_FACTORS) - {name.removesuffix(".starts") for name in copied}
            return Float32SumConfig(along=along, in_shape=stage.in_shape, apart=stage.apart), arrays | copied
        case FloatOp():
            return FloatOpConfig(operation=stage.operation, dtype=stage.dtype), {"numbers": stage.numbers}
        case Clamp():
            return ClampConfig(), {"bounds": np.array([stage.low, stage.high])}
        case Quantize():
            return QuantizeConfig(rounding=stage.rounding, dtype=stage.dtype), {}
        case Lookup():
            return LookupConfig(), {"table": stage.table}
        case Gamma():
            return GammaConfig(gain=stage.gain, gamma=stage.gamma), {}
        case _:
            raise TypeError(f"no file format for {type(stage).__name__}")


def _to_stage(config: StageConfig, arrays: Arrays, place: str) -> Stage:
    try:
        for name, array in arrays.items():
            whole = name.rpartition(".")[2] in ("starts", "counts", "indices", "indptr")
            if array.dtype.kind != ("i" if whole else "f"):
                raise ValueError(f"{name} is of dtype {array.dtype}")
        return _built(config, arrays)
    except (OnelayerError, KeyError, ValueError, TypeError) as error:
        raise OnelayerError(
            f"the arrays {', '.join(sorted(arrays)) or 'none'} of stage {place} make no {config.kind} stage: {error}",
            expected="the arrays that were saved with this configuration",
        ) from error


def _built(config: StageConfig, arrays: Arrays) -> Stage:
    match config:
        case SeparableConfig():
            rows, cols = (
                AxisMap(n_in, arrays[f"{axis}.starts"], arrays[f"{axis}.weights"])
                for axis, n_in in (("rows", config.rows_in), ("cols", config.cols_in))
            )
            return Separable(arrays["channel"], rows, cols, arrays["bias"], config.transpose)
        case SpatialSparseConfig():
            height, width = config.in_size
            parts = arrays["data"], arrays["indices"], arrays["indptr"]
            matrix = sparse.csr_array(parts, shape=(config.out_size[0] * config.out_size[1], height * width))
            # Only the full check looks at every index, and one out of bounds would read foreign memory.
            matrix.check_format(full_check=True)
            return SpatialSparse(arrays["channel"], matrix, config.in_size, config.out_size, arrays["bias"])
        case DenseConfig():
            return Dense(arrays["weight"], arrays["bias"], config.in_shape, config.out_shape)
        case Float32SumConfig():
            factors: dict[str, AxisMap | Taps] = {}
            for name, n_in in zip(_FACTORS, config.in_shape, strict=True):
                if name == config.along:
                    factors[name] = Taps(n_in, arrays["starts"], arrays["counts"], arrays["weights"])
                else:
                    factors[name] = AxisMap.select(n_in, arrays[f"{name}.starts"])
            return Float32Sum(**factors, apart=config.apart)
        case FloatOpConfig():
            return FloatOp(config.operation, arrays["numbers"], config.dtype)
        case ClampConfig():
            low, high = arrays["bounds"].tolist()
            return Clamp(low, high)
        case QuantizeConfig():
            return Quantize(config.rounding, config.dtype)
        case LookupConfig():
            return Lookup(arrays["table"])
        case GammaConfig():
            return Gamma(config.gain, config.gamma)
