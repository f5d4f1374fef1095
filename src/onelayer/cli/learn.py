"""``onelayer learn``"""

from __future__ import annotations

import shlex

from rich.markup import escape

from onelayer.cli.app import app, examples
from onelayer.cli.run_options import (
    BatchSize,
    Data,
    Device,
    Devices,
    Epochs,
    LearningRate,
    MinDelta,
    OverwriteRun,
    Patience,
    Quick,
    Recipe,
    Resume,
    RunOut,
    Seed,
    SkipBad,
    check_reproduction,
    learn_request,
)
from onelayer.console import results
from onelayer.errors import Interrupted
from onelayer.reproduction.learn_request import DeviceChoice
from onelayer.reproduction.run_folder import RunFolder


@app.command(
    epilog=examples(
        "onelayer learn --data cifar10 --out runs/mine",
        "onelayer learn --data cifar10 --out runs/best --recipe least-squares",
        "onelayer learn --resume --out runs/mine --epochs 400",
    )
)
def learn(
    data: Data = None,
    out: RunOut = None,
    device: Device = DeviceChoice.auto,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    patience: Patience = None,
    min_delta: MinDelta = None,
    seed: Seed = None,
    devices: Devices = None,
    recipe: Recipe = None,
    quick: Quick = False,
    resume: Resume = False,
    overwrite: OverwriteRun = False,
    skip_bad: SkipBad = False,
) -> None:
    """Learn the layer only; compare, bench and report take it from there."""
    check_reproduction("learn")
    request = learn_request(
        data=data,
        out=out,
        resume=resume,
        overwrite=overwrite,
        options={
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "patience": patience,
            "min_delta": min_delta,
            "seed": seed,
            "devices": devices,
        },
        device=device,
        recipe=recipe,
        quick=quick,
        skip_bad=skip_bad,
    )

    from onelayer.reproduction.steps import learn_step

    try:
        learn_step(request)
    except Interrupted as stop:
        raise Interrupted(
            f"{stop}\nGo on with: onelayer learn --resume --out {shlex.quote(str(request.out))}"
        ) from None
    results.print(f"The layer: [bold]{escape(str(RunFolder(request.out).layer))}[/bold]", soft_wrap=True)
