"""``onelayer reproduce``"""

from __future__ import annotations

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
from onelayer.reproduction.learn_request import DeviceChoice


@app.command(
    epilog=examples(
        "onelayer reproduce",
        "onelayer reproduce --data cifar10 --out runs/cifar10",
        "onelayer reproduce --data photographs/ --epochs 50 --skip-bad",
        "onelayer reproduce --resume --out runs/cifar10",
    )
)
def reproduce(
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
    """Run the report from data to page: learn the layer, compare it, time it, write report.html."""
    check_reproduction("reproduce")
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

    from onelayer.reproduction.reproduce import reproduce as run_report

    run_report(request)
