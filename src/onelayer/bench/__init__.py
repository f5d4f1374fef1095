"""Timing ways of doing the same work against each other."""
