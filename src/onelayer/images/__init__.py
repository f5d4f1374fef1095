"""Convert images to pixels and back: tensors, PIL images, NumPy arrays."""
