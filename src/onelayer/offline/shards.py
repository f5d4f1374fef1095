"""Read WebDataset shards: tar files whose members belong together by their names up to the first dot.

Members are read as bytes; nothing is extracted to the disk, decoded by its suffix, or unpickled.
"""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import pyarrow as pa

from onelayer.data.encoded import SUFFIXES
from onelayer.errors import OnelayerError
from onelayer.offline.decoding import MAX_ENCODED_BYTES
from onelayer.offline.readers import InputPart, Sample, Source

SHARD_SUFFIX = ".tar"

TEXT_SUFFIXES = ("txt", "text", "json", "cls", "cls2", "index", "inx", "id", "transcript")
"""Last parts of the suffixes of members that are text, as WebDataset takes them, and become columns of strings."""

_CHUNK = 1 << 20
"""Bytes that are read at a time behind the end of an archive."""

_Parsed = TypeVar("_Parsed")


class Member(NamedTuple):
    """A member of a sample."""

    suffix: str
    content: bytes


class _Others(NamedTuple):
    """A sample without the content of its image."""

    suffix_of_image: str
    members: list[Member]


@dataclass(frozen=True)
class ShardSource(Source):
    """Shards, of whose samples a member is the encoded image.

    Attributes:
        suffix_of_image: Suffix of that member; None for the only one whose suffix is that of image files.
    """

    root: Path
    schema: pa.Schema
    suffix_of_image: str | None = None
    column: str = "image"

    def read(self, part: InputPart) -> Iterator[tuple[Sample, bytes | None]]:
        """See :class:`Source`."""
        (name,) = part.files
        for key, members in read_samples(self.root / name):
            image = image_member(members, self.suffix_of_image, f"{name}: {key}")
            # Without the image's content, which would be kept with them until a row group is written.
            others = _Others("" if image is None else image.suffix, [each for each in members if each is not image])
            size = sum(map(_size, others.members))
            yield Sample(f"{name}: {key}", key, others, size), None if image is None else image.content

    def suffix(self, sample: Sample, encoding: str) -> str:
        """See :class:`Source`: ``left.jpg`` becomes ``left.npy``."""
        others: _Others = sample.others
        before = others.suffix_of_image.rpartition(".")[0]
        return f"{before}.{encoding}" if before else encoding

    def columns(self, samples: Sequence[Sample]) -> list[pa.Array]:
        """See :class:`Source`.

        Raises:
            OnelayerError: If a sample has members that the first sample of the data set has not, or a text is none.
        """
        rows = []
        known = set(self.schema.names[1:])
        for sample in samples:
            row = dict(self.members(sample))
            if unknown := row.keys() - known:
                raise OnelayerError(
                    f"the sample {sample.name} has a member {min(unknown)}, which the first sample has not",
                    expected="the same members in all samples, because they become columns",
                    hint="Write shards: --to webdataset.",
                )
            rows.append(row | {"key": sample.key.encode()})
        columns = []
        for field in self.schema:
            values = pa.array([row.get(field.name) for row in rows], pa.binary())
            try:
                columns.append(values.cast(field.type))
            except pa.ArrowInvalid as error:
                raise OnelayerError(
                    f"a member {field.name} of the samples from {samples[0].name} on is no text: {error}",
                    expected="UTF-8",
                    hint="Write shards, whose members are kept as they are: --to webdataset.",
                ) from error
        return columns

    def members(self, sample: Sample) -> list[tuple[str, bytes]]:
        """See :class:`Source`: the others, as they are."""
        others: _Others = sample.others
        return list(others.members)


def schema_of_sample(members: Sequence[Member], suffix_of_image: str | None, name: str) -> pa.Schema:
    """Derive the other columns of a data set from its first sample: the key, and a column for each other member."""
    image = image_member(members, suffix_of_image, name)
    others = [each.suffix for each in members if each is not image]
    return pa.schema(
        [("key", pa.string())]
        + [(each, pa.string() if each.rpartition(".")[2] in TEXT_SUFFIXES else pa.binary()) for each in others]
    )


def image_member(members: Sequence[Member], suffix: str | None, name: str) -> Member | None:
    """Find the encoded image among the members of a sample; None if there is none.

    Raises:
        OnelayerError: If several could be meant.
    """

    def is_image(member: Member) -> bool:
        if suffix is not None:
            return member.suffix.lower() == suffix.lower()
        return f".{member.suffix.rpartition('.')[2].lower()}" in SUFFIXES

    found = [each for each in members if is_image(each)]
    if len(found) > 1:
        raise OnelayerError(
            f"the sample {name} has several images: {', '.join(each.suffix for each in found)}",
            expected="one, or the suffix of its member",
            hint=f"Say which is meant: --column {found[0].suffix}.",
        )
    return found[0] if found else None


def read_samples(path: Path) -> Iterator[tuple[str, list[Member]]]:
    """Read the samples of a shard, each as its key and its members: those that follow one another with one key.

    Raises:
        OnelayerError: If the file cannot be read as an uncompressed tar file, or a member is no regular file, is too
            large, or has no key, or a name that leads out of its folder or is not UTF-8; or if a sample has two members
            of one name, or is too large.
    """
    try:
        with _parsed(lambda: tarfile.open(path, "r:", encoding="utf-8")) as file:
            for key, group in itertools.groupby(_members(file, path), key=lambda each: each[0]):
                yield key, _sample(key, (member for _, member in group), path)
    except (OSError, tarfile.TarError) as error:
        raise OnelayerError(
            f"{path} cannot be read as a shard: {error}",
            expected="a whole tar file, not compressed",
            hint="Was it cut off on the way? Download it again.",
        ) from error


def _parsed(parse: Callable[[], _Parsed]) -> _Parsed:
    try:
        return parse()
    except (OSError, tarfile.TarError):
        raise
    except Exception as error:  # on damaged headers tarfile raises whatever its parsers run into
        raise tarfile.ReadError(f"a header is damaged: {error or type(error).__name__}") from error


def _sample(key: str, group: Iterable[Member], path: Path) -> list[Member]:
    members: list[Member] = []
    # Readers of shards take suffixes for the same whatever their case.
    suffixes = set()
    size = 0
    for member in group:
        suffix = member.suffix.lower()
        if suffix in suffixes:
            raise OnelayerError(
                f"the sample {key} of {path} has two members {suffix}",
                expected="members of different suffixes, whatever their case",
                hint="Take one of them out of the shard, or rename it.",
            )
        size += _size(member)
        if size > MAX_ENCODED_BYTES:
            raise OnelayerError(
                f"the members of the sample {key} of {path} have more than {MAX_ENCODED_BYTES:,} bytes together",
                expected=f"at most {MAX_ENCODED_BYTES:,}",
            )
        suffixes.add(suffix)
        members.append(member)
    return members


def _size(member: Member) -> int:
    """Return the bytes that a member takes, its header in the shard included."""
    return tarfile.BLOCKSIZE + len(member.content)


def _members(file: tarfile.TarFile, path: Path) -> Iterator[tuple[str, Member]]:
    while (info := _parsed(file.next)) is not None:
        # Each is kept in a list otherwise, for as long as the file is open.
        file.members = []  # type: ignore[attr-defined]  # documented for long streams in tarfile's own examples
        if info.isdir():
            continue
        try:
            info.name.encode()
        except UnicodeEncodeError:
            raise OnelayerError(
                f"the name {info.name!a} of a member of {path} is not UTF-8", hint="Rename it; keys are text."
            ) from None
        place = PurePosixPath(info.name)
        key, _, suffix = place.name.partition(".")
        leads_out = place.is_absolute() or ".." in place.parts
        # Sizes in a form of GNU tar's can be negative, and names in pax headers can have zeros.
        is_damaged = info.size < 0 or "\0" in info.name
        if not info.isreg() or info.issparse() or leads_out or is_damaged or not key or not suffix:
            raise OnelayerError(
                f"the member {info.name} of {path} is no part of a sample",
                expected="files with relative names of a key, a dot and a suffix",
                hint="Take it out of the shard.",
            )
        if info.size > MAX_ENCODED_BYTES:
            raise OnelayerError(
                f"the member {info.name} of {path} has {info.size:,} bytes", expected=f"at most {MAX_ENCODED_BYTES:,}"
            )
        content = file.extractfile(info)
        data = b"" if content is None else content.read()
        if len(data) != info.size:
            raise tarfile.ReadError(f"the member {info.name} is cut off")
        yield str(place.with_name(key)), Member(suffix, data)
    # tarfile takes a damaged header, and the end of a file that was cut off, for the end of the shard.
    end = file.fileobj
    if end is not None:
        end.seek(file.offset)
        if end.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of the archive where there is no further member")
        while rest := end.read(_CHUNK):
            if rest.count(0) != len(rest):
                raise OnelayerError(
                    f"{path} goes on behind the end of its archive",
                    expected="one archive in a file",
                    hint="If archives were joined by cat, keep them as files of their own, or use tar --concatenate.",
                )
