"""The manifest of a preprocessed data set: what it was made of and by, and what is done of it."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from onelayer.atomic_write import PARTIAL
from onelayer.errors import OnelayerError
from onelayer.formats import without_addresses
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
_PART = re.compile(rf"part-\d{{5,}}({'|'.join(map(re.escape, SUFFIX_OF.values()))})")
"""Names of the output's files."""
_PARTIAL_PART = re.compile(rf"\.{_PART.pattern}\..*{re.escape(PARTIAL)}")
"""Names of such files that are being written."""


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
    """SHA-256 of its file or module, and of the modules beside it that it imports; None for one that is built in."""
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

    @classmethod
    def of(cls, name: str, error: Exception) -> Self:
        """Make a record of what is wrong with an image."""
        return cls(name=name, problem=without_addresses(str(error)))


class PartRecord(Record):
    """A file of the output."""

    run: str
    """:attr:`Manifest.run` of the run that wrote it."""
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

    @property
    def run(self) -> str:
        """What tells a run's files from those of others: a hash of all that decides their content."""
        return hashlib.sha256(self.provenance().encode()).hexdigest()[:16]


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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the output, so that no other run writes to it. The system unlocks it when the process ends in any way.

        Raises:
            OnelayerError: If another run has it.
        """
        self.manifest.parent.mkdir(parents=True, exist_ok=True)
        with (self.manifest.parent / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OnelayerError(
                    f"another run writes to {self.path}",
                    expected="one at a time",
                    hint="Wait until it ends, or name another OUTPUT.",
                ) from None
            except OSError:  # a file system without locks
                pass
            yield

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest of a run that begins or goes on, and remove what killed processes left half-written."""
        self.record(0).parent.mkdir(parents=True, exist_ok=True)
        self._remove_partial()
        manifest.write(self.manifest)

    def _remove_partial(self) -> None:
        for path in self._files(_PARTIAL_PART):
            path.unlink(missing_ok=True)
        for path in self.manifest.parent.rglob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def _files(self, names: re.Pattern[str]) -> list[Path]:
        return [path for path in self.path.iterdir() if names.fullmatch(path.name)]

    def refuse_other_run(self, run: str) -> None:
        """Refuse to write a file of a run in whose place another has begun, which this process has outlived.

        Raises:
            OnelayerError: If the manifest is another's, or gone.
        """
        with suppress(OnelayerError):
            if Manifest.read(self.manifest).run == run:
                return
        raise OnelayerError(f"another run has begun in {self.path}", expected="one at a time")

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
        """Write the manifest of a run that is done, which has the records of all files, and remove the single ones.

        Raises:
            OnelayerError: If a file is not what this run wrote.
        """
        run = manifest.run
        for record in records:
            if not self._is_whole(record, run):
                raise OnelayerError(
                    f"{self.path / record.file} is not what was written",
                    expected="files that nothing else changes or removes",
                    hint="The same command writes it again.",
                )
        self._remove_partial()
        finished = manifest.model_copy(update={"finished": tuple(records)})
        finished.write(self.manifest)
        shutil.rmtree(self.record(0).parent)
        return finished

    def finished_parts(self, manifest: Manifest) -> dict[int, PartRecord]:
        """Read which files are whole: those that have a record of this run, and are as long as it says."""
        records = dict(enumerate(manifest.finished or ()))
        for number in range(manifest.parts):
            # One that cannot be read, as a power failure leaves it, is none.
            with suppress(OnelayerError):
                records[number] = PartRecord.read(self.record(number))
        run = manifest.run
        return {number: record for number, record in records.items() if self._is_whole(record, run)}

    def _is_whole(self, record: PartRecord, run: str) -> bool:
        path = self.path / record.file
        return record.run == run and path.is_file() and path.stat().st_size == record.bytes

    def remove_all(self) -> None:
        """Remove the files and records of an output, if there is one, and nothing else; the lock stays."""
        if not self.manifest.exists():
            return
        for path in self._files(_PART):
            path.unlink()
        shutil.rmtree(self.record(0).parent, ignore_errors=True)
        self.manifest.unlink()

    def refuse_strangers(self) -> None:
        """Refuse a folder that holds other files than an output's.

        Raises:
            OnelayerError: If it does, or is none.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OnelayerError(f"{self.path} is a file", expected="a folder, which may not exist yet")
        if self.path.is_dir() and not self.manifest.exists():
            names = [each.name for each in self.path.iterdir()]
            strangers = [name for name in names if name != FOLDER and not _PARTIAL_PART.fullmatch(name)]
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
