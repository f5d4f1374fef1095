"""What runs a program: so far PyTorch, on any device."""
