"""Options for what a command writes: layers, certificates and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onelayer.cli.app import check_installed
from onelayer.console import results
from onelayer.errors import OnelayerError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from onelayer.verification.certificate import Certificate

LayerOut = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write the layer into.", show_default="not written", file_okay=False),
]
OverwriteLayer = Annotated[bool, typer.Option("--overwrite", help="Replace the layer in --out.")]
CertificateJson = Annotated[
    Path | None,
    typer.Option("--json", help="File to write the certificate into.", show_default="not written", dir_okay=False),
]
FigurePath = Annotated[
    Path | None,
    typer.Option("--figure", help="PNG, PDF or SVG file to draw.", show_default="not drawn", dir_okay=False),
]


def check_layer_out(out: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace a layer that nobody asked to replace."""
    if out is not None and (out / "config.json").exists() and not overwrite:
        raise OnelayerError(
            f"there is a layer in {out} already",
            expected="an empty folder, or --overwrite",
            hint="Choose another --out.",
        )


def check_figure(path: Path | None) -> None:
    """Refuse a figure that could not be drawn in the end, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in (".png", ".pdf", ".svg") or not path.parent.is_dir():
        raise OnelayerError(
            f"--figure {path} cannot be drawn", expected="a name ending in .png, .pdf or .svg, in a folder that exists"
        )
    check_installed("matplotlib", extra="reproduce", purpose="--figure")


def print_layer(out: Path) -> None:
    """Say where the layer was written, and how it is loaded."""
    results.print(f"The layer: [bold]{escape(str(out))}[/bold]", soft_wrap=True)
    results.print(f"Load it with: onelayer.load({str(out)!r})", soft_wrap=True, markup=False)


def write_certificate(certificate: Certificate, json: Path | None) -> None:
    """Write a certificate where one was asked for, and say where."""
    if json is not None:
        results.print(f"The certificate: [bold]{escape(str(certificate.write(json)))}[/bold]", soft_wrap=True)


def draw(figure: Figure, path: Path) -> None:
    """Write a figure, and say where."""
    figure.savefig(path, dpi=150)
    results.print(f"The figure: [bold]{escape(str(path))}[/bold]", soft_wrap=True)
