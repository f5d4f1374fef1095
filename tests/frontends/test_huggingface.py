"""Compiled image processors of transformers, against the originals: pixels, types, and what is left to them."""

from __future__ import annotations

import ast
import copy
import json
import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from processor_images import Comparison, called, compared, image, is_same

import onelayer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from transformers.image_processing_backends import TorchvisionBackend  # noqa: E402 - if it is installed

from onelayer.frontends.libraries.huggingface import prepared, processor, recipes  # noqa: E402

transformers.logging.set_verbosity_error()

STANDARD = ("CLIP", "ViT", "Siglip", "Bit", "Blip", "DeiT", "Levit", "ConvNext")
PATCHES = ("Qwen2VL", "MiniMaxM3VL", "Ernie4_5_VLMoe", "Glm4v", "Glm46V")
PADDED = ("Detr", "Yolos", "ConditionalDetr", "DeformableDetr", "GroundingDino")
WITH_MAPS = ("Beit", "MobileNetV2", "Segformer")
STANDARD_TOO = ("OwlViT", "ChineseCLIP", "Chameleon", "Pvt", "MobileNetV1")
SMALL = {"shortest_edge": 90, "longest_edge": 150}


def original(name: str, **keywords: Any) -> Any:
    return getattr(transformers, name)(**keywords)


def both(names: tuple[str, ...]) -> list[str]:
    return [f"{name}ImageProcessor{suffix}" for name in names for suffix in ("", "Pil")]


def left_because(compiled: Any) -> list[str]:
    """The reasons why calls of a processor went to the original; empty if they did not."""
    known = getattr(compiled, processor._STATE).by_keywords.values()
    return [str(each) for each in known if not isinstance(each, prepared.Prepared)]


def is_computed(compiled: Any) -> bool:
    return bool(getattr(compiled, processor._STATE).by_keywords) and not left_because(compiled)


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[PIL.Image.Image]:
    generator = np.random.default_rng(seed)
    return [PIL.Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def assert_same(result: Comparison) -> None:
    assert not result.differing, result.differing


@pytest.mark.parametrize(
    "name", [*both(("CLIP", "Levit", "ConvNext")), "SiglipImageProcessor", "Qwen2VLImageProcessor"]
)
def test_bit_for_bit_on_images_of_all_kinds(name: str) -> None:
    given = original(name)
    compiled = onelayer.compile(given)
    assert_same(compared(given, compiled, 40, seed=len(name), largest=250))
    assert is_computed(compiled)


@pytest.mark.parametrize("name", ["DetrImageProcessor", "YolosImageProcessorPil"])
def test_padded_bit_for_bit(name: str) -> None:
    given = original(name, size=SMALL)
    compiled = onelayer.compile(given)
    assert_same(compared(given, compiled, 40, seed=3, largest=250))
    assert is_computed(compiled)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", both(STANDARD + STANDARD_TOO + WITH_MAPS + PATCHES))
def test_bit_for_bit_on_2000_images(name: str) -> None:
    given = original(name)
    compiled = onelayer.compile(given)
    assert_same(compared(given, compiled, 2000, seed=1))
    assert is_computed(compiled)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", both(PADDED))
def test_padded_bit_for_bit_on_2000_images(name: str) -> None:
    small = original(name, size=SMALL)
    assert_same(compared(small, onelayer.compile(small), 1700, seed=1))
    given = original(name)
    compiled = onelayer.compile(given)
    assert_same(compared(given, compiled, 300, seed=2))
    assert is_computed(compiled)


KEYWORDS: list[dict[str, Any]] = [
    {"size": {"height": 50, "width": 70}},
    {"size": {"shortest_edge": 60, "longest_edge": 80}, "do_center_crop": False},
    {"size": {"max_height": 60, "max_width": 70}, "do_center_crop": False},
    {"size": {"shortest_edge": 61}, "crop_size": {"height": 50, "width": 73}},
    {"crop_size": 151, "size": {"height": 100, "width": 202}},
    {"do_resize": False, "do_center_crop": True, "crop_size": 50},
    {"do_resize": False, "do_center_crop": False},
    {"do_normalize": False},
    {"do_rescale": False},
    {"do_rescale": False, "do_normalize": False},
    {"do_rescale": False, "do_normalize": False, "do_resize": False, "do_center_crop": False},
    {"resample": PIL.Image.Resampling.LANCZOS},
    {"resample": 0, "size": {"height": 50, "width": 70}},
    {"resample": PIL.Image.Resampling.BOX},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": (0.5, 0.25, 1.0), "rescale_factor": 1 / 127},
    {"do_convert_rgb": False},
    {"do_pad": True, "pad_size": {"height": 300, "width": 300}},
    {"device": "cpu"},
    {"disable_grouping": False, "data_format": "channels_last"},
    {"size": {"shortest_edge": 0}},
    {"size": "large"},
    {"unknown": 1},
]


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "CLIPImageProcessorPil"])
def test_keywords_of_a_call(name: str) -> None:
    given = original(name)
    compiled = onelayer.compile(given)
    images = pictures((60, 91), (120, 77), seed=4)
    for keywords in KEYWORDS:
        for returned in ("pt", None):
            # The second time, resolved keywords are remembered.
            for _ in range(2):
                expected, found = outcomes(given, compiled, images, **keywords, return_tensors=returned)
                assert is_same(found, expected), keywords
    assert len(left_because(compiled)) < 12


def outcomes(given: Any, compiled: Any, *args: Any, **keywords: Any) -> list[Any]:
    return [called(each, *args, **keywords) for each in (given, compiled)]


def test_the_order_of_dimensions() -> None:
    given = original("ViTImageProcessor")
    compiled = onelayer.compile(given)
    array = np.random.default_rng(0).integers(0, 256, (3, 40, 3), dtype=np.uint8)
    for shape in ((3, 40, 3), (40, 3, 3), (3, 3, 40)):
        for order in (None, "channels_first", "channels_last", "upside_down"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected, found = outcomes(given, compiled, array.reshape(shape), input_data_format=order)
            assert is_same(found, expected), (shape, order)


def test_nested_lists_and_batches() -> None:
    given = original("CLIPImageProcessor")
    compiled = onelayer.compile(given)
    first, second, third = pictures((60, 91), (120, 77), (50, 50))
    batch = np.stack([np.asarray(third)] * 2)
    for images in (
        [[first], [second, third]],
        [[first], []],
        (first, second),
        batch,
        torch.from_numpy(batch.copy()).movedim(-1, 1),
        [batch, batch],
        [first, np.array(second)],
        [],
        None,
        [None],
        "nowhere.png",
    ):
        expected, found = outcomes(given, compiled, images, return_tensors="pt")
        assert is_same(found, expected), type(images)


def test_attributes_that_change_after_the_first_image() -> None:
    given = original("CLIPImageProcessor")
    compiled = onelayer.compile(given)
    images = pictures((60, 91), (120, 77))

    def check(is_left: bool = False) -> None:
        for _ in range(2):
            expected, found = outcomes(given, compiled, images, return_tensors="pt")
            assert is_same(found, expected)
        assert is_computed(compiled) is not is_left

    check()
    for each in (given, compiled):
        each.do_normalize = False
    check()
    for each in (given, compiled):
        each.size["shortest_edge"] = 250
    check()
    for each in (given, compiled):
        each.image_mean, each.do_normalize = [0.5, 0.4, 0.3], True
    check()
    for each in (given, compiled):
        each.crop_size = {"height": 100, "width": 90}
    check()
    for each in (given, compiled):
        each.center_crop = lambda image, _size: image[..., :7, :7]
    check(is_left=True)
    given.size["shortest_edge"] = 99
    assert compiled.size["shortest_edge"] == 250, "the size is the compiled processor's own"


def test_an_instance_of_its_class_with_the_same_configuration(tmp_path: Path) -> None:
    for name in ("CLIPImageProcessor", "ConvNextImageProcessorPil", "Qwen2VLImageProcessor", "DetrImageProcessor"):
        given = original(name, do_normalize=False)
        compiled = onelayer.compile(given)
        image = pictures((40, 60))[0]
        expected = given(image, return_tensors="pt")
        compiled(image, return_tensors="pt")
        assert isinstance(compiled, type(given))
        assert type(compiled).__name__ == name
        assert type(compiled).__module__ == type(given).__module__
        assert compiled.backend == given.backend
        assert compiled.to_dict() == given.to_dict()
        assert repr(compiled) == repr(given)
        assert compiled.__dict__ == given.__dict__
        for folder, each in ((tmp_path / "given", given), (tmp_path / "compiled", compiled)):
            each.save_pretrained(folder)
        saved = [(tmp_path / folder / "preprocessor_config.json").read_text() for folder in ("given", "compiled")]
        assert saved[0] == saved[1]
        for again in (
            copy.deepcopy(compiled),
            copy.copy(compiled),
            pickle.loads(pickle.dumps(compiled)),
            onelayer.compile(compiled),
        ):
            assert type(again) is type(compiled)
            assert is_same(again(image, return_tensors="pt"), expected)
            assert is_computed(again)
            assert repr(again) == repr(given)
        # Read by the class of either, it is an original.
        for kind in (type(given), type(compiled)):
            read = kind.from_pretrained(tmp_path / "compiled")
            assert repr(read) == repr(given)
            assert is_same(read(image, return_tensors="pt"), expected)
            assert is_same(pickle.loads(pickle.dumps(read))(image, return_tensors="pt"), expected)


def pixels_in_another_process(pickled: bytes, array: np.ndarray) -> bytes:
    return pickle.dumps(pickle.loads(pickled)(array, return_tensors="np")["pixel_values"])


@pytest.mark.exhaustive
def test_pickled_into_a_spawned_process() -> None:
    compiled = onelayer.compile(original("CLIPImageProcessor"), threads=1)
    array = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found = pickle.loads(pool.apply(pixels_in_another_process, (pickle.dumps(compiled), array)))
    assert np.array_equal(found, compiled(array, return_tensors="np")["pixel_values"])


def test_a_class_of_the_users_is_left_to_itself() -> None:
    class Flipped(transformers.CLIPImageProcessor):
        def center_crop(self, image: torch.Tensor, size: Any, **keywords: Any) -> torch.Tensor:
            return super().center_crop(image, size, **keywords).flip(-1)

    class Described(transformers.CLIPImageProcessor):
        """Adds a method of its own, and another size."""

        do_center_crop = False

        def describe(self) -> str:
            return "described"

    class Laid(transformers.Qwen2VLImageProcessor):
        def patchify(self, *args: Any, **keywords: Any) -> Any:
            patches, height, width = super().patchify(*args, **keywords)
            return patches.flip(0), height, width

    image = pictures((40, 60))[0]
    for kind, name in ((Flipped, "center_crop"), (Laid, "patchify")):
        given = kind()
        compiled = onelayer.compile(given)
        assert is_same(compiled(image, return_tensors="pt"), given(image, return_tensors="pt"))
        assert f"has its own {name}" in left_because(compiled)[0]
        with pytest.raises(onelayer.OnelayerError, match=f"has its own {name}"):
            onelayer.explain(given, image)
    described = onelayer.compile(Described())
    assert described.describe() == "described"
    assert is_same(described(image, return_tensors="pt"), Described()(image, return_tensors="pt"))
    assert is_computed(described)


def test_unknown_classes_are_left_to_the_original() -> None:
    image = pictures((40, 60))[0]
    for name in ("DINOv3ViTImageProcessor", "Siglip2ImageProcessor", "LlavaNextImageProcessor", "DPTImageProcessor"):
        given = original(name)
        compiled = onelayer.compile(given)
        for _ in range(2):
            assert is_same(compiled(image, return_tensors="pt"), given(image, return_tensors="pt"))
        assert not is_computed(compiled)
        with pytest.raises(onelayer.OnelayerError, match="own"):
            onelayer.explain(given, image)


def test_another_arithmetic_than_the_known_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if transformers had changed what it does, under the same names.
    monkeypatch.setattr(recipes, "_middle", lambda height, width: lambda h, w: (0, 0, height, width))
    given = original("CLIPImageProcessor")
    compiled = onelayer.compile(given)
    image = pictures((140, 60))[0]
    assert is_same(compiled(image, return_tensors="pt"), given(image, return_tensors="pt"))
    assert "differ from the original's" in left_because(compiled)[0]


def test_a_method_replaced_in_the_library_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def resize(self: Any, image: torch.Tensor, *_args: Any, **_keywords: Any) -> torch.Tensor:
        return image[..., :224, :224]

    monkeypatch.setattr(TorchvisionBackend, "resize", resize)
    given = original("ViTImageProcessor")
    compiled = onelayer.compile(given)
    image = pictures((240, 260))[0]
    assert is_same(compiled(image, return_tensors="pt"), given(image, return_tensors="pt"))
    assert "has its own resize" in left_because(compiled)[0]


def test_annotations_are_left_to_the_original() -> None:
    given = original("DetrImageProcessor", size=SMALL)
    compiled = onelayer.compile(given)
    boxes = [{"bbox": [1.0, 2.0, 20.0, 10.0], "category_id": 3, "area": 200.0, "iscrowd": 0}]
    annotations = {"image_id": 7, "annotations": boxes}
    image = pictures((40, 60))[0]
    for keywords in ({}, {"annotations": annotations}, {}, {"return_segmentation_masks": True}):
        expected, found = outcomes(given, compiled, image, return_tensors="pt", **keywords)
        assert list(found) == list(expected)
        assert torch.equal(found["pixel_values"], expected["pixel_values"])
        if "labels" in expected:
            for name, values in expected["labels"][0].items():
                assert torch.equal(torch.as_tensor(found["labels"][0][name]), torch.as_tensor(values))


def test_maps_of_segments_are_left_to_the_original() -> None:
    image = pictures((40, 60))[0]
    segments = np.random.default_rng(0).integers(0, 5, (40, 60), dtype=np.uint8)
    for name in both(("Beit", "Segformer")):
        given = original(name)
        compiled = onelayer.compile(given)
        for keywords in ({}, {"segmentation_maps": segments}, {}, {"do_center_crop": True, "crop_size": 100}):
            for _ in range(2):
                expected, found = outcomes(given, compiled, image, return_tensors="pt", **keywords)
                assert is_same(found, expected), (name, keywords)
        assert is_computed(compiled)


def test_padding_to_the_largest_and_to_a_size() -> None:
    for name in both(("Detr", "Yolos")):
        given = original(name, size=SMALL)
        compiled = onelayer.compile(given)
        images = pictures((40, 160), (160, 40), (70, 70))
        for pad_size in (None, {"height": 200, "width": 190}, {"height": 20, "width": 190}):
            for returned in (None, "pt", "np"):
                for number in (1, 3):
                    expected, found = outcomes(
                        given, compiled, images[:number], pad_size=pad_size, return_tensors=returned
                    )
                    assert is_same(found, expected), (name, pad_size, returned)
        # Every image is larger than the last pad size, and refused.
        assert all("cannot be read" in reason for reason in left_because(compiled))
        assert len(left_because(compiled)) == 3


def test_patches_of_every_layout() -> None:
    for name in both(("Qwen2VL",)):
        given = original(name, min_pixels=20 * 20, max_pixels=80 * 90)
        compiled = onelayer.compile(given)
        images = pictures((40, 160), (31, 33), (9, 90), (300, 1))
        for layout in (
            {},
            {"patch_size": 8, "merge_size": 1, "temporal_patch_size": 1},
            {"patch_size": 6, "merge_size": 3, "temporal_patch_size": 3},
            {"do_normalize": False},
            {"do_resize": False},
        ):
            for number in (1, 3, 4):
                expected, found = outcomes(given, compiled, images[:number], return_tensors="pt", **layout)
                assert is_same(found, expected), (name, layout)
        assert len(left_because(compiled)) == 1, "without a resize, sizes may be no multiples of a patch"
        assert "not resized" in left_because(compiled)[0]


def test_deprecated_keywords_warn_each_time() -> None:
    compiled = onelayer.compile(original("Qwen2VLImageProcessor"))
    for _ in range(3):
        with pytest.warns(FutureWarning, match="deprecated"):
            compiled(pictures((40, 60)), min_pixels=30 * 30)


def test_several_threads_with_one_processor() -> None:
    compiled = onelayer.compile(original("CLIPImageProcessor"))
    images = pictures(*((40 + 7 * at, 150 - 5 * at) for at in range(20)))
    given = original("CLIPImageProcessor")
    expected = [given(image, return_tensors="pt") for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda image: compiled(image, return_tensors="pt"), images))
            assert is_same(found, expected)
    assert is_computed(compiled)


def test_other_modes_of_pytorch_are_left_to_the_original() -> None:
    given = original("ViTImageProcessor")
    compiled = onelayer.compile(given)
    image = pictures((40, 60))[0]
    for _ in range(2):
        with torch.device("meta"):
            expected, found = outcomes(given, compiled, image, return_tensors="pt")
            assert str(found) == str(expected)
        compiled(image, return_tensors="pt")
        assert is_computed(compiled)
    with torch.inference_mode():
        expected, found = outcomes(given, compiled, image, return_tensors="pt")
        assert is_same(found, expected)


def test_explained() -> None:
    given = original("CLIPImageProcessor")
    image = pictures((300, 400))[0]
    for each in (given, onelayer.compile(given)):
        text = str(onelayer.explain(each, image))
        assert "ResizeBy" in text
        assert "none takes a plan of its own" in text
    for other in (np.asarray(image), torch.from_numpy(np.array(image)).movedim(-1, 0)):
        for name in both(("ViT", "Qwen2VL")):
            assert "none takes a plan of its own" in str(onelayer.explain(original(name), other))
    with pytest.raises(onelayer.OnelayerError, match="float32"):
        onelayer.explain(given, torch.rand(3, 30, 40))


def test_a_backend_of_the_auto_class(tmp_path: Path) -> None:
    onelayer.register_with_transformers("clip", "vit")
    original("CLIPImageProcessor", size={"shortest_edge": 200}).save_pretrained(tmp_path)
    found = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="onelayer")
    usual = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    assert repr(found) == repr(usual)
    assert getattr(usual, processor._STATE, None) is None
    image = pictures((40, 60))[0]
    for each in (found, pickle.loads(pickle.dumps(found)), onelayer.compile(found)):
        assert is_same(each(image, return_tensors="pt"), usual(image, return_tensors="pt"))
        assert is_computed(each)
    with pytest.raises(onelayer.OnelayerError, match="clop"):
        onelayer.register_with_transformers("clop")


def test_a_pipeline_takes_it() -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, num_labels=3))
    given = original("ViTImageProcessor")
    compiled = onelayer.compile(given)
    images = pictures((60, 91), (120, 77), (50, 50))
    expected, found = (
        transformers.pipeline("image-classification", model=model, image_processor=each)(images)
        for each in (given, compiled)
    )
    assert found == expected
    assert is_computed(compiled)


def test_one_image_of_each_kind() -> None:
    three_colors = ["RGB", "array", "array, channels first", "tensor"]
    converted = ["RGB with a transparent color", "P", "P with a transparent color", "RGBA", "L", "LA"]
    for name, kinds in (("ViTImageProcessor", three_colors), ("CLIPImageProcessor", three_colors + converted)):
        given = original(name)
        compiled = onelayer.compile(given)
        computed: list[str] = []
        for kind in three_colors + converted:
            one = image(np.random.default_rng(0), kind, 50, 70)
            for returned in (None, "pt", "np"):
                expected, found = outcomes(given, compiled, one, return_tensors=returned)
                assert is_same(found, expected), kind
            known = next(iter(getattr(compiled, processor._STATE).by_keywords.values()))
            computed += [kind] if known(one) is not None else []
        # Without a conversion, only images of three colors are known; the transparency of such then means nothing.
        assert computed == (kinds if len(kinds) > 4 else [*three_colors, converted[0]])


def test_transformers_is_imported_by_no_module_here() -> None:
    for path in Path(processor.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "transformers" for name in names), path


def test_saved_configurations_hold_nothing_of_onelayer() -> None:
    compiled = onelayer.compile(original("CLIPImageProcessor"))
    compiled(pictures((40, 60)))
    assert "onelayer" not in json.dumps(compiled.to_dict()).lower()
