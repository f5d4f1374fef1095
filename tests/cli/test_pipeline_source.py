"""PIPELINE on the command line: what is found, and what is said when nothing is."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.v2 import functional as F

from onelayer import OnelayerError, Pipeline, pipelines
from onelayer.cli.pipeline_source import BUILT_IN, check_pipeline, find_pipeline

IMAGE = torch.arange(3 * 5 * 4, dtype=torch.float32).reshape(3, 5, 4)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_


@pytest.fixture(autouse=True)
def _imports_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports from its own folder would be found by the next one, which has another of that name."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("torch"):
            del sys.modules[name]


def refused(text: str, *patterns: str) -> OnelayerError:
    path = list(sys.path)
    with pytest.raises(OnelayerError) as caught:
        find_pipeline(text)
    for pattern in patterns:
        assert pattern in str(caught.value)
    assert sys.path == path
    return caught.value


def test_built_in() -> None:
    assert list(BUILT_IN) == pipelines.names()
    for name in BUILT_IN:
        found = find_pipeline(name)
        built_in = pipelines.named(name)
        assert (found.name, found.usual_shape) == (name, built_in.input_shape)
        assert repr(found.transform) == repr(built_in.transform)


def test_a_missing_shape_is_told_unread_only_where_that_is_sure(write: Write) -> None:
    libraries = "import os.path, torch\nfrom torchvision.transforms import v2\nx = v2.Resize(3)\n"
    with pytest.raises(OnelayerError, match=r"mine\.py:x does not say which images it is for"):
        check_pipeline(f"{write(libraries)}:x", has_shape=False)
    check_pipeline(f"{write(libraries)}:x", has_shape=True)
    for maybe in (
        "import onelayer\n", "import beside_it\n", "from . import beside_it\n", "from beside_it import x\n",
        "import importlib\nx = importlib.import_module('onelayer').Pipeline('a', abs, (1, 2, 3))\n",
        "def make(:\n",
    ):  # fmt: skip
        check_pipeline(f"{write(libraries + maybe)}:x", has_shape=False)
    check_pipeline("torchvision.transforms:x", has_shape=False)


@pytest.mark.parametrize(
    ("text", "resize"),
    [("ResNet50_Weights.IMAGENET1K_V1", 256), ("ResNet50_Weights.IMAGENET1K_V2", 232), ("Swin_T_Weights.DEFAULT", 232)],
)
def test_weights_without_their_download(text: str, resize: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", None)
    found = find_pipeline(f"torchvision:{text}")
    assert isinstance(found.transform, ImageClassification)
    assert found.transform.resize_size == [resize]
    assert found.usual_shape == (3, 375, 500)


def test_weights_that_do_not_exist() -> None:
    refused("torchvision:resnet50", "no weights named 'resnet50'", "Did you mean torchvision:ResNet50_Weights.DEFAULT?")
    refused(
        "torchvision:ResNet50_Weights.IMAGENET1K_V9",
        "ResNet50_Weights.IMAGENET1K_V2, torchvision:ResNet50_Weights.DEFAULT",
    )
    refused("torchvision:ResNet50_Weights", "has several weights", "ResNet50_Weights.DEFAULT")
    refused("torchvision:zzzz.qqqq", "get_model_weights")


MODULE = """
import functools
from typing import Any, Callable
import torch
import onelayer
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

mirror = v2.RandomHorizontalFlip(p=1)
mirroring = functools.partial(F.horizontal_flip)
a_number = 3

class Mirror(torch.nn.Module):
    def __init__(self, times=1):
        super().__init__()
        self.times = times

    def forward(self, image):
        return F.horizontal_flip(image)

    @classmethod
    def build(cls):
        return cls(3)

class OfSize(torch.nn.Module):
    def __init__(self, size):
        super().__init__()

    def forward(self, image):
        return image

def by_hand(image):
    return image.flip(-1)

def make(size=5):
    return Mirror()

def with_defaults(image=None):
    return image

def of_two(image, other):
    return image

def makes_a_class():
    return Mirror

def named():
    return onelayer.Pipeline("mirror", mirror, (3, 5, 4))

class Nested:
    mirror = mirror

_hidden = mirror
"""


@pytest.mark.parametrize(
    "attribute", ["mirror", "mirroring", "Mirror", "Mirror.build", "by_hand", "make", "Nested.mirror"]
)
def test_attributes_of_a_file(attribute: str, write: Write) -> None:
    text = f"{write(MODULE)}:{attribute}"
    found = find_pipeline(text)
    torch.testing.assert_close(found.transform(IMAGE), IMAGE.flip(-1), rtol=0, atol=0)
    assert (found.name, found.usual_shape) == (text, None)


def test_a_pipeline_brings_its_shape(write: Write) -> None:
    found = find_pipeline(f"{write(MODULE)}:named")
    assert found.usual_shape == (3, 5, 4)
    assert isinstance(found.transform, v2.RandomHorizontalFlip)


def test_a_module_in_the_current_folder_and_one_that_is_installed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(MODULE, "some_transforms.py")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert find_pipeline("some_transforms:make").transform(IMAGE).equal(IMAGE.flip(-1))
    assert sys.path == path
    assert find_pipeline("torchvision.transforms.v2.functional:horizontal_flip").transform is F.horizontal_flip
    found = find_pipeline("torchvision.models:ResNet50_Weights.DEFAULT.transforms")
    assert isinstance(found.transform, ImageClassification)
    assert found.usual_shape == (3, 375, 500)
    assert isinstance(find_pipeline("torch.nn:Identity").transform, torch.nn.Identity)


def test_files_beside_it_can_be_imported_while_it_loads_and_while_it_builds(write: Write) -> None:
    write("def build():\n    import later_beside_it\n    return later_beside_it.transform\n", "beside_it.py")
    write("def transform(image):\n    return image + 1\n", "later_beside_it.py")
    path = list(sys.path)
    found = find_pipeline(f"{write('import beside_it')}:beside_it.build")
    assert found.transform(IMAGE).equal(IMAGE + 1)
    assert sys.path == path


def test_pickles_of_each_loading(write: Write) -> None:
    path = write(MODULE)
    first, second = find_pipeline(f"{path}:Mirror"), find_pipeline(f"{path}:Mirror")
    for found in (first, second):
        assert type(pickle.loads(pickle.dumps(found.transform))) is type(found.transform)
    assert type(first.transform) is not type(second.transform)


def test_dataclasses_with_annotations_as_text(write: Write) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Add:\n    n: int = 2\n    def __call__(self, image):\n        return image + self.n\n"
        "if __name__ == '__main__':\n    raise SystemExit\n"
    )
    assert find_pipeline(f"{write(text)}:Add").transform(IMAGE).equal(IMAGE + 2)


def test_names_that_are_none() -> None:
    refused(
        "resnet-50", "no pipeline named 'resnet-50'", "one of cifar10, ", "Did you mean resnet50?", "file.py:attribute"
    )
    refused("ViT-B-16", "Did you mean vit-b-16?")
    assert "Did you mean" not in str(refused("qqqqqqqq", "no pipeline named"))


@pytest.mark.parametrize(
    "text", ["", "  ", ":", ":make", "mine.py:", "mine.py:a-b", "mine.py:a..b", "mine.py:a b", "a:\n"]
)
def test_what_is_no_name(text: str) -> None:
    refused(text, "names no pipeline", "a built-in name, module:attribute")


def test_a_file_without_an_attribute(write: Write) -> None:
    path = write(MODULE)
    refused(str(path), "not which pipeline in it", f"{path}:attribute")
    refused(r"C:\pipes\mine.py", "not which pipeline in it")


@pytest.mark.parametrize("place", ["nothing.py", "./nothing", r"C:\pipes\mine.py", "\0.py"])
def test_no_such_file(place: str) -> None:
    refused(f"{place}:make", "there is no file", "was looked for from")


def test_a_folder_and_what_is_no_python(tmp_path: Path, write: Write) -> None:
    (tmp_path / "folder.py").mkdir()
    refused(f"{tmp_path}/folder.py:make", "is a folder")
    refused(f"{write('make = 1', 'notes.txt')}:make", "is no Python file", "ends with .py")
    refused(f"{write('def make(:', 'broken.py')}:make", "is not Python: invalid syntax", "line 1 of", "broken.py")
    (tmp_path / "image.py").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    refused(f"{tmp_path}/image.py:make", "image.py")


@pytest.mark.parametrize(
    "place", ["no_such_module_here", "torchvision.no_such_module", "with-dash", ".relative", "a b"]
)
def test_no_such_module(place: str) -> None:
    refused(f"{place}:make", f"there is no module {place!r}", "current folder")


def test_a_module_that_asks_for_a_missing_one(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("x = 1\nimport no_such_module_here\n", "asks_in_vain.py")
    monkeypatch.chdir(tmp_path)
    refused("asks_in_vain:make", "module asks_in_vain raises ModuleNotFoundError", "line 2 of", "asks_in_vain.py")


def test_a_file_that_raises_names_its_own_line(write: Write) -> None:
    path = write("import json\n\ndef parse():\n    json.loads('{')\n\nparse()\n")
    # json raised it, but line 4 of the user's file is where it comes from
    modules = set(sys.modules)
    refused(f"{path}:parse", "raises JSONDecodeError", f"in line 4 of {path}")
    assert set(sys.modules) == modules, "half a module would stay"
    write("1 / 0\n", "beside.py")
    refused(f"{write('import beside')}:make", "ZeroDivisionError", "in line 1 of", "beside.py")
    refused(f"{write('import no_such_module_here')}:make", "ModuleNotFoundError", f"in line 1 of {path}")


@pytest.mark.parametrize("call", ["import sys; sys.exit(3)", "raise SystemExit(3)"])
def test_a_file_that_ends_the_program(call: str, write: Write) -> None:
    refused(f"{write(call)}:make", "ends the program with sys.exit(3)", "line 1 of", "__main__")


def test_an_interruption_stays_one(write: Write) -> None:
    path = list(sys.path)
    with pytest.raises(KeyboardInterrupt):
        find_pipeline(f"{write('raise KeyboardInterrupt')}:make")
    assert sys.path == path


def test_missing_attributes_list_what_could_be_meant(write: Write) -> None:
    path = write(MODULE)
    error = refused(f"{path}:miror", f"{path} has no attribute 'miror'", "Did you mean mirror?")
    assert (
        error.expected == "one of Mirror, by_hand, make, makes_a_class, mirror, mirroring, named, of_two, with_defaults"
    )
    refused(f"{path}:Nested.nothing", "Nested has no attribute 'nothing'", "one of mirror")
    refused(f"{path}:mirror.nothing", "a value of type RandomHorizontalFlip has no attribute")
    refused(f"{write('x = 1')}:make", "expected a transform, or a class or function")
    refused("torchvision.transforms.v2:nothing", "AutoAugment", ", …")


@pytest.mark.parametrize(
    ("attribute", "patterns"),
    [
        ("a_number", ["a value of type int, and cannot be called"]),
        ("functools", ["a value of type module, and cannot be called"]),
        ("OfSize", ["takes (size), not an image alone", "Name an object"]),
        ("of_two", ["takes (image, other), not an image alone", "functools.partial"]),
        (
            "with_defaults",
            ["gives a value of type NoneType", "takes the image as its first argument, without a default"],
        ),
        ("makes_a_class", ["gives a value of type type"]),
    ],
)
def test_attributes_that_are_no_transform(attribute: str, patterns: list[str], write: Write) -> None:
    refused(f"{write(MODULE)}:{attribute}", *patterns)


def test_attributes_that_raise(write: Write) -> None:
    text = (
        "import sys\n"
        "def make():\n    raise ValueError('no\\nsize')\n"
        "def leave():\n    sys.exit()\n"
        "class Lazy:\n    @property\n    def it(self):\n        raise OSError('gone')\n"
        "lazy = Lazy()\n"
    )
    path = write(text)
    refused(f"{path}:make", "called without arguments, raises ValueError: no", f"in line 3 of {path}")
    refused(f"{path}:leave", "called without arguments, ends the program with sys.exit(None)", f"in line 5 of {path}")
    refused(f"{path}:lazy.it", "asked for it, raises OSError: gone", f"in line 9 of {path}")


def test_errors_keep_their_cause(write: Write) -> None:
    assert isinstance(refused(f"{write('1 / 0')}:make").__cause__, ZeroDivisionError)


def test_a_file_that_replaces_the_path(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path: list[Any] = list(sys.path)
    monkeypatch.setattr(sys, "path", path)
    found = find_pipeline(f"{write('import sys; sys.path = []; make = abs')}:make")
    assert found.transform(IMAGE).equal(IMAGE)


def test_pipelines_are_found_as_they_are(write: Write) -> None:
    found = find_pipeline(f"{write('import onelayer; p = onelayer.Pipeline(chr(97), abs, (1, 2, 3))')}:p")
    assert (found.transform, found.usual_shape) == (abs, (1, 2, 3))
    assert isinstance(Pipeline("a", abs, (1, 2, 3)), Pipeline)
