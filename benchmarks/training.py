"""Compare layers with the random transforms that they replace, for training: one image at a time, in one thread.

Photographs of 300 to 640 pixels a side, no two of one size, and patches of 32×32. Each goes through the original and
the layer in turn; the first quarter does not count. Batches of patches, each a tensor, go through the original one by
one, and through `layer.batch` at once. Results are compared first, bit for bit, for equal seeds. The extra `front-ends`
has timm and open_clip.

    python benchmarks/training.py --json docs/results/training.json
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import open_clip
import torch
import typer
from rich.table import Table
from timm.data import create_transform
from torch.utils._pytree import tree_flatten
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

import onelayer
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment
from onelayer.pipelines.training import RECIPES, RECIPES_OF_TIMM, MultiCrop
from onelayer.selfcheck.checking import difference_of

TITLE = "Random transforms for training, one image at a time, one thread; no two photographs of a pass are of one size"
BATCH = 256
BATCHES_TITLE = f"Batches of {BATCH} patches of 32×32, eight in turn, drawn for each patch, one thread"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGES = 48
PUBLISHED = ("ImageNet, TrivialAugment", "ImageNet, RandAugment", "SimCLR", "SimCLR without its blur", "MAE", "CLIP")
"""Names of recipes of published code that are not spelled out here."""


@dataclass(frozen=True)
class Recipe:
    """Random transforms of a container, and whether images are patches of 32×32."""

    name: str
    transform: Callable[[Any], Any]
    container: str
    is_small: bool = False


def recipes() -> Iterator[Recipe]:
    """List all recipes."""
    of_v1 = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
    of_v2 = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    name = "RandomResizedCrop, flip, to float, Normalize"
    yield Recipe(f"{name} (v1)", v1.Compose([v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), *of_v1]), "PIL")
    for container in ("PIL", "tensor", "tensor, planes"):
        steps = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *of_v2]
        yield Recipe(f"{name} (v2)", v2.Compose(steps), container)
    name = "RandomCrop with padding, flip, to float, Normalize"
    cifar = v1.Compose([v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), *of_v1])
    yield Recipe(f"{name} (v1)", cifar, "PIL", is_small=True)
    for container in ("PIL", "tensor"):
        steps = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *of_v2]
        yield Recipe(f"{name} (v2)", v2.Compose(steps), container, is_small=True)
    for container in ("PIL", "tensor"):
        steps = [v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip(), *of_v2]
        name = "RandomCrop with a reflected border, flip, to float, Normalize (v2)"
        yield Recipe(name, v2.Compose(steps), container, is_small=True)
    steps = [v2.RandomHorizontalFlip(), v2.RandomResizedCrop(224), *of_v2]
    yield Recipe("flip, RandomResizedCrop, to float, Normalize (v2)", v2.Compose(steps), "PIL")
    detection = [v2.RandomHorizontalFlip(), v2.RandomShortestSize([240, 256, 272, 288], max_size=480), *of_v2]
    yield Recipe("flip, RandomShortestSize, to float, Normalize", v2.Compose(detection), "PIL")
    segmentation = [v2.RandomResize(200, 600), v2.RandomCrop(192), v2.RandomHorizontalFlip(), *of_v2]
    yield Recipe("RandomResize, RandomCrop, flip, to float, Normalize", v2.Compose(segmentation), "PIL")
    crop = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()]
    jitters = {
        "ColorJitter without hue": v2.ColorJitter(0.4, 0.4, 0.4),
        "ColorJitter": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
    }
    for name, jitter in jitters.items():
        for container in ("PIL", "tensor, planes"):
            steps = [*crop, jitter, *of_v2]
            yield Recipe(f"RandomResizedCrop, flip, {name}, to float, Normalize", v2.Compose(steps), container)
    colors: list[Any] = [
        v2.RandomAdjustSharpness(2, p=1), v2.RandomAutocontrast(p=1), v2.RandomEqualize(p=1),
        v2.RandomGrayscale(p=0.999), v2.RandomPosterize(3, p=0.999), v2.RandomSolarize(128, p=0.999),
        v2.ColorJitter(brightness=0.4), v2.ColorJitter(contrast=0.4), v2.ColorJitter(saturation=0.4),
        v2.ColorJitter(hue=0.3),
    ]  # fmt: skip
    for color in colors:
        yield Recipe(f"{color} alone", color, "PIL")
    kind = v1.InterpolationMode.BILINEAR
    for policy in (v1.AutoAugment, v1.AugMix):
        augmented = [
            v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), policy(interpolation=kind), *of_v1,
            v1.RandomErasing(0.1),
        ]  # fmt: skip
        yield Recipe(f"ClassificationPresetTrain with {policy.__name__} (v1)", v1.Compose(augmented), "PIL")
    bicubic = v1.InterpolationMode.BICUBIC
    for mode in (v1.InterpolationMode.NEAREST, kind, bicubic):
        warps: list[Any] = [
            v2.RandomRotation(15, mode), v2.RandomAffine(0, shear=15, interpolation=mode),
            v2.RandomPerspective(p=1, interpolation=mode),
        ]  # fmt: skip
        for warp in warps:
            # Torchvision has no bicubic warps of tensors.
            for container in ("PIL", "tensor, planes")[: 1 if mode == bicubic else 2]:
                yield Recipe(f"{warp} alone", warp, container)
    yield Recipe(f"{v2.TrivialAugmentWide()} alone", v2.TrivialAugmentWide(), "tensor, planes")
    for name in PUBLISHED:
        yield Recipe(name, RECIPES[name](224), "PIL")
    for name, make in RECIPES_OF_TIMM.items():
        yield Recipe(name, make(224), "PIL")
    yield Recipe("DINO, ten views", MultiCrop(), "PIL")
    for interpolation in ("bicubic", "random"):
        transform = create_transform((3, 224, 224), is_training=True, color_jitter=None, interpolation=interpolation)
        yield Recipe(f"timm, {interpolation}, without jitter", transform, "PIL")
    yield Recipe("open_clip", open_clip.image_transform(224, is_train=True), "PIL")


def compiled(recipe: Recipe) -> Callable[[Any], Any]:
    """Compile a recipe, or each view of one that makes several."""
    transform = recipe.transform
    return transform.compiled(onelayer.compile) if isinstance(transform, MultiCrop) else onelayer.compile(transform)


def images_of(recipe: Recipe) -> list[Any]:
    """Make photographs, or patches, in the container of a recipe."""
    originals, rng = bundled(), np.random.default_rng(0)
    sizes = [(32, 32)] * IMAGES if recipe.is_small else rng.integers(300, 641, (IMAGES, 2)).tolist()
    tensors = [originals[n % len(originals)].at(height, width, 3) for n, (height, width) in enumerate(sizes)]
    if recipe.container == "PIL":
        return [to_pil_image(tensor) for tensor in tensors]
    if recipe.container == "tensor":
        # As decoders leave them: the colors of a pixel side by side.
        return [tensor.movedim(0, -1).contiguous().movedim(-1, 0) for tensor in tensors]
    return [tensor.contiguous() for tensor in tensors]


def or_refusal(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a function return its ValueError: timm posterizes a few images to 0 bits, which Pillow 13 refuses."""

    def run(image: Any) -> Any:
        try:
            return function(image)
        except ValueError as error:
            return error

    return run


def measure(recipe: Recipe, seconds: float) -> dict[str, Any]:
    """Measure microseconds per image of the original and the layer."""
    images = images_of(recipe)
    functions = {"original": or_refusal(recipe.transform), "onelayer": or_refusal(compiled(recipe))}
    for seed, image in enumerate(images):
        made = []
        for who in ("onelayer", "original"):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the generator that timm draws from
            made.append(tree_flatten(functions[who](image))[0])
        refused = [isinstance(views[0], ValueError) for views in made]
        if any(refused) and all(refused):
            continue
        if any(difference_of(*views) is not None for views in zip(*made, strict=True)):
            raise SystemExit(f"{recipe.name} of {recipe.container}: the pixels differ")
    return row_of(recipe, medians_in_turn(functions, images, seconds=seconds, turns=len(images)))


def one_by_one(transform: Callable[[Any], Any], batch: torch.Tensor) -> torch.Tensor:
    """Apply transforms to each image of a batch, and make one of the results."""
    return torch.stack([transform(image) for image in batch])


def measure_batches(recipe: Recipe, seconds: float) -> dict[str, Any]:
    """Measure microseconds per patch of transforms that are called for each, and of a layer that takes a batch."""
    patches = torch.stack([original.at(32, 32, 3) for original in bundled()])
    batches = [patches[torch.arange(at, at + BATCH) % len(patches)] for at in range(8)]
    functions = {
        "original": partial(one_by_one, recipe.transform),
        "onelayer": onelayer.compile(recipe.transform).batch,
    }
    made = []
    for function in functions.values():
        torch.manual_seed(0)
        made.append(function(batches[0]))
    if not torch.equal(*made):
        raise SystemExit(f"{recipe.name}, batches: the pixels differ")
    return row_of(recipe, medians_in_turn(functions, batches, seconds=seconds, turns=len(batches)), BATCH)


def row_of(recipe: Recipe, seconds: Mapping[str, float], images: int = 1) -> dict[str, Any]:
    """Make a row of a record of the medians of the seconds for so many images."""
    return {
        "recipe": recipe.name,
        "images": recipe.container,
        "microseconds": {who: 1e6 / images * median for who, median in seconds.items()},
        "ratio": seconds["original"] / seconds["onelayer"],
    }


def table_of(title: str, rows: list[dict[str, Any]]) -> Table:
    """Lay out rows."""
    table = Table("recipe", "images", "original µs", "onelayer µs", "ratio", title=title)
    for row in rows:
        medians = row["microseconds"]
        cells = [row["recipe"], row["images"], f"{medians['original']:,.0f}", f"{medians['onelayer']:,.0f}"]
        table.add_row(*cells, f"{row['ratio']:.2f}")
    return table


def main(
    seconds: Annotated[float, typer.Option(help="Time for each recipe.")] = 3.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Time all recipes in turn and print the ratios, the worst first."""
    torch.set_num_threads(1)
    with progress() as display:
        rows = [measure(recipe, seconds) for recipe in display.track(list(recipes()), description="Recipes")]
        of_patches = [recipe for recipe in recipes() if recipe.is_small and recipe.container == "tensor"]
        batches = [measure_batches(recipe, seconds) for recipe in display.track(of_patches, description="Batches")]
    rows.sort(key=lambda row: row["ratio"])
    results.print(table_of(TITLE, rows))
    results.print(table_of(BATCHES_TITLE, batches))
    if json_file is not None:
        record = {
            "title": TITLE,
            "rows": rows,
            "batches_title": BATCHES_TITLE,
            "batches": batches,
            "environment": current_environment().model_dump(),
        }
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
