from __future__ import annotations

import pickle

from onelayer import OnelayerError
from onelayer.algebra import TooLargeError


def test_says_what_was_given_what_was_expected_and_what_to_do() -> None:
    error = OnelayerError(
        "a cat was given",
        expected="a dog",
        hint="Bring a dog.",
        transform="Walk",
        stage=2,
        shape=(3, 1, 1),
        dtype="uint8",
    )
    assert str(error) == "a cat was given; expected a dog; in Walk (step 2), shape (3, 1, 1), dtype uint8. Bring a dog."
    assert str(OnelayerError("a cat was given")) == "a cat was given"


def test_crosses_process_borders_with_all_it_carries() -> None:
    error = TooLargeError("too large", expected="less", stage=1, shape=(1, 2, 3))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is TooLargeError
    assert vars(again) == vars(error)
    assert str(again) == str(error)
