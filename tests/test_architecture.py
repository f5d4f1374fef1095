"""Data flows one way: a module imports only from layers above it in this list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "onelayer"

# Each group may import from groups before it, and from itself. docs/architecture.md explains the order.
ORDER = [
    {"errors", "console", "atomic_write", "cache_folder", "plotting", "formats", "memory_limits"},
    {"records"},
    {"algebra"},
    {"image_spec", "random_state"},
    {"images"},
    {"frontends", "backends"},
    {"programs"},
    {"any_size", "copying"},
    {"samples", "plans", "custom_operator"},
    {"breaks", "batches"},
    {"layer"},
    {"explanation"},
    {"pipelines", "environment"},
    {"data"},
    {"dense_layer"},
    {"serialize"},
    {"verification"},
    {"exports"},
    {"offline"},
    {"ray"},
    {"recognition"},
    {"identification"},
    {"selfcheck"},
    {"bench"},
    {"reproduction"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imported_parts(path: Path) -> set[str]:
    """The parts of onelayer that a module imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "onelayer":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("onelayer.")}
    return found


def test_imports_point_one_way() -> None:
    for path in MODULES:
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        assert part in RANK, f"{part} has no place in the order"
        backwards = {name for name in imported_parts(path) if RANK[name] > RANK[part]}
        assert not backwards, f"{path.relative_to(SOURCE)} imports from {backwards}, which come after {part}"


def test_the_report_reads_records_and_runs_nothing() -> None:
    allowed = {"errors", "console", "atomic_write", "plotting", "formats", "records", "bench", "reproduction"}
    # Of the benchmarks, what lays records out, which runs nothing either.
    layouts = [SOURCE / "bench" / f"{name}.py" for name in ("record", "table", "chart")]
    for path in (*(SOURCE / "reproduction" / "report").rglob("*.py"), *layouts):
        assert imported_parts(path) <= allowed, path
        of_bench = set(re.findall(r"onelayer\.bench\.(\w+)", path.read_text(encoding="utf-8")))
        assert of_bench <= {layout.stem for layout in layouts}, path


def test_the_algebra_is_free_of_torch() -> None:
    for path in (SOURCE / "algebra").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "torchvision") for name in names), path


# What each of these needs to be told so that it cannot run code that a file brings.
HARMLESS_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "trainer.fit": ("weights_only", True),
}


def test_nothing_unpickles() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "cloudpickle", "joblib"}, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in HARMLESS_WITH:
                keyword, value = HARMLESS_WITH[ast.unparse(node.func)]
                arguments = {word.arg: word.value for word in node.keywords}
                argument = arguments.get(keyword)
                assert isinstance(argument, ast.Constant), f"{path}: {ast.unparse(node)}"
                assert argument.value is value, f"{path}: {ast.unparse(node)}"
