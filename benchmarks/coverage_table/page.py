"""Write the coverage table as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coverage_table.records import LIMIT, CompositionRow, CoverageRecord, PipelineRow

_WORST = 10
"""Compositions shown in full."""


def page(record: CoverageRecord) -> str:
    """Write the whole page."""
    versions = record.environment.versions
    over = [row for row in record.compositions if row.difference.largest > LIMIT]
    lines = [
        "# Coverage: one layer for every pipeline, and how exact it is",
        "",
        f"Made by `{record.command}` with "
        + ", ".join(f"{name} {versions[name]}" for name in ("onelayer", "torch", "torchvision", "pillow"))
        + f" on {record.environment.cpu}, {record.environment.torch_threads} threads, {record.created[:10]}.",
        "",
        f"Each pipeline on photographs ({', '.join(record.photographs)}) of {len(record.sizes)} sizes between "
        f"{_size(min(record.sizes, key=_area))} and {_size(max(record.sizes, key=_area))}, as float32 tensors in "
        "[0, 1]: the largest difference between an output value of `onelayer.compile(transform)(image)` and that of "
        "`transform(image)`, divided by the range of the channel, which is the output for a white image minus the "
        "output for a black one.",
        "",
        "For comparison: the difference of each, in float32, from torchvision in float64. Torchvision places the "
        "samples of a resize in the precision of the image, and so does the layer.",
        "",
        "PyTorch places bilinear samples without antialiasing (yolo) with another rounding where it has one thread or "
        "the output is small. Torchvision with one thread differed from itself with two by 1e-5 of the range on such "
        "photographs, and the layer differed from it by as much.",
        "",
        *_table(
            [
                "pipeline", "largest, of the range", "in output units", "at", "mean",
                "layer − float64", "torchvision − float64", f"sizes over {LIMIT:.0e}",
            ],
            ([*_exactness(row), f"{len(row.over_limit)} of {len(record.sizes)}"] for row in record.pipelines),
        ),
        "",
        "## What fusing saves",
        "",
        "Per image of the usual size. Taps are the weights per output value along rows × columns; numbers moved are "
        "those read from memory or written to it, stage by stage.",
        "",
        *_table(
            ["pipeline", "usual image", "taps", "stages", "multiplications", "numbers moved"],
            map(_saving, record.pipelines),
        ),
        "",
        "## uint8 images",
        "",
        "With `rounding='fused'`: on uint8 tensors and PIL images torchvision rounds after every transform and "
        "saturates between the two passes of a resize; the layer rounds once. Largest difference in grey levels, 1/255 "
        "of the range, on images below a million pixels.",
        "",
        *_table(
            ["pipeline", "uint8 tensor", "PIL image"],
            ([row.name, f"{row.uint8_grey_levels:.2f}", f"{row.pil_grey_levels:.2f}"] for row in record.pipelines),
        ),
    ]  # fmt: skip
    if refused := [f"- {row.name}, {reason}" for row in record.pipelines for reason in row.refused]:
        lines += ["", "## What torchvision refuses", "", *refused]
    if record.compositions:
        lines += [
            "",
            "## Random compositions",
            "",
            f"{len(record.compositions)} of one to five transforms (seed {record.seed}): **{len(over)}** differ by "
            f"more than {LIMIT:.0e} of the range. Largest difference {_largest(record, 'largest'):.1e}, median "
            f"{record.compositions[len(record.compositions) // 2].difference.largest:.1e}; largest of the layer from "
            f"torchvision in float64 {_largest(record, 'layer_from_float64'):.1e}, of torchvision in float32 from the "
            f"same {_largest(record, 'transforms_from_float64'):.1e}. The {_WORST} worst:",
            "",
            *_table(
                ["largest", "layer − float64", "torchvision − float64", "image", "transforms"],
                map(_composition, record.compositions[:_WORST]),
            ),
        ]
    return "\n".join(lines) + "\n"


def _largest(record: CoverageRecord, what: str) -> float:
    return max(float(getattr(row.difference, what)) for row in record.compositions)


def _exactness(row: PipelineRow) -> list[str]:
    difference = row.difference
    return [
        f"**{row.name}**: {row.description}",
        _marked(difference.largest),
        f"{row.largest_in_output_units:.1e}",
        f"{_size(row.worst_size)} ({row.worst_photograph})",
        f"{difference.mean:.1e}",
        f"{difference.layer_from_float64:.1e}",
        f"{difference.transforms_from_float64:.1e}",
    ]


def _saving(row: PipelineRow) -> list[str]:
    return [
        row.name,
        "×".join(map(str, row.usual_shape)),
        row.taps,
        f"{row.stages[0]} → {row.stages[1]}",
        *(f"{before:,} → {after:,}" for before, after in (row.multiplications, row.numbers_moved)),
    ]


def _composition(row: CompositionRow) -> list[str]:
    return [
        _marked(row.difference.largest),
        f"{row.difference.layer_from_float64:.1e}",
        f"{row.difference.transforms_from_float64:.1e}",
        f"{row.photograph} {_size(row.size)}",
        ", ".join(f"`{step}`" for step in row.steps),
    ]


def _marked(difference: float) -> str:
    return f"**{difference:.1e}**" if difference > LIMIT else f"{difference:.1e}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
