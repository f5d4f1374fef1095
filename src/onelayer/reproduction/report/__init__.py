"""Report a run: tables, figures and one page, from saved records alone."""

from __future__ import annotations

from onelayer.reproduction.report.page import build_report
from onelayer.reproduction.report.tables import benchmark_table, metrics_table

__all__ = ["benchmark_table", "build_report", "metrics_table"]
