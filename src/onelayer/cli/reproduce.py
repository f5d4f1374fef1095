"""``onelayer reproduce``"""

from __future__ import annotations

from dataclasses import replace

from onelayer.cli.app import app, examples
from onelayer.cli.input_options import ImageOptions, ShapeText
from onelayer.cli.pipeline_source import check_pipeline
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
    RunPipeline,
    Seed,
    SkipBad,
    check_gradient_descent,
    check_page,
    learn_request,
    pipeline_of_run,
)
from onelayer.reproduction.learn_request import DeviceChoice
from onelayer.reproduction.run_folder import RunFolder


@app.command(
    epilog=examples(
        "onelayer reproduce",
        "onelayer reproduce --data cifar10 --out runs/cifar10",
        "onelayer reproduce --data photographs/ --epochs 50 --skip-bad",
        "onelayer reproduce --resume --out runs/cifar10",
    )
)
def reproduce(
    pipeline: RunPipeline = None,
    shape: ShapeText = None,
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
    """Run the report from data to page, or the same for another pipeline: learn, compare, time, write report.html."""
    images = ImageOptions.checked(shape, None, None)
    if pipeline is not None:
        check_pipeline(pipeline, has_shape=resume or images.shape is not None)
    check_gradient_descent()
    check_page()
    request = learn_request(
        pipeline,
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

    own = pipeline_of_run(pipeline, images.shape, RunFolder(request.out) if resume else None)
    run_report(replace(request, pipeline=own))
