"""Load layer files in which a field was replaced by something hostile, and run on guarded memory what is taken.

    python tests/hostile_layers.py FILE SHARE

Of all variants a SHARE is tried, 1 for all. FILE names the variant that runs when the process ends.
"""

from __future__ import annotations

import copy
import faulthandler
import itertools
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

sys.path.insert(0, str(Path(__file__).parent))

from guarded_memory import End, GuardedMemory

import onelayer
from onelayer import ImageSpec, OnelayerError
from onelayer.images.containers import TORCH_DTYPES
from onelayer.programs import SavedPrograms

SECONDS = 20
LARGEST = 1 << 18
IMAGES, RESULTS = GuardedMemory(1 << 22), GuardedMemory(1 << 22)
ENDS: tuple[End, End] = ("end", "begin")

BYTES = np.random.default_rng(0).integers(0, 256, (12, 23, 3), dtype=np.uint8)
PIL_IMAGE, ARRAY = PIL.Image.fromarray(BYTES), BYTES
TENSOR = torch.from_numpy(BYTES).movedim(-1, 0).contiguous()
FLOATS = TENSOR / 255
NORMALIZE = v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)

LAYERS: dict[str, tuple[Any, Any, Any]] = {
    "Pillow's resize": (v2.Compose([v2.Resize((7, 18)), v2.ToImage(), TO_FLOAT, NORMALIZE]), PIL_IMAGE, None),
    "a reduction of bytes": (v2.Compose([v2.Resize((3, 4), antialias=True), v2.Grayscale(3)]), TENSOR, None),
    "sums in float32": (v2.Compose([v1.Resize((5, 19), antialias=True), v2.Pad(2, fill=9), TO_FLOAT]), TENSOR, None),
    "padding and a table": (v2.Compose([v2.Pad(2, fill=7), v2.RandomPosterize(3, p=1)]), ARRAY, None),
    "a rotation of bytes": (v2.RandomRotation((30, 30), fill=3), TENSOR, None),
    "a turned resize": (
        v2.Compose([v2.RandomRotation((90, 90), expand=True), v2.Resize((6, 9)), NORMALIZE]),
        FLOATS,
        None,
    ),
    "a rotation of floats": (v2.RandomRotation((20, 20), v2.InterpolationMode.BILINEAR), FLOATS, None),
    "arithmetic of floats": (v2.Compose([v2.Resize((4, 5)), TO_FLOAT, NORMALIZE, v2.RandomInvert(1)]), TENSOR, "fused"),
    "brightness": (partial(F.adjust_brightness, brightness_factor=1.5), FLOATS, None),
    "gamma": (partial(F.adjust_gamma, gamma=2.2, gain=1.5), FLOATS, None),
    "dense": (v2.LinearTransformation(torch.rand(30, 30), torch.rand(30)), FLOATS[:2, :5, :3].clone(), None),
    "crops": (v2.Compose([v2.FiveCrop(5), torch.stack]), FLOATS, None),
    "nothing": (nn.Identity(), TENSOR, None),
}

WHOLE = [
    -1,
    -2,
    1,
    0,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    -(2**31),
    2**62,
    2**63 - 1,
    2**63 - 3,
    -(2**63),
    3,
    12,
    23,
    22,
]
REAL = [np.nan, np.inf, -np.inf, 1e308, -1e308, 3.5e38, 5e-324, 0.0, 255.0, -1.0, 0.3, 2.0**31, 2.0**63]
DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint64, np.uint8, np.bool_]
JSON = [-1, 0, 1, 1.5, True, False, None, "", "float64", "rows", "cols", "channel", "half_up", [], {}, [1], [5, 4],
        [3, 12, 23], [2**31 - 1] * 2, [2**31 - 1] * 3, 2**31 - 1, 2**31, 2**63, 10**400, -(2**63), 1e308]  # fmt: skip

Array = NDArray[Any]
SHAPES: dict[str, Callable[[Array], Array]] = {
    "one short": lambda array: array[:-1],
    "one more": lambda array: np.concatenate([array, array[-1:]]),
    "twice": lambda array: np.concatenate([array, array]),
    "a dimension more": lambda array: array[None],
    "flat": lambda array: array.reshape(-1),
    "transposed": lambda array: array.T,
    "narrower": lambda array: array[..., :-1],
    "wider": lambda array: np.concatenate([array, array, array], axis=-1),
    "one number": lambda array: array.reshape(-1)[0],
    "empty": lambda array: array[:0],
    "empty inside": lambda array: array[..., :0],
}
Variant = tuple[str, dict[str, Any], dict[str, Array]]


def _at(array: Array, where: str, value: Any) -> Array:
    """Replace some values: all, the first, the last, every other one."""
    changed = array.copy()
    flat = changed.reshape(-1)
    chosen = {"all": slice(None), "first": slice(1), "last": slice(-1, None), "every other": slice(None, None, 2)}
    flat[chosen[where]] = value
    return changed


def changed_arrays(array: Array, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Change values, order, shape and dtype of an array."""
    values = WHOLE if array.dtype.kind == "i" else REAL
    for value, where in itertools.product(values, ("all", "first", "last", "every other")):
        if array.dtype.kind != "i" or np.iinfo(array.dtype).min <= value <= np.iinfo(array.dtype).max:
            yield f"{where} {value}", _at(array, where, value)
    if array.dtype.kind == "i":
        yield "reversed", array[::-1]
        yield "shuffled", rng.permutation(array)
        yield "one later", array + 1
        yield "one earlier", array - 1
        yield "as late as possible", np.full_like(array, array.max(initial=0))
    yield from ((name, np.asarray(make(array))) for name, make in SHAPES.items())
    with np.errstate(invalid="ignore", over="ignore"):
        yield from ((np.dtype(dtype).name, array.astype(dtype)) for dtype in DTYPES)


def stages_of(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, program in enumerate(config["programs"]):
        for number, output in enumerate(program["outputs"]):
            for at, stage in enumerate(output["stages"]):
                yield f"{place}.{number}.{at}", stage


def variants(config: dict[str, Any], arrays: dict[str, Array], rng: np.random.Generator) -> Iterator[Variant]:
    """Change a field at a time, then two at a time, and what belongs to no stage."""
    # Each pair of a kind and a field once: crops have the same ones again and again.
    known = set()
    kinds = {place: stage["kind"] for place, stage in stages_of(config)}
    for full, array in arrays.items():
        place, name = ".".join(full.split(".")[:3]), full.split(".", 3)[3]
        if (kinds[place], name, array.shape) in known:
            continue
        known.add((kinds[place], name, array.shape))
        for change, other in changed_arrays(array, rng):
            yield f"{kinds[place]} {name}: {change}", config, {**arrays, full: other}
        yield f"{kinds[place]} {name}: missing", config, {key: each for key, each in arrays.items() if key != full}
        for other_name in arrays:
            if other_name != full:
                swapped = {**arrays, full: arrays[other_name], other_name: array}
                yield f"{kinds[place]} {name}: swapped with {other_name}", config, swapped
    whole = [name for name, array in arrays.items() if array.dtype.kind == "i"]
    for first, second in itertools.combinations(whole, 2):
        for one, another in itertools.product((2**63 - 1, 2**62, -(2**63), 11), repeat=2):
            if all(np.iinfo(arrays[name].dtype).max >= 2**62 for name in (first, second)):
                both = {first: _at(arrays[first], "all", one), second: _at(arrays[second], "last", another)}
                yield f"{first} {one} and {second} {another}", config, {**arrays, **both}
    for index, (place, stage) in enumerate(stages_of(config)):
        for name in stage["parameters"]:
            if (stage["kind"], name) in known:
                continue
            known.add((stage["kind"], name))
            for value in JSON:
                changed = copy.deepcopy(config)
                list(stages_of(changed))[index][1]["parameters"][name] = value
                yield f"{stage['kind']} {name}: {value!r:.40}", changed, arrays
        for kind in set(kinds.values()) - {stage["kind"]}:
            changed = copy.deepcopy(config)
            list(stages_of(changed))[index][1]["kind"] = kind
            yield f"stage {place}: of kind {kind}", changed, arrays
    for change in _CHANGES:
        changed = copy.deepcopy(config)
        change(changed["programs"][0])
        yield "another configuration", changed, arrays


def _spec(key: str, value: Any, of_output: bool) -> Callable[[dict[str, Any]], None]:
    return lambda program: (program["outputs"][0] if of_output else program)["spec"].update({key: value})


_CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    *(_spec("dtype", dtype, of) for dtype in ("uint8", "float16", "float32", "float64") for of in (False, True)),
    *(_spec("container", container, of) for container in ("tensor", "pil", "numpy", "image") for of in (False, True)),
    *(
        _spec("shape", shape, of)
        for shape in ([3, 23, 12], [1, 12, 23], [3, 11, 23], [3, 12, 24], [2**31 - 1] * 3, [0, 1, 1], [3, -12, -23])
        for of in (False, True)
    ),
    *(lambda program, to=to: program["outputs"][0].update(rounding=to) for to in ("exact", "fused")),
    *(lambda program, to=to: program.update(joined=to) for to in ("one", "tuple", "stacked")),
    lambda program: program["outputs"][0]["stages"].reverse(),
    lambda program: program["outputs"][0]["stages"].__delitem__(slice(-1, None)),
    lambda program: program["outputs"].append(program["outputs"][0]),
]


def guarded(spec: ImageSpec, end: End) -> Any:
    """Return an image of a spec at an end of the guarded memory; a PIL image lies where Pillow has it."""
    channels, height, width = spec.shape
    content = torch.from_numpy(np.resize(BYTES, (height, width, channels))).movedim(-1, 0).contiguous()
    if spec.container == "pil":
        return PIL.Image.fromarray(
            content.movedim(0, -1).squeeze(-1).numpy()
            if channels == 1
            else np.ascontiguousarray(content.movedim(0, -1).numpy())
        )
    values = content.to(TORCH_DTYPES[spec.dtype])
    if spec.container == "numpy":
        interleaved = IMAGES.tensor(values, (1, width * channels, channels), end)
        return interleaved.movedim(0, -1).numpy()
    image = IMAGES.tensor(values, (height * width, width, 1), end)
    return v2.functional.to_image(image) if spec.container == "image" else image


def run(folder: Path) -> str:
    """Load a layer and run it; return what became of it."""
    try:
        layer = onelayer.load(folder)
    except OnelayerError as error:
        return f"refused: {error}"
    assert isinstance(layer, onelayer.OneLayer)
    assert isinstance(layer.source, SavedPrograms)
    for spec, outputs in layer.source.programs.items():
        shapes = [spec.shape, *(output.spec.shape for output in outputs.each)]
        if max(np.prod(np.asarray(shape, float)) for shape in shapes) > LARGEST:
            return "too large to run"
        for end in ENDS:
            try:
                image = guarded(spec, end)
                result = layer(image)
                if type(result) is torch.Tensor and type(image) is torch.Tensor:
                    out = RESULTS.flat(result.numel(), result.dtype, end).view(result.shape)
                    assert layer(image, out=out) is out
            except OnelayerError as error:
                return f"refused when it ran: {error}"
    return "taken"


def names_of(variant: str, arrays: set[str]) -> list[str]:
    """Return the words of which an error has to have one."""
    field, _, change = variant.partition(": ")
    word = field.rpartition(" ")[2].rpartition(".")[2]
    if word not in arrays or change in SHAPES or "swapped" in change:
        # Where lengths differ, either of two fields is named.
        return ["stage", "program", "cannot be read", "image", "the shape", "arrays"]
    # A range is of all that leads to a look-up.
    return [word, "the range", "look-up"]


def main() -> None:
    """Try the variants, and count what became of them."""
    faulthandler.enable()
    share, counts = float(sys.argv[2]), Counter[str]()
    rng = np.random.default_rng(0)
    # Numbers that overflow give warnings, and infinities.
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as base, Path(sys.argv[1]).open("w", encoding="utf-8") as report:
        folder = Path(base)
        for name, (transform, image, rounding) in LAYERS.items():
            onelayer.save(onelayer.compile(transform, rounding=rounding), folder, images=[image])
            config = json.loads((folder / "config.json").read_text())
            arrays = load_file(folder / "model.safetensors")
            assert run(folder) == "taken", (name, run(folder))
            for variant, changed, others in variants(config, arrays, rng):
                if rng.random() > share:
                    continue
                report.seek(0)
                report.write(f"{name}, {variant:<300}")
                report.flush()
                try:
                    text = json.dumps(changed)
                except ValueError:
                    continue
                (folder / "config.json").write_text(text)
                save_file(
                    {key: np.ascontiguousarray(each) for key, each in others.items()}, folder / "model.safetensors"
                )
                signal.alarm(SECONDS)
                what, _, problem = run(folder).partition(": ")
                signal.alarm(0)
                counts[what] += 1
                if what == "refused":
                    names = names_of(variant, {name.rpartition(".")[2] for name in arrays})
                    assert any(each in problem for each in names), f"{variant}: {problem}"
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main()
