"""Compiled kernels on disk: what their key covers, and what happens where nothing can be written."""

from __future__ import annotations

import ast
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core import caching

import onelayer
from onelayer import OnelayerError
from onelayer.backends.cpu import compilation, warmup
from onelayer.backends.cpu.compilation import WITHOUT_KERNELS, source_hash
from onelayer.frontends import drawn_moves, placement

SOURCES = Path(compilation.__file__).parent


def new_kernel() -> Any:
    """A kernel that no process has loaded yet."""

    @compilation.kernel
    def doubled(values):  # type: ignore[no-untyped-def]
        return values[0] * 2

    return doubled


@pytest.fixture
def keep_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Keeps kernels in a folder from now on."""

    def keep(folder: Path) -> Path:
        monkeypatch.setattr(compilation, "kernel_folder", lambda: folder)
        return folder

    return keep


@pytest.fixture(autouse=True)
def _messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "onelayer")


def test_a_change_of_any_source_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "cpu"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    original = source_hash()
    assert source_hash(copy) == original
    for path in copy.glob("*.py"):
        source = path.read_bytes()
        path.write_bytes(source + b"\n")
        assert (source_hash(copy) == original) == (path.name in WITHOUT_KERNELS), path.name
        path.write_bytes(source)
    (copy / "new.py").touch()
    assert source_hash(copy) != original
    for module in (placement, drawn_moves):
        moved = tmp_path / f"{module.__name__}.py"
        moved.write_bytes(Path(module.__file__).read_bytes() + b"\n")
        with monkeypatch.context() as patch:
            patch.setattr(module, "__file__", str(moved))
            assert source_hash() != original
    monkeypatch.setattr("numba.__version__", "0.0")
    assert source_hash() != original


def test_kernels_are_made_of_their_sources_alone() -> None:
    """What they are made of is in files that the key covers: no kernel file imports from another."""
    for path in SOURCES.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules = {node.module or "" for node in imports}
        if path.name in WITHOUT_KERNELS:
            assert not any(module.startswith(("numba", "llvmlite")) for module in modules), path.name
            assert not {alias.name for node in imports for alias in node.names} & {"kernel", "exact_kernel"}, path.name
        elif path.name not in ("compilation.py", "tables.py"):
            own = {module for module in modules if module.startswith("onelayer.")}
            # The only ones elsewhere; the key covers them, too.
            own -= {placement.__name__, drawn_moves.__name__}
            assert all(module.startswith("onelayer.backends.cpu") for module in own), path.name
            assert not {f"{module.rpartition('.')[2]}.py" for module in own} & WITHOUT_KERNELS, path.name


def test_kernels_are_kept(tmp_path: Path, keep_in: Callable[[Path], Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = keep_in(tmp_path / "kernels" / "0123456789abcdef")
    values = {dtype: np.full(1, 3, dtype) for dtype in (np.float32, np.int16)}
    for array in values.values():
        assert new_kernel()(array) == 6
    assert len(caplog.messages) == 2, "told once for each signature"
    caplog.clear()
    for array in values.values():
        loaded = new_kernel()
        assert loaded(array) == 6
        assert list(loaded.stats.cache_hits.values()) == [1]
    assert not caplog.messages, "nothing is compiled"
    # Files of its own for each signature: processes that compile different ones at once must not share a name.
    assert len(list(folder.glob("*.nbi"))) == len(list(folder.glob("*.nbc"))) == 2


def test_damaged_files_are_replaced(tmp_path: Path, keep_in: Callable[[Path], Path]) -> None:
    folder = keep_in(tmp_path / "kernels" / "0123456789abcdef")
    new_kernel()(np.ones(1))
    for damaged in (b"", b"no pickle", b"\x80\x04N."):
        for pattern in ("*.nbi", "*.nbc"):
            (file,) = folder.glob(pattern)
            file.write_bytes(damaged)
            compiled, loaded = new_kernel(), new_kernel()
            assert compiled(np.ones(1)) == loaded(np.ones(1)) == 2
            assert (compiled.stats.cache_hits, sum(loaded.stats.cache_hits.values())) == ({}, 1), (pattern, damaged)


def test_folders_of_other_sources_go_when_a_new_one_is_made(tmp_path: Path, keep_in: Callable[[Path], Path]) -> None:
    kernels = tmp_path / "kernels"
    for number in range(6):
        folder = kernels / f"{number:016x}"
        folder.mkdir(parents=True)
        (folder / "kernel.nbc").touch()
        os.utime(folder, (number, number))
    (kernels / "mine").mkdir()
    (kernels / "note.txt").touch()
    new = keep_in(kernels / "0123456789abcdef")
    new_kernel()(np.ones(1))
    # Those that were used last stay, for environments that are used in turn.
    left = {path.name for path in kernels.iterdir()}
    assert left == {"mine", "note.txt", new.name, *(f"{number:016x}" for number in (3, 4, 5))}
    keep_in(kernels / f"{3:016x}")
    new_kernel()(np.ones(1))
    new_kernel()(np.ones(1))
    assert (kernels / f"{3:016x}").stat().st_mtime > 10, "marked as used"


def test_a_place_that_cannot_be_written_is_told_once(
    tmp_path: Path, keep_in: Callable[[Path], Path], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    folder = keep_in(tmp_path / "file" / "kernels" / "0123456789abcdef")
    for dtype in (np.float32, np.int16):
        assert new_kernel()(np.full(1, 3, dtype)) == 6
    (line,) = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert str(folder.parent) in line
    assert "ONELAYER_CACHE" in line
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


def test_kernels_that_others_keep_are_loaded(
    tmp_path: Path,
    keep_in: Callable[[Path], Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container: compiled when the image was built, run by a user who may only read."""
    keep_in(tmp_path / "kernels" / "0123456789abcdef")
    new_kernel()(np.ones(1))
    caplog.clear()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_index", refuse)
    loaded = new_kernel()
    assert loaded(np.ones(1)) == 2
    assert list(loaded.stats.cache_hits.values()) == [1]
    assert not caplog.messages


def test_warmup_shows_progress_only_when_asked(
    tmp_path: Path,
    keep_in: Callable[[Path], Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, ran = keep_in(tmp_path / "kernels"), []
    each = [warmup.Compilation("doubled", "float32 → float32", lambda: ran.append(0))] * 3
    monkeypatch.setattr(warmup, "compilations", lambda: each)
    assert onelayer.warmup() == folder
    assert (len(ran), capfd.readouterr()) == (3, ("", ""))
    onelayer.warmup(progress=True)
    printed = capfd.readouterr()
    assert "Compiling CPU kernels" in printed.err
    assert not printed.out
    monkeypatch.setitem(compilation.WRITE_ERRORS, folder, "Permission denied")
    with pytest.raises(OnelayerError, match=r"cannot be kept in .*: Permission denied"):
        onelayer.warmup()


EVERYTHING = """
import logging, torch, onelayer
from torchvision.transforms import v2
from onelayer.backends.cpu.warmup import compilations

logging.basicConfig(level=logging.INFO, format="%(message)s")
folder = onelayer.warmup()
files = sorted(folder.iterdir())
kernels = [path.name.split("-")[0].rpartition(".")[2] for path in files if path.suffix == ".nbi"]
# Each combination of a kernel and dtypes, and the parts of what fills tables.
assert {each.kernel for each in compilations()} <= set(kernels), kernels
assert len(kernels) >= len(compilations()), kernels
compiled = []
logging.getLogger("onelayer").addFilter(lambda record: False)
logging.getLogger("onelayer.backends.cpu.compilation").addFilter(compiled.append)
photograph = torch.randint(0, 256, (4, 3, 300, 400), dtype=torch.uint8)
evaluation = [v2.Resize(256), v2.CenterCrop(224)]
normalized = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.25])]
for transforms in (evaluation, [*evaluation, *normalized], [*evaluation, v2.Grayscale(), v2.Pad(3, fill=7)]):
    for rounding in ("exact", "fused"):
        for image in (photograph, photograph[0], v2.functional.to_pil_image(photograph[0])):
            onelayer.compile(v2.Compose(transforms), rounding=rounding)(image)
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    onelayer.compile(v2.Compose(evaluation), rounding="fused")(photograph.to(dtype))
onelayer.compile(v2.Compose([v2.RandomRotation((30, 30)), *evaluation]), rounding="fused")(photograph.float())
assert not compiled, compiled
assert files == sorted(folder.iterdir())
print(len(kernels))
"""


@pytest.mark.exhaustive
def test_after_warmup_nothing_is_compiled(tmp_path: Path) -> None:
    """Compiles all kernels, in a minute or two, and runs layers of all kinds."""
    environment = os.environ | {"ONELAYER_CACHE": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", EVERYTHING], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(ended.stderr.splitlines()) == int(ended.stdout), ended.stderr


AT_ONCE = """
import sys
import numpy as np
from onelayer.backends.cpu.compilation import kernel

@kernel
def doubled(values):
    return values[0] * 2

for dtype in (sys.argv[1:]):
    assert doubled(np.full(1, 3, dtype)) == 6
print(sum(doubled.stats.cache_hits.values()))
"""


@pytest.mark.exhaustive
def test_processes_that_compile_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"ONELAYER_CACHE": str(tmp_path)}
    dtypes = [["float32", "int16"], ["int16", "float32"], ["float64", "int16"], ["int16", "float64"]]
    for hits in (None, ["2\n"] * 4):
        started = [
            subprocess.Popen([sys.executable, "-c", AT_ONCE, *each], env=environment, stdout=subprocess.PIPE, text=True)
            for each in dtypes
        ]
        printed = [process.communicate(timeout=120)[0] for process in started]
        assert [process.returncode for process in started] == [0] * 4
        assert hits is None or printed == hits


NOBODY = """
import os, sys
import numpy as np
from numba.core.registry import cpu_target
from onelayer.backends.cpu import counters
if "image" in sys.argv:
    import torch, onelayer, onelayer.layer, onelayer.backends.cpu.launch
    from torchvision.transforms import v2

# The interpreter's own files may be out of reach later.
cpu_target.target_context.refresh()
for name in ("HOME", "ONELAYER_CACHE", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
if os.getuid() == 0:
    # The first has no home folder, the second does not exist.
    children = {}
    for user in (65534, 54321):
        if (child := os.fork()) == 0:
            os.setgid(user)
            os.setuid(user)
            break
        children[child] = user
    else:
        failed = [children[child] for child in children if os.waitpid(child, 0)[1] != 0]
        sys.exit(f"failed as {failed}" if failed else 0)
else:
    os.environ["HOME"] = "/dev/null"
if "image" in sys.argv:
    image = torch.arange(3 * 40 * 30, dtype=torch.int64).to(torch.uint8).reshape(3, 40, 30)
    equal = torch.equal(onelayer.compile(v2.Resize(20))(image), v2.Resize(20)(image))
else:
    equal = counters.wait_a_little(np.zeros(3, np.uint64), 0)
sys.stderr.flush()
os._exit(0 if equal else 1)
"""


def _is_open_to_all(file: str) -> bool:
    """Whether every user may read a file: a temporary folder, and all in it, is often its owner's alone."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in Path(file).resolve().parents)


@pytest.mark.skipif(
    not all(map(_is_open_to_all, (np.__file__, onelayer.__file__))),
    reason="other users may not read this environment",
)
@pytest.mark.parametrize("what", ["counter", pytest.param("image", marks=pytest.mark.exhaustive)])
def test_an_unprivileged_user_without_a_home(what: str, tmp_path: Path) -> None:
    (tmp_path / "cwd").mkdir(mode=0o777)
    (tmp_path / "cwd").chmod(0o777)
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", NOBODY, what]
    ended = subprocess.run(command, cwd=tmp_path / "cwd", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == (2 if os.getuid() == 0 else 1), ended.stderr
    assert all("cannot be written" in line for line in lines)
    assert not ended.stdout
    assert not list((tmp_path / "cwd").iterdir())
