"""The parts of `benchmarks/measure_coverage.py`."""
