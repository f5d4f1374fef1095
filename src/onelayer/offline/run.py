"""Apply a pipeline to a data set: list it, try the pipeline, write what is missing of the output."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.console import hidden_progress, progress
from onelayer.data.encoded import BadImage
from onelayer.environment import current_environment, installed_versions
from onelayer.errors import Interrupted, OnelayerError
from onelayer.formats import without_addresses
from onelayer.layer import OneLayer
from onelayer.layer import compile as compiled
from onelayer.offline import manifest as records
from onelayer.offline.cluster import WrittenPart, write_parts
from onelayer.offline.decoding import decode
from onelayer.offline.listing import DataSetFiles, Listing, list_parts
from onelayer.offline.manifest import (
    DataSetSummary,
    Manifest,
    Options,
    OutputFolder,
    PartRecord,
    PipelineProvenance,
    refuse_other,
)
from onelayer.offline.part_writer import Job, drawing_error, refuse_bad, result_of
from onelayer.offline.readers import InputPart
from onelayer.offline.seeds import generator_states, seed_generators
from onelayer.offline.writers import output_schema
from onelayer.random_state import unchanged_random_state
from onelayer.verification import verify

MAX_BAD = 100
"""Number of bad images that are left out at most, if no other is asked for."""

CERTIFIED = 4
"""Number of images for the certificate, if no other is asked for."""

_TRIED = 100
"""Images at the beginning of a data set among which one has to be good."""
_PACKAGES = ("onelayer", "torch", "torchvision", "numpy", "numba", "pillow", "pyarrow")
_LIBRARIES = {
    "albumentations": ("albumentations", "albumentationsx"),
    "cv2": ("opencv-python", "opencv-python-headless"),
    "open_clip": ("open_clip_torch",),
    "timm": ("timm",),
    "transformers": ("transformers",),
}
"""Packages whose versions count where the pipeline's own modules have imported them."""


@dataclass(frozen=True)
class Request:
    """What is applied to what.

    Args:
        name: Name of the pipeline.
        transform: The pipeline, a function of an image.
        source: SHA-256 of its source files; None for one that is built in.
        files: Files of the data set.
        output: Folder to write.
        options: What decides the content of the output.
        skip_bad: Whether bad images are left out and counted.
        max_bad: Number of bad images from which on they are an error all the same.
        certified_images: Number of images for the certificate; 0 for none.
        overwrite: Whether another output in the folder is replaced. One of the same command goes on.
        workers: Number of processes; None for all CPUs.
        address: Address of a Ray cluster; None for this machine.
        code: Folder of the pipeline's own modules, which workers may not be able to import; None without any.
    """

    name: str
    transform: Callable[[Any], Any]
    source: str | None
    files: DataSetFiles
    output: Path
    options: Options
    skip_bad: bool = False
    max_bad: int = MAX_BAD
    certified_images: int = CERTIFIED
    overwrite: bool = False
    workers: int | None = None
    address: str | None = None
    code: Path | None = None


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        manifest: Manifest of the finished output.
        images: Number of images that were written in this run.
        images_per_second: Rate of all workers, each without its start and its first part, if it has others; None where
            nothing was written.
        went_on: Whether the output was begun by another run, of which the certificate is.
    """

    manifest: Manifest
    images: int
    images_per_second: float | None
    went_on: bool


def apply_pipeline(request: Request) -> Summary:
    """Write a preprocessed data set, or what is missing of one.

    Raises:
        OnelayerError: If the data set, the pipeline or the output is not what it has to be, another run writes to the
            output, or too many images are bad.
        Interrupted: If a signal ends the run; what is written stays.
    """
    options = request.options
    output = OutputFolder(request.output, options.format)
    output.refuse_strangers()
    listing = _listed(request)
    if options.format == "parquet":
        # Raises what is wrong with columns before any work.
        output_schema(listing.source, options.encoding, "")
    layer = compiled(request.transform, rounding=options.rounding, threads=1)
    if not isinstance(layer, OneLayer):
        raise OnelayerError(
            f"{request.name} is not called with an image alone",
            expected="a function of one image",
            hint="Write one that calls what onelayer.compile makes of it, and name that: file.py:function.",
        )
    manifest = _manifest(request, listing)
    with output.locked():
        begun = _begun(request, output, manifest)
        if begun is None:
            manifest = _tried(request, listing, layer, manifest)
            # Only now, when nothing speaks against another.
            output.remove_all()
        else:
            manifest = begun
        output.begin(manifest)
        job = Job(
            name=request.name,
            layer=layer,
            source=listing.source,
            output=output,
            options=options,
            provenance=manifest.provenance(),
            run=manifest.run,
            versions=manifest.pipeline.versions,
            skip_bad=request.skip_bad,
            max_bad=request.max_bad,
        )
        return _written(request, listing, job, manifest, went_on=begun is not None)


def _listed(request: Request) -> Listing:
    options = request.options
    return list_parts(
        request.files,
        column=options.column,
        key=options.key,
        images_per_file=options.images_per_file,
        to_shards=options.format == "webdataset",
    )


def _begun(request: Request, output: OutputFolder, manifest: Manifest) -> Manifest | None:
    """Read the manifest of the output to go on with; None if there is none, or it is to be replaced."""
    if not output.manifest.exists():
        return None
    try:
        begun = Manifest.read(output.manifest)
        refuse_other(begun, manifest, request.output)
    except OnelayerError:
        if request.overwrite:
            return None
        raise
    return begun


def _manifest(request: Request, listing: Listing) -> Manifest:
    """Make the manifest, without a certificate."""
    environment = current_environment()
    names = [*_PACKAGES, *(name for module in sys.modules.keys() & _LIBRARIES for name in _LIBRARIES[module])]
    return Manifest(
        pipeline=PipelineProvenance(
            name=request.name,
            transform=without_addresses(repr(request.transform)),
            source=request.source,
            versions=installed_versions(sorted(names)),
            commit=environment.commit,
        ),
        data_set=DataSetSummary(kind=request.files.kind, files=len(request.files.names), digest=listing.digest),
        options=request.options,
        certificate=None,
        no_certificate_because=None,
        parts=len(listing.parts),
    )


def _tried(request: Request, listing: Listing, layer: OneLayer, manifest: Manifest) -> Manifest:
    """Try the pipeline on the first images, and certify it there.

    Raises:
        OnelayerError: If none of the first images can be used, files of this form cannot hold the results, or the
            pipeline draws random numbers that no seed decides.
    """
    encoded = []
    with unchanged_random_state():
        for name, image in itertools.islice(_samples(listing), _TRIED):
            try:
                _try_twice(layer, image, name, request.options)
            except BadImage as error:
                refuse_bad(
                    [records.BadImage.of(name, error)],
                    skip_bad=request.skip_bad,
                    max_bad=request.max_bad,
                )
                continue
            encoded.append(image)
            if len(encoded) >= max(1, request.certified_images):
                break
    if not encoded:
        raise OnelayerError(
            f"none of the first {_TRIED} images can be used",
            hint="Leave --skip-bad out to see what is wrong with the first.",
        )
    if not request.certified_images:
        return manifest.model_copy(update={"no_certificate_because": "none was asked for"})
    if request.options.seed is not None:
        return manifest.model_copy(update={"no_certificate_because": "the pipeline may draw random numbers"})
    images = [decode(each, request.options.container, request.options.mode) for each in encoded]
    try:
        with hidden_progress():
            certificate = verify(layer, request.transform, images, adversarial=0)
    except OnelayerError as error:
        return manifest.model_copy(update={"no_certificate_because": without_addresses(str(error))})
    except Exception as error:  # noqa: BLE001 - it takes fewer kinds of results than files do
        reason = without_addresses(f"the comparison raises {type(error).__name__}: {error}")
        return manifest.model_copy(update={"no_certificate_because": reason})
    return manifest.model_copy(update={"certificate": certificate.record})


def _samples(listing: Listing) -> Iterator[tuple[str, bytes | None]]:
    for part in listing.parts:
        for sample, encoded in listing.source.read(part):
            yield sample.name, encoded


def _try_twice(layer: OneLayer, encoded: bytes | None, name: str, options: Options) -> None:
    """Apply a layer to an image twice, to see that the results are equal, and whether it draws random numbers."""
    seed_generators(0, name)
    before = generator_states()
    first = result_of(layer, encoded, name, options)
    if options.seed is None and generator_states() != before:
        raise drawing_error()
    second = result_of(layer, encoded, name, options)
    same = np.array_equal(first, second, equal_nan=True) if isinstance(first, np.ndarray) else first == second
    if not same:
        raise OnelayerError(
            "the pipeline gives another result for an image, though PyTorch, Python and NumPy draw the same numbers",
            expected="random numbers of their generators, or none",
            hint="Generators of its own cannot be seeded for each image: leave them out.",
        )


def _written(request: Request, listing: Listing, job: Job, manifest: Manifest, *, went_on: bool) -> Summary:
    done = job.output.finished_parts(manifest)
    missing = [part for part in listing.parts if part.number not in done]
    rate = _Rate()
    _refuse_too_many(done, request)
    sizes = [part.size for part in listing.parts]
    unit = "Images" if listing.images is not None else "Bytes of shards"
    try:
        with progress() as display:
            task = display.add_task(unit, total=sum(sizes), completed=sum(sizes[number] for number in done))
            by_file = {job.output.file(part.number).name: part for part in missing}
            # Closed at once on an error, and the actors with it.
            with closing(_written_parts(missing, job, request)) as written:
                for each in written:
                    part = by_file[each.record.file]
                    done[part.number] = each.record
                    rate.add(each)
                    display.update(task, advance=part.size, description=f"{unit}{rate}")
                    _refuse_too_many(done, request)
    except KeyboardInterrupt:
        # Workers may have written more than they said.
        count = len(job.output.finished_parts(manifest))
        raise Interrupted(f"{count:,} of {len(listing.parts):,} files are written. The same command goes on.") from None
    if missing and _listed(request).digest != listing.digest:
        raise OnelayerError(
            "files of the data set were changed while it was read",
            expected="a data set that nothing writes to",
            hint="Begin anew with --overwrite when nothing does.",
        )
    ordered = [done[number] for number in range(len(listing.parts))]
    return Summary(
        job.output.finish(manifest, ordered),
        rate.images,
        rate.images_per_second,
        went_on,
    )


def _written_parts(missing: Sequence[InputPart], job: Job, request: Request) -> Generator[WrittenPart]:
    if missing:
        yield from write_parts(missing, job, workers=request.workers, address=request.address, code=request.code)


def _refuse_too_many(done: dict[int, PartRecord], request: Request) -> None:
    bad = [each for number in sorted(done) for each in done[number].bad]
    refuse_bad(bad, skip_bad=request.skip_bad, max_bad=request.max_bad)


class _Rate:
    """Images per second of all workers together, each from the end of its first part on, which loads the kernels."""

    def __init__(self) -> None:
        self.images = 0
        self._of_workers: dict[str, list[WrittenPart]] = {}

    def add(self, part: WrittenPart) -> None:
        """Count a part."""
        self.images += part.record.images
        self._of_workers.setdefault(part.worker, []).append(part)

    @property
    def images_per_second(self) -> float | None:
        """Sum of the workers' rates, between their parts included; None before the first part."""
        rates = [
            sum(part.record.images for part in more) / (more[-1].end - first.end)
            if more
            else first.record.images / (first.end - first.begin)
            for first, *more in self._of_workers.values()
        ]
        return sum(rates) if rates else None

    def __str__(self) -> str:
        return f" ({self.images_per_second:,.0f} images/s)" if self.images_per_second else ""
