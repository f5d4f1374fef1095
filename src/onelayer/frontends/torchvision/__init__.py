"""Torchvision's transforms, v1 and v2."""
