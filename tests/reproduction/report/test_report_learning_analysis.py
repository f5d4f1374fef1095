"""What is said of directions and recipes follows from the records, whatever these say."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.errors import OnelayerError
from onelayer.formats import percent
from onelayer.reproduction.report import build_report, conclusion, learning_analysis
from onelayer.reproduction.report.figures import draw_directions, encode_png


def compared(make):
    """The run's own layer at 47.2 dB, least squares, whitened Adam, and the derived one."""
    return make.metrics(
        make.layer("learned", bound_grey_levels=2990.0),
        make.layer("least-squares", mse=1e-15, psnr_db=150.0, max_grey_levels=1e-4, bound_grey_levels=0.0578),
        make.layer("adam-whitened", mse=1e-7, psnr_db=70.0, max_grey_levels=2.0, bound_grey_levels=841.0),
        make.layer("derived", mse=1e-16, psnr_db=160.0, max_grey_levels=1e-5, bound_grey_levels=1e-4),
        examples=(),
    )


def test_directions_are_sorted_by_what_is_left_of_the_start(make):
    record = make.directions()
    found = learning_analysis.error_shares(record, record.epochs[2].errors)
    assert (found.learned.directions, found.between.directions, found.untouched.directions) == (3, 7, 90)
    # 1·0.002² + 0.2·0.004² in the first three, 0.07·0.05² in the seven, 0.009·0.095² in the last.
    parts = np.array([7.2e-6, 1.75e-4, 8.1225e-5])
    assert found.total == pytest.approx(parts.sum())
    shares = [found.learned.error, found.between.error, found.untouched.error]
    np.testing.assert_allclose(shares, parts / parts.sum())


ROOTS = st.tuples(*[st.floats(0, 10)] * 4)


@given(start=ROOTS, roots=ROOTS, offset=st.floats(0, 10))
def test_shares_are_of_everything(make, start, roots, offset):
    errors = make.errors(*roots, offset=offset)
    found = learning_analysis.error_shares(make.directions((0, make.errors(*start)), (47, errors)), errors)
    if found is None:
        assert sum(errors.left) + offset == 0
        return
    parts = (found.learned, found.between, found.untouched)
    assert sum(part.directions for part in parts) == 100
    assert sum(part.error for part in parts) + found.offset == pytest.approx(1)


def test_without_the_start_nothing_is_said_of_what_was_learned(make):
    record = make.directions((31, make.errors(1, 1, 1, 1)), (47, make.errors(1, 1, 1, 1)))
    assert learning_analysis.error_shares(record, record.epochs[0].errors) is None
    assert len(learning_analysis.directions(record, make.run(), make.history(), None)) == 1


def test_the_spectrum_in_numbers(make):
    (sentence,) = learning_analysis.directions(make.directions(), make.run(training=None), [], None)
    # 1 + 0.2 + 0.07 + 0.009: the first two groups hold 93.8%, the first three 99.3%.
    assert "Of 100 directions the first 10 hold 95% of the images’ variance." in sentence
    assert "by a factor of 1.00×10⁴" in sentence
    none = make.directions(eigenvalues=(1.0, 0.0, 0.0, 0.0))
    assert "in the last there is none" in learning_analysis.directions(none, make.run(training=None), [], None)[0]
    same = make.directions(eigenvalues=(0.0,) * 4)
    assert "vary in no direction" in learning_analysis.directions(same, make.run(training=None), [], None)[0]


def test_what_creeps_is_said_to_creep(make):
    text = " ".join(learning_analysis.directions(make.directions(), make.run(), make.history(), make.others()))
    assert "was left: 1 after the first epoch, 3 after epoch 47" in text
    assert "In 90 of 100 (90%) nine tenths or more were left." in text
    assert "66% in those in between and 31% in those that are nearly as at the start" in text
    assert "gradient descent creeps" in text
    assert "After 5 epochs of Adam on these, at most a tenth of that error at the start was left in 100 of 100" in text


def test_what_jumps_is_not_said_to_creep(make):
    jumping = make.errors(0.009, 0.005, 0.02, 0.095, offset=1e-3)
    record = make.directions((0, make.errors(0.1, 0.1, 0.1, 0.1)), (47, jumping))
    history = [*make.history(3), *make.history(2)]  # 1.2e-2, and falling; then from there again
    text = " ".join(learning_analysis.directions(record, make.run(), history, None))
    assert "creeps" not in text
    assert "it is in the mean image and where images vary most" in text
    assert "rose after 1 of 4 epochs" in text
    assert "other images can" in text
    learned = make.errors(0.009, 0.005, 0.005, 0.005, offset=1e-3)
    record = make.directions((0, make.errors(0.1, 0.1, 0.1, 0.1)), (47, learned))
    assert "other images can" not in " ".join(learning_analysis.directions(record, make.run(), history, None))


def test_one_row_per_recipe(make):
    rows = learning_analysis.other_recipe_rows(make.run(), compared(make), make.others())
    assert rows == [
        ("derived, no learning", "–", "–", "–", "1.00×10⁻¹⁶", "160.0 dB", "1.00×10⁻⁵", "1.10×10⁻⁴"),
        ("Adam (this run)", "45,000", "57", "12 min 3 s", "1.90×10⁻⁵", "47.2 dB", "23.1", "3000"),
        ("least squares", "45,000", "one pass", "15.0 s", "1.00×10⁻¹⁵", "150.0 dB", "1.00×10⁻⁴", "0.058"),
        ("Adam on whitened images", "45,000", "5 epochs", "1 min 1 s", "1.00×10⁻⁷", "70.0 dB", "2.00", "850"),
    ]
    assert all(len(row) == len(learning_analysis.OTHER_RECIPES_HEADER) for row in rows)
    # Bounds are rounded up.
    own = learning_analysis.other_recipe_rows(make.run(recipe="adam-whitened"), compared(make), make.others())
    assert own[1][0] == "Adam on whitened images (this run)"


def test_the_best_recipe_is_named_if_it_is_better(make):
    better = " ".join(learning_analysis.better_recipes(compared(make), make.others()))
    assert "Least squares, from 45,000 images in 15.0 s: 150.0 dB." in better
    assert "not that a layer is linear" in better
    accuracy = conclusion.headline(compared(make), None, make.others())[:-1]
    assert [sentence.split(":")[0][:30] for sentence in accuracy] == [
        "Over 10,000 test images the de", "Over 10,000 test images the le", "The recipe limits the learned ",
    ]  # fmt: skip
    full = conclusion.accuracy(compared(make), make.others())
    assert [re.findall(r"the (\S+) layer", sentence)[0] for sentence in full[:2]] == ["derived", "learned"]
    assert "least squares on 45,000 of the same images found a layer of 150.0 dB in 15.0 s" in accuracy[2]


@pytest.mark.parametrize("own", [149.0, None])
def test_a_recipe_that_is_no_better_is_not_recommended(make, own):
    layers = [make.layer("learned", psnr_db=own), *compared(make).layers[1:]]
    sentences = learning_analysis.better_recipes(make.metrics(*layers), make.others())
    assert all("was not clearly better in this run" in sentence for sentence in sentences)
    assert len(sentences) == 2
    assert learning_analysis.best_recipe(make.metrics(*layers), make.others()) is None
    # Nor is one that is not compared yet.
    assert learning_analysis.best_recipe(make.metrics(), make.others()) is None
    assert learning_analysis.better_recipes(make.metrics(), make.others()) == []


def drawn(make, *, others):
    figure = draw_directions(make.directions(), others, 47)
    above, below = figure.axes
    return figure, above, {line.get_label(): line for line in below.get_lines()}


def test_the_figure_has_the_spectrum_and_a_line_per_epoch_shown(make):
    figure, above, lines = drawn(make, others=make.others())
    np.testing.assert_array_equal(above.get_lines()[0].get_ydata(), [1.0, 0.1, 0.01, 0.0001])
    # Groups reach from 1 to 1, 2 to 3, 4 to 10 and 11 to 100: their middles on a logarithmic axis.
    np.testing.assert_allclose(above.get_lines()[0].get_xdata() ** 2, [1, 6, 40, 1100])
    assert list(lines) == [
        "before the first step", "after epoch 1", "after epoch 47, kept", "after epoch 57",
        "least-squares", "adam-whitened",
    ]  # fmt: skip
    np.testing.assert_allclose(lines["after epoch 1"].get_ydata(), [0.005, 0.08, 0.1, 0.1])
    np.testing.assert_allclose(lines["adam-whitened"].get_ydata(), 1e-4)
    dashes = {lines[name].get_linestyle() for name in ("after epoch 1", "least-squares", "adam-whitened")}
    assert len(dashes) == 3, "told apart without colours"
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert len(drawn(make, others=make.others(known=False))[2]) == len(drawn(make, others=None)[2]) == 4


def test_of_many_epochs_a_handful_is_drawn(make):
    record = make.directions(*[(epoch, make.errors(1, 1, 1, 1)) for epoch in range(32)])
    below = draw_directions(record, None, 21).axes[1]
    shown = [int(number) for line in below.get_lines() for number in re.findall(r"epoch (\d+)", line.get_label())]
    assert shown == [1, 2, 4, 8, 16, 21, 31]


def test_an_error_of_nothing_can_be_drawn(make):
    record = make.directions((0, make.errors(0, 0, 0, 0)), eigenvalues=(0.0,) * 4)
    assert encode_png(draw_directions(record, None, None))


@pytest.fixture
def section(make, tmp_path, instant_figures):
    """Makes the page of some parts; gives the section about causes, None if there is none."""

    def build(name, **changes):
        folder = make.parts(**{"history": None, "benchmark": None} | changes).save(tmp_path / name)
        page = build_report(folder).read_text(encoding="utf-8")
        if 'id="cause"' not in page:
            return None
        return page.split('<h2 id="cause">')[1].split("</section>")[0]

    return build


def test_the_page_tells_it(make, section, tmp_path):
    text = section("run", directions=make.directions(), others=make.others(), metrics=compared(make))
    assert text.count("<img") == 2
    assert 'alt="Above, the variance of the images in 100 directions' in text
    assert "after epoch 57 3.00×10⁻³ in the first direction and 9.40×10⁻² in the last" in text
    assert "least squares" in text
    assert "one pass" in text
    assert "Not known by direction" not in text
    assert "test images. least-squares layer: PSNR 150.0 dB" in text, "what is said of the predictions' picture"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    comparison = page.split('<h2 id="comparison">')[1]
    assert 'alt="Input, ground truth' in comparison
    assert "least-squares layer: PSNR" not in comparison, "each layer is drawn once"
    assert {"predictions.png", "directions.png"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_a_page_without_all_of_it_says_what_is_missing(make, section):
    assert section("neither") is None
    assert "Not known by direction" in section("no-directions", others=make.others(), metrics=compared(make))
    own = make.run(recipe="least-squares")
    assert "Not known" not in section("own", run=own, others=make.others(), metrics=compared(make))
    text = section("no-metrics", directions=make.directions(), others=make.others(), metrics=None)
    assert "onelayer compare no-metrics" in text
    assert "Other recipes" not in section("learned-only", directions=make.directions(), metrics=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"eigenvalues": (1.0,)},
        {"sizes": (), "eigenvalues": ()},
        {"sizes": (1, 2, 7), "eigenvalues": (1.0, 0.1, 0.01)},
    ],
)
def test_records_of_other_directions_are_refused(make, section, changes):
    with pytest.raises(OnelayerError, match="not of the same directions"):
        section("run", directions=make.directions(**changes), metrics=None)


def test_impossible_errors_are_refused(make, section):
    negative = make.errors(1, 1, 1, 1).model_copy(update={"offset": -1.0})
    with pytest.raises(OnelayerError, match="impossible errors"):
        section("run", directions=make.directions((0, negative)), metrics=None)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (0.001, "less than 1%"), (0.25, "25%"), (0.99, "99%"), (0.996, "more than 99%"), (1, "100%")],
)
def test_shares_are_whole_percent(share, text):
    assert percent(share) == text
