from __future__ import annotations

import base64
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onelayer.errors import OnelayerError
from onelayer.reproduction.report import build_report
from onelayer.reproduction.run_folder import RunFolder


class Page(HTMLParser):
    """What a reader sees, and what a browser is told."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr", "source"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self._text: list[str] = []
        self.feed(self.source)
        self.close()
        self.text = re.sub(r"\s+", " ", "".join(self._text))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())

    def handle_data(self, data):
        if "style" in self.open:
            return
        self._text.append(data)
        if "td" in self.open or "th" in self.open:
            # Cells are blocks: words of neighbouring elements do not run together.
            self.rows[-1][-1] += f" {data}"

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def section(self, name: str) -> str:
        return re.sub(r"\s+", " ", self.source.split(f'<h2 id="{name}">')[1].split("</section>")[0])


# The page of the finished run has its figures; what the others show is not asked about.
pytestmark = pytest.mark.usefixtures("instant_figures")


@pytest.fixture
def page_of(tmp_path):
    """Saves the parts of a run, makes its page and reads it."""

    def build(parts, name="run") -> Page:
        folder = parts.save(tmp_path / name)
        path = build_report(folder)
        assert path == folder.page
        page = Page(path)
        assert page.open == []
        return page

    return build


@pytest.fixture(scope="module")
def usual(make, tmp_path_factory, replace_figures) -> Page:
    """The page of a run that has everything."""
    folder = make.parts(metrics=make.metrics(examples=(0, 4))).save(tmp_path_factory.mktemp("usual") / "run")
    with pytest.MonkeyPatch.context() as patch:
        replace_figures(patch)
        return Page(build_report(folder))


@pytest.fixture(scope="module")
def bare(make):
    """Parts without figures, for tests that add the one they are about."""

    def parts(**changes):
        return make.parts(**{"history": None, "metrics": None, "benchmark": None} | changes)

    return parts


def test_the_page_holds_the_numbers_of_the_records(usual):
    page = usual
    for words in (
        "Resize((28, 28))",
        "RandomVerticalFlip(p=1)",
        "3×32×32 in and 1×28×28 out",
        "A sample of images.",
        "45,000 for training, 5,000 for validation, 10,000 for testing",
        "at most 200, batches of 128",
        "Adam, learning rate 0.001",
        "Example CPU 9000, 16 logical cores; torch used 8 threads",
        "onelayer 0.1.0, python 3.12.1, torch 2.11.0",
        "0123abcd+changes",
        "2025-03-04 05:06 UTC",
        "47, validation MSE 2.00×10⁻⁵ (47.0 dB)",
        "57, validation MSE 4.00×10⁻⁵ (44.0 dB)",
        "12 min 3 s on CPU",
        "2,409,232",
        "2 short rounds were burn-in and did not count; 9 repeats did",
        "The last epoch was worse by 3.0 dB",
        "onelayer report run",
    ):
        assert words in page.text
    assert ["learned", "1.90×10⁻⁵", "47.2 dB", "0.9987", "23.1", "–", "4711"] in page.rows


def test_the_page_says_by_which_recipe_the_layer_was_learned(page_of, make):
    one_pass = page_of(make.parts(run=make.run(recipe="least-squares")), "one-pass")
    assert "least squares, in one pass over the training images" in one_pass.text
    assert "validation MSE 2.00×10⁻⁵" in one_pass.section("training")
    for words in ("at most 200", "Adam", "Best epoch", "best epoch", "Why it ended"):
        assert words not in one_pass.text
    whitened = page_of(make.parts(run=make.run(recipe="adam-whitened")), "whitened")
    assert "Adam on whitened images, learning rate 0.001, falling to zero" in whitened.text


def test_the_benchmark_table(usual):
    page = usual
    header = next(row for row in page.rows if "Batch size" in row)
    peers = ["sequential transforms", "batched transforms", "the layer"]
    assert header == [
        "Batch size",
        *(f"{peer} (ms)" for peer in peers),
        *(f"{peer} ÷ the layer" for peer in peers[:2]),
    ]
    first = page.rows.index(header) + 1
    assert page.rows[first] == ["CPU"]
    assert page.rows[first + 1] == [
        "1024",
        "30,000 29,400–30,600",
        "503.9 fastest 493.8–514.0",
        "1,008 987.7–1,028",
        "29.8",
        "0.50",
    ]
    assert [row[0] for row in page.rows[first + 2 : first + 9]] == ["512", "256", "128", "64", "32", "16", "8"]
    assert page.rows[first + 9] == ["CUDA: not measured (no such device here)"]


def test_the_derived_layer_comes_first(make, page_of, bare):
    layers = make.layer(), make.layer("derived", max_grey_levels=1e-4)
    times = {size: timings | {"derived": make.timing(0.01)} for size, timings in make.times().items()}
    benchmark = make.benchmark(times, peers=(*make.peers, make.derived))
    page = page_of(bare(metrics=make.metrics(*layers), benchmark=benchmark))
    names = [row[0] for row in page.rows]
    assert names.index("derived") + 1 == names.index("learned")
    header = next(row for row in page.rows if "Batch size" in row)
    assert header[1] == "the derived layer (ms)"
    assert header[5] == "sequential transforms ÷ the derived layer"
    row = next(row for row in page.rows if row[0] == "1024")
    assert row[1].startswith("10.0 fastest")
    answer = page.text.split("Can one layer replace these transforms?")[1]
    assert answer.strip().startswith(
        "Yes. The derived layer gives their output, to within 1.00×10⁻⁴ of 255 grey levels"
    )


@pytest.mark.parametrize(
    ("batched", "layer", "marked"),
    [(0.5, 1.0, ["fastest", ""]), (1.0, 0.5, ["", "fastest"]), (1.0, 1.01, ["tie", "tie"])],
)
def test_the_fastest_is_bold_and_named(make, page_of, batched, layer, marked, bare):
    page = page_of(bare(benchmark=make.benchmark(make.times(batched, layer))))
    row = next(row for row in page.rows if row[:1] == ["512"])
    assert [("fastest" in cell and "fastest") or ("tie" in cell and "tie") or "" for cell in row[2:4]] == marked
    assert page.section("benchmark").count("<strong>") == 8 * sum(map(bool, marked))
    assert page.source.count('class="mark"') == 8 * sum(map(bool, marked))


def test_on_cuda_the_page_says_what_the_time_includes(make, page_of, bare):
    record = make.benchmark(make.times(), peers=(*make.peers, make.on_device))
    assert "includes copying" not in page_of(bare(benchmark=record)).text
    extra = {"layer_on_device": make.timing(0.1)}
    on_cuda = [make.case(case.batch_size, case.timings | extra, "cuda") for case in record.cases]
    record = record.model_copy(update={"cases": (*record.cases, *on_cuda)})
    page = page_of(bare(benchmark=record), "with-cuda")
    assert "includes copying the images to the device" in page.text
    assert "no contender for the fastest" in page.text
    assert [row for row in page.rows if row[0] in ("CPU", "CUDA")] == [["CPU"], ["CUDA"]]


def test_a_benchmark_from_elsewhere_names_its_machine(make, page_of, usual, bare):
    assert "was not run in the environment of the training" not in usual.text
    elsewhere = make.environment.model_copy(update={"cpu": "Other CPU 1"})
    page = page_of(bare(benchmark=make.benchmark(make.times(), environment=elsewhere)), "elsewhere")
    assert "was not run in the environment of the training" in page.text
    assert "Other CPU 1" in page.section("benchmark")


@pytest.mark.parametrize("which", ["run", "benchmark", None])
def test_a_quick_run_is_announced(make, page_of, which, bare):
    parts = bare()
    if which == "run":
        parts.run = make.run(quick=True)
    if which == "benchmark":
        parts.benchmark = make.benchmark(make.times(), quick=True)
    page = page_of(parts)
    assert ("mean little" in page.text) == (which is not None)
    assert len([True for attrs in page.attributes("p") if attrs.get("class") == "banner"]) == (which is not None)


def test_parts_that_were_not_run_name_their_command(make, page_of, bare):
    page = page_of(bare(run=make.run(training=None)), "two words")
    assert "Not run." in page.section("comparison")
    assert "onelayer compare &#39;two words&#39;" in page.section("comparison")
    assert "onelayer bench &#39;two words&#39;" in page.section("benchmark")
    assert "Learning has not ended" in page.section("training")
    assert "has not been measured yet" in page.text
    assert page.attributes("img") == []


@pytest.mark.parametrize(
    ("missing", "figure", "others"),
    [
        ({"history": None}, "train_figure", ("comparison_figure", "benchmark_figure")),
        ({"history": []}, "train_figure", ("comparison_figure", "benchmark_figure")),
        ({"metrics": None}, "comparison_figure", ("train_figure", "benchmark_figure")),
        ({"benchmark": None}, "benchmark_figure", ("train_figure", "comparison_figure")),
    ],
    ids=["no history", "empty history", "no comparison", "no benchmark"],
)
def test_one_missing_record_costs_its_own_figure_only(make, tmp_path, missing, figure, others):
    folder = make.parts(**missing).save(tmp_path / "run")
    page = Page(build_report(folder))
    assert not getattr(folder, figure).exists()
    assert all(getattr(folder, other).exists() for other in others)
    assert len(page.attributes("img")) == 2


def test_a_benchmark_without_rows_still_has_a_page(make, page_of, bare):
    page = page_of(bare(benchmark=make.benchmark({})))
    assert "says nothing about speed" in page.text


def test_ssim_that_is_not_defined_is_explained(make, page_of, usual, bare):
    explained = "SSIM is not defined for outputs smaller than its window"
    assert explained not in usual.text
    page = page_of(bare(metrics=make.metrics(make.layer(ssim=None))), "small")
    assert explained in page.text
    assert "not defined" in page.rows[1]


@pytest.mark.parametrize(
    ("input_shape", "output_shape"), [((3, 17, 11), (3, 17, 11)), ((1, 1, 1), (1, 1, 1)), ((4, 5, 9), (2, 3, 40))]
)
def test_other_shapes_have_a_page(make, page_of, input_shape, output_shape, bare):
    pipeline = make.run().pipeline.model_copy(update={"input_shape": input_shape, "output_shape": output_shape})
    page = page_of(bare(run=make.run(pipeline=pipeline), metrics=make.metrics()))
    assert f"{'×'.join(map(str, input_shape))} in" in page.text


def test_the_page_holds_its_figures_and_needs_nothing_else(finished_run):
    folder = RunFolder(finished_run)
    page = Page(folder.page)
    images = page.attributes("img")
    saved = [
        folder.train_figure, folder.directions_figure, folder.predictions_figure, folder.weights_figure,
        folder.comparison_figure, folder.benchmark_figure,
    ]  # fmt: skip
    assert min(path.stat().st_size for path in saved) > 10_000
    assert [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images] == [
        path.read_bytes() for path in saved
    ]
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form", "button"}
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("srcset", "action", "style")]
        assert attrs.get("href", "#").startswith("#")
    without_images = re.sub(r'"data:[^"]*"', '""', page.source)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bdata:[a-z]+/", without_images)
    (policy,) = [
        attrs["content"] for attrs in page.attributes("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert page.attributes("html") == [{"lang": "en"}]
    assert "<title>" in page.source


def test_alternative_texts_carry_the_main_numbers(usual):
    training, comparison, benchmark = (image["alt"] for image in usual.attributes("img"))
    assert "2.00×10⁻⁵ (47.0 dB) at epoch 47; stopped at epoch 57 (early stopping)" in training
    assert "3 test images" in comparison
    assert "PSNR 47.2 dB, largest error 23.1 of 255 grey levels in test image 4711" in comparison
    assert "CPU, batch size 1024: sequential transforms 30,000 ms, batched transforms 503.9 ms" in benchmark
    assert "CPU, batch size 8: " in benchmark


HOSTILE = '<script>alert("x")</script>{{ 7 * 7 }}&amp;"\' onload="y'


def test_nothing_in_a_record_is_markup(make, page_of):
    run = make.run()
    run = run.model_copy(
        update={
            "created": HOSTILE,
            "data": run.data.model_copy(update={"source": HOSTILE, "description": HOSTILE, "key": HOSTILE}),
            "pipeline": run.pipeline.model_copy(update={"name": HOSTILE, "steps": (HOSTILE,)}),
            "training": run.training.model_copy(update={"device": HOSTILE}),
            "environment": make.environment.model_copy(
                update={"cpu": HOSTILE, "commit": HOSTILE, "versions": {HOSTILE: HOSTILE}, "cuda": HOSTILE}
            ),
        }
    )
    peers = tuple(peer.model_copy(update={"label": HOSTILE, "description": HOSTILE}) for peer in make.peers)
    parts = make.parts(
        run=run,
        metrics=make.metrics(make.layer(HOSTILE)),
        benchmark=make.benchmark(make.times(), peers=peers, created=HOSTILE),
    )
    page = page_of(parts)
    assert HOSTILE in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in page.source
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert "49" not in page.section("run")


def test_no_path_of_the_machine_is_on_the_page(make, tmp_path, bare):
    run = make.run()
    run = run.model_copy(update={"data": run.data.model_copy(update={"source": str(tmp_path / "photographs")})})
    page = Page(build_report(bare(run=run).save(tmp_path / "deep" / "run")))
    assert "photographs" in page.text
    assert str(tmp_path) not in page.source
    assert "deep" not in page.text
    assert "onelayer report run" in page.text


def test_a_folder_named_by_a_dot_is_called_by_its_name(tmp_path, monkeypatch, bare):
    bare().save(tmp_path / "myrun")
    monkeypatch.chdir(tmp_path / "myrun")
    assert "onelayer report myrun" in Page(build_report(RunFolder(Path()))).text


def test_made_elsewhere_the_page_is_the_same(make, tmp_path):
    folder = make.parts().save(tmp_path / "run")
    first = build_report(folder).read_bytes()
    shutil.copytree(folder.path, tmp_path / "moved" / "run")
    assert build_report(RunFolder(tmp_path / "moved" / "run")).read_bytes() == first


def test_leaves_the_records_alone_and_no_scraps(make, tmp_path):
    folder = make.parts().save(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    build_report(folder)
    after = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"train.png", "comparison.png", "benchmark.png", "report.html"}


def test_a_refused_run_keeps_its_old_page(make, tmp_path):
    folder = make.parts().save(tmp_path / "run")
    old = build_report(folder).read_bytes()
    folder.examples.write_bytes(b"cut off")
    with pytest.raises(OnelayerError, match="onelayer compare"):
        build_report(folder)
    assert folder.page.read_bytes() == old


def test_a_missing_package_is_named_with_its_extra(make, tmp_path, monkeypatch):
    folder = make.parts().save(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OnelayerError, match=r"The report needs jinja2, .*pip install 'onelayer\[reproduce\]'"):
        build_report(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(OnelayerError, match=r"there is no run\.json"):
        build_report(RunFolder(tmp_path))


def test_metrics_without_layers_are_refused(make, tmp_path):
    folder = make.parts().save(tmp_path / "run")
    make.metrics().model_copy(update={"layers": ()}).write(folder.metrics)
    with pytest.raises(OnelayerError, match="compares no layer"):
        build_report(folder)


def test_metrics_whose_pictures_are_missing_are_refused(make, tmp_path):
    folder = make.parts().save(tmp_path / "run")
    folder.examples.unlink()
    with pytest.raises(OnelayerError, match=r"there is no comparison\.safetensors.*onelayer compare"):
        build_report(folder)


@pytest.mark.parametrize(
    ("timing", "size", "words"),
    [
        ({"median": 0.0}, 8, "impossible times"),
        ({"first_quartile": -1.0}, 8, "impossible times"),
        ({"first_quartile": 2.0}, 8, "impossible times"),
        ({}, 0, "batch size"),
    ],
)
def test_impossible_benchmarks_are_refused(make, tmp_path, timing, size, words):
    spoiled = make.timing(1.0).model_copy(update=timing)
    folder = make.parts(benchmark=make.benchmark({size: {"layer": spoiled}})).save(tmp_path / "run")
    with pytest.raises(OnelayerError, match=words) as refusal:
        build_report(folder)
    assert "onelayer bench" in refusal.value.hint


def test_a_benchmark_of_unknown_peers_is_refused(make, tmp_path):
    folder = make.parts(benchmark=make.benchmark({8: {"other": make.timing(1.0)}})).save(tmp_path / "run")
    with pytest.raises(OnelayerError, match="times other"):
        build_report(folder)
