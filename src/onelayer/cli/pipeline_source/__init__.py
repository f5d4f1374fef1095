"""Which pipeline a word on the command line means."""

from __future__ import annotations

from onelayer.cli.pipeline_source.find import FoundPipeline, find_pipeline

__all__ = ["FoundPipeline", "find_pipeline"]
