"""Download CIFAR-10 (Krizhevsky, 2009) with torchvision."""

from __future__ import annotations

import errno
import http.client
import tarfile
import warnings
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from onelayer.data.splits import SPLIT_VERSION, ImageSplits, Pixels, carve_missing, content_key, image_splits
from onelayer.errors import OnelayerError
from onelayer.formats import shape as shape_text
from onelayer.records import Shape

SHAPE: Shape = (3, 32, 32)


def load_cifar10(*, shape: Shape, seed: int, cache: Path) -> ImageSplits:
    """Download CIFAR-10, unless it is there already, and carve validation from its training images.

    Args:
        shape: Input shape of the pipeline; must be 3×32×32.
        seed: Seed of the random tenth of train that becomes validation.
        cache: Folder of downloads; the files go to ``cifar10`` below it.

    Returns:
        45,000 train, 5,000 validation and the official 10,000 test images.

    Raises:
        OnelayerError: If the shape is another, or the download or the check of its integrity fails.
    """
    if shape != SHAPE:
        raise OnelayerError(
            f"the images of CIFAR-10 are {shape_text(SHAPE)}",
            expected=f"{shape_text(shape)}, the input of the pipeline",
            hint="Give --data a folder or Parquet files of such images.",
        )
    folder = cache / "cifar10"
    try:
        # Test first: while train is read it is in memory twice, and only once afterwards.
        test = _read(folder, train=False)
        train = _read(folder, train=True)
    # RuntimeError is torchvision's for a failed check; the others come from the network, the disk and the archive.
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        raise OnelayerError(f"CIFAR-10 cannot be had: {error}", hint=_hint(error, folder)) from error
    digests = [digest for _, digest in CIFAR10.train_list + CIFAR10.test_list]
    return image_splits(
        carve_missing({"train": train, "test": test}, seed=seed, source="cifar10"),
        source="cifar10",
        description="CIFAR-10, 60,000 small photographs of ten classes, with its own train and test parts, a random "
        "tenth of train being validation.",
        key=content_key("cifar10", *digests, f"seed={seed}", f"split={SPLIT_VERSION}"),
    )


def _read(folder: Path, *, train: bool) -> Pixels:
    # CIFAR-10 comes as pickles, which could run code when read. torchvision compares the MD5 of the archive and of
    # every batch with those in its source before it unpickles one (CIFAR10.__init__, _check_integrity); to make a
    # harmful file of a given MD5 is not feasible. So nothing is unpickled here but what the authors published.
    with warnings.catch_warnings():
        # NumPy 2.4.0 to 2.4.4 warn about the way that pickles of this age spell a dtype.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        dataset = CIFAR10(folder, train=train, download=True)
    # torchvision shows the planar pixels of the files as [N, H, W, C]; undone, this is no copy.
    return np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))


def _hint(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"It takes 350 MB in {folder}: free some space, or name another folder in ONELAYER_CACHE."
    return "Check the network and try again, or give --data a folder of images or Parquet files."
