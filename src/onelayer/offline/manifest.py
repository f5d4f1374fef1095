"""The manifest of a preprocessed data set: what it was made of and by, and what is done of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onelayer.atomic_write import PARTIAL
from onelayer.errors import OnelayerError
from onelayer.image_spec import Container, RoundingMode
from onelayer.offline.decoding import ColorMode, Encoding
from onelayer.offline.listing import Kind
from onelayer.offline.writers import SUFFIX_OF, Format
from onelayer.records import Part, Record
from onelayer.verification.certificate import CertificateRecord

FOLDER = "_onelayer"
"""Folder of the manifest in the output. Readers of Parquet folders leave out names that begin with an underscore."""


_ATTEMPTS = 3
"""Times that a file is begun in a run."""


class Options(Part):
    """What decides the content of the output, besides the pipeline and the data set."""

    format: Format
    encoding: Encoding
    quality: int | None
    """Quality of JPEG files; None for other encodings."""
    images_per_file: int
    container: Container
    """Container that the pipeline gets its images in."""
    mode: ColorMode
    column: str | None
    """Column of images, or suffix of their members in shards; None for the usual ones."""
    key: str | None
    """Column of keys."""
    seed: int | None
    """Seed of the images' random numbers; None where nothing is drawn."""
    rounding: RoundingMode | None


class PipelineProvenance(Part):
    """The pipeline, and the software that applied it."""

    name: str
    """PIPELINE, without the folders of a file."""
    transform: str
    """The pipeline, as it prints itself."""
    source: str | None
    """SHA-256 of the file or module that it is in; None for one that is built in."""
    versions: dict[str, str]
    """Package name → version."""
    commit: str | None
    """Commit of onelayer's source tree; None outside a checkout."""


class DataSetSummary(Part):
    """The data set that was read."""

    kind: Kind
    files: int
    digest: str
    """SHA-256 of the names, sizes and times of its files."""


class BadImage(Part):
    """An image that is not in the output."""

    name: str
    problem: str


class PartRecord(Record):
    """A file of the output."""

    file: str
    images: int
    bytes: int
    bad: tuple[BadImage, ...]


class Manifest(Record):
    """_onelayer/manifest.json: nothing in it depends on when, where or in which order the work was done."""

    pipeline: PipelineProvenance
    data_set: DataSetSummary
    options: Options
    certificate: CertificateRecord | None
    """Errors of the layer against the pipeline on the first images."""
    no_certificate_because: str | None
    parts: int
    """Number of files of the output."""
    finished: tuple[PartRecord, ...] | None = None
    """All files, once they are written."""

    def provenance(self) -> str:
        """Return what each Parquet file of the output says about itself, as JSON."""
        return self.model_dump_json(exclude={"parts", "finished"})


@dataclass(frozen=True)
class OutputFolder:
    """The folder that a data set is written to.

    Args:
        path: Path of the folder.
        form: Format of its files.
    """

    path: Path
    form: Format

    @property
    def manifest(self) -> Path:
        """Path of the manifest."""
        return self.path / FOLDER / "manifest.json"

    def file(self, number: int) -> Path:
        """Return the path of a file of the output."""
        return self.path / f"part-{number:05}{SUFFIX_OF[self.form]}"

    def record(self, number: int) -> Path:
        """Return the path of the record that says that a file of the output is whole."""
        return self.path / FOLDER / "parts" / f"{number:05}.json"

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest of a run that begins or goes on, and remove what killed processes left half-written."""
        self.record(0).parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.manifest.parent, self.record(0).parent):
            for path in folder.glob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)
        manifest.write(self.manifest)

    @contextmanager
    def attempt(self, number: int) -> Iterator[None]:
        """Count that a worker begins a file, until it ends in any way but by being killed.

        Ray gives the work of a worker that died to another, however often: so a part that kills its workers is noticed.

        Raises:
            OnelayerError: If too many were killed in this run.
        """
        marks = [self.record(number).with_suffix(f".{attempt}{PARTIAL}") for attempt in range(_ATTEMPTS)]
        free = next((mark for mark in marks if not mark.exists()), None)
        if free is None:
            raise OnelayerError(
                f"{self.file(number).name} was begun {_ATTEMPTS} times, and its worker was killed each time",
                expected="a pipeline that ends no process, and memory for each worker",
                hint="If memory ran out, try fewer --workers.",
            )
        free.touch()
        try:
            yield
        finally:
            free.unlink(missing_ok=True)

    def finish(self, manifest: Manifest, records: Sequence[PartRecord]) -> Manifest:
        """Write the manifest of a run that is done, which has the records of all files, and remove the single ones."""
        finished = manifest.model_copy(update={"finished": tuple(records)})
        finished.write(self.manifest)
        shutil.rmtree(self.record(0).parent)
        return finished

    def finished_parts(self, manifest: Manifest) -> dict[int, PartRecord]:
        """Read which files are whole: those that have a record, and are as long as it says."""
        records = dict(enumerate(manifest.finished or ()))
        records |= {
            number: PartRecord.read(self.record(number))
            for number in range(manifest.parts)
            if self.record(number).exists()
        }
        files = {number: self.path / record.file for number, record in records.items()}
        return {
            number: record
            for number, record in records.items()
            if files[number].is_file() and files[number].stat().st_size == record.bytes
        }

    def remove_all(self) -> None:
        """Remove the files of an output, if there is one, and nothing else."""
        if not self.manifest.exists():
            return
        for suffix in SUFFIX_OF.values():
            for path in self.path.glob(f"part-*{suffix}"):
                path.unlink()
        shutil.rmtree(self.manifest.parent)

    def refuse_strangers(self) -> None:
        """Refuse a folder that holds other files than an output's.

        Raises:
            OnelayerError: If it does, or is none.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OnelayerError(f"{self.path} is a file", expected="a folder, which may not exist yet")
        if self.path.is_dir() and not self.manifest.exists():
            names = [each.name for each in self.path.iterdir()]
            strangers = [name for name in names if name != FOLDER and not name.endswith(PARTIAL)]
            if strangers:
                raise OnelayerError(
                    f"{self.path} holds other files, such as {min(strangers)}", expected="an empty folder, or a new one"
                )


def refuse_other(old: Manifest, new: Manifest, output: Path) -> None:
    """Refuse to go on with an output that was begun otherwise.

    Raises:
        OnelayerError: If the pipeline, the data set, an option or a version is another; it says which.
    """
    before, now = (dict(_facts(each)) for each in (old, new))
    differing = [name for name in now if before.get(name) != now[name]] + [name for name in before if name not in now]
    if not differing:
        return
    name = differing[0]
    others = f" (and of {', '.join(differing[1:])})" if differing[1:] else ""
    raise OnelayerError(
        f"{output} was begun with another {name}{others}: {before.get(name)} there, {now.get(name)} here",
        expected="the same pipeline, data set, options and versions, to go on where it was",
        hint="Name another OUTPUT, or replace this one with --overwrite.",
    )


def _facts(manifest: Manifest) -> Iterator[tuple[str, object]]:
    """List what has to be equal, by names for messages."""
    pipeline, data_set = manifest.pipeline, manifest.data_set
    yield "pipeline", f"{pipeline.name}: {pipeline.transform}"
    yield "source of the pipeline", pipeline.source
    yield "data set", f"{data_set.files:,} files ({data_set.kind}) of digest {data_set.digest[:12]}"
    yield from manifest.options
    for package, version in pipeline.versions.items():
        yield f"version of {package}", version
    yield "commit of onelayer", pipeline.commit
    yield "number of files", manifest.parts
