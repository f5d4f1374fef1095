"""Run programs as a fused kernel on NVIDIA GPUs, compiled by Triton."""
