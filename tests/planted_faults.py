"""Plant faults in a copy of the source, one after the other, and see that the fast tests notice each.

    python tests/planted_faults.py [NUMBER]...

Every fault is one replacement of text in one file, with the test that has to fail then. The tests themselves must pass
on the untouched copy, which is checked first. The status is 1 if a fault goes unnoticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Fault:
    """A small mistake in the source.

    Args:
        what: Description of the mistake.
        file: Path of the source file, relative to ``src/onelayer``.
        find: Text that occurs exactly once in the file.
        replace: Text to put in its place.
        test: Test that fails then, as pytest names it, relative to ``tests``.
        needs: Package without which that test is skipped; empty for none.
    """

    what: str
    file: str
    find: str
    replace: str
    test: str
    needs: str = ""

    def plant(self, source: Path) -> str:
        """Write the fault into a copy of ``src`` and return the text of the file before."""
        path = source / "onelayer" / self.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.find, self.replace), encoding="utf-8")
        return text


def faults() -> list[Fault]:
    """Read the list of the faults that can be noticed with the packages that are installed."""
    every = (Fault(**entry) for entry in tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"])
    return [fault for fault in every if not fault.needs or find_spec(fault.needs) is not None]


def passes(tests: list[str], source: Path, cache: Path) -> bool:
    """Run some of the fast tests on a copy of ``src``, and say whether all pass."""
    environment = os.environ | {"PYTHONPATH": str(source), "ONELAYER_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-n", "0"]
    ran = subprocess.run(
        [*command, *(str(REPOSITORY / "tests" / test) for test in tests)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{ran.stdout}\n{ran.stderr}")
    return ran.returncode == 0


def main() -> None:
    """Plant the faults, or those whose numbers are given, and print which were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", type=int, nargs="*", metavar="NUMBER", help="numbers of faults, counted from 1")
    numbered = dict(enumerate(faults(), 1))
    wanted = parser.parse_args().numbers or list(numbered)
    with tempfile.TemporaryDirectory() as folder:
        source, cache = Path(folder) / "src", Path(folder) / "cache"
        shutil.copytree(REPOSITORY / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        tests = sorted({numbered[number].test for number in wanted})
        # Runtimes of exported files have a process of their own, see test_runtimes.py.
        groups = [[test for test in tests if ("checks_of_" in test) is apart] for apart in (False, True)]
        if not all(passes(group, source, cache) for group in groups if group):
            raise SystemExit("the tests fail without any fault; mend that first")
        unnoticed = 0
        for number in wanted:
            fault = numbered[number]
            text = fault.plant(source)
            noticed = not passes([fault.test], source, cache)
            (source / "onelayer" / fault.file).write_text(text, encoding="utf-8")
            unnoticed += not noticed
            print(f"{number:3} {'noticed' if noticed else 'UNNOTICED':9} {fault.what}", flush=True)  # noqa: T201
    print(f"{len(wanted) - unnoticed} of {len(wanted)} faults noticed")  # noqa: T201
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
