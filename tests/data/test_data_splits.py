from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data.splits import carve_missing, describe_splits
from onelayer.errors import OnelayerError


def images(count: int, first: int = 0):
    """Images of 1×1×2, the two pixels of which are the number of the image."""
    numbers = np.arange(first, first + count)
    return np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8).reshape(count, 1, 1, 2)


def numbers(part) -> list[int]:
    return [int(first) * 256 + int(second) for first, second in part.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("given_parts", "sizes"),
    [
        ({"train": 100}, (70, 10, 20)),
        ({"train": 100, "test": 7}, (90, 10, 7)),
        ({"train": 100, "validation": 7}, (80, 7, 20)),
        ({"train": 100, "validation": 7, "test": 8}, (100, 7, 8)),
        ({"train": 3}, (1, 1, 1)),
        ({"train": 2, "test": 1}, (1, 1, 1)),
        ({"train": 19}, (15, 1, 3)),
    ],
)
def test_sizes(given_parts, sizes) -> None:
    parts = carve_missing({part: images(count) for part, count in given_parts.items()}, seed=0, source="x")
    assert tuple(len(parts[part]) for part in ("train", "validation", "test")) == sizes


@given(count=st.integers(3, 400), others=st.sets(st.sampled_from(["validation", "test"])), seed=st.integers(0, 99))
def test_every_image_is_in_exactly_one_part(count, others, seed) -> None:
    given_parts = {"train": images(count)} | {part: images(5, 1000) for part in others}
    parts = carve_missing(given_parts, seed=seed, source="x")
    carved = [number for name, part in parts.items() if name not in others for number in numbers(part)]
    assert sorted(carved) == list(range(count))
    for part in others:
        assert parts[part] is given_parts[part]


def test_the_seed_decides() -> None:
    def test_part(seed: int) -> list[int]:
        return numbers(carve_missing({"train": images(300)}, seed=seed, source="x")["test"])

    assert test_part(4) == test_part(4)
    assert test_part(4) != test_part(5)


def test_train_is_shuffled() -> None:
    train = numbers(carve_missing({"train": images(300)}, seed=0, source="x")["train"])
    assert train != sorted(train)


@pytest.mark.parametrize(
    ("given_parts", "problem"),
    [
        ({"train": 2}, "x has too few images to split: 2; expected at least 3"),
        ({"train": 1, "test": 1}, "x has too few images to split: 1; expected at least 2"),
        ({"train": 9, "test": 0}, "x has no images in its test part"),
        ({"train": 0, "test": 9}, "x has no images in its train part"),
    ],
)
def test_too_few(given_parts, problem) -> None:
    with pytest.raises(OnelayerError, match=problem):
        carve_missing({part: images(count) for part, count in given_parts.items()}, seed=0, source="x")


def test_each_origin_of_splits_is_described() -> None:
    existing = [{"train"}, {"train", "test"}, {"train", "validation"}, {"train", "validation", "test"}]
    texts = [describe_splits(splits) for splits in existing]
    assert "70% train" in texts[0]
    assert "tenth of train being validation" in texts[1]
    assert "fifth of train being test" in texts[2]
    assert "random" not in texts[3]
