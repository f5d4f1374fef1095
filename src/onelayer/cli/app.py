"""The application: its options, how it ends, and the checks that all commands share."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape

import onelayer
from onelayer.console import console, visible_progress
from onelayer.errors import Interrupted, OnelayerError, require

app = typer.Typer(
    help="Image preprocessing as one layer: derive it, identify it or learn it, verify it, time it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

BAD_INPUT = 2
INTERRUPTED = 130


def examples(*lines: str) -> str:
    """Format command lines as the epilog of a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  $ {line}" for line in lines)


def check_installed(*modules: str, extra: str, purpose: str) -> None:
    """Refuse work that needs packages which are not installed, without importing any that are.

    Args:
        modules: Names of the modules.
        extra: Extra of onelayer that installs them.
        purpose: Work that needs them, as the subject of a sentence.

    Raises:
        OnelayerError: If one is missing; it names the extra.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            require(module, extra=extra, purpose=purpose)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(onelayer.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Image preprocessing as one layer: derive it, identify it or learn it, verify it, time it."""


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _LogPrinter(logging.Handler):
    """Print the warnings of the library, and once per process that kernels are compiled."""

    has_compiled = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        if record.levelno >= logging.WARNING:
            console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)
        elif record.name == "onelayer.backends.cpu.compilation" and not self.has_compiled:
            self.has_compiled = True
            console.print("Compiling the CPU kernels, once on this machine …", style="dim")


_PRINTER = _LogPrinter()


@contextmanager
def _printed_logs() -> Iterator[None]:
    logger = logging.getLogger("onelayer")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(_PRINTER)
    try:
        yield
    finally:
        logger.removeHandler(_PRINTER)
        logger.setLevel(level)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process: with 0, 2 for bad input, or 130 after an interruption.

    Args:
        arguments: Arguments to use in place of the process's own.
    """
    # A job that is asked to end keeps what it has, just as on Ctrl-C.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    # PyTorch's module for C++ extensions, which other libraries import, warns wherever there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        with visible_progress(), _printed_logs():
            app(arguments, standalone_mode=True)
    except OnelayerError as error:
        _fail(BAD_INPUT, f"[bold red]Error:[/bold red] {escape(str(error))}")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}. What was finished before is kept."
        _fail(BAD_INPUT, f"[bold red]Error:[/bold red] {escape(text)}")
    except KeyboardInterrupt:
        _fail(INTERRUPTED, "[bold red]Stopped.[/bold red]")
    except Interrupted as stop:
        _fail(INTERRUPTED, f"[bold red]Stopped.[/bold red] {escape(str(stop))}")


def _fail(code: int, markup: str) -> None:
    console.print(markup, soft_wrap=True)
    sys.exit(code)
