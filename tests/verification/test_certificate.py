from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.numpy import load_file

from onelayer.errors import OnelayerError
from onelayer.verification.certificate import Certificate, CertificateRecord, ErrorFigures, at_most

FIGURES = ErrorFigures(
    count=12, max_units=0.5, max_grey_levels=63.75, mse=1.25e-5, psnr_db=49.03, ssim=0.99999, mismatch_rate=0.25
)
RECORD = CertificateRecord(
    layer="DenseLayer((3, 2, 5) → (3, 2, 5))",
    transform="Compose(\n    Resize([2, 5])\n)",
    inputs=("float32 tensor",),
    input_shapes=((3, 2, 5), (3, 4, 5)),
    output_dtypes=("float32",),
    low=0.0,
    high=1.0,
    outside_range=0,
    grey_level_units=(0.01, 0.02, 0.005),
    images=None,
    adversarial=FIGURES,
    all=FIGURES,
    adversarial_shapes=((3, 2, 5),),
    extreme_images=8,
    extreme_pixels=2,
    no_extremes_because=None,
    result_difference=None,
    worst_image="highest value of output pixel (0, 1, 3)",
    worst_shape=(3, 2, 5),
    worst_pixel=(2, 1, 3),
    bound_units=0.6,
    bound_grey_levels=76.5123,
    bound_pixel=(2, 1, 3),
    bound_rounding_units=1e-7,
    bound_shapes=((3, 2, 5), (3, 4, 5)),
    bit_exact=False,
    no_bound_because=None,
)
UNPROVED = RECORD.model_copy(
    update={
        "bound_units": None,
        "bound_grey_levels": None,
        "bound_pixel": None,
        "bound_shapes": (),
        "no_bound_because": "the original rounds between its steps",
        "outside_range": 1234,
        "no_extremes_because": "nothing is known",
        "images": FIGURES.model_copy(update={"psnr_db": None, "ssim": None}),
    }
)


def certificate(record: CertificateRecord = RECORD) -> Certificate:
    image = np.random.default_rng(0).random((3, 2, 5)).astype(np.float32)
    error = np.zeros((3, 2, 5), dtype=np.float32)
    error[2, 1, 3], error[0, 0, 0] = 0.5, 0.6
    return Certificate(record, image, image, image + error, error)


def test_the_table_and_the_guarantee() -> None:
    lines = str(certificate()).splitlines()
    text = " ".join(" ".join(lines).split())
    assert "DenseLayer((3, 2, 5) → (3, 2, 5)) against Compose( Resize([2, 5]) )" in text
    assert "adversarial 12 63.8 0.5 1.25e-05 49.0 dB > 0.9999 25.00%" in text
    assert "given" not in text
    assert "Worst image: highest value of output pixel (0, 1, 3), 3×2×5, at (2, 1, 3)." in text
    assert "Proved: no image of 3×2×5 or 3×4×5 in [0, 1] can come out more than 76.6 grey levels wrong, against" in text
    assert max(map(len, lines)) <= 100


def test_nothing_proved() -> None:
    text = " ".join(str(certificate(UNPROVED)).split())
    assert "Nothing is proved of other images: the original rounds between its steps." in text
    assert "1,234 of the images have values outside of [0, 1]." in text
    assert "No extreme images of output pixels: nothing is known." in text
    assert "given 12 63.8 0.5 1.25e-05 ∞ dB – 25.00%" in text


def test_a_measured_error_above_the_bound_is_explained() -> None:
    assert "larger were measured" not in RECORD.guarantee
    tight = RECORD.model_copy(update={"bound_units": 0.4})
    assert tight.guarantee.endswith("without the original's own rounding (larger were measured, as they include it).")


def test_no_difference() -> None:
    zeros = dict.fromkeys(("max_units", "max_grey_levels", "mse", "mismatch_rate"), 0.0)
    none = FIGURES.model_copy(update=zeros | {"psnr_db": None, "ssim": 1.0})
    exact = RECORD.model_copy(
        update=dict.fromkeys(("worst_image", "worst_shape", "worst_pixel"))
        | dict.fromkeys(("bound_units", "bound_grey_levels", "bound_rounding_units"), 0.0)
        | {"adversarial": none, "all": none, "bit_exact": True}
    )
    text = " ".join(str(certificate(exact)).split())
    assert "No difference on any of 12 images. Proved: identical for every image of 3×2×5 or 3×4×5." in text
    assert "all 12 0 0 0 ∞ dB 1.0000 0.00%" in text
    assert "Worst" not in text
    # What is proved of the libraries' documented rounding may not hold of the installed ones.
    assert "onelayer selfcheck" in exact.model_copy(update={"all": FIGURES}).guarantee


def test_another_form_of_the_results_is_told() -> None:
    record = RECORD.model_copy(update={"result_difference": "the layer gives a tensor, the pipeline a PIL image"})
    text = " ".join(str(certificate(record)).split())
    assert "Results differ in form: the layer gives a tensor, the pipeline a PIL image." in text


def test_nothing_is_rounded_away() -> None:
    for rate, text in ((1e-6, "< 0.01%"), (1 - 1e-6, "> 99.99%"), (0.0, "0.00%"), (1.0, "100.00%")):
        record = RECORD.model_copy(update={"all": FIGURES.model_copy(update={"mismatch_rate": rate})})
        (row,) = (line for line in str(certificate(record)).splitlines() if line.strip().startswith("all "))
        assert row.rstrip().endswith(f" {text}")


@pytest.mark.parametrize(("width", "dropped"), [(100, ()), (80, ("MSE",)), (50, ("MSE", "(units)", "SSIM", "PSNR"))])
def test_narrow_terminals_drop_columns_and_no_digits(width: int, dropped: tuple[str, ...]) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(certificate())
    text = capture.get()
    for heading in ("(levels)", "Mismatches", "MSE", "(units)", "SSIM", "PSNR"):
        assert (heading in text) == (heading not in dropped), heading
    table = text[: text.index("Worst image")]
    assert "63.8" in table
    assert "25.00%" in table
    assert "…" not in table


def test_square_brackets_are_no_markup() -> None:
    record = RECORD.model_copy(update={"worst_image": "[bold]image 3", "layer": "[red]layer"})
    text = str(certificate(record))
    assert "[bold]image 3" in text
    assert "[red]layer" in text


def test_the_bound_is_rounded_up() -> None:
    assert at_most(76.5123) == "76.6"
    assert at_most(0.0) == "0"
    assert at_most(1.0) == "1"
    assert at_most(0.00012341) == "0.000124"
    assert at_most(1234.5) == "1.24e+3"


@given(st.floats(1e-30, 1e6))
def test_what_is_printed_is_never_less(value: float) -> None:
    assert value <= float(at_most(value)) <= value * 1.0101


def test_it_comes_back_from_json(tmp_path: Path) -> None:
    for record in (RECORD, UNPROVED):
        made = certificate(record)
        assert CertificateRecord.model_validate_json(made.to_json()) == record
        file = made.write(tmp_path / "new" / "folder")
        assert file == tmp_path / "new" / "folder" / "certificate.json"
        assert CertificateRecord.read(file) == record
        assert "error_map" not in json.loads(file.read_text(encoding="utf-8"))


def test_the_worst_image_is_written_beside_it(tmp_path: Path) -> None:
    made = certificate()
    assert made.write(tmp_path / "mine.json") == tmp_path / "mine.json"
    pictures = load_file(tmp_path / "mine.safetensors")
    assert set(pictures) == {"worst_image", "truth", "prediction", "error_map"}
    for name, picture in pictures.items():
        np.testing.assert_array_equal(picture, getattr(made, name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    file = certificate().write(tmp_path)
    file.write_text(file.read_text(encoding="utf-8").replace('"max_units": 0.5', '"max_units": NaN'), encoding="utf-8")
    with pytest.raises(OnelayerError, match="cannot be read"):
        CertificateRecord.read(file)


def test_the_figure_shows_grey_levels() -> None:
    figure = certificate().figure()
    image, truth, prediction, error, bar = figure.axes
    assert [axis.get_title() for axis in (image, truth, prediction, error)] == [
        "worst image: highest value of output pixel (0, 1, 3)",
        "pipeline",
        "layer",
        "absolute error",
    ]
    shown = np.asarray(error.images[0].get_array())
    # The largest of the channels, each in its own grey levels.
    assert shown[1, 3] == pytest.approx(0.5 / 0.005)
    assert shown[0, 0] == pytest.approx(0.6 / 0.01)
    assert np.count_nonzero(shown) == 2
    assert bar.get_ylabel() == "grey levels"
    assert np.asarray(image.images[0].get_array()).shape == (2, 5, 3)
    figure.canvas.draw()


def test_the_figure_of_one_channel_and_no_error() -> None:
    record = RECORD.model_copy(update={"grey_level_units": (1.0,), "high": 255.0, "worst_image": None})
    image = np.full((1, 3, 4), 51, dtype=np.uint8)
    figure = Certificate(record, image, image, image, np.zeros((1, 3, 4), dtype=np.float32)).figure()
    image_axis, *_, error_axis = figure.axes
    np.testing.assert_allclose(np.asarray(image_axis.images[0].get_array()), 0.2)
    assert image_axis.get_title() == "image"
    assert len(figure.axes) == 4, "no scale of an error of zero"
    assert not error_axis.images
    assert [text.get_text() for text in error_axis.texts] == ["no difference"]
    figure.canvas.draw()


def test_the_figure_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OnelayerError, match=r"needs matplotlib, which is not installed.*onelayer\[reproduce\]"):
        certificate().figure()


def test_notebooks_get_the_table() -> None:
    html = certificate(RECORD.model_copy(update={"worst_image": "<b>3</b>"}))._repr_html_()
    assert html.startswith("<pre")
    assert "adversarial" in html
    assert "76.6 grey" in html
    assert "<b>3</b>" not in html


def test_rich_prints_it() -> None:
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(certificate())
    assert "Max. error" in capture.get()
    assert repr(certificate()) == str(certificate())
