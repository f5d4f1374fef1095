"""Recognise the structure of a learned dense layer: taps, Kronecker factors, and their names."""

from __future__ import annotations

from onelayer.recognition.known_axes import AxisSteps, NamedAxis, named_axis
from onelayer.recognition.known_channels import NamedChannels, named_channels
from onelayer.recognition.norms import ImageStatistics
from onelayer.recognition.recognised import Names, Recognised, Residual, comparison_table, largest_difference
from onelayer.recognition.recognising import NotRecognisedError, recognise

__all__ = [
    "AxisSteps",
    "ImageStatistics",
    "NamedAxis",
    "NamedChannels",
    "Names",
    "NotRecognisedError",
    "Recognised",
    "Residual",
    "comparison_table",
    "largest_difference",
    "named_axis",
    "named_channels",
    "recognise",
]
