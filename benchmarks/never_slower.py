"""Compare layers with the transforms that they replace, one image at a time, the worst ratio first.

Single transforms and whole evaluations, of tensors of bytes, tensors of float32 and PIL images, from 28×28 to
3279×4928. No two images in a row are of one size, so that nothing can be kept from one for the next. Each image goes
through the original and the layer in turn, in one thread; the first quarter does not count. Results are compared first,
bit for bit, or, of float32, up to rounding. With `--peers`, plain resizes are compared with fast_image_resize and
libvips too, whose pixels are others (`pip install cykooz-resizer pyvips-binary pyvips`).

    python benchmarks/never_slower.py --json docs/results/never-slower.json
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.table import Table
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

import onelayer
from onelayer.bench.timing import medians_in_turn
from onelayer.console import progress, results
from onelayer.data.photographs import bundled
from onelayer.environment import current_environment

TITLE = "One image at a time, one thread; no two in a row are of one size; the worst first"
SIZES = ((28, 28), (90, 120), (375, 500), (1080, 1920), (3000, 4000))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BICUBIC = v2.InterpolationMode.BICUBIC


@dataclass(frozen=True)
class Case:
    """A transform of a container, and a height and a width that images are about as large as."""

    name: str
    transform: Callable[[Any], Any]
    container: str
    size: tuple[int, int]


def cases() -> Iterator[Case]:
    """List all cases."""
    to_float = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))]
    for size in SIZES:
        side = min(256, size[0] * 2 // 3)
        for container in ("tensor", "float32", "PIL"):
            conversion = [v1.ToTensor(), v1.Normalize(MEAN, STD)] if container == "PIL" else to_float
            library: Any = v1 if container == "PIL" else v2
            for name, steps in {
                "Resize": [v2.Resize((side, side * 4 // 3))],
                "Resize, bicubic": [v2.Resize(side, _BICUBIC)],
                "CenterCrop": [v2.CenterCrop(side)],
                "horizontal flip": [v2.RandomHorizontalFlip(1)],
                "vertical flip": [v2.RandomVerticalFlip(1)],
                "Pad": [v2.Pad(4, fill=3)],
                "to float, Normalize": conversion,
                "Resize, CenterCrop, to float, Normalize": [
                    library.Resize(side),
                    library.CenterCrop(side),
                    *conversion,
                ],
            }.items():
                yield Case(name, library.Compose(steps) if len(steps) > 1 else steps[0], container, size)
    for container in ("tensor", "PIL"):
        yield Case("Resize to 567×852", v2.Resize((567, 852)), container, (3279, 4928))


def images_of(case: Case, count: int) -> list[Any]:
    """Make photographs of about the size of a case, each a little larger than the one before."""
    originals, (height, width) = bundled(), case.size
    tensors = [originals[n % len(originals)].at(height + n, width + 2 * n, 3) for n in range(count)]
    if case.container == "PIL":
        return [to_pil_image(tensor) for tensor in tensors]
    if case.container == "float32":
        # As conversions of what decoders leave do: their memory is kept in its order.
        tensors = [v2.functional.to_dtype(tensor, torch.float32, scale=True) for tensor in tensors]
    # As decoders leave them: the colors of a pixel side by side.
    return [tensor.movedim(0, -1).contiguous().movedim(-1, 0) for tensor in tensors]


def peers_of(case: Case) -> dict[str, Callable[[Any], Any]]:
    """Return functions of other libraries for a plain bilinear resize of PIL images to PIL images."""
    if not isinstance(case.transform, v2.Resize) or case.container != "PIL" or len(case.transform.size) != 2:
        return {}
    import pyvips
    from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
    from PIL import Image

    resizer, options = Resizer(), ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.bilinear), use_alpha=False)
    height, width = case.transform.size

    def fast_image_resize(image: Any) -> Any:
        made = Image.new("RGB", (width, height))
        resizer.resize_pil(image, made, options)
        return made

    def vips(image: Any) -> Any:
        read = pyvips.Image.new_from_array(np.asarray(image))
        resized = read.resize(width / read.width, vscale=height / read.height, kernel="linear")
        return Image.fromarray(resized.numpy())

    return {"fast_image_resize": fast_image_resize, "pyvips": vips}


def measure(case: Case, seconds: float, with_peers: bool) -> dict[str, Any]:
    """Measure milliseconds per image of the original, the layer and, where they can, its peers."""
    images = images_of(case, 8 if case.size[0] < 1000 else 3)
    functions: dict[str, Callable[[Any], Any]] = {
        "original": case.transform,
        "onelayer": onelayer.compile(case.transform),
    }
    for image in images:
        ours, theirs = (functions[who](image) for who in ("onelayer", "original"))
        compared = np.array_equal if case.container != "float32" else partial(np.allclose, rtol=0, atol=1e-4)
        if not compared(np.asarray(ours), np.asarray(theirs)):
            raise SystemExit(f"{case.name} of {case.container} {case.size}: the pixels differ")
    if with_peers:
        functions |= peers_of(case)
    in_turn = medians_in_turn(functions, images, seconds=seconds, turns=12)
    medians = {who: 1000 * median for who, median in in_turn.items()}
    return {
        "case": case.name,
        "images": case.container,
        "size": case.size,
        "milliseconds": medians,
        "ratio": medians["original"] / medians["onelayer"],
    }


def main(
    seconds: Annotated[float, typer.Option(help="Time for each case.")] = 1.5,
    with_peers: Annotated[bool, typer.Option("--peers", help="Compare with other libraries too.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the record.")] = None,
) -> None:
    """Time all cases in turn and print the ratios."""
    torch.set_num_threads(1)
    os.environ["VIPS_CONCURRENCY"] = "1"
    with progress() as display:
        rows = [measure(case, seconds, with_peers) for case in display.track(list(cases()), description="Cases")]
    rows.sort(key=lambda row: row["ratio"])
    table = Table("transform", "images", "size", "original ms", "onelayer ms", "ratio", title=TITLE)
    peers = ("fast_image_resize", "pyvips") if with_peers else ()
    for peer in peers:
        table.add_column(f"{peer} ms")
    for row in rows:
        medians = row["milliseconds"]
        cells = [row["case"], row["images"], "×".join(map(str, row["size"]))]
        cells += [f"{medians['original']:.3f}", f"{medians['onelayer']:.3f}", f"{row['ratio']:.2f}"]
        cells += [f"{medians[peer]:.3f}" if peer in medians else "" for peer in peers]
        table.add_row(*cells)
    results.print(table)
    if json_file is not None:
        record = {"title": TITLE, "rows": rows, "environment": current_environment().model_dump()}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
