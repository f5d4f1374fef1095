"""Programs as plain PyTorch, on any device and differentiable."""
