"""The how-to does what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HOWTO = (Path(__file__).parent.parent / "docs" / "identification.md").read_text(encoding="utf-8")


def test_the_way_from_a_function_to_a_layer(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", HOWTO, re.DOTALL))
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    shown = re.findall(r"print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert len(shown) > 6
    for line in shown:
        assert line in ran.stdout.splitlines(), line
    assert (tmp_path / "layer" / "model.safetensors").is_file()
