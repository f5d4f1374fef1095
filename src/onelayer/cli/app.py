"""The application itself: how it starts, how it fails, what all commands share."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer
from rich.markup import escape

import onelayer
from onelayer.console import console, visible_progress
from onelayer.errors import Interrupted, OnelayerError

app = typer.Typer(
    help="Image preprocessing as one layer: derive it or learn it, verify it, time it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

BAD_INPUT = 2
INTERRUPTED = 130


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  $ {line}" for line in lines)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(onelayer.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Image preprocessing as one layer: derive it or learn it, verify it, time it."""


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the process ends with 0, 2 for bad input, or 130 when it was interrupted.

    Args:
        arguments: Instead of the process's own.
    """
    # A job that is asked to end keeps what it has, just as on Ctrl-C.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    try:
        with visible_progress():
            app(arguments, standalone_mode=True)
    except OnelayerError as error:
        _fail(BAD_INPUT, str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(BAD_INPUT, f"{where}{error.strerror or error}. What was finished before is kept.")
    except KeyboardInterrupt:
        _fail(INTERRUPTED, "Stopped.")
    except Interrupted as stop:
        _fail(INTERRUPTED, str(stop))


def _fail(code: int, text: str) -> None:
    console.print(f"[bold red]{'Error' if code == BAD_INPUT else 'Stopped'}:[/bold red] {escape(text)}", soft_wrap=True)
    sys.exit(code)
