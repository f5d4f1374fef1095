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
        name: Name of the pipeline.
        layer: Function of an image.
        source: Data set that is read.
        output: Folder that is written to.
        options: What decides the content of the output.
        provenance: JSON for the metadata of Parquet files.
        run: What tells the files of this run from those of others.
        versions: Versions of the packages that decide the content of the output.
        skip_bad: Whether bad images are left out and counted; otherwise the first is an error.
        max_bad: Number of bad images in a part from which on it is an error all the same.
    """

    name: str
    layer: Callable[[Any], Any]
    source: Source
    output: OutputFolder
    options: Options
    provenance: str
    run: str
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
                seed, workers were killed while they wrote this part, or another run has begun meanwhile.
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
                        bad.append(manifest.BadImage.of(sample.name, error))
                        refuse_bad(bad, skip_bad=job.skip_bad, max_bad=job.max_bad)
                    else:
                        writer.add(sample, result)
                        images += 1
            if job.options.seed is None and generator_states() != before:
                raise drawing_error()
            job.output.refuse_other_run(job.run)
        record = PartRecord(run=job.run, file=path.name, images=images, bytes=path.stat().st_size, bad=tuple(bad))
        record.write(job.output.record(part.number))
        return record


def result_of(layer: Callable[[Any], Any], encoded: bytes | None, name: str, options: Options) -> Result:
    """Decode an image, apply a layer to it, and bring the result into its form.

    Raises:
        BadImage: If it cannot be decoded, the layer raises an error on it, or its result cannot be encoded.
        OnelayerError: If no file of this form holds such a result, or memory runs out; it names the image.
    """
    try:
        image = decode(encoded, options.container, options.mode)
        if options.seed is not None:
            seed_generators(options.seed, name)
        return _in_form(_applied(layer, image), options)
    except MemoryError as error:
        # A worker with more memory takes the image, so that it is not bad.
        raise OnelayerError(
            f"memory ran out on the image {name}", expected="memory for each worker", hint="Try fewer --workers."
        ) from error
    except OnelayerError as error:
        raise OnelayerError(
            f"{error.problem} (of the image {name})", expected=error.expected, hint=error.hint
        ) from error


def _applied(layer: Callable[[Any], Any], image: Any) -> Any:
    try:
        return layer(image)
    except MemoryError:
        raise
    except Exception as error:
        # PyTorch raises a RuntimeError of its allocator.
        if "DefaultCPUAllocator" in str(error):
            raise MemoryError from error
        raise BadImage(f"the pipeline raises {type(error).__name__} on it: {error}") from error


def _in_form(result: Any, options: Options) -> Result:
    try:
        if options.encoding == "arrays":
            return array_of(result)
        return encode(result, options.encoding, options.quality)
    except (OnelayerError, MemoryError):
        raise
    except Exception as error:  # such as an image without pixels, or one that is too large for JPEG
        raise BadImage(f"its result cannot be encoded: {error or type(error).__name__}") from error


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
