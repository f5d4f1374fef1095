from __future__ import annotations

import numpy as np
from PIL import Image

from onelayer.data.photographs import Photograph


def test_photographs_are_reduced_or_continued_by_their_mirror_image() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    photograph = Photograph("p", Image.fromarray(levels))
    pixels = photograph.at(8, 5, channels=3).numpy()
    original = np.moveaxis(levels, -1, 0)
    np.testing.assert_array_equal(pixels[:, :6], original)
    np.testing.assert_array_equal(pixels[:, 6:], original[:, [5, 4]])
    assert photograph.at(3, 4, channels=1).shape == (1, 3, 4)
    # Its middle, 4×5 of 6×5, as the proportions are 4:5.
    np.testing.assert_array_equal(photograph.at(4, 5, channels=3).numpy(), original[:, 1:5])
