"""``onelayer learn``"""

from __future__ import annotations

import shlex

from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.cli.run_options import LearnOptions, takes_learn_options
from onelayer.console import results
from onelayer.errors import Interrupted
from onelayer.reproduction.run_folder import RunFolder


@app.command(
    epilog=examples(
        "onelayer learn --data cifar10 --out runs/mine",
        "onelayer learn --data cifar10 --out runs/best --recipe least-squares",
        "onelayer learn my_functions.py:preprocess --shape 3x32x32 --data photographs/ --recipe least-squares",
        "onelayer learn --resume --out runs/mine --epochs 400",
    )
)
@takes_learn_options
def learn(options: LearnOptions) -> None:
    """Learn the layer of a pipeline or a function; compare, bench and report take it from there."""
    request = options.request()

    from onelayer.reproduction.steps import learn_step

    try:
        learn_step(options.with_pipeline(request))
    except Interrupted as stop:
        named = [] if options.pipeline is None else [options.pipeline]
        command = shlex.join(["onelayer", "learn", *named, "--resume", "--out", str(request.out)])
        raise Interrupted(f"{stop}\nGo on with: {command}") from None
    results.print(f"The layer: [bold]{escape(str(RunFolder(request.out).layer))}[/bold]", soft_wrap=True)
