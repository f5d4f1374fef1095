"""Hooks of MkDocs: pages of files outside of docs/, the help of the command line, and links that hold in both places.

A page of docs/ links to files as they lie in the repository, so that the links work there. On the site, the files of
the repository's root that have a page are under another name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from onelayer.cli.app import app

ROOT = Path(__file__).parent.parent

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Page of the site for each file of the repository's root that has one."""

GENERATED = {page: name for name, page in PAGES.items() if page != "index.md"}
"""File for each page that has no file in docs/."""

COMMAND_LINE = "reference/command-line.md"

LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(?=[)#])")
"""Target of a Markdown link, up to its anchor."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of files outside of docs/."""
    for page, name in GENERATED.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Complete the page of the command line, and let links lead to the pages of the site."""
    path = page.file.src_uri
    if path == COMMAND_LINE:
        markdown += command_line_help()
    return with_links_of_site(markdown, path)


def with_links_of_site(markdown: str, path: str) -> str:
    """Replace the links of a page that lead to files with another name on the site.

    Args:
        markdown: Text of the page.
        path: Place of the page on the site, such as ``tutorials/serve-faster.md``.
    """
    in_repository = posixpath.dirname(GENERATED.get(path, f"docs/{path}"))
    on_site = posixpath.dirname(path)

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(in_repository, link[1]))
        place = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(place, on_site or ".")

    return LINK.sub(replaced, markdown)


def command_line_help() -> str:
    """Write the help of all commands as Markdown, one section for each."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="onelayer")
    # The title and the text of the application are on the page already; each command is a section of its own.
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    text = "\n".join(f"\n## {section}" for section in sections)
    text = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text)
    return re.sub(r"^Examples:\n\n((?: +\$ .*\n+)+)", _example_lines, text, flags=re.MULTILINE)


def _example_lines(examples: re.Match[str]) -> str:
    lines = "\n".join(line.strip() for line in examples[1].splitlines() if line.strip())
    return f"**Examples**:\n\n```console\n{lines}\n```\n"
