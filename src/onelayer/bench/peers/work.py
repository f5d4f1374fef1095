"""What a benchmark asks of every peer, in terms that any image library has words for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Work:
    """A preprocessing pipeline, spelled out. The steps come in the order of the fields.

    Args:
        resize: Height and width; or the length of the shorter side, the other one following as in torchvision
            (``int(length · long / short)``).
        interpolation: With antialiasing, as torchvision and Pillow do it.
        crop: Side of the square that is cut from the centre; None for no crop.
        grayscale: Whether the three channels become one (ITU-R 601: 0.2989, 0.587, 0.114).
        horizontal_flip: Whether left becomes right.
        vertical_flip: Whether top becomes bottom.
        mean: Of each channel, for images in [0, 1]; None where the work ends without scaling, in the dtype it began.
        std: Likewise.
    """

    resize: tuple[int, int] | int
    interpolation: Literal["bilinear", "bicubic"]
    crop: int | None = None
    grayscale: bool = False
    horizontal_flip: bool = False
    vertical_flip: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, of an image of that height and width."""
        if isinstance(self.resize, tuple):
            return self.resize
        if height <= width:
            return self.resize, int(self.resize * width / height)
        return int(self.resize * height / width), self.resize

    def kept(self, height: int, width: int) -> tuple[int, int, int, int]:
        """What the crop keeps of an image that had that height and width before the resize.

        Returns:
            Top, left, height and width in the resized image; all of it where there is no crop. Rounded as torchvision
            does: half to even.
        """
        resized_height, resized_width = self.resized(height, width)
        if self.crop is None:
            return 0, 0, resized_height, resized_width
        return round((resized_height - self.crop) / 2), round((resized_width - self.crop) / 2), self.crop, self.crop
