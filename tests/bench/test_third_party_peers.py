"""What other libraries make of the same images, as far as they are installed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import PIL
import pytest
import torch

from onelayer.bench.accuracy import grey_levels
from onelayer.bench.peers import PEERS, base, pillow
from onelayer.bench.peers.base import Images, Peer, Prepared, Resources
from onelayer.bench.workloads import Work
from onelayer.data.photographs import bundled
from onelayer.errors import OnelayerError

BY_NAME = {peer.name: peer for peer in PEERS}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Close:
    """How far a peer may be from torchvision where images are reduced, in grey levels."""

    largest: float
    mean: float


# All of these images are small, and reduced a little: every one of their pixels is an edge.
REDUCED = {
    # INTER_AREA averages what a pixel covers: sharper than the antialiasing triangle, which covers twice as much.
    "opencv": Close(40, 4),
    "albumentationsx": Close(40, 4),
    # A Gaussian blur is not the triangle.
    "kornia": Close(80, 9),
    # No antialiasing.
    "kornia-rs": Close(80, 9),
    # And up to half a pixel of the original beside the place, which these images show more than others.
    "kornia-rs-fused": Close(80, 11),
    # It repeats the first and the last pixel beyond the edges, where torchvision leaves out what is not there: a few
    # levels in the rows and columns along the edges, none elsewhere.
    "dali": Close(12, 1),
    # The same filters, but Pillow 13 does the vertical pass first for some sizes, and both round between the passes.
    # Gray is rounded in Pillow and cut off in torchvision: half a level on average.
    "pillow": Close(3, 0.7),
    "pillow-simd": Close(3, 0.7),
    # torchvision rounds to bytes after the resize, and cuts off what grayscale leaves; they round once.
    "onnxruntime-dense": Close(3, 0.7),
    "openvino-dense": Close(3, 0.7),
}


def photographs() -> list[Images]:
    """Two of awkward sizes, one wide and one high, in HWC memory."""
    original = bundled()[0]
    return [original.at(*size, 3).movedim(0, -1).contiguous().movedim(-1, 0) for size in ((37, 51), (60, 41))]


def batch() -> Images:
    """Three images of the size of the report's."""
    return torch.stack([original.at(32, 32, 3) for original in bundled()[:3]])


REPORT = Work((28, 28), "bilinear", grayscale=True, horizontal_flip=True, vertical_flip=True)
# A crop of such a size that no half of a pixel is to be rounded: AlbumentationsX would round it down.
EVALUATION = Work(24, "bilinear", crop=19, mean=MEAN, std=STD)
CASES = {
    "evaluation": (EVALUATION, photographs()),
    "evaluation of one float32": (EVALUATION, [photographs()[0].float() / 255]),
    "bicubic": (replace(EVALUATION, interpolation="bicubic"), photographs()),
    "squashed": (Work((21, 26), "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), photographs()),
    "report uint8": (REPORT, [batch(), batch()[:2]]),
    "report float32": (REPORT, [batch() / 255, batch()[:2] / 255]),
}

# Nothing is filtered where images are enlarged, and everybody does the same, a rounding or two apart.
ENLARGED = Work((70, 90), "bilinear")
ENLARGED_CASES = {
    "resize": ENLARGED,
    "crop": replace(ENLARGED, crop=50),
    "grayscale": replace(ENLARGED, grayscale=True),
    "left to right": replace(ENLARGED, horizontal_flip=True),
    "top to bottom": replace(ENLARGED, vertical_flip=True),
    "normalised": replace(ENLARGED, mean=MEAN, std=STD),
    "all": replace(ENLARGED, crop=50, horizontal_flip=True, vertical_flip=True, mean=MEAN, std=STD),
}

# What each can do of CASES.
ALL = set(CASES)
BYTES = ALL - {"evaluation of one float32", "report float32"}
CAN = {
    "opencv": ALL,
    "albumentationsx": ALL,
    "kornia": ALL,
    "kornia-rs": BYTES,
    "kornia-rs-fused": {"evaluation"},
    "dali": ALL,
    "pillow": BYTES,
    "pillow-simd": BYTES,
    "onnxruntime-dense": ALL - {"bicubic", "squashed"},
    "openvino-dense": ALL - {"bicubic", "squashed"},
}


RUNTIMES = ("onnxruntime-dense", "openvino-dense")
"""Peers that have a process of their own, see ``test_runtimes.py``."""


@pytest.fixture(params=[name for name in REDUCED if name not in RUNTIMES])
def peer(request: pytest.FixtureRequest) -> Peer[Work]:
    """Each of the others that is installed."""
    return installed(request.param)


def installed(name: str) -> Peer[Work]:
    found = BY_NAME[name]
    reason = found.why_not(*first(CASES["evaluation"]))
    if reason is not None:
        pytest.skip(reason)
    return found


def first(case: tuple[Work, list[Images]]) -> tuple[Work, Images]:
    return case[0], case[1][0]


def differences(peer: Peer[Work], work: Work, images: list[Images]) -> tuple[float, float]:
    """The largest and the mean difference from torchvision, in grey levels; what is wrong with the form fails."""
    prepared = peer.prepare(work, images, Resources(threads=2))
    versions = peer.versions() | prepared.versions
    assert versions
    assert all(text[0].isdigit() for text in versions.values())
    errors = []
    for one, image in zip(prepared.inputs, images, strict=True):
        result, expected = prepared.tensor(prepared.apply(one)), work.transform(image)
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        assert result.is_contiguous()
        errors.append(((result.double() - expected.double()).abs() * grey_levels(image.dtype, work.std)).flatten())
    return float(torch.cat(errors).max()), float(torch.cat(errors).mean())


def test_reduced_images_are_close_to_torchvisions(peer: Peer[Work]) -> None:
    reasons = {name: peer.why_not(*first(case)) for name, case in CASES.items()}
    assert {name for name, reason in reasons.items() if reason is None} == CAN[peer.name]
    for name in CAN[peer.name]:
        largest, mean = differences(peer, *CASES[name])
        assert largest <= REDUCED[peer.name].largest, name
        assert mean <= REDUCED[peer.name].mean, name


def test_a_wrong_flip_would_be_noticed() -> None:
    # Or else the bounds on means would say nothing.
    most = max(close.mean for close in REDUCED.values())
    for images in (*photographs(), batch()):
        for axis in (-1, -2):
            assert (images.float() - images.flip(axis).float()).abs().mean() > 2 * most


def test_enlarged_images_are_torchvisions_but_for_rounding(peer: Peer[Work]) -> None:
    compared = 0
    for dtype in (torch.uint8, torch.float32):
        images = photographs() if dtype == torch.uint8 else [one.float() / 255 for one in photographs()]
        for name, work in ENLARGED_CASES.items():
            # The fused call of kornia-rs crops whole pixels of the original.
            if peer.why_not(work, images[0]) is not None or (peer.name == "kornia-rs-fused" and work.crop is not None):
                continue
            compared += 1
            largest, mean = differences(peer, work, images)
            if dtype == torch.uint8:
                # One level for the pass that is rounded first, and one for grayscale, which torchvision cuts off; a
                # tiny bit more, for what was normalised is measured after a division.
                assert largest <= 2.001, name
                assert mean <= 0.7, name
            else:
                # Red counts 0.2989 in torchvision and 0.299 elsewhere: a fortieth of a level where it is full.
                assert largest <= (0.03 if work.grayscale else 0.01), name
                assert mean <= (0.03 if work.grayscale else 0.001), name
    if not compared:
        pytest.skip("it refuses all of them: the matrices are too large")


def test_results_do_not_depend_on_threads(peer: Peer[Work]) -> None:
    work, images = CASES["evaluation"]
    one_thread, two_threads = (outputs(peer.prepare(work, images, Resources(threads))) for threads in (1, 2))
    for one, two in zip(one_thread, two_threads, strict=True):
        # OpenVINO may add up in another order.
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def outputs(prepared: Prepared) -> list[torch.Tensor]:
    return [prepared.tensor(prepared.apply(one)).clone() for one in prepared.inputs]


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not base._is_installed("no_such_module.within")
    monkeypatch.setattr(base, "_is_installed", lambda module: module != "cv2")
    reason = str(BY_NAME["albumentationsx"].why_not(*first(CASES["evaluation"])))
    assert reason == "cv2 is not installed; install it: pip install 'onelayer[peers]'"


_REPORTS = """
import torch
from onelayer.bench.peers import albumentationsx
from onelayer.bench.workloads import Work
albumentationsx._make(Work(8, "bilinear"), torch.uint8, 1)
from albumentations.core.analytics.settings import settings
print(settings.telemetry_enabled)
"""


def test_albumentationsx_reports_nothing_over_the_network() -> None:
    work, images = CASES["evaluation"]
    if (reason := BY_NAME["albumentationsx"].why_not(work, images[0])) is not None:
        pytest.skip(reason)
    # A process in which nothing has imported it before, and where no variable forbids it.
    environment = {name: value for name, value in os.environ.items() if "ALBUMENTATIONS" not in name}
    ran = subprocess.run([sys.executable, "-c", _REPORTS], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"]


def test_pillow_crops_before_the_resize_as_torchvision_after_it() -> None:
    # Halves are rounded to even, up and down, as torchvision's are: 7.5 to 8, and 6.5 to 6.
    largest, mean = differences(BY_NAME["pillow"], replace(EVALUATION, crop=20), photographs())
    assert largest <= REDUCED["pillow"].largest
    assert mean <= REDUCED["pillow"].mean


def test_pillow_reduces_large_images_in_two_steps_and_stays_close() -> None:
    # By four times, and then by less.
    image = bundled()[0].at(500, 620, 3)
    largest, mean = differences(BY_NAME["pillow"], replace(EVALUATION, resize=30), [image])
    # Pillow's documentation says of this reducing gap that the result is all but the same.
    assert largest <= 16
    assert mean <= 1.5


# --- the worker of Pillow-SIMD, with this interpreter's Pillow in its place -----------------------------------------

WATCHED = pytest.mark.skipif(sys.platform == "win32", reason="pipes are not watched on Windows")


@WATCHED
def test_the_worker_does_what_pillow_does_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pillow.VARIABLE, sys.executable)
    work, images = REPORT, [photographs()[0], batch()]
    here, there = (BY_NAME[name].prepare(work, images, Resources()) for name in ("pillow", "pillow-simd"))
    assert there.versions == {"pillow-simd": PIL.__version__}
    # Not in order: each result is of the input that it is asked for.
    for index in reversed(range(len(images))):
        expected = here.tensor(here.apply(here.inputs[index]))
        result = there.tensor(there.apply(there.inputs[index]))
        assert result.dtype == expected.dtype
        assert torch.equal(result, expected)


@WATCHED
def test_a_failure_in_the_worker_is_raised_here_and_it_goes_on_until_nobody_holds_it() -> None:
    worker = pillow.Worker(sys.executable)
    process = worker.process
    worker.load([batch()], [pillow.pillow_steps(REPORT, 32, 32)])
    with pytest.raises(OnelayerError, match="IndexError"):
        worker.apply(1)
    assert worker.result(worker.apply(0)).shape == (3, 1, 28, 28)
    assert process.poll() is None
    del worker
    gc.collect()
    assert process.poll() == 0


@WATCHED
def test_a_worker_that_died_is_an_error() -> None:
    worker = pillow.Worker(sys.executable)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(OnelayerError, match="the worker failed"):
        worker.apply(0)
    worker.end()


@WATCHED
def test_why_pillow_simd_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason() -> str:
        return str(BY_NAME["pillow-simd"].why_not(*first(CASES["evaluation"])))

    monkeypatch.delenv(pillow.VARIABLE, raising=False)
    assert pillow.VARIABLE in reason()
    monkeypatch.setenv(pillow.VARIABLE, "no-such-python")
    assert "no Python interpreter that has Pillow" in reason()
    monkeypatch.setenv(pillow.VARIABLE, sys.executable)
    assert "not Pillow-SIMD" in reason()
