"""Run the report from data to page: learn, by other recipes too, compare, benchmark, write."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Callable

from rich.markup import escape

from onelayer.bench.record import BenchmarkRecord
from onelayer.console import console, results
from onelayer.errors import Interrupted
from onelayer.reproduction.learn_request import LearnRequest
from onelayer.reproduction.learning.directions import SharedImageStatistics
from onelayer.reproduction.recipes import require_gradient_descent
from onelayer.reproduction.records import MetricsRecord
from onelayer.reproduction.report.page import build_report, require_report
from onelayer.reproduction.report.tables import benchmark_table, metrics_table
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
    """Run the report, or the rest of it when ``request.resume`` is set.

    Every step writes its records before the next begins, so whatever ends a run early loses at most one step, and of
    learning at most one epoch.

    Args:
        request: The user's request.

    Returns:
        The folder of the run.

    Raises:
        OnelayerError: If the request cannot be met, or a package is missing.
        Interrupted: If a signal ended it early; the text says how to go on.
    """
    # Before the first minute is spent, not when their turn comes.
    require_gradient_descent()
    require_report()
    folder = RunFolder(request.out)
    data, pipeline = request.data, request.pipeline
    try:
        statistics = SharedImageStatistics()
        _step("Learning", lambda: learn_step(request, statistics))
        device = resolve_device(request.device)
        if other_recipes_missing(folder):
            _step("Other recipes", lambda: other_recipes_step(folder, device, statistics, data, pipeline))
        statistics.forget()
        if comparison_missing(folder):
            _step("Comparing", lambda: compare_step(folder, data, pipeline))
        if not folder.benchmark.exists():
            _step("Timing", lambda: bench_step(folder, device, data, pipeline))
        build_report(folder)
    except (KeyboardInterrupt, Interrupted) as stop:
        done = str(stop) or "What was finished is kept."
        own = [] if pipeline is None else [pipeline.name]
        command = shlex.join(["onelayer", "reproduce", *own, "--resume", "--out", str(folder.path)])
        how = f"\nGo on with: {command}"
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
