"""The rules of rounding: which hold for the installed versions and the processor."""

from __future__ import annotations

import pytest
import torch

from onelayer.frontends.torchvision import rounding_rules


def test_a_version_that_was_not_tested_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding_rules, "version", lambda package: "99.1.2")
    rounding_rules._version.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"pillow 99.1.2 was not compared .*onelayer selfcheck"):
            newest = rounding_rules.pillow_resize()
        assert newest.first((100, 40), (10, 30)) == "rows"
        assert rounding_rules.pillow_resize() is newest, "and not again, which would be an error"
    finally:
        rounding_rules._version.cache_clear()


def test_the_order_of_pillows_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, before, after, first in (
        ("12.0.0", (500, 3), (30, 5), "cols"),
        ("12.2.0", (500, 3), (30, 5), "rows"),
        ("12.2.0", (300, 3), (30, 5), "cols"),
        ("12.3.0", (100, 40), (10, 30), "cols"),
        ("13.0.0", (100, 40), (10, 30), "rows"),
        ("13.0.0", (100, 100), (20, 60), "cols"),
        ("13.0.0", (100, 100), (20, 61), "rows"),
        ("13.0.0", (100, 400), (10, 30), "cols"),
        ("13.0.0", (10, 40), (100, 400), "cols"),
    ):
        monkeypatch.setattr(rounding_rules, "version", lambda package, installed=installed: installed)
        rounding_rules._version.cache_clear()
        try:
            assert rounding_rules.pillow_resize().first(before, after) == first, (installed, before, after)
        finally:
            rounding_rules._version.cache_clear()


def test_another_processor_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "VSX")
    with pytest.warns(UserWarning, match=r"with VSX instructions was not compared .*onelayer selfcheck"):
        assumed = rounding_rules.torch_float32()
    assert rounding_rules.torch_float32() is assumed, "and not again, which would be an error"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert rounding_rules.torch_float32().resize_unfused == 1
    rounding_rules._float32_of.cache_clear()
