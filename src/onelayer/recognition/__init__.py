"""From a learned dense layer to its structure: taps, Kronecker factors, and the names of what they do."""

from __future__ import annotations

from onelayer.recognition.bounds import comparison_table, proved_bound
from onelayer.recognition.known_axes import NamedAxis, named_axis
from onelayer.recognition.known_channels import NamedChannels, named_channels
from onelayer.recognition.norms import ImageStatistics
from onelayer.recognition.recognised import Names, Recognised, Residual
from onelayer.recognition.recognising import NotRecognisedError, recognise

__all__ = [
    "ImageStatistics",
    "NamedAxis",
    "NamedChannels",
    "Names",
    "NotRecognisedError",
    "Recognised",
    "Residual",
    "comparison_table",
    "named_axis",
    "named_channels",
    "proved_bound",
    "recognise",
]
