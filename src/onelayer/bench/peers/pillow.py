"""Pillow, image by image and in one thread, as a careful user would have it: with ``box`` and ``reducing_gap``.

Cropping by ``box`` before the resize spares what would be cut off, and ``reducing_gap`` has large images reduced by a
whole number first; see ``pillow_work``. Normalised with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import __version__

from onelayer.bench.peers import pillow_work
from onelayer.bench.peers.array_peer import hwc_array
from onelayer.bench.peers.peer import Images, Prepared
from onelayer.bench.peers.work import Work


def refuse(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    """See ``Peer.why_not``."""
    return None if images.dtype == torch.uint8 else "Pillow's colour images hold uint8, and these are floating point"


def steps_of(work: Work, height: int, width: int) -> pillow_work.Steps:
    """The work on images of that height and width in Pillow's words."""
    resized_height, resized_width = work.resized(height, width)
    top, left, kept_height, kept_width = work.kept(height, width)
    across, down = width / resized_width, height / resized_height
    flip = {
        (True, True): "ROTATE_180",
        (True, False): "FLIP_LEFT_RIGHT",
        (False, True): "FLIP_TOP_BOTTOM",
        (False, False): None,
    }[work.horizontal_flip, work.vertical_flip]
    scale = offset = None
    if work.mean is not None and work.std is not None:
        scale = tuple(1 / (255 * std) for std in work.std)
        offset = tuple(-mean / std for mean, std in zip(work.mean, work.std, strict=True))
    return pillow_work.Steps(
        size=(kept_width, kept_height),
        # Rounding may carry it over the edge, which Pillow refuses.
        box=(
            left * across,
            top * down,
            min(width, (left + kept_width) * across),
            min(height, (top + kept_height) * down),
        ),
        resample=work.interpolation.upper(),
        grayscale=work.grayscale,
        flip=flip,
        scale=scale,
        offset=offset,
    )


class Pillow:
    """See :class:`onelayer.bench.peers.peer.Peer`."""

    name = "pillow"
    label = "Pillow and NumPy"

    def why_not(self, work: Work, images: Images) -> str | None:
        """See ``Peer.why_not``."""
        return refuse(work, images)

    def prepare(self, work: Work, images: Sequence[Images], threads: int) -> Prepared:  # noqa: ARG002 - Pillow has one
        """See ``Peer.prepare``."""
        return Prepared(
            inputs=[(pillow_work.opened(hwc_array(one)), steps_of(work, *one.shape[-2:])) for one in images],
            apply=lambda given: pillow_work.all_done(*given),
            tensor=torch.from_numpy,
            versions={"pillow": __version__},
        )


PEER = Pillow()
