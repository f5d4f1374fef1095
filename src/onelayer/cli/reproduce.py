"""``onelayer reproduce``"""

from __future__ import annotations

from onelayer.cli.app import app, examples
from onelayer.cli.run_options import LearnOptions, check_gradient_descent, check_page, takes_learn_options


@app.command(
    epilog=examples(
        "onelayer reproduce",
        "onelayer reproduce --data cifar10 --out runs/cifar10",
        "onelayer reproduce --data photographs/ --epochs 50 --skip-bad",
        "onelayer reproduce --resume --out runs/cifar10",
    )
)
@takes_learn_options
def reproduce(options: LearnOptions) -> None:
    """Run the report from data to page, or the same for another pipeline: learn, compare, time, write report.html."""
    check_gradient_descent()
    check_page()
    request = options.request()

    from onelayer.reproduction.reproduce import reproduce as run_report

    run_report(options.with_pipeline(request))
