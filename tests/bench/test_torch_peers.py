"""The peers in PyTorch and torchvision: all do the same work, on images of any size, in batches and one by one."""

from __future__ import annotations

import pytest
import torch

from onelayer.bench.peers import (
    dense_torch,
    onelayer_fused,
    onelayer_torch,
    registry,
    torchvision_batched,
    torchvision_compiled,
    torchvision_sequential,
    torchvision_v1,
)
from onelayer.bench.peers.peer import Peer
from onelayer.bench.peers.transforms import v1_transforms, v2_transforms
from onelayer.bench.peers.work import Work
from onelayer.errors import OnelayerError

SEQUENTIAL = (torchvision_sequential.PEER, torchvision_sequential.PEER_CHW)
BATCHED = (torchvision_batched.PEER, torchvision_batched.PEER_HWC)
OURS = (onelayer_fused.PEER, onelayer_torch.PEER, dense_torch.PEER)

SMALL_EVALUATION = Work(resize=9, interpolation="bilinear", crop=7, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
BICUBIC = Work(resize=(8, 5), interpolation="bicubic", horizontal_flip=True, mean=(0.5,) * 3, std=(0.5,) * 3)
REPORT = Work(resize=(28, 28), interpolation="bilinear", grayscale=True, horizontal_flip=True, vertical_flip=True)


def photograph(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth uint8 noise in HWC memory, as a decoder gives it."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return (255 * fine).to(torch.uint8).movedim(0, -1).contiguous().movedim(-1, 0)


def batch(count: int, dtype: torch.dtype) -> torch.Tensor:
    images = torch.stack([photograph(32, 32, seed) for seed in range(count)]).contiguous()
    return images if dtype == torch.uint8 else images.float() / 255


def results(peer: Peer, work: Work, images: list[torch.Tensor]) -> list[torch.Tensor]:
    assert peer.why_not(work, images[0]) is None
    prepared = peer.prepare(work, images, 1)
    assert len(prepared.inputs) == len(images)
    assert prepared.versions
    given = [prepared.tensor(prepared.apply(one)) for one in prepared.inputs]
    assert all(one.is_contiguous() for one in given)
    return given


@pytest.mark.parametrize("peer", [*SEQUENTIAL, torchvision_v1.PEER, *OURS], ids=lambda peer: peer.name)
@pytest.mark.parametrize("work", [SMALL_EVALUATION, BICUBIC], ids=["evaluation", "bicubic"])
def test_photographs_of_awkward_sizes(peer: Peer, work: Work) -> None:
    images = [photograph(17, 11), photograph(17, 11, seed=1)]
    if peer is dense_torch.PEER and work is BICUBIC:
        assert "clamped" in str(peer.why_not(work, images[0]))
        return
    # Torchvision rounds to whole grey levels after the resize, and saturates between its two passes; ours does not.
    # 1.5 levels, divided by the deviation.
    assert work.std is not None
    unit = 1 / (255 * torch.tensor(work.std))[:, None, None]
    for result, image in zip(results(peer, work, images), images, strict=True):
        expected = v2_transforms(work)(image)
        assert (result.shape, result.dtype) == (expected.shape, torch.float32)
        assert bool(((result - expected).abs() <= 1.5 * unit).all())


@pytest.mark.parametrize("peer", [*SEQUENTIAL, *BATCHED, *OURS], ids=lambda peer: peer.name)
@pytest.mark.parametrize("count", [1, 3])
def test_float_batches(peer: Peer, count: int) -> None:
    images = batch(count, torch.float32)
    (result,) = results(peer, REPORT, [images])
    assert result.shape == (count, 1, 28, 28)
    # float32 sums in different orders; the dense layer's are 3,072 long
    torch.testing.assert_close(result, v2_transforms(REPORT)(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("peer", [*SEQUENTIAL, *BATCHED, torchvision_v1.PEER, *OURS], ids=lambda peer: peer.name)
def test_batches_of_bytes(peer: Peer) -> None:
    images = batch(2, torch.uint8)
    (result,) = results(peer, REPORT, [images])
    assert (result.shape, result.dtype) == ((2, 1, 28, 28), torch.uint8)
    # torchvision rounds after the resize and cuts off after the grayscale: two levels; ours rounds once
    assert (result.int() - v2_transforms(REPORT)(images).int()).abs().max() <= 2


def test_torchvision_does_not_change_a_bit_with_memory_or_batches() -> None:
    images = batch(3, torch.uint8)
    expected = v2_transforms(REPORT)(images)
    for peer in (*SEQUENTIAL, *BATCHED):
        assert torch.equal(results(peer, REPORT, [images])[0], expected), peer.name


def test_memory_is_laid_out_as_the_peer_says() -> None:
    image = photograph(17, 11)
    for peer, contiguous in ((torchvision_sequential.PEER, False), (torchvision_sequential.PEER_CHW, True)):
        for given in (image, image.contiguous()):
            (laid_out,) = peer.prepare(BICUBIC, [given], 1).inputs
            assert laid_out.is_contiguous() == contiguous
            assert laid_out.movedim(0, -1).is_contiguous() != contiguous
            assert torch.equal(laid_out, image)
    channels_last = torchvision_batched.PEER_HWC.prepare(REPORT, [batch(3, torch.uint8)], 1).inputs[0]
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


# Deprecations inside PyTorch's compiler are not ours to mend.
@pytest.mark.filterwarnings("ignore")
def test_the_compiled_transforms() -> None:
    images = [photograph(17, 11)]
    peer = torchvision_compiled.PEER
    if (reason := peer.why_not(SMALL_EVALUATION, images[0])) is not None:
        pytest.skip(reason)
    (result,) = results(peer, SMALL_EVALUATION, images)
    torch.testing.assert_close(result, v2_transforms(SMALL_EVALUATION)(images[0]), rtol=0, atol=1e-5)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in str(torchvision_compiled.PEER.why_not(REPORT, batch(1, torch.uint8)))


def test_what_a_peer_cannot_do() -> None:
    assert "one by one" in str(torchvision_batched.PEER.why_not(BICUBIC, photograph(17, 11)))
    assert "floating point" in str(torchvision_v1.PEER.why_not(REPORT, batch(1, torch.float32)))
    assert "weights" in str(dense_torch.PEER.why_not(SMALL_EVALUATION, torch.zeros(3, 375, 5000, dtype=torch.uint8)))


def test_transforms_say_the_same_in_both_versions() -> None:
    """v1 on PIL images is Pillow's resize, v2 on tensors PyTorch's: a level apart, for each of two roundings."""
    from torchvision.transforms.v2 import functional as F

    for work in (SMALL_EVALUATION, BICUBIC, REPORT):
        image = photograph(37, 51)
        old, new = v1_transforms(work)(F.to_pil_image(image)), v2_transforms(work)(image)
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        levels = 255 * torch.tensor(work.std)[:, None, None] if work.std else 1
        assert ((old.double() - new.double()).abs() * levels).max() <= 2.001


@pytest.mark.parametrize(("height", "width"), [(17, 11), (11, 17), (375, 500), (9, 9), (3, 1000)])
def test_the_resized_size_is_torchvisions(height: int, width: int) -> None:
    work = Work(resize=9, interpolation="bilinear")
    resized = v2_transforms(work)(torch.zeros(3, height, width, dtype=torch.uint8))
    assert work.resized(height, width) == tuple(resized.shape[-2:])


# --- the registry ---------------------------------------------------------------------------------------------------


def test_names_are_unique_and_found_in_the_registrys_order() -> None:
    names = [peer.name for peer in registry.PEERS]
    assert len(set(names)) == len(names)
    assert len({peer.label for peer in registry.PEERS}) == len(names)
    assert [peer.name for peer in registry.named(["torchvision", "onelayer"])] == ["onelayer", "torchvision"]
    assert registry.named([registry.OURS]) == [onelayer_fused.PEER]


def test_an_unknown_peer_is_named_with_the_nearest() -> None:
    with pytest.raises(OnelayerError, match=r"no peer named 'torchvison'.*Did you mean torchvision\?"):
        registry.named(["onelayer", "torchvison"])


def test_every_peer_answers_for_every_workload() -> None:
    from onelayer.bench.peers_listing import why_not_here
    from onelayer.bench.workloads import WORKLOADS

    for peer in registry.PEERS:
        for workload in WORKLOADS:
            reason = peer.why_not(workload.work, workload.example)
            assert reason is None or reason
    for peer in (*SEQUENTIAL, *BATCHED, torchvision_v1.PEER, *OURS):
        assert why_not_here(peer) is None, peer.name
