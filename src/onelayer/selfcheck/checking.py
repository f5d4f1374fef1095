"""Runs cases through the original and the layer, and records whether every bit is the same."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from pydantic import Field
from rich.table import Table
from torch.utils._pytree import tree_flatten

from onelayer.backends import choose
from onelayer.environment import current_environment
from onelayer.errors import OnelayerError
from onelayer.images.containers import spec_of
from onelayer.layer import OneLayer
from onelayer.layer import compile as compiled
from onelayer.plans import lowering_target
from onelayer.random_state import unchanged_random_state
from onelayer.records import Environment, Part, Record
from onelayer.selfcheck.families import Case
from onelayer.selfcheck.pieces import FAMILIES, STATES

FLOAT_TOLERANCE = 1e-5
"""Largest difference of floating point results from the original's that counts as rounding, for values up to 1. Sums
of up to some hundred products round to 2⁻²⁴ each, weights in PyTorch too, and dividing by 0.1 multiplies that."""

_SHARES = sum(share for _, share in FAMILIES.values())


class FamilyResult(Part):
    """Result of the cases of a family."""

    name: str
    cases: int = Field(ge=1)
    mismatches: int = Field(ge=0)
    """Number of cases with a difference in any bit."""
    first_difference: str | None
    """Description of the first difference; None without any."""


class SelfcheckRecord(Record):
    """Results of all families, and the versions of the libraries."""

    kind: Literal["selfcheck"] = "selfcheck"
    seed: int
    families: tuple[FamilyResult, ...]
    environment: Environment

    @property
    def cases(self) -> int:
        """Number of cases of all families."""
        return sum(family.cases for family in self.families)

    @property
    def mismatches(self) -> int:
        """Number of cases with a difference in any bit."""
        return sum(family.mismatches for family in self.families)


def check(cases: int, seed: int = 0, advance: Callable[[], object] | None = None) -> SelfcheckRecord:
    """Compare layers with the transforms that they replace, bit for bit, on random images.

    Args:
        cases: Approximate number of cases; there is at least one of each family.
        seed: Seed of the cases; the same seed gives the same cases.
        advance: Function to call after each case.

    Raises:
        OnelayerError: If the number of cases is not positive.
    """
    if cases < 1:
        raise OnelayerError(f"{cases} cases were asked for", expected="at least 1")
    results = []
    for place, (name, (draw, share)) in enumerate(FAMILIES.items()):
        count = max(1, round(cases * share / _SHARES))
        mismatches, first = 0, None
        for index in range(count):
            with warnings.catch_warnings():
                # Versions that were not compared are being compared.
                warnings.filterwarnings("ignore", ".* was not compared")
                problem = _compared(draw(np.random.default_rng((seed, place, index))))
            if problem is not None:
                mismatches += 1
                first = first or f"case {index} of seed {seed}: {problem}"
            if advance is not None:
                advance()
        results.append(FamilyResult(name=name, cases=count, mismatches=mismatches, first_difference=first))
    return SelfcheckRecord(seed=seed, families=tuple(results), environment=current_environment())


def _compared(case: Case) -> str | None:
    """Describe the difference of the layer's result from the original's; None if there is none.

    Both ways of the layer are compared: that for images of every size, where the pipeline has one, and the program.
    """
    if not case.is_whole:
        return _compared_in_pieces(case)
    original = case.transform(case.image)
    layer = compiled(case.transform, rounding=case.rounding, fullgraph=True)
    try:
        result, of_program = layer(case.image), layer.apply_program(case.image)
    except OnelayerError as error:
        return f"{_described(case)} is refused: {error}"
    if case.rounding == "exact":
        difference = difference_of(result, original) or difference_of(of_program, original)
    else:
        compared = difference_of if _is_one_kernel(layer, case.image) else _distance
        difference = compared(result, of_program) or _distance(result, original)
    return None if difference is None else f"{_described(case)}: {difference}"


def _is_one_kernel(layer: OneLayer, image: Any) -> bool:
    """Whether the program of a floating point image is one kernel, so that its sums are those of any size in order."""
    spec = spec_of(image)
    (output,) = layer.source.outputs(spec).each
    program = output.simplified.program
    target = lowering_target(spec, output, torch.device("cpu"))
    return len(program.stages) == 1 and choose(layer.backend, program, target).name == "numba"


def _distance(result: torch.Tensor, original: torch.Tensor) -> str | None:
    """Describe how a floating point result differs from another by more than rounding; None if it does not."""
    kinds = [_kind(image) for image in (result, original)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} in place of {kinds[1]}"
    furthest = float((result - original).abs().max())
    scale = max(1.0, float(original.abs().max()))
    return None if furthest <= FLOAT_TOLERANCE * scale else f"values differ by up to {furthest:g}"


def _compared_in_pieces(case: Case) -> str | None:
    """Describe how the outcome of a layer differs: its result, the state of the generator, or the kind of its error."""
    layer = compiled(case.transform, rounding="exact")
    with STATES[case.state]():
        outcomes = [_outcome(function, (case.image, *case.others), case.seed) for function in (layer, case.transform)]
    (ours, our_state), (theirs, their_state) = outcomes
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        difference = None if type(ours) is type(theirs) else f"{ours!r} in place of {theirs!r}"
    else:
        (our_parts, our_tree), (their_parts, their_tree) = tree_flatten(ours), tree_flatten(theirs)
        is_alike = our_tree == their_tree
        found = (_difference_of_parts(*pair) for pair in zip(our_parts, their_parts, strict=False))
        difference = next((each for each in found if each is not None), None) if is_alike else f"a {our_tree}"
        if difference is None and our_state != their_state:
            difference = "another state of a generator"
    return None if difference is None else f"{_described(case)}: {difference}"


def _outcome(function: Callable[..., Any], inputs: tuple[Any, ...], seed: int) -> tuple[Any, object]:
    """Return what a function gives or raises with a seed, and the states of the generators after it."""
    with unchanged_random_state():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the generator that timm draws from
        try:
            with warnings.catch_warnings():
                # torchvision's, which the original and the layer give alike.
                warnings.simplefilter("ignore")
                result = function(*inputs)
        except Exception as error:  # noqa: BLE001 - whatever the original raises, the layer has to raise
            result = error
        of_numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
        drawn = [*of_numpy["state"]["key"].tolist(), of_numpy["state"]["pos"], of_numpy["has_gauss"], of_numpy["gauss"]]
        return result, (torch.get_rng_state().tolist(), random.getstate(), drawn)


def _difference_of_parts(our: Any, their: Any) -> str | None:
    if isinstance(their, torch.Tensor | PIL.Image.Image | np.ndarray):
        return difference_of(our, their)
    return None if type(our) is type(their) and our == their else f"{our!r} in place of {their!r}"


def difference_of(result: Any, original: Any) -> str | None:
    """Describe how a result differs from another in type, dtype, shape or any bit; None if it does not."""
    kinds = [_kind(image) for image in (result, original)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} in place of {kinds[1]}"
    ours, theirs = (_array(image) for image in (result, original))
    # As whole numbers: 0 and −0 are equal as floating point ones, and NaN is not.
    bits = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[ours.itemsize]
    mismatches = int(np.count_nonzero(ours.view(bits) != theirs.view(bits)))
    if not mismatches:
        return None
    furthest = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
    return f"{mismatches:,} of {ours.size:,} values differ, by up to {furthest:g}"


def _kind(image: Any) -> str:
    if isinstance(image, PIL.Image.Image):
        return f"a PIL image {image.mode} {image.size}"
    return f"{type(image).__name__} {getattr(image, 'dtype', '')} {tuple(getattr(image, 'shape', ()))}"


def _array(image: Any) -> Any:
    if isinstance(image, torch.Tensor):
        return np.ascontiguousarray(image.as_subclass(torch.Tensor).numpy())
    return np.ascontiguousarray(np.asarray(image))


def _described(case: Case) -> str:
    image = case.image
    strides = f", strides {image.stride()}" if isinstance(image, torch.Tensor) else ""
    others = f", with {', '.join(type(other).__name__ for other in case.others)}" if case.others else ""
    state = "" if case.state == "usual" else f", under {case.state}"
    return f"{' '.join(repr(case.transform).split())} of {_kind(image)}{strides}{others}{state}"


def table(record: SelfcheckRecord) -> Table:
    """Tabulate a record, one row per family."""
    versions = record.environment.versions
    title = ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "pillow") if name in versions)
    made = Table(title=f"Bit for bit, with {title}", title_justify="left")
    made.add_column("family")
    made.add_column("cases", justify="right")
    made.add_column("mismatches", justify="right")
    for family in record.families:
        colour = "red" if family.mismatches else "green"
        made.add_row(family.name, f"{family.cases:,}", f"[{colour}]{family.mismatches:,}[/{colour}]")
    made.add_section()
    made.add_row("all", f"{record.cases:,}", f"{record.mismatches:,}")
    return made
