"""The command line: parse, check, call the library, print. One module per command, named after it."""

from __future__ import annotations

# Imported for the commands that they add, in the order of the help. None of them imports torch before it has checked
# its arguments, so help and errors appear at once.
from onelayer.cli import (  # isort: skip
    explain,  # noqa: F401
    compile,  # noqa: A004, F401
    verify,  # noqa: F401
    export,  # noqa: F401
    apply,  # noqa: F401
    identify,  # noqa: F401
    learn,  # noqa: F401
    recognise,  # noqa: F401
    reproduce,  # noqa: F401
    compare,  # noqa: F401
    bench,  # noqa: F401
    report,  # noqa: F401
    selfcheck,  # noqa: F401
    warmup,  # noqa: F401
)
from onelayer.cli.app import main

__all__ = ["main"]
