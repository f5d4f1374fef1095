"""The report from data to page: learn, by other recipes too, compare, benchmark, write."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Callable

from rich.markup import escape

from onelayer.console import console, results
from onelayer.errors import Interrupted
from onelayer.reproduction.learn_request import LearnRequest
from onelayer.reproduction.learning.image_statistics import ImageStatistics
from onelayer.reproduction.records import BenchmarkRecord, MetricsRecord
from onelayer.reproduction.report import benchmark_table, build_report, metrics_table
from onelayer.reproduction.run_folder import RunFolder
from onelayer.reproduction.steps import (
    bench_step,
    compare_step,
    comparison_missing,
    learn_step,
    other_recipes_missing,
    other_recipes_step,
    resolve_device,
)


def reproduce(request: LearnRequest) -> RunFolder:
    """Run the report, or what is left of it when ``request.resume`` is set.

    Every step writes its records before the next begins, so whatever ends a run early loses at most one step, and of
    learning at most one epoch.

    Args:
        request: What to learn, on what, and where.

    Returns:
        The folder of the run.

    Raises:
        OnelayerError: If the request cannot be met.
        Interrupted: If a signal ended it early; the text says how to go on.
    """
    folder = RunFolder(request.out)
    try:
        study = ImageStatistics()
        _step("Learning", lambda: learn_step(request, study))
        if other_recipes_missing(folder):
            device = resolve_device(request.device)
            _step("Other recipes", lambda: other_recipes_step(folder, device, study, request.data))
        study.forget()
        if comparison_missing(folder):
            _step("Comparing", lambda: compare_step(folder, request.data))
        if not folder.benchmark.exists():
            _step("Timing", lambda: bench_step(folder, resolve_device(request.device), request.data))
        build_report(folder)
    except (KeyboardInterrupt, Interrupted) as stop:
        done = str(stop) or "Stopped; what was finished is kept."
        how = f"\nGo on with: onelayer reproduce --resume --out {shlex.quote(str(folder.path))}"
        raise Interrupted(done + (how if folder.holds_run else "")) from None
    results.print(metrics_table(MetricsRecord.read(folder.metrics)))
    results.print(benchmark_table(BenchmarkRecord.read(folder.benchmark)))
    results.print(f"The page: [bold]{escape(str(folder.page))}[/bold]", soft_wrap=True)
    return folder


def _step(name: str, step: Callable[[], object]) -> None:
    console.rule(name, align="left")
    step()
    # A trainer and what it learned from hold each other; the next step needs their memory.
    gc.collect()
