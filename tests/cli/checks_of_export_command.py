"""``onelayer export``, and ``onelayer verify`` of what it writes"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from onelayer.verification.certificate import CertificateRecord

Run = Callable[..., tuple[int, str]]
Refused = Callable[..., str]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def test_a_file_is_written_checked_and_verified(
    run: Run, refused: Refused, pipelines_file: Path, photograph: Path, tmp_path: Path
) -> None:
    out, certificate = tmp_path / "file.onnx", tmp_path / "certificate.json"
    small = f"{pipelines_file}:small"
    options = "--shape", "3x20x30", "--as", "pil", "--layout", "HWC", "--out", out
    code, text = run("export", small, *options)
    assert code == 0, text
    assert "3×20×30 uint8, HWC" in text
    assert text.count("no value differs on 12 images") == 2
    (taken,) = ort.InferenceSession(out).get_inputs()
    assert (taken.shape, taken.type) == ([20, 30, 3], "tensor(uint8)")
    for runtime in ("onnxruntime", "openvino"):
        code, text = run(
            "verify", small, "--layer", out, "--runtime", runtime, "--images", photograph, "--json", certificate
        )  # fmt: skip
        assert code == 0, text
        record = CertificateRecord.read(certificate)
        assert record.all.mismatch_rate == 0
        assert record.inputs == ("uint8 pil",)
        assert runtime in record.layer
    refused(("export", small, *options), "there is a file", "--overwrite")
    assert run("export", small, *options, "--overwrite")[0] == 0
    # Without photographs, on synthetic images of its size.
    code, text = run("verify", small, "--layer", out)
    assert code == 0, text
    assert "No difference on any of" in text


def test_a_file_for_any_size(run: Run, pipelines_file: Path, photograph: Path, tmp_path: Path) -> None:
    out = tmp_path / "any.onnx"
    code, text = run(
        "export", f"{pipelines_file}:small", "--shape", "3x1x1", "--any-size", "--as", "pil", "--out", out
    )  # fmt: skip
    assert code == 0, text
    assert "3×any×any" in text
    for images in (("--images", photograph), ("--shape", "3x33x22")):
        code, text = run("verify", f"{pipelines_file}:small", "--layer", out, *images)
        assert code == 0, text
        assert "No difference on any of" in text


def test_wrong_arguments_say_what_is_right(refused: Refused, pipelines_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "file.onnx"
    small = f"{pipelines_file}:small"
    refused(("export", small, "--out", out), "does not say which images it is for")
    refused(("export", f"{pipelines_file}:random", "--shape", "3x20x30", "--out", out), "random")
    refused(("export", f"{pipelines_file}:gamma", "--shape", "3x20x30", "--out", out), "onelayer identify")
    refused(("verify", small, "--layer", out), "there is no file")
    refused(("verify", small, "--runtime", "openvino"), "--runtime was given")
    out.write_text("text")
    refused(("verify", small, "--layer", out, "--shape", "3x20x30"), "is no ONNX file")
