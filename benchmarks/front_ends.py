"""Compare the pipelines of other libraries with their layers: what compiles as a whole, bit for bit, and in time.

Of timm, every distinct evaluation pipeline of the weights in its registry, and a few of what else it makes; of
open_clip and of OpenAI's CLIP, every mode. All get the same random images: sizes from 1 to 500, long and narrow ones
among them; noise, black and white, smooth colors. Then representative pipelines get photographs of sides of 300 to 640,
no size of which comes twice in a pass; each image goes through the original and the layer in turn, in one thread.
Nothing is downloaded.

    python benchmarks/front_ends.py --images 2000 --json docs/results/front-ends.json
"""

from __future__ import annotations

import json
import random
import types
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import typer
from rich.table import Table
from torchvision import transforms as v1
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

import onelayer
from onelayer.any_size import AnySizePipeline
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment

Configuration = tuple[tuple[str, Any], ...]
"""Keywords of ``timm.data.create_transform``, sorted."""

LARGEST = 500
"""Longest side of the random images."""

NARROW = 0.01
"""Share of images that are 20 to 200 times as long as wide, of which many pipelines make tens of megabytes each; others
are up to four times as long."""

SHARE = 20
"""Images that a process compares before it says what it found."""


@dataclass
class Count:
    """What was counted of a pipeline."""

    images: int = 0
    refused: int = 0
    in_pieces: int = 0
    mismatches: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        """Add what was counted elsewhere."""
        self.images += other.images
        self.refused += other.refused
        self.in_pieces += other.in_pieces
        self.mismatches += other.mismatches


@dataclass(frozen=True)
class Case:
    """A pipeline of a library.

    Args:
        library: Name of the package.
        group: Row of the table that it is counted in.
        make: Makes the pipeline.
        names: Number of names in the library's registry that have this pipeline.
        modes: Modes of the PIL images that it takes.
        of_tensors: Whether tensors of bytes are compared too, which only pipelines without Normalize take.
        is_timed: Whether the pipeline is timed, too.
    """

    library: str
    group: str
    make: Callable[[], Any]
    names: int = 1
    modes: tuple[str, ...] = ("RGB",)
    of_tensors: bool = False
    is_timed: bool = False


def timm_configurations() -> dict[Configuration, int]:
    """Count the weights in timm's registry by the pipeline that they are evaluated with, at both of their sizes."""
    import timm
    from timm.data import resolve_data_config

    counted: Counter[Configuration] = Counter()
    for name in {*timm.list_pretrained(), *timm.list_models()}:
        found = timm.get_pretrained_cfg(name)
        chosen = {} if found is None else found.to_dict()
        for at_test_size in (False, True):
            resolved = resolve_data_config(pretrained_cfg=chosen, use_test_size=at_test_size)
            readable = {key: tuple(value) if isinstance(value, list) else value for key, value in resolved.items()}
            counted[tuple(sorted(readable.items()))] += 1
    return dict(counted)


def timm_cases() -> Iterator[Case]:
    """List timm's cases."""
    from timm.data import create_transform

    def case(group: str, names: int = 1, **keywords: Any) -> Case:
        made = {key: value for key, value in keywords.items() if key in ("modes", "of_tensors", "is_timed")}
        configuration = {key: value for key, value in keywords.items() if key not in made}
        return Case("timm", group, lambda: create_transform(**configuration), names, **made)

    for configuration, names in timm_configurations().items():
        keywords = dict(configuration)
        _, height, width = keywords["input_size"]
        shape = "" if height == width else ", not square"
        group = f"registry: {keywords['crop_mode']}, {keywords['interpolation']}{shape}"
        yield case(group, names, **keywords)
    bicubic: dict[str, Any] = {"input_size": (3, 224, 224), "interpolation": "bicubic", "is_timed": True}
    yield case("center", crop_pct=0.9, **bicubic)
    yield case("squash", crop_mode="squash", crop_pct=1.0, **bicubic)
    yield case("border", crop_mode="border", crop_pct=1.0, **bicubic)
    yield case("not square", **{**bicubic, "input_size": (3, 192, 224)})
    yield case("for the prefetcher", use_prefetcher=True, modes=("RGB", "L"), of_tensors=True, **bicubic)
    yield case("a border trimmed", crop_border_pixels=8, **{**bicubic, "is_timed": False})
    yield case("NaFlex", naflex=True, max_seq_len=196, **bicubic)
    for filter_name in ("lanczos", "box", "hamming"):
        yield case(f"center, {filter_name}", input_size=224, interpolation=filter_name)


def clip_cases() -> Iterator[Case]:
    """List the cases of open_clip and of OpenAI's CLIP."""
    from open_clip.transform import image_transform

    modes = ("RGB", "L")
    for mode in ("shortest", "longest", "squash"):
        for size in (224, (192, 256)):
            for interpolation in ("bicubic", "bilinear"):
                yield Case(
                    "open_clip",
                    f"{mode}, {interpolation}" + ("" if size == 224 else ", not square"),
                    lambda s=size, m=mode, i=interpolation: image_transform(  # type: ignore[misc]
                        s, is_train=False, resize_mode=m, interpolation=i
                    ),
                    modes=modes,
                    is_timed=size == 224 and interpolation == "bicubic",
                )
    yield Case("clip", "OpenAI's preprocess", of_openai, modes=modes, is_timed=True)


def _convert_image_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    return image.convert("RGB")


def of_openai() -> Any:
    """Make ``clip.clip._transform(224)``, whose package is in no registry; its function has the name it has there."""
    function = types.FunctionType(_convert_image_to_rgb.__code__, {}, "_convert_image_to_rgb")
    function.__module__, function.__qualname__ = "clip.clip", "_convert_image_to_rgb"
    return v1.Compose(
        [
            v1.Resize(224, interpolation=v1.InterpolationMode.BICUBIC),
            v1.CenterCrop(224),
            function,
            v1.ToTensor(),
            v1.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )


def random_image(chance: random.Random) -> PIL.Image.Image:
    """Make an image of a random size and of random content."""
    long = chance.randint(1, LARGEST)
    short = max(long // chance.randint(20, 200), 1) if chance.random() < NARROW else chance.randint(-(-long // 4), long)
    height, width = chance.choice(((long, short), (short, long)))
    generator = np.random.default_rng(chance.getrandbits(32))
    content = chance.choice(("noise", "black and white", "smooth"))
    shape = (8, 8, 3) if content == "smooth" else (height, width, 3)
    levels = generator.integers(0, 256, shape, dtype=np.uint8)
    if content == "black and white":
        levels = np.where(levels < 128, 0, 255).astype(np.uint8)
    return PIL.Image.fromarray(levels).resize((width, height), PIL.Image.Resampling.BICUBIC)


class Compared:
    """A pipeline, its layer, and what was counted so far.

    Args:
        case: The pipeline.
    """

    def __init__(self, case: Case) -> None:
        self.original = case.make()
        self.layer = onelayer.compile(self.original)
        self._kinds = [*case.modes, *(["tensor"] if case.of_tensors else [])]
        self.count = Count()

    def compare(self, number: int, rgb: PIL.Image.Image) -> None:
        """Compare the results of an image, in one of the modes that the pipeline takes."""
        kind, count = self._kinds[number % len(self._kinds)], self.count
        image: Any = pil_to_tensor(rgb) if kind == "tensor" else rgb.convert(kind)
        expected, found = (_outcome(function, image) for function in (self.original, self.layer))
        is_refused = isinstance(expected, str)
        count.images += 1
        count.refused += is_refused
        count.in_pieces += not is_refused and not isinstance(self.layer._of_any_size(image), AnySizePipeline)
        is_same = expected == found if is_refused else _is_same(expected, found)
        if not is_same:
            count.mismatches.append(f"{self.original!r} of {kind} {tuple(np.shape(image))}")


@cache
def cases_of(only: str | None) -> list[Case]:
    """List the cases whose library and group contain a text."""
    return [case for case in (*timm_cases(), *clip_cases()) if only is None or only in f"{case.library} {case.group}"]


def compare_share(only: str | None, images: int, seed: str) -> list[Count]:
    """Compare all cases on random images, in a process of its own; return a count of each."""
    torch.set_num_threads(1)
    # The layers stay for the next share: they have their kernels then.
    compared, chance = _compared(only), random.Random(seed)  # noqa: S311 - no secret
    for each in compared:
        each.count = Count()
    for number in range(images):
        image = random_image(chance)
        for each in compared:
            each.compare(number, image)
    return [each.count for each in compared]


def groups(cases: list[Case], counts: list[Count]) -> list[dict[str, Any]]:
    """Add up what was counted of the pipelines of each group."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for case, count in zip(cases, counts, strict=True):
        row = rows.setdefault(
            (case.library, case.group),
            {
                "library": case.library,
                "group": case.group,
                **dict.fromkeys(("pipelines", "names", "whole", "images", "refused"), 0),
                "mismatches": [],
            },
        )
        row["pipelines"] += 1
        row["names"] += case.names
        row["whole"] += count.in_pieces == 0
        row["images"] += count.images
        row["refused"] += count.refused
        row["mismatches"] += count.mismatches
    return list(rows.values())


@cache
def _compared(only: str | None) -> list[Compared]:
    return [Compared(case) for case in cases_of(only)]


def _outcome(function: Callable[[Any], Any], image: Any) -> Any:
    try:
        return function(image)
    except Exception as error:  # noqa: BLE001 - the layer has to raise the same
        return type(error).__name__


def _is_same(expected: torch.Tensor, found: Any) -> bool:
    return isinstance(found, torch.Tensor) and found.dtype == expected.dtype and torch.equal(expected, found)


def measure(case: Case, count: int, seconds: float) -> dict[str, Any]:
    """Measure milliseconds per photograph of a pipeline and of its layer, in turn."""
    originals, chance = bundled(), np.random.default_rng(5)
    sizes = dict.fromkeys(tuple(map(int, size)) for size in chance.integers(300, 641, (2 * count, 2)))
    images = [
        to_pil_image(originals[number % len(originals)].at(height, width, 3))
        for number, (height, width) in enumerate(list(sizes)[:count])
    ]
    original = case.make()
    functions = {"original": original, "onelayer": onelayer.compile(original)}
    in_turn = medians_in_turn(functions, images, seconds=seconds, turns=count)
    medians = {who: 1000 * median for who, median in in_turn.items()}
    return {
        "library": case.library,
        "pipeline": case.group,
        "milliseconds": medians,
        "ratio": medians["original"] / medians["onelayer"],
    }


def main(
    images: Annotated[int, typer.Option(help="Random images that all pipelines get.", min=1)] = 40,
    seconds: Annotated[float, typer.Option(help="Time for each pipeline that is timed; 0 for none.")] = 4.0,
    photographs: Annotated[int, typer.Option(help="Photographs of a pass.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the random images.")] = 0,
    processes: Annotated[int, typer.Option(help="Processes that compare.", min=1)] = 2,
    only: Annotated[str | None, typer.Option(help="Text that the library and group contain.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Compare, time, and print both tables."""
    torch.set_num_threads(1)
    cases = cases_of(only)
    counts = [Count() for _ in cases]
    record: dict[str, Any] = {
        "seed": seed,
        "seconds": seconds,
        "versions": {package: version(package) for package in ("timm", "open_clip_torch")},
        "timed": [],
        "environment": current_environment().model_dump(),
    }

    def write() -> None:
        if json_file is not None:
            json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    with progress() as display:
        timed = [case for case in cases if case.is_timed and seconds > 0]
        record["timed"] = times = [
            measure(each, photographs, seconds) for each in display.track(timed, description="Time")
        ]
        shares = [min(SHARE, images - begin) for begin in range(0, images, SHARE)]
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            done = [pool.submit(compare_share, only, share, f"{seed}, {at}") for at, share in enumerate(shares)]
            for future in display.track(as_completed(done), total=len(done), description="Bit for bit"):
                for count, more in zip(counts, future.result(), strict=True):
                    count.add(more)
                # What was compared is kept if the rest is not awaited.
                record["compared"] = compared = groups(cases, counts)
                write()
    counted = Table("library", "pipelines", "number", "names", "whole", "images", "refused by both", "mismatches")
    for row in compared:
        numbers = (row[key] for key in ("pipelines", "names", "whole", "images", "refused"))
        mismatches = len(row["mismatches"])
        counted.add_row(row["library"], row["group"], *(f"{number:,}" for number in (*numbers, mismatches)))
    results.print(counted)
    table = Table(
        "library",
        "pipeline",
        "original / ms",
        "onelayer / ms",
        "ratio",
        title="PIL photographs, no size twice in a pass",
    )
    for timed_case in times:
        medians = [f"{timed_case['milliseconds'][who]:.2f}" for who in ("original", "onelayer")]
        table.add_row(timed_case["library"], timed_case["pipeline"], *medians, f"{timed_case['ratio']:.1f}")
    results.print(table)
    if found := sum(len(count.mismatches) for count in counts):
        raise SystemExit(f"{found} results differ")


if __name__ == "__main__":
    typer.run(main)
