"""Load image data from a built-in sample, CIFAR-10, a folder of images or Parquet files."""

from __future__ import annotations

from pathlib import Path

from onelayer.cache_folder import cache_folder
from onelayer.data.cifar10 import load_cifar10
from onelayer.data.encoded import SUFFIXES, EncodedImages, load_encoded
from onelayer.data.folder import find_files, images_of_folder
from onelayer.data.parquet import SUFFIX, images_of_parquet, images_of_parquet_file
from onelayer.data.sample import load_sample
from onelayer.data.splits import ImageSplits, float_images, unit_range
from onelayer.errors import OnelayerError
from onelayer.formats import shape as shape_text
from onelayer.records import Shape

__all__ = ["ImageSplits", "float_images", "load_images", "unit_range"]

_SOURCES = "sample, cifar10, a folder of images or Parquet files, or a Parquet file"


def load_images(
    source: str, *, shape: Shape, seed: int, skip_bad: bool = False, cache: Path | None = None
) -> ImageSplits:
    """Load images to learn from and to compare on.

    A folder is searched with all its subfolders. Its own splits are kept (for images: subfolders train, test and val,
    valid or validation; for Parquet: names of files that begin so, or such folders); a missing split is drawn from
    train: a tenth for validation, a fifth for test.

    Args:
        source: "sample" for patches of the photographs that come with scikit-image, "cifar10", or the path of a
            folder of images, a Parquet file or a folder of Parquet files. A folder that is itself called "sample" is
            given as "./sample".
        shape: Channels (1 for grey, 3 for RGB), height and width of the pipeline's input.
        seed: Seed of all random choices, at least 0.
        skip_bad: Whether images that are damaged or of another shape are left out and counted; otherwise they are
            refused.
        cache: Folder for downloads and decoded images. None for the environment variable ONELAYER_CACHE, or else the
            user's cache folder.

    Returns:
        Images as uint8 arrays [N, C, H, W], at least one in each split.

    Raises:
        OnelayerError: If there is no such source, it holds no, too few or too many images, one of them is bad, a
            download fails, a package is missing, or the shape or seed is not one of the above.
    """
    if shape[0] not in (1, 3) or min(shape) < 1:
        raise OnelayerError(
            f"images of {shape_text(shape)} cannot be loaded",
            expected="1 channel (grey) or 3 channels (RGB), of at least one pixel",
        )
    if seed < 0:
        raise OnelayerError(f"the seed is {seed}", expected="a whole number of at least 0")
    folder = cache_folder(cache)
    if source == "sample":
        return load_sample(shape=shape, seed=seed, cache=folder / "images")
    if source == "cifar10":
        return load_cifar10(shape=shape, seed=seed, cache=folder)
    return load_encoded(_encoded(source), shape=shape, seed=seed, skip_bad=skip_bad, cache=folder / "images")


def _encoded(source: str) -> EncodedImages:
    path = Path(source)
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise OnelayerError(f"the name {source!a} is not UTF-8", hint="Rename it; records are text.") from None
    try:
        # An empty text, such as an unset variable of a shell, would else be the current folder.
        exists = bool(source) and path.exists()
    except OSError as error:
        raise OnelayerError(f"{source} cannot be read: {error.strerror or error}", expected=_SOURCES) from error
    if not exists:
        raise OnelayerError(
            f"there is no data called '{source}'", expected=_SOURCES, hint="Check what was given to --data for a typo."
        )
    if path.is_dir():
        return _of_folder(path, source)
    if path.is_file() and path.suffix.lower() == SUFFIX:
        return images_of_parquet_file(path, source=source)
    raise OnelayerError(f"{source} is neither a folder nor a Parquet file", expected=_SOURCES)


def _of_folder(root: Path, source: str) -> EncodedImages:
    files = find_files(root)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    tables = [path for path in files if path.suffix.lower() == SUFFIX]
    if images and tables:
        # Either kind may be only an accessory of the other, such as thumbnails or a table of labels.
        raise OnelayerError(
            f"{source} holds both images ({len(images):,}, such as {images[0]}) and Parquet files "
            f"({len(tables):,}, such as {tables[0]})",
            expected="one of the two",
            hint="Give --data a folder that holds only one kind, or one Parquet file.",
        )
    if images:
        return images_of_folder(root, images, source=source)
    if tables:
        return images_of_parquet(root, tables, source=source)
    raise OnelayerError(
        f"the folder {source} holds neither images nor Parquet files",
        expected=f"files that end in {', '.join((*SUFFIXES, SUFFIX))}",
    )
