"""Records that are written and read back: JSON through pydantic models.

Times are seconds; errors are in grey levels (1/255 of the range) where the name says so and in units of the [0, 1]
range elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onelayer.atomic_write import write_whole
from onelayer.errors import OnelayerError

FORMAT_VERSION = 1
"""Version of the format of records, unless a kind of record has its own."""

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Part(BaseModel):
    """A piece of a record, which holds finite numbers and no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Record(Part):
    """A part that is a file of its own, with a format version."""

    format_version: Annotated[int, Field(ge=FORMAT_VERSION, le=FORMAT_VERSION, strict=True)] = FORMAT_VERSION

    def write(self, path: Path) -> None:
        """Write as indented JSON."""
        write_whole(path, (self.model_dump_json(indent=2) + "\n").encode("utf-8"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record back.

        Raises:
            OnelayerError: If the file is missing, is not JSON, or does not hold such a record.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise OnelayerError(
                f"there is no {path.name} in {path.parent}",
                hint="Name the folder of a run, as given to --out.",
            ) from None
        except (UnicodeDecodeError, ValidationError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            at = ".".join(str(step) for step in first["loc"]) if first else ""
            reason = first["msg"] if first else "it is not text"
            where = f" at {at}" if at else ""
            raise OnelayerError(
                f"{path} cannot be read{where}: {reason}",
                expected=f"a record of format version {cls.model_fields['format_version'].default}",
                hint="Was it cut off, edited, or written by another version? Run that step again.",
            ) from None


def written_format_version(path: Path) -> int | None:
    """Read the format version that a file claims, before anything else of it is believed; None if it claims none."""
    version = _written(path, "format_version")
    return version if isinstance(version, int) else None


def written_kind(path: Path) -> str | None:
    """Read the kind of record that a file claims to hold; None if it claims none."""
    kind = _written(path, "kind")
    return kind if isinstance(kind, str) else None


def _written(path: Path, name: str) -> object:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get(name) if isinstance(content, dict) else None


class Environment(Part):
    """The machine and the software that figures were measured with."""

    versions: dict[str, str]
    """Package name → version: onelayer, python, torch, torchvision, …"""
    platform: str
    cpu: str
    logical_cores: int
    torch_threads: int
    cuda: str | None
    """Name of the CUDA device, or None where there is none."""
    commit: str | None
    """Commit of the source tree, with "+changes" behind it if files differed; None outside a checkout."""


class PipelineSummary(Part):
    """The original transforms, by name and in words."""

    name: str
    description: str = ""
    """One line about the pipeline; empty where it has none."""
    steps: tuple[str, ...]
    """Each transform, as it prints itself."""
    input_shape: Shape
    output_shape: Shape


class DataSummary(Part):
    """The images of a run."""

    source: str
    """Value of --data: "sample", "cifar10" or a path."""
    description: str
    """One sentence for the page."""
    key: str
    """Hash of the content the images came from."""
    train: int
    validation: int
    test: int
    skipped: int = 0
    """Images left out by --skip-bad."""


class Timing(Part):
    """Seconds for one pass over all images, over interleaved repeats."""

    seconds: tuple[float, ...]
    median: float
    first_quartile: float
    third_quartile: float
