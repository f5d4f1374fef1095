"""``onelayer report``"""

from __future__ import annotations

from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.cli.run_options import Run, check_page, check_run
from onelayer.console import results


@app.command(epilog=examples("onelayer report runs/sample"))
def report(run: Run) -> None:
    """Make the figures and report.html again from the saved records, without running anything."""
    folder = check_run(run)
    check_page()

    from onelayer.reproduction.report import build_report

    results.print(f"The page: [bold]{escape(str(build_report(folder)))}[/bold]", soft_wrap=True)
