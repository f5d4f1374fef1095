"""Run programs as fused kernels on the CPU, compiled by Numba."""
