"""``onelayer apply``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onelayer.cli.app import app, check_installed, examples
from onelayer.cli.input_options import ContainerName, PipelineText, Rounding, rounding_mode
from onelayer.cli.pipeline_source import check_pipeline, find_pipeline, source_file
from onelayer.cli.user_code import is_path
from onelayer.console import console, results
from onelayer.errors import OnelayerError

_SHOWN = 10
"""Bad images that are listed."""


class FormatName(StrEnum):
    """Format of the output's files."""

    parquet = "parquet"
    webdataset = "webdataset"


class EncodingName(StrEnum):
    """Form of the results in the output's files."""

    arrays = "arrays"
    png = "png"
    jpeg = "jpeg"


class ModeName(StrEnum):
    """Mode that images are converted to."""

    RGB = "RGB"
    L = "L"
    stored = "stored"


@app.command(
    epilog=examples(
        "onelayer apply resnet50 photographs/ prepared/",
        "onelayer apply my_transforms.py:shrink shards/ smaller/ --write jpeg --quality 92",
        "onelayer apply clip data.parquet prepared/ --column picture --skip-bad",
        "onelayer apply resnet50 /shared/photographs /shared/prepared --address auto",
    )
)
def apply(
    pipeline: PipelineText,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Folder of images, Parquet files or WebDataset shards, with subfolders; or a Parquet file or shard.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="Folder to write, or to go on with.", show_default=False)
    ],
    to: Annotated[
        FormatName | None, typer.Option("--to", help="Format of the files.", show_default="parquet; of shards, shards")
    ] = None,
    write: Annotated[
        EncodingName,
        typer.Option("--write", help="Arrays of pixels; or images, encoded again, where the pipeline gives uint8."),
    ] = EncodingName.arrays,
    quality: Annotated[
        int | None, typer.Option(help="Quality of JPEG files.", min=1, max=100, show_default="90")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="Column of encoded images in Parquet files, or suffix of their members in shards.",
            show_default="img or image; the only suffix of image files",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column of Parquet files that names images.", show_default="file and row"),
    ] = None,
    container: Annotated[
        ContainerName, typer.Option("--as", help="Container in which the pipeline gets images.")
    ] = ContainerName.pil,
    mode: Annotated[
        ModeName,
        typer.Option(help="Mode that images are converted to; [bold]stored[/bold] leaves grey images grey (L)."),
    ] = ModeName.RGB,
    rounding: Rounding = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of random transforms: each image's numbers follow from it and the image's name.",
            min=0,
            show_default="random transforms are refused",
        ),
    ] = None,
    images_per_file: Annotated[
        int, typer.Option(help="Images in a file of the output; of shards, a file is made of each.", min=1)
    ] = 500,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out images that cannot be used, name them and count them.")
    ] = False,
    max_bad: Annotated[
        int | None,
        typer.Option(help="Number of images that --skip-bad leaves out at most.", min=0, show_default="100"),
    ] = None,
    certify: Annotated[
        int | None,
        typer.Option(
            help="Number of images at the beginning on which the layer is verified.", min=0, max=100, show_default="4"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes.", min=1, show_default="one for each CPU")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, such as auto, whose nodes see INPUT and OUTPUT under these paths.",
            show_default="this machine alone",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what another pipeline, data set or option left in OUTPUT.")
    ] = False,
) -> None:
    """Preprocess a data set, on this machine or a cluster; the same command goes on where a run was killed.

    Keys, labels and other columns are kept. OUTPUT has Parquet files or shards, and a manifest that says what they were
    made of and by.
    """
    if quality is not None and write is not EncodingName.jpeg:
        raise OnelayerError("--quality was given", expected="--write jpeg with it")
    if max_bad is not None and not skip_bad:
        raise OnelayerError("--max-bad was given", expected="--skip-bad with it")
    if not data.exists():
        raise OnelayerError(f"there is no {data}", expected="a folder, a Parquet file or a shard")
    if data.is_dir() and output.resolve().is_relative_to(data.resolve()):
        raise OnelayerError(f"the output {output} lies in the data set", expected="a folder outside of it")
    check_pipeline(pipeline)
    check_installed("ray", "pyarrow", "pandas", extra="ray", purpose="onelayer apply")

    from onelayer.offline.cluster import source_digest
    from onelayer.offline.listing import find_data_set
    from onelayer.offline.manifest import Options
    from onelayer.offline.run import CERTIFIED, MAX_BAD, Request, apply_pipeline

    found = find_pipeline(pipeline)
    place, _, attribute = pipeline.rpartition(":")
    file = source_file(pipeline)
    files = find_data_set(data)
    # What is read must not be what is replaced, nor by way of links. Images are not, of which there may be millions.
    if files.kind != "folder":
        for name in files.names:
            if (files.root / name).resolve().is_relative_to(output.resolve()):
                raise OnelayerError(
                    f"{files.root / name} of the data set lies in the output {output}, which a run may replace",
                    expected="another folder for the output",
                )
    code = None if file is None else file.parents[0 if is_path(place) else place.count(".")]
    form = to or (FormatName.webdataset if files.kind == "shards" else FormatName.parquet)
    request = Request(
        # A data set is passed on, a machine's folders are not.
        name=pipeline if file is None else f"{file.name}:{attribute}",
        transform=found.transform,
        source=None if file is None or code is None else source_digest(file, code),
        files=files,
        output=output,
        options=Options(
            format=form.value,
            encoding=write.value,
            quality=(quality or 90) if write is EncodingName.jpeg else None,
            images_per_file=images_per_file,
            container=container.value,
            mode=mode.value,
            column=column,
            key=key,
            seed=seed,
            rounding=rounding_mode(rounding),
        ),
        skip_bad=skip_bad,
        max_bad=MAX_BAD if max_bad is None else max_bad,
        certified_images=CERTIFIED if certify is None else certify,
        overwrite=overwrite,
        workers=workers,
        address=address,
        code=code,
    )
    summary = apply_pipeline(request)
    records = summary.manifest.finished or ()
    bad = [each for record in records for each in record.bad]
    for each in bad[:_SHOWN]:
        console.print(f"left out: {each.name}: {each.problem}", markup=False, highlight=False, soft_wrap=True)
    if len(bad) > _SHOWN:
        console.print(f"… and {len(bad) - _SHOWN:,} more, all of them in the manifest")
    total = sum(record.images for record in records)
    rate = f" at {summary.images_per_second:,.0f} a second" if summary.images_per_second else ""
    here = "" if summary.images == total else f" ({summary.images:,} now)"
    counts = f"{total:,} images in {len(records):,} files{here}{rate}, {len(bad):,} left out"
    results.print(f"{counts}: [bold]{escape(str(output))}[/bold]", soft_wrap=True)
    if files.others:
        results.print(f"Files of other kinds in INPUT, which were not read: {files.others:,}")
    if summary.went_on and certify is not None:
        results.print("--certify was left aside: the certificate is that of the run that began this output.")
    certificate = summary.manifest.certificate
    results.print(
        f"Not certified: {summary.manifest.no_certificate_because}" if certificate is None else certificate.guarantee,
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
