"""Programs as one fused kernel on NVIDIA GPUs, compiled by Triton."""
