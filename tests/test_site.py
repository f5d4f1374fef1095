"""The pages of the documentation site do what they show, lead somewhere, and are in its navigation."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from page_snippets import DOCS, assert_prints_what_it_shows, snippets

import onelayer
from onelayer.cli.app import app

REPOSITORY = DOCS.parent
NAVIGATION = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if path.parent.name in ("docs", "tutorials", "how-to", "reference", "releases")
)
LIBRARIES = ("albumentations", "cv2", "open_clip", "timm", "transformers")

# These pages run as a whole, snippet after snippet; export-into-the-model.md does in a process without forks, see
# test_runtimes.py. Each recipe runs by itself.
WHOLE = [
    "how-to/check-in-ci.md",
    "how-to/deploy.md",
    "learning.md",
    "tutorials/find-the-skew.md",
    "tutorials/serve-faster.md",
    "tutorials/train-faster.md",
]
OF_LIBRARIES = ["index.md", "opencv.md", "tutorials/timm-and-hugging-face.md"]
ELSEWHERE = ["tutorials/export-into-the-model.md"]


def needs(code: str, *packages: str) -> bool:
    """Whether a snippet uses one of these packages."""
    return any(re.search(rf"\b{package}\b", code) for package in packages)


RECIPES = snippets(DOCS / "recipes.md")


def test_the_pages_with_snippets_are_listed() -> None:
    listed = {DOCS / page for page in [*WHOLE, *OF_LIBRARIES, *ELSEWHERE, "recipes.md"]}
    # These have tests of their own.
    others = {DOCS / f"{name}.md" for name in ("data-sets", "export", "front-ends", "identification", "training")}
    found = {page for page in PAGES if snippets(page)}
    assert listed <= found <= listed | others


@pytest.mark.parametrize("page", WHOLE)
def test_a_page_prints_what_it_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_prints_what_it_shows("\n".join(snippets(DOCS / page)), page, 1)


def test_recipes_print_what_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = [code for code in RECIPES if not needs(code, "onnxruntime", *LIBRARIES)]
    assert len(own) >= 14
    for code in own:
        assert_prints_what_it_shows(code, "recipes.md")


def test_pages_of_other_libraries() -> None:
    missing = [package for package in LIBRARIES if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; see the extra `front-ends`")
    for page in OF_LIBRARIES:
        assert_prints_what_it_shows("\n".join(snippets(DOCS / page)), page, 1)
    recipes = [code for code in RECIPES if needs(code, *LIBRARIES)]
    assert len(recipes) == 2
    for code in recipes:
        assert_prints_what_it_shows(code, "recipes.md", 1)


def commands() -> Iterator[tuple[str, list[str]]]:
    """List the page and the arguments of each command of the tutorials and how-tos."""
    for page in [*DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md")]:
        for code in snippets(page, "bash"):
            for line in code.replace("&&", "\n").splitlines():
                program, *arguments = shlex.split(line) or [""]
                if program == "onelayer":
                    yield str(page.relative_to(DOCS)), arguments


def test_all_commands_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # They are parsed, not run: some take minutes, and the others run as commands of the README.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "parts").mkdir(parents=True)
    (tmp_path / "runs" / "least-squares").mkdir()
    group = typer.main.get_command(app)
    parsed = set()
    for _, (name, *arguments) in commands():
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(arguments))
        parsed.add(name)
    assert parsed >= {"reproduce", "learn", "warmup", "recognise", "export", "identify"}


def anchors(page: Path) -> set[str]:
    """List the anchors of a page's headings, as the forge and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    checked = 0
    for page in [*PAGES, DOCS / "results" / "README.md", *REPOSITORY.glob("*.md")]:
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for path, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {path}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"
            checked += 1
    assert checked > 150


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", NAVIGATION, re.MULTILINE)
    made = {"changelog.md", "contributing.md", "security.md"}
    assert len(listed) == len(set(listed))
    assert {str(page.relative_to(DOCS)) for page in PAGES} == {
        name for name in listed if name not in made and not name.startswith("results/")
    }


def test_the_reference_has_everything_public() -> None:
    named = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    directives = set(re.findall(r"^::: (\S+)$", named, re.MULTILINE))
    modules = {"pipelines", "ray"}
    public = set(onelayer.__all__) - {"__version__"} - modules
    assert {f"onelayer.{name}" for name in public} <= directives


def test_figures_of_the_start_page_are_those_of_the_readme() -> None:
    rows = [
        line for line in (DOCS / "index.md").read_text(encoding="utf-8").splitlines() if re.match(r"\|.*\d.*\|$", line)
    ]
    assert len(rows) >= 10
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    for row in rows:
        assert row in readme
    # The worst of them are shown too.
    worst = [row for row in readme if "the call of the layer" in row]
    assert len(worst) == 2
    assert set(worst) <= set(rows)


def test_pictures_are_small_and_shown() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    script = (REPOSITORY / "website" / "pictures.py").read_text(encoding="utf-8")
    pictures = sorted((DOCS / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 200_000, picture.name
        assert f"images/{picture.name})" in pages, picture.name
        assert picture.stem in script, picture.name


@pytest.mark.exhaustive
def test_the_site_is_built(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    import subprocess
    import sys

    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    command_line = (tmp_path / "site" / "reference" / "command-line" / "index.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"<code>onelayer {name}</code>" in command_line
    reference = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site" / "reference").rglob("*.html"))
    assert "compile" in reference
    assert not re.search(r":(class|func|meth|data|mod):", reference)
    for page in ("changelog", "contributing", "security"):
        assert (tmp_path / "site" / page / "index.html").is_file()
    # Nothing is loaded from other sites.
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', start)
