"""``onelayer learn``"""

from __future__ import annotations

import shlex
from dataclasses import replace

from rich.markup import escape

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
    learn_request,
    pipeline_of_run,
)
from onelayer.console import results
from onelayer.errors import Interrupted
from onelayer.reproduction.learn_request import DeviceChoice
from onelayer.reproduction.run_folder import RunFolder


@app.command(
    epilog=examples(
        "onelayer learn --data cifar10 --out runs/mine",
        "onelayer learn --data cifar10 --out runs/best --recipe least-squares",
        "onelayer learn my_functions.py:preprocess --shape 3x32x32 --data photographs/ --recipe least-squares",
        "onelayer learn --resume --out runs/mine --epochs 400",
    )
)
def learn(
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
    """Learn the layer of a pipeline or a function; compare, bench and report take it from there."""
    images = ImageOptions.checked(shape, None, None)
    if pipeline is not None:
        check_pipeline(pipeline, has_shape=resume or images.shape is not None)
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

    from onelayer.reproduction.steps import learn_step

    run = RunFolder(request.out)
    try:
        learn_step(replace(request, pipeline=pipeline_of_run(pipeline, images.shape, run if resume else None)))
    except Interrupted as stop:
        named = [] if pipeline is None else [pipeline]
        command = shlex.join(["onelayer", "learn", *named, "--resume", "--out", str(request.out)])
        raise Interrupted(f"{stop}\nGo on with: {command}") from None
    results.print(f"The layer: [bold]{escape(str(run.layer))}[/bold]", soft_wrap=True)
