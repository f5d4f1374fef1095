"""Apply a layer to the images of a part, and write its file: what a worker does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onelayer.atomic_write import whole_file
from onelayer.data.encoded import BadImage
from onelayer.environment import installed_versions
from onelayer.errors import OnelayerError
from onelayer.offline import manifest
from onelayer.offline.decoding import array_of, decode, encode
from onelayer.offline.manifest import Options, OutputFolder, PartRecord
from onelayer.offline.readers import InputPart, Source
from onelayer.offline.seeds import generator_states, seed_generators
from onelayer.offline.writers import Result, open_writer


@dataclass(frozen=True)
class Job:
    """What is the same for all parts of a data set.

    Args:
        layer: Function of an image.
        source: Data set that is read.
        output: Folder that is written to.
        options: What decides the content of the output.
        provenance: JSON for the metadata of Parquet files.
        versions: Versions of the packages that decide the content of the output.
        skip_bad: Whether bad images are left out and counted; otherwise the first is an error.
        max_bad: Number of bad images in a part from which on it is an error all the same.
    """

    layer: Callable[[Any], Any]
    source: Source
    output: OutputFolder
    options: Options
    provenance: str
    versions: Mapping[str, str]
    skip_bad: bool
    max_bad: int


class PartWriter:
    """Write the files of parts, one after the other.

    Args:
        job: What is the same for all of them.

    Raises:
        OnelayerError: If other versions are installed here than where the job comes from.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        here = installed_versions(job.versions)
        for name, wanted in job.versions.items():
            if here.get(name) != wanted:
                raise OnelayerError(
                    f"a worker has {name} {here.get(name)}", expected=f"{wanted}, as where the command was given"
                )

    def write(self, part: InputPart) -> PartRecord:
        """Write the file of a part, and its record.

        Raises:
            OnelayerError: If a file cannot be read or written, an image is bad, random numbers are drawn without a
                seed, or workers were killed while they wrote this part.
        """
        job = self._job
        path = job.output.file(part.number)
        bad: list[manifest.BadImage] = []
        images = 0
        before = generator_states()
        with job.output.attempt(part.number), whole_file(path) as temporary:
            with open_writer(temporary, job.source, job.options.format, job.options.encoding, job.provenance) as writer:
                for sample, encoded in job.source.read(part):
                    try:
                        result = result_of(job.layer, encoded, sample.name, job.options)
                    except BadImage as error:
                        bad.append(manifest.BadImage(name=sample.name, problem=str(error)))
                        refuse_bad(bad, skip_bad=job.skip_bad, max_bad=job.max_bad)
                    else:
                        writer.add(sample, result)
                        images += 1
            if job.options.seed is None and generator_states() != before:
                raise drawing_error()
        record = PartRecord(file=path.name, images=images, bytes=path.stat().st_size, bad=tuple(bad))
        record.write(job.output.record(part.number))
        return record


def result_of(layer: Callable[[Any], Any], encoded: bytes | None, name: str, options: Options) -> Result:
    """Decode an image, apply a layer to it, and bring the result into its form.

    Raises:
        BadImage: If it cannot be decoded, or the layer does not take it.
        OnelayerError: If files of this form cannot hold the result.
    """
    image = decode(encoded, options.container, options.mode)
    if options.seed is not None:
        seed_generators(options.seed, name)
    try:
        result = layer(image)
    except Exception as error:
        raise BadImage(f"the pipeline raises {type(error).__name__} on it: {error}") from error
    if options.encoding == "arrays":
        return array_of(result)
    return encode(result, options.encoding, options.quality)


def refuse_bad(bad: list[manifest.BadImage], *, skip_bad: bool, max_bad: int) -> None:
    """Refuse bad images.

    Raises:
        OnelayerError: For the first, or if they are left out, for one more than ``max_bad``; it names them.
    """
    if bad and not skip_bad:
        raise OnelayerError(
            f"the image {bad[0].name} cannot be used: {bad[0].problem}",
            hint="Repair it and begin anew, or go on without it: --skip-bad leaves out bad images, and counts them.",
        )
    if len(bad) > max_bad:
        raise OnelayerError(
            f"{len(bad):,} images cannot be used, the last of them {bad[-1].name}: {bad[-1].problem}",
            expected=f"at most {max_bad:,}",
            hint="Go on with a larger --max-bad, if they are to be left out.",
        )


def drawing_error() -> OnelayerError:
    """Make the error for a pipeline that draws random numbers without a seed."""
    return OnelayerError(
        "the pipeline draws random numbers: every image would be augmented once, and never again",
        expected="the pipeline for evaluation, or --seed",
        hint="With --seed the numbers of an image follow from it and the image's name, whoever computes it.",
    )
