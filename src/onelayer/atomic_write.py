"""Write files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
"""End of the names of files that are being written."""


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step, through a temporary file beside it: no reader sees half of the new content."""
    with _put_in_place(path.with_name(path.name + PARTIAL), path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside a file to write to, and put what was written there in the file's place in one step.

    No two writers share such a path, not even one that was killed and lives on for a moment. Its name begins with a dot
    and ends with :data:`PARTIAL`. An error inside the context removes it; a killed process leaves it there.
    """
    with _put_in_place(path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}"), path) as temporary:
        yield temporary


@contextmanager
def _put_in_place(temporary: Path, path: Path) -> Iterator[Path]:
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:  # a full disk, or a signal
        temporary.unlink(missing_ok=True)
        raise
