"""The peers in PyTorch and torchvision: all do the same work, on images of any size, in batches and one by one."""

from __future__ import annotations

import pytest
import torch

from onelayer.bench.names import PEER_NAMES
from onelayer.bench.peers import PEERS, why_not_here
from onelayer.bench.peers.base import Peer, Resources
from onelayer.bench.record import OURS
from onelayer.bench.workloads import WORKLOADS, Work
from onelayer.errors import OnelayerError

BY_NAME = {peer.name: peer for peer in PEERS}
SEQUENTIAL = [BY_NAME["torchvision"], BY_NAME["torchvision-chw"]]
BATCHED = [BY_NAME["torchvision-batched"], BY_NAME["torchvision-batched-hwc"]]
V1, DENSE, COMPILED = BY_NAME["torchvision-v1"], BY_NAME["dense"], BY_NAME["torchvision-compiled"]
DEFAULT = BY_NAME[OURS]
FUSED = [BY_NAME["onelayer-fused"], BY_NAME["onelayer-out"], BY_NAME["onelayer-torch"]]

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


def results(peer: Peer[Work], work: Work, images: list[torch.Tensor]) -> list[torch.Tensor]:
    assert peer.why_not(work, images[0]) is None
    prepared = peer.prepare(work, images, Resources())
    assert len(prepared.inputs) == len(images)
    assert all(text[0].isdigit() for text in peer.versions().values())
    outputs = []
    for one in prepared.inputs:
        output = prepared.tensor(prepared.apply(one))
        assert output.is_contiguous()
        # A copy: the next result may be written to the same memory.
        outputs.append(output.clone())
    return outputs


def test_photographs_of_awkward_sizes() -> None:
    images = [photograph(17, 11), photograph(17, 11, seed=1)]
    for work in (SMALL_EVALUATION, BICUBIC):
        # Torchvision rounds to whole grey levels after the resize, and saturates between its two passes; fused rounding
        # does not. 1.5 levels, divided by the deviation.
        assert work.std is not None
        unit = 1 / (255 * torch.tensor(work.std))[:, None, None]
        for peer in (DEFAULT, *SEQUENTIAL, V1, *FUSED, DENSE):
            if peer is DENSE and work is BICUBIC:
                assert "clamped" in str(peer.why_not(work, images[0]))
                continue
            for result, image in zip(results(peer, work, images), images, strict=True):
                expected = work.transform(image)
                assert (result.shape, result.dtype) == (expected.shape, torch.float32)
                assert bool(((result - expected).abs() <= 1.5 * unit).all()), peer.name


def test_float_batches() -> None:
    for count in (1, 3):
        images = batch(count, torch.float32)
        for peer in (DEFAULT, *SEQUENTIAL, *BATCHED, *FUSED[1:], DENSE):
            (result,) = results(peer, REPORT, [images])
            assert result.shape == (count, 1, 28, 28)
            # Float32 sums in different orders; the dense layer's are 3,072 long.
            torch.testing.assert_close(result, REPORT.transform(images), rtol=0, atol=1e-5)


def test_batches_of_bytes() -> None:
    images = batch(3, torch.uint8)
    expected = REPORT.transform(images)
    # Torchvision does not change a bit with memory or batches, and neither does onelayer by default.
    for peer in (DEFAULT, *SEQUENTIAL, *BATCHED):
        assert torch.equal(results(peer, REPORT, [images])[0], expected), peer.name
    for peer in (V1, *FUSED, DENSE):
        (result,) = results(peer, REPORT, [images])
        assert (result.shape, result.dtype) == ((3, 1, 28, 28), torch.uint8)
        # Torchvision rounds after the resize and cuts off after the grayscale: two levels; fused rounding rounds once.
        assert (result.int() - expected.int()).abs().max() <= 2, peer.name


def test_memory_is_laid_out_as_the_label_says() -> None:
    image = photograph(17, 11)
    for peer, is_contiguous in zip(SEQUENTIAL, (False, True), strict=True):
        for one in (image, image.contiguous()):
            (laid_out,) = peer.prepare(BICUBIC, [one], Resources()).inputs
            assert laid_out.is_contiguous() == is_contiguous
            assert laid_out.movedim(0, -1).is_contiguous() != is_contiguous
            assert torch.equal(laid_out, image)
    channels_last = BATCHED[1].prepare(REPORT, [batch(3, torch.uint8)], Resources()).inputs[0]
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


def test_the_same_memory_takes_every_result() -> None:
    images = batch(2, torch.uint8)
    prepared = BY_NAME["onelayer-out"].prepare(REPORT, [images, images], Resources())
    first, second = (prepared.apply(one) for one in prepared.inputs)
    assert first.data_ptr() == second.data_ptr()


# Deprecations inside PyTorch's compiler are not ours to mend.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_the_compiled_transforms() -> None:
    images = [photograph(17, 11)]
    if (reason := COMPILED.why_not(SMALL_EVALUATION, images[0])) is not None:
        pytest.skip(reason)
    (result,) = results(COMPILED, SMALL_EVALUATION, images)
    torch.testing.assert_close(result, SMALL_EVALUATION.transform(images[0]), rtol=0, atol=1e-5)


def test_torch_compile_is_what_the_compiled_peer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compiler(transform: object) -> object:
        compiled.append(transform)
        return lambda image: image + 1

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch.compiler, "reset", lambda: compiled.append("reset"))
    prepared = COMPILED.prepare(REPORT, [batch(1, torch.uint8)], Resources())
    assert compiled[0] == "reset", "what was compiled before would count"
    assert repr(compiled[1]) == repr(REPORT.transform)
    assert torch.equal(prepared.apply(prepared.inputs[0]), prepared.inputs[0] + 1)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in str(COMPILED.why_not(REPORT, batch(1, torch.uint8)))


def test_what_a_peer_cannot_do() -> None:
    assert "one by one" in str(BATCHED[0].why_not(BICUBIC, photograph(17, 11)))
    assert "floating point" in str(V1.why_not(REPORT, batch(1, torch.float32)))
    assert "floating point" in str(FUSED[0].why_not(REPORT, batch(1, torch.float32)))
    assert "weights" in str(DENSE.why_not(SMALL_EVALUATION, torch.zeros(3, 375, 5000, dtype=torch.uint8)))
    assert V1.why_not(REPORT, batch(1, torch.uint8), "cuda") == "it works on the CPU only"
    assert DEFAULT.why_not(REPORT, batch(1, torch.uint8), "cuda") is None


def test_transforms_are_the_same_in_both_versions() -> None:
    """v1 on PIL images is Pillow's resize, v2 on tensors PyTorch's: a level apart, for each of two roundings."""
    from torchvision.transforms.v2 import functional as F

    for work in (SMALL_EVALUATION, BICUBIC, REPORT):
        image = photograph(37, 51)
        old, new = work.pil_transform(F.to_pil_image(image)), work.transform(image)
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        levels = 255 * torch.tensor(work.std)[:, None, None] if work.std else 1
        assert ((old.double() - new.double()).abs() * levels).max() <= 2.001


# --- the table ------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_found_in_the_order_of_the_table() -> None:
    assert len(BY_NAME) == len({peer.label for peer in PEERS}) == len(PEERS)
    assert [peer.name for peer in PEER_NAMES.select(PEERS, ["torchvision", "onelayer"])] == ["onelayer", "torchvision"]
    assert PEERS[0].name == OURS


def test_an_unknown_peer_is_named_with_the_nearest() -> None:
    assert list(PEER_NAMES.names) == [peer.name for peer in PEERS]
    with pytest.raises(OnelayerError, match=r"no peer named 'torchvison'.*Did you mean torchvision\?"):
        PEER_NAMES.select(PEERS, ["onelayer", "torchvison"])


def test_every_peer_answers_for_every_workload() -> None:
    for peer in PEERS:
        for workload in WORKLOADS:
            reason = peer.why_not(workload.work, workload.example)
            assert reason is None or len(reason) > 10
    for peer in (DEFAULT, *SEQUENTIAL, *BATCHED, V1, *FUSED, DENSE):
        assert why_not_here(peer) is None, peer.name
