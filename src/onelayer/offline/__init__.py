"""Preprocess a data set of encoded images ahead of training: ``onelayer apply``."""
