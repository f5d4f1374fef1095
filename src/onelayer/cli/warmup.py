"""``onelayer warmup``"""

from __future__ import annotations

from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.console import results


@app.command(epilog=examples("onelayer warmup", "ONELAYER_CACHE=/opt/onelayer onelayer warmup"))
def warmup() -> None:
    """Compile all CPU kernels ahead of the first image, for example while a container image is built.

    The machine code is kept in ONELAYER_CACHE, or in the user's cache folder. What is there already is not compiled
    again. Takes about four minutes.
    """
    import onelayer

    folder = onelayer.warmup(progress=True)
    results.print(f"The kernels: [bold]{escape(str(folder))}[/bold]", soft_wrap=True)
