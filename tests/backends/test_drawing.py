"""Moves that compiled code draws are those that torchvision draws, and leave the generator where torchvision does."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from onelayer import ImageSpec
from onelayer.backends.cpu import drawing
from onelayer.backends.cpu.draw_kernel import LEFT, MOST_WORDS, NEXT, STATE
from onelayer.backends.cpu.drawing import Drawing, lower_drawing
from onelayer.frontends.drawn_moves import SAME, WINDOW
from onelayer.frontends.placement import CROP
from onelayer.frontends.structure import Structure, structure_of
from onelayer.frontends.torchvision.uniform_range import uniform_range

FLIPS = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(0.3)]
PIPELINES = {
    "CIFAR": [v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip()],
    "v2, one axis": [v2.RandomCrop((32, 53), padding=(1, 2, 3, 0)), *FLIPS],
    "reflected": [v1.RandomCrop(32, padding=(0, 3, 40, 1), padding_mode="reflect"), *FLIPS],
    "symmetric": [v2.RandomCrop(60, padding=53, padding_mode="symmetric"), v2.RandomHorizontalFlip()],
    "edges": [*FLIPS, v2.RandomCrop(500, padding=2, pad_if_needed=True, padding_mode="edge")],
    "reflected as needed": [v2.RandomCrop((100, 40), pad_if_needed=True, padding_mode="reflect"), *FLIPS],
    "padded as needed": [*FLIPS, v2.RandomCrop((500, 40), pad_if_needed=True)],
    "ImageNet": [v2.RandomResizedCrop(224), *FLIPS],
    "any shape": [v1.RandomResizedCrop((9, 20), scale=(0.001, 1), ratio=(0.05, 30)), *FLIPS],
    "none fits": [v2.RandomResizedCrop(9, scale=(1.1, 1.9), ratio=(0.2, 0.3)), *FLIPS],
    "behind a resize": [v2.Resize(256), v2.RandomCrop(224), *FLIPS, v2.CenterCrop(99)],
}
STATE_AT = drawing._state_address()
assert STATE_AT is not None
SIZES = (53, 53), (300, 400), (641, 480), (90, 1000)


def structure(transforms: list[Any]) -> Structure:
    made = structure_of(transforms, ImageSpec((3, 1, 1), "uint8", "pil"), "exact")
    assert isinstance(made, Structure), made
    return made


def lowered(made: Structure) -> Drawing:
    found = lower_drawing(made)
    assert found is not None
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_the_moves_and_the_generator(name: str) -> None:
    made = structure(PIPELINES[name])
    draw = lowered(made)
    left = count = 0
    for size in SIZES:
        torch.manual_seed(1)
        for turn in range(160):
            # With these, numbers are taken from all places of a state, and from two states.
            torch.rand(turn % 11)
            before = torch.get_rng_state()
            count += 1
            if (moves := draw(*size)) is None:
                assert torch.equal(torch.get_rng_state(), before)
                left += 1
                torch.rand(1)
                continue
            after = torch.get_rng_state()
            draw.undo()
            assert torch.equal(torch.get_rng_state(), before)
            assert made.moves_for(*size) == moves, (size, turn)
            assert torch.equal(torch.get_rng_state(), after), (size, turn)
    # Sizes that a transform refuses are left to it; and rarely what PyTorch's exponential decides.
    assert left < 0.25 * count, (left, count)


@pytest.mark.parametrize("name", PIPELINES)
def test_moves_of_several_images(name: str) -> None:
    made = structure(PIPELINES[name])
    draw = lowered(made)
    for size in SIZES:
        torch.manual_seed(2)
        found = draw.of_each(80, *size)
        after = torch.get_rng_state()
        torch.manual_seed(2)
        one_by_one = [made.moves_for(*size) for _ in found]
        assert found == one_by_one, size
        assert torch.equal(torch.get_rng_state(), after), size
        # In one call, as many as there are words for.
        assert len(found) in ((0, 59) if name == "CIFAR" else range(80)), size


def test_what_is_left_to_the_transforms() -> None:
    refuses = lowered(structure(PIPELINES["CIFAR"]))
    state = torch.get_rng_state()
    assert refuses(20, 53) is None
    assert refuses.of_each(3, 20, 53) == []
    for mode, padding in (("reflect", 20), ("symmetric", 21)):
        long = structure([v2.RandomCrop(32, padding=padding, padding_mode=mode), *FLIPS])
        assert lowered(long)(20, 53) is None, "a border that is longer than the image"
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert refuses(53, 53) is None
        assert refuses.of_each(3, 53, 53) == []
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(torch.get_rng_state(), state)
    assert lower_drawing(structure([v2.Resize(9)])) is None, "nothing is drawn"
    assert lower_drawing(structure([v2.RandomResize(9, 12), *FLIPS])) is None, "v2 draws that itself"
    assert lower_drawing(structure([v2.RandomHorizontalFlip()] * 40)) is None, "too many steps"
    # Each takes four words at least; a call uses no more than MOST_WORDS.
    many = structure([v2.RandomCrop(9, padding=1), *FLIPS] * 10)
    assert lowered(many)(9, 9) is not None
    window = structure(PIPELINES["none fits"]).steps[0].code()
    assert window is not None
    assert Drawing([window] * (MOST_WORDS // 20), STATE_AT)(99, 99) is None
    with pytest.raises(AssertionError, match="no more"):
        Drawing([window] * 33, STATE_AT)


def test_wrong_moves_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    made, draw = structure(PIPELINES["CIFAR"]), drawing.draw
    state = torch.get_rng_state()
    wrong_height: Any = lambda *given: draw(*given[:4], given[4] + 1, *given[5:])  # noqa: E731
    one_more: Any = lambda *given: [draw(*given), torch.rand(1)][0]  # noqa: E731
    for wrong in (wrong_height, one_more):
        monkeypatch.setattr(drawing, "draw", wrong)
        assert lower_drawing(made) is None
    monkeypatch.setattr(drawing, "draw", draw)
    with monkeypatch.context() as patch:
        patch.setattr(Structure, "moves_for", lambda *_: None)
        assert lower_drawing(made) is None
    with monkeypatch.context() as patch:
        patch.setattr(Drawing, "undo", lambda _: None)
        assert lower_drawing(made) is None, "the generator is not put back"
    assert lower_drawing(made) is not None
    assert torch.equal(torch.get_rng_state(), state), "looking moves nothing"


def test_a_state_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made, state, of_generator = structure(PIPELINES["CIFAR"]), torch.get_rng_state(), drawing._state_of_generator
    changes: list[Any] = [
        lambda words, left, following: (words[::-1].copy(), left, following),
        lambda words, left, following: (words, left - 1, following),
        lambda words, left, following: (words, left, following + 1),
    ]
    for change in changes:
        monkeypatch.setattr(drawing, "_state_of_generator", lambda change=change: change(*of_generator()))
        assert drawing._state_address.__wrapped__() is None
    monkeypatch.setattr(drawing, "_state_of_generator", of_generator)
    assert drawing._state_address.__wrapped__() == STATE_AT
    monkeypatch.setattr(drawing, "_state_address", lambda: None)
    assert lower_drawing(made) is None
    assert torch.equal(torch.get_rng_state(), state), "looking moves nothing"


def test_a_state_that_leads_out_of_its_words() -> None:
    codes = structure(PIPELINES["CIFAR"])
    for left, following in ((0, 5), (3, 623), (625, 1), (1 << 31, 0)):
        state = np.arange(STATE, dtype=np.uint32)
        state[LEFT], state[NEXT] = left, following
        before = state.copy()
        draw = Drawing([code for step in codes.steps if (code := step.code()) is not None], state.ctypes.data)
        assert draw(40, 40) is None
        assert (state == before).all()


def test_numbers_of_a_range() -> None:
    for low, high in ((0.08, 1.0), (0.2, 1.0), (float(np.log(3 / 4)), float(np.log(4 / 3))), (0.05, 0.4), (0.0, 3.0)):
        made = uniform_range(low, high)
        assert made is not None, (low, high)
        torch.manual_seed(9)
        theirs = torch.empty(1 << 16).uniform_(low, high).numpy()
        torch.manual_seed(9)
        products = torch.empty(1 << 16).uniform_().numpy().astype(np.float64) * made.length
        if not made.is_fused:
            products = products.astype(np.float32).astype(np.float64)
        assert ((products + made.start).astype(np.float32) == theirs).all(), (low, high)
    assert uniform_range(1.0, 1.0) is None
    assert uniform_range(1e-30, 1.0) is None, "the sum is not exact in float64"
    assert uniform_range(-np.inf, 1.0) is None


def test_threads_do_not_draw_the_same() -> None:
    draw = Drawing([(WINDOW, 1, 1, 0, 0, 0, 0, 0, 1, CROP), (SAME, CROP, 0, 0, 1, 1)], STATE_AT)
    size, found = (1 << 24, 1 << 24), []

    def places(count: int) -> list[tuple[int, ...]]:
        return [moves.numbers[1:3] for _ in range(count) if (moves := draw(*size)) is not None]

    torch.manual_seed(0)
    expected = places(1200)
    torch.manual_seed(0)
    threads = [threading.Thread(target=lambda: found.extend(places(300))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(expected)
    assert len(set(found)) == 1200
