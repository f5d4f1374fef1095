"""What other libraries make of the same images, as far as they are installed."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass, replace

import PIL
import pytest
import torch

from onelayer.bench.peers import (
    albumentationsx,
    dali,
    kornia_rust,
    kornia_torch,
    onnx_runtime,
    opencv,
    openvino,
    pillow,
    pillow_simd,
)
from onelayer.bench.peers.packages import missing
from onelayer.bench.peers.peer import Images, Peer
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.bench.truth import grey_levels
from onelayer.data.photographs import bundled

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Close:
    """How far a peer may be from torchvision where images are reduced, in grey levels."""

    largest: float
    mean: float


# All of these images are small, and reduced a little: every one of their pixels is an edge.
REDUCED: dict[Peer, Close] = {
    # INTER_AREA averages what a pixel covers: sharper than the triangle that is asked for, which covers twice as much.
    opencv.PEER: Close(40, 4),
    albumentationsx.PEER: Close(40, 4),
    # A Gaussian blur is not the triangle.
    kornia_torch.PEER: Close(80, 9),
    # No antialiasing.
    kornia_rust.PEER: Close(80, 9),
    # And up to half a pixel of the original beside the place, which these images show more than others.
    kornia_rust.PEER_FUSED: Close(80, 11),
    # It repeats the first and the last pixel beyond the edges, where torchvision leaves out what is not there: a few
    # levels in the rows and columns along the edges, none elsewhere.
    dali.PEER: Close(12, 1),
    # The same filters, but Pillow 13 does the vertical pass first for some sizes, and both round between the passes.
    # Gray is rounded in Pillow and cut off in torchvision: half a level on average.
    pillow.PEER: Close(3, 0.7),
    pillow_simd.PEER: Close(3, 0.7),
    # torchvision rounds to bytes after the resize, and cuts off what grayscale leaves; they round once.
    onnx_runtime.PEER: Close(3, 0.7),
    openvino.PEER: Close(3, 0.7),
}
PEERS = pytest.mark.parametrize("peer", REDUCED, ids=lambda peer: peer.name)


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


def differences(peer: Peer, work: Work, images: list[Images]) -> tuple[float, float]:
    """The largest and the mean difference from torchvision, in grey levels; what is wrong with the form fails."""
    reason = peer.why_not(work, images[0])
    if reason is not None:
        pytest.skip(reason)
    prepared = peer.prepare(work, images, threads=2)
    assert prepared.versions
    assert all(text[0].isdigit() for text in prepared.versions.values())
    errors = []
    for given, one in zip(prepared.inputs, images, strict=True):
        result, expected = prepared.tensor(prepared.apply(given)), v2_transforms(work)(one)
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        assert result.is_contiguous()
        errors.append(((result.double() - expected.double()).abs() * grey_levels(work, one.dtype)).flatten())
    return float(torch.cat(errors).max()), float(torch.cat(errors).mean())


@PEERS
@pytest.mark.parametrize("case", CASES)
def test_reduced_images_are_close_to_torchvisions(peer: Peer, case: str) -> None:
    largest, mean = differences(peer, *CASES[case])
    assert largest <= REDUCED[peer].largest
    assert mean <= REDUCED[peer].mean


@pytest.mark.parametrize("images", [*photographs(), batch()], ids=str)
def test_a_wrong_flip_would_be_seen(images: Images) -> None:
    # Or else the bounds on means would say nothing.
    for axis in (-1, -2):
        assert (images.float() - images.flip(axis).float()).abs().mean() > 2 * max(one.mean for one in REDUCED.values())


@PEERS
@pytest.mark.parametrize("case", ENLARGED_CASES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_enlarged_images_are_torchvisions_but_for_rounding(peer: Peer, case: str, dtype: torch.dtype) -> None:
    if peer is kornia_rust.PEER_FUSED and "crop" in case:
        pytest.skip("its crop is of whole pixels of the original")
    images = photographs() if dtype == torch.uint8 else [one.float() / 255 for one in photographs()]
    largest, mean = differences(peer, ENLARGED_CASES[case], images)
    if dtype == torch.uint8:
        # One level for the pass that is rounded first, and one for grayscale, which torchvision cuts off; a tiny bit
        # more, for what was normalised is measured after a division.
        assert largest <= 2.001
        assert mean <= 0.7
    else:
        # Red counts 0.2989 in torchvision and 0.299 elsewhere: a fortieth of a level where it is full.
        assert largest <= (0.03 if ENLARGED_CASES[case].grayscale else 0.01)
        assert mean <= (0.03 if ENLARGED_CASES[case].grayscale else 0.001)


@pytest.mark.parametrize("peer", [onnx_runtime.PEER, openvino.PEER], ids=lambda peer: peer.name)
@pytest.mark.parametrize("case", ["evaluation of one float32", "report float32"])
def test_one_matrix_is_the_pipeline_up_to_float32_sums(peer: Peer, case: str) -> None:
    largest, _ = differences(peer, *CASES[case])
    assert largest < 0.001


@PEERS
def test_results_do_not_depend_on_threads(peer: Peer) -> None:
    work, images = CASES["evaluation"]
    reason = peer.why_not(work, images[0])
    if reason is not None:
        pytest.skip(reason)
    first, second = (peer.prepare(work, images, threads) for threads in (1, 2))
    for index in range(len(images)):
        one, two = (each.tensor(each.apply(each.inputs[index])) for each in (first, second))
        # OpenVINO may add up in another order.
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


@pytest.mark.parametrize("peer", [pillow.PEER, kornia_rust.PEER], ids=lambda peer: peer.name)
def test_what_holds_bytes_only_takes_no_floats(peer: Peer) -> None:
    reason = peer.why_not(REPORT, batch() / 255)
    assert reason is not None
    assert "uint8" in reason or missing("kornia_rs") == reason


def test_the_fused_call_of_kornia_rs_does_nothing_but_resize_and_normalise() -> None:
    if (reason := missing("kornia_rs")) is not None:
        pytest.skip(reason)
    assert kornia_rust.PEER_FUSED.why_not(EVALUATION, photographs()[0]) is None
    for work in (REPORT, replace(EVALUATION, interpolation="bicubic"), replace(EVALUATION, horizontal_flip=True)):
        assert "nothing else" in str(kornia_rust.PEER_FUSED.why_not(work, photographs()[0]))


def test_a_missing_package_is_named_with_what_to_install() -> None:
    assert missing("json", "numpy") is None
    for module in ("no_such_module", "no_such_module.within"):
        reason = missing("numpy", module)
        assert reason is not None
        assert module in reason
        assert "pip install 'onelayer[peers]'" in reason


def test_albumentationsx_reports_nothing_over_the_network() -> None:
    work, images = CASES["evaluation"]
    if (reason := albumentationsx.PEER.why_not(work, images[0])) is not None:
        pytest.skip(reason)
    albumentationsx.PEER.prepare(work, images, threads=1)
    from albumentations.core.analytics.settings import settings

    assert not settings.telemetry_enabled


def test_pillow_crops_after_the_resize_though_it_is_told_to_before() -> None:
    # Halves are rounded to even, up and down, as torchvision's are: 7.5 to 8, and 6.5 to 6.
    work = replace(EVALUATION, crop=20)
    largest, mean = differences(pillow.PEER, work, photographs())
    assert largest <= REDUCED[pillow.PEER].largest
    assert mean <= REDUCED[pillow.PEER].mean


def test_pillow_reduces_large_images_in_two_steps_and_stays_close() -> None:
    # By four times, and then by less.
    image = bundled()[0].at(500, 620, 3)
    largest, mean = differences(pillow.PEER, replace(EVALUATION, resize=30), [image])
    # Pillow's documentation says of this reducing gap that the result is all but the same.
    assert largest <= 16
    assert mean <= 1.5


# What each can do of these, where it is installed.
ALL = set(CASES)
BYTES = ALL - {"evaluation of one float32", "report float32"}
CAN: dict[Peer, set[str]] = {
    opencv.PEER: ALL,
    albumentationsx.PEER: ALL,
    kornia_torch.PEER: ALL,
    kornia_rust.PEER: BYTES,
    kornia_rust.PEER_FUSED: {"evaluation"},
    dali.PEER: ALL,
    pillow.PEER: BYTES,
    pillow_simd.PEER: BYTES,
    onnx_runtime.PEER: ALL - {"bicubic", "squashed"},
    openvino.PEER: ALL - {"bicubic", "squashed"},
}


@PEERS
def test_nobody_refuses_what_it_can_do(peer: Peer) -> None:
    reasons = {case: peer.why_not(work, images[0]) for case, (work, images) in CASES.items()}
    if any(reason and ("pip install" in reason or pillow_simd.VARIABLE in reason) for reason in reasons.values()):
        pytest.skip("not installed")
    assert {case for case, reason in reasons.items() if reason is None} == CAN[peer]


WATCHED = pytest.mark.skipif(sys.platform == "win32", reason="pipes are not watched on Windows")


@pytest.fixture
def _this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this interpreter's Pillow were Pillow-SIMD."""
    monkeypatch.setenv(pillow_simd.VARIABLE, sys.executable)


@WATCHED
@pytest.mark.usefixtures("_this_interpreter")
@pytest.mark.parametrize("case", ["evaluation", "report uint8"])
def test_the_worker_does_what_pillow_does_here(case: str) -> None:
    work, images = CASES[case]
    here, there = (peer.prepare(work, images, threads=1) for peer in (pillow.PEER, pillow_simd.PEER))
    assert there.versions == {"pillow-simd": PIL.__version__}
    # Not in order: each result is of the input that it is asked for.
    for index in reversed(range(len(images))):
        expected = here.tensor(here.apply(here.inputs[index]))
        result = there.tensor(there.apply(there.inputs[index]))
        assert result.dtype == expected.dtype
        assert torch.equal(result, expected)


@WATCHED
def test_the_worker_ends_when_nobody_holds_it_any_more() -> None:
    worker = pillow_simd.Worker(sys.executable)
    process = worker.process
    assert worker.load(photographs(), [pillow.steps_of(EVALUATION, *one.shape[-2:]) for one in photographs()])
    assert process.poll() is None
    del worker
    gc.collect()
    assert process.poll() == 0


@WATCHED
def test_what_goes_wrong_in_the_worker_is_told_and_it_goes_on() -> None:
    worker = pillow_simd.Worker(sys.executable)
    worker.load([batch()], [pillow.steps_of(REPORT, 32, 32)])
    with pytest.raises(pillow_simd.OnelayerError, match="IndexError"):
        worker.apply(1)
    assert worker.result(worker.apply(0)).shape == (3, 1, 28, 28)
    worker.end()


@WATCHED
def test_a_worker_that_died_is_an_error() -> None:
    worker = pillow_simd.Worker(sys.executable)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(pillow_simd.OnelayerError, match="the worker failed"):
        worker.apply(0)
    worker.end()


@WATCHED
def test_why_pillow_simd_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason() -> str:
        return str(pillow_simd.PEER.why_not(EVALUATION, photographs()[0]))

    monkeypatch.delenv(pillow_simd.VARIABLE, raising=False)
    assert pillow_simd.VARIABLE in reason()
    monkeypatch.setenv(pillow_simd.VARIABLE, "no-such-python")
    assert "no Python interpreter that has Pillow" in reason()
    monkeypatch.setenv(pillow_simd.VARIABLE, sys.executable)
    assert "not Pillow-SIMD" in reason()
