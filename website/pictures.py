"""Make the pictures of docs/images again: what the commands print, and a certificate's figure.

Run it from the repository's root, with the extra ``bench`` installed: ``python website/pictures.py``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT

from onelayer.cli import main
from onelayer.console import results

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"

WIDTH = 88
"""Width of the terminal in characters."""

# Nothing is loaded from other sites: a monospaced font of the reader's in place of rich's.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*(?=\S)", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def command(name: str, *arguments: str) -> None:
    """Draw a command and what it prints."""
    with _recorded(name, "onelayer " + " ".join(arguments)), contextlib.suppress(SystemExit):
        main(list(arguments))


def printed(name: str, title: str, value: object) -> None:
    """Draw what printing a value shows."""
    with _recorded(name, title):
        results.print(value)


@contextlib.contextmanager
def _recorded(name: str, title: str) -> Any:
    results.record, results.width = True, WIDTH
    with contextlib.redirect_stdout(io.StringIO()):
        yield
    (IMAGES / f"{name}.svg").write_text(results.export_svg(title=title, code_format=FORMAT), encoding="utf-8")


def skew() -> dict[str, Any]:
    """Run the tutorial up to the point where it knows what training and serving do, and return its names."""
    page = (ROOT / "docs" / "tutorials" / "find-the-skew.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    last = next(number for number, text in enumerate(code) if "identify" in text)
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for text in code[: last + 1]:
            exec(text, names)  # noqa: S102 - the page's own code
    return names


if __name__ == "__main__":
    os.chdir(ROOT)
    IMAGES.mkdir(exist_ok=True)
    command("explain", "explain", "torchvision:ResNet50_Weights.IMAGENET1K_V2", "--as", "pil", "--shape", "3x375x500")
    names = skew()
    printed("skew", "print(certificate)", names["certificate"])
    printed("identify", "print(served)", names["served"])
    figure = names["certificate"].figure()
    figure.savefig(IMAGES / "skew.png", dpi=80, bbox_inches="tight")
    sys.exit(0)
