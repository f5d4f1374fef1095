"""``onelayer compare``"""

from __future__ import annotations

import shlex

from onelayer.cli.app import app, examples
from onelayer.cli.pipeline_source import check_pipeline
from onelayer.cli.run_options import MovedData, PipelineOfRun, Run, check_data, check_run, pipeline_of_run
from onelayer.console import results


@app.command(epilog=examples("onelayer compare runs/sample", "onelayer compare runs/mine --data moved/photographs"))
def compare(run: Run, pipeline: PipelineOfRun = None, data: MovedData = None) -> None:
    """Compare a run's layer with the original transforms on the test images."""
    folder = check_run(run)
    check_data(data)
    if pipeline is not None:
        check_pipeline(pipeline)

    from onelayer.reproduction.records import MetricsRecord
    from onelayer.reproduction.report import metrics_table
    from onelayer.reproduction.steps import compare_step

    compare_step(folder, data, pipeline_of_run(pipeline, None, folder))
    results.print(metrics_table(MetricsRecord.read(folder.metrics)))
    results.print(f"Onto the page with: onelayer report {shlex.quote(str(run))}", soft_wrap=True)
