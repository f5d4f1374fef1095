"""Images in and out: tensors, PIL images, NumPy arrays."""
