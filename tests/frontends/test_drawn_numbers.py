"""Numbers that are made of the words of the generator are those that PyTorch draws, and leave it where it would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from onelayer.backends.cpu import drawing
from onelayer.frontends.torchvision import drawn_numbers
from onelayer.frontends.torchvision.drawn_numbers import number_between, order_of, place_below

CALLS: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    *((lambda n=n: place_below(n), lambda n=n: int(torch.randint(n, ()))) for n in (1, 2, 14, 31, 1 << 16, 1 << 20)),
    *(
        (lambda a=a, b=b: number_between(a, b), lambda a=a, b=b: torch.empty(1).uniform_(a, b).item())
        for a, b in ((0.0, 1.0), (0.6, 1.4), (-0.1, 0.1), (0.0, 0.3), (2.0, 2.0), (1e-30, 1.0))
    ),
    (number_between, lambda: torch.rand(1).item()),
    *((lambda n=n: order_of(n), lambda n=n: torch.randperm(n).tolist()) for n in (0, 1, 2, 4, 16, 40)),
]


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def default_dtype(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("default_dtype")
def test_the_numbers_and_the_generator() -> None:
    for seed in range(40):
        for ours, theirs in CALLS:
            made = []
            for call in (ours, theirs):
                torch.manual_seed(seed)
                # So that words come from all places of a state, and from two states.
                torch.rand(16 * seed, dtype=torch.float32)
                made.append(([call() for _ in range(3)], torch.get_rng_state().tolist()))
            assert made[0] == made[1]


def test_no_number_to_choose_from_is_refused_as_by_pytorch() -> None:
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        torch.randint(0, ())
    with pytest.raises(RuntimeError):
        place_below(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_words_that_make_other_numbers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, state = drawing.drawn_words, torch.get_rng_state()
    assert drawn_numbers._are_known()
    wrong: list[Callable[[int], Any]] = [
        lambda _: None,
        lambda count: tuple(word ^ 1 for word in drawn(count) or ()),
        lambda count: (drawn(count + 1) or ())[:count],
    ]
    for words in wrong:
        monkeypatch.setattr(drawing, "drawn_words", words)
        assert not drawn_numbers._are_known.__wrapped__()
        monkeypatch.setattr(drawn_numbers, "_are_known", drawn_numbers._are_known.__wrapped__)
        torch.manual_seed(1)
        ours = place_below(9), number_between(), order_of(4)
        torch.manual_seed(1)
        assert ours == (int(torch.randint(9, ())), torch.rand(1).item(), torch.randperm(4).tolist())
        monkeypatch.undo()
    torch.set_rng_state(state)
    assert drawn_numbers._are_known.__wrapped__()
    assert torch.equal(torch.get_rng_state(), state), "looking moves nothing"
