"""The rules of rounding: which hold for the installed versions and the processor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from onelayer.frontends.placement import rows_first
from onelayer.frontends.torchvision import passed_here, rounding_rules

REPOSITORY = Path(__file__).parents[2]


def pretend(monkeypatch: pytest.MonkeyPatch, installed: str, capability: str | None = None) -> None:
    """Make every package look like a version, and the processor like another; forget which warnings were given."""
    monkeypatch.setattr(rounding_rules, "version", lambda package: installed)
    if capability is not None:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for cached in (rounding_rules._warn_if_untested, rounding_rules._float32_of):
        monkeypatch.setattr(rounding_rules, cached.__name__, lru_cache(cached.__wrapped__))


@contextmanager
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_version_that_was_not_tested_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "99.1.2")
    with pytest.warns(UserWarning, match=r"pillow 99.1.2 was not compared .*onelayer selfcheck"):
        newest = rounding_rules.pillow_resize()
    assert rows_first(newest.first, 100, 40, 10, 30)
    with silence():
        assert rounding_rules.pillow_resize() is newest
    pretend(monkeypatch, "99.1.2", "AVX2")
    with pytest.warns(UserWarning, match="99.1.2 was not compared") as caught:
        rounding_rules.torch_float32()
    assert {str(warning.message).split()[0] for warning in caught} == {"torch", "torchvision"}
    with silence():
        rounding_rules.torch_bytes()


def test_a_version_that_was_tested_does_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, releases in rounding_rules.TESTED.items():
        for release in releases:
            for installed in (f"{release}.0", f"{release}.7+cpu"):
                pretend(monkeypatch, installed)
                with silence():
                    rounding_rules._warn_if_untested(package)
            # 2.1599 begins like 2.15.
            pretend(monkeypatch, f"{release}99.0")
            with pytest.warns(UserWarning, match="was not compared"):
                rounding_rules._warn_if_untested(package)


def test_no_warning_after_a_check_that_passed_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    monkeypatch.setenv("ONELAYER_CACHE", str(folder))
    monkeypatch.setattr(passed_here, "version", lambda package: "99.1.2")
    pretend(monkeypatch, "99.1.2", "VSX")
    assert not passed_here.is_recorded()
    passed_here.record()
    with silence():
        rounding_rules.pillow_resize()
        rounding_rules.torch_bytes()
        rounding_rules.torch_float32()
    (marker,) = folder.iterdir()
    assert json.loads(marker.read_text()) == {
        **dict.fromkeys(["onelayer", "torch", "torchvision", "pillow"], "99.1.2"),
        "capability": "VSX",
    }
    marker.write_text(marker.read_text()[:-9])
    assert not passed_here.is_recorded(), "half a file says nothing"
    passed_here.record()
    for package in ("onelayer", "torch", "torchvision", "pillow"):
        installed = {**dict.fromkeys(["onelayer", "torch", "torchvision", "pillow"], "99.1.2"), package: "1.0"}
        monkeypatch.setattr(passed_here, "version", installed.__getitem__)
        assert not passed_here.is_recorded(), "a check counts for its versions only"
    monkeypatch.setattr(passed_here, "version", lambda package: "99.1.2")
    assert passed_here.is_recorded()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not passed_here.is_recorded(), "and for its processor only"


def test_where_nothing_can_be_written_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ONELAYER_CACHE", str(tmp_path / "file" / "cache"))
    with silence():
        passed_here.record()
    assert not passed_here.is_recorded()


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
        pretend(monkeypatch, installed)
        rule = rounding_rules.pillow_resize().first
        assert rows_first(rule, *before, *after) == (first == "rows"), (installed, before, after)


def test_another_processor_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "0.0", "VSX")
    monkeypatch.setattr(rounding_rules, "_warn_if_untested", lambda package: None)
    with pytest.warns(UserWarning, match=r"with VSX instructions was not compared .*onelayer selfcheck"):
        assumed = rounding_rules.torch_float32()
    with silence():
        assert rounding_rules.torch_float32() is assumed
    for none in ("DEFAULT", "NO AVX"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda none=none: none)
        assert rounding_rules.torch_float32().resize_unfused == 1


def test_which_builds_round_a_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, capability, fused in (
        ("2.8.0", "AVX2", False),
        ("2.9.1", "AVX2", False),
        ("2.10.0", "AVX2", True),
        ("2.14.1", "AVX512", True),
        ("2.14.1", "DEFAULT", False),
        ("2.14.1", "NO AVX", False),
        ("2.15.0", "AVX2", False),
    ):
        pretend(monkeypatch, installed, capability)
        assert rounding_rules.fuses_places() is fused, (installed, capability)
