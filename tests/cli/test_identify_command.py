"""``onelayer identify``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

import onelayer
from onelayer.verification.certificate import CertificateRecord

Run = Callable[..., tuple[int, str]]


def test_a_layer_and_a_certificate_are_saved(
    run: Run, refused: Callable[..., str], pipelines_file: Path, tmp_path: Path
) -> None:
    out, certificate = tmp_path / "layer", tmp_path / "certificate.json"
    command = ("identify", f"{pipelines_file}:resized", "--shape", "3x17x11", "--out", out)
    code, text = run(*command, "--json", certificate)
    assert code == 0, text
    assert "bilinear antialias 17→9" in text
    assert "superposition of noise, largest violation" in text
    assert CertificateRecord.read(certificate).all.max_units < 2e-6
    layer = onelayer.load(out)
    assert layer(torch.rand(2, 3, 17, 11)).shape == (2, 3, 9, 5)


def test_arrays_of_bytes(run: Run, pipelines_file: Path) -> None:
    code, text = run("identify", f"{pipelines_file}:turned", "--shape", "3x17x11", "--as", "numpy", "--dtype", "uint8")
    assert code == 0, text
    assert "height and width swapped" in text


def test_refusals_say_numbers(refused: Callable[..., str], pipelines_file: Path) -> None:
    shape = ("--shape", "3x17x11")
    refused(("identify", f"{pipelines_file}:gamma", *shape), "the function is not affine: superposition of")
    refused(("identify", f"{pipelines_file}:resized", *shape, "--budget", 50), "expected at most 50 in all")


def test_the_rule_of_several_sizes(run: Run, refused: Callable[..., str], pipelines_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "layer"
    command = ("identify", f"{pipelines_file}:resized", "--sizes", "17x21,30x19")
    code, text = run(*command, "--out", out)
    assert code == 0, text
    assert "squash to 9×5" in text
    assert "fitted at 17×21, 30×19" in text
    layer = onelayer.load(out)
    for size in ((17, 21), (30, 19)):
        assert layer(torch.rand(3, *size)).shape == (3, 9, 5)
    refused(("identify", f"{pipelines_file}:resized", "--sizes", "17x21,30"), "--sizes 17x21,30 was given")
