"""A compiled pipeline against the transforms themselves."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from onelayer import OnelayerError, pipelines
from onelayer import compile as compile_
from onelayer.any_size import AnySizePipeline
from onelayer.frontends import ImageSpec
from onelayer.plans import PLANS

IMAGENET = v2.Compose(
    [
        v2.Resize(40, antialias=True),
        v2.CenterCrop(32),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


def random_image(
    height: int, width: int, dtype: torch.dtype = torch.float32, batch: tuple[int, ...] = ()
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    if dtype == torch.uint8:
        return torch.randint(0, 256, (*batch, 3, height, width), dtype=dtype, generator=generator)
    return torch.rand(*batch, 3, height, width, generator=generator).to(dtype)


def test_float_tensors() -> None:
    layer = compile_(IMAGENET)
    for size, batch in (((17, 11), ()), ((32, 32), (2,)), ((375, 500), (2,)), ((40, 41), (0,))):
        images = random_image(*size, batch=batch)
        ours, theirs = layer(images), IMAGENET(images)
        assert ours.dtype == theirs.dtype
        # float32 weights in torchvision: 2e-6 of the range, which is 1/.225 here
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6 / 0.225)


def test_the_report_is_one_stage_without_images_of_weights() -> None:
    layer = compile_(pipelines.report_transform())
    simplified = layer.program(ImageSpec((3, 32, 32), "float32", "tensor"))
    assert len(simplified.program.stages) == 1
    images = random_image(32, 32, batch=(5,))
    torch.testing.assert_close(layer(images), pipelines.report_transform()(images), rtol=0, atol=2e-6)


def test_uint8_tensors_are_within_the_rounding() -> None:
    images = random_image(45, 60, torch.uint8, (2,))
    ours, theirs = compile_(IMAGENET)(images), IMAGENET(images)
    # torchvision rounds after each of the two passes of the resize: at most one level
    assert float((ours - theirs).abs().max()) <= 1 / 255 / 0.224 + 1e-5
    resize = v2.Resize((13, 29), antialias=True)
    ours, theirs = compile_(resize)(images), resize(images)
    assert ours.dtype == torch.uint8
    assert int((ours.int() - theirs.int()).abs().max()) <= 1


def test_pil_images_in_and_out() -> None:
    image = PIL.Image.fromarray(random_image(45, 60, torch.uint8).permute(1, 2, 0).numpy())
    resize = v2.Compose([v2.Resize((20, 30)), v2.RandomHorizontalFlip(p=1)])
    ours, theirs = compile_(resize)(image), resize(image)
    assert isinstance(ours, PIL.Image.Image)
    assert (ours.size, ours.mode) == (theirs.size, theirs.mode)
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1
    to_tensor = v2.Compose([*resize.transforms, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    ours, theirs = compile_(to_tensor)(image), to_tensor(image)
    assert isinstance(ours, torch.Tensor)
    assert float((ours - theirs).abs().max()) <= 1 / 255 + 1e-6


def test_lists_of_different_sizes() -> None:
    images = [random_image(17, 11), random_image(60, 45)]
    outputs = compile_(IMAGENET).batch(images)
    assert [output.shape for output in outputs] == [(3, 32, 32)] * 2
    for ours, image in zip(outputs, images, strict=True):
        torch.testing.assert_close(ours, IMAGENET(image), rtol=0, atol=1e-5)


def test_a_list_fills_a_batch() -> None:
    """Over the threads, also where some images of the list go through a program for their size."""
    pipeline = v2.Compose([v2.CenterCrop(40), v2.Resize((8, 9)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    layer = compile_(pipeline, threads=3)
    arrays = [np.random.default_rng(n).integers(0, 256, (31 + n, 60 - n, 3), dtype=np.uint8) for n in range(20)]
    for images in ([PIL.Image.fromarray(array) for array in arrays], list(map(v2.functional.to_image, arrays))):
        memory = torch.full((20, 3, 8, 9), torch.nan)
        assert layer.batch(images, out=memory) is memory
        for found, alone, image in zip(memory, layer.batch(images), images, strict=True):
            assert torch.equal(found, pipeline(image))
            assert torch.equal(alone, found)
        with torch.inference_mode():
            assert torch.equal(torch.stack(layer.batch(images)), memory)
    assert layer.batch([], out=torch.empty(0, 3, 8, 9)).shape == (0, 3, 8, 9)
    in_turn = zip(layer.batch(iter(images)), layer.batch(images), strict=True)
    assert all(torch.equal(found, alone) for found, alone in in_turn)
    for no_batch in ("a.jpg", {"image": images[0]}, None, np.zeros((9, 8, 3), np.uint8)):
        with pytest.raises(OnelayerError, match="was given as a batch; expected a list of images"):
            layer.batch(no_batch)
    # Memory of any strides, for results that may differ in size.
    wide = torch.full((20, 3, 8, 12), torch.nan)
    places = [*wide[:, :, :, 2:11]]
    assert layer.batch(images, out=places) is places
    assert torch.equal(wide[:, :, :, 2:11], memory)
    assert wide[:, :, :, :2].isnan().all()
    with pytest.raises(OnelayerError, match="was given as out="):
        layer.batch(images, out=places[1:])
    with pytest.raises(OnelayerError, match="was given as an image"):
        compile_(pipeline, fullgraph=True).batch([images[0], "no image", images[1]])


@pytest.mark.parametrize("name", ["CIFAR", "ImageNet", "bytes", "floats", "with NaN", "not random"])
def test_many_images_of_a_tensor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flip, to_float, normalize = (
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.4], [0.3]),
    )
    transforms: dict[str, list[nn.Module]] = {
        "CIFAR": [v2.RandomCrop(32, padding=4), flip, v2.ToImage(), to_float, normalize],
        # Some draws are left to the transforms, and several threads share the results.
        "ImageNet": [v2.RandomResizedCrop(80), flip, to_float, normalize],
        "bytes": [v2.RandomResizedCrop((9, 7)), flip],
        "floats": [v2.RandomCrop(20), flip, normalize],
        "with NaN": [v2.RandomCrop(31), flip, normalize],
        "not random": [v2.Resize(20), to_float, normalize],
    }
    made, of_each = [], AnySizePipeline.of_each
    monkeypatch.setattr(AnySizePipeline, "of_each", lambda *given: made.append(of_each(*given)) or made[-1])
    images = random_image(32, 33, torch.float32 if name in ("floats", "with NaN") else torch.uint8, (150,))
    if name == "with NaN":
        images[6, 1, 16, 16] = torch.nan
    pipeline = v2.Compose(transforms[name])
    for threads in (1, 2):
        layer = compile_(pipeline, threads=threads)
        for batch in (images, images.contiguous(memory_format=torch.channels_last), images[::3, :, :, 1:]):
            torch.manual_seed(4)
            expected = torch.stack([pipeline(image) for image in batch])
            after = torch.get_rng_state()
            torch.manual_seed(4)
            found = layer.batch(batch)
            assert torch.equal(torch.get_rng_state(), after)
            assert type(found) is type(pipeline(batch[0]))
            of_bytes = images.dtype == torch.uint8
            torch.testing.assert_close(found, expected, rtol=0, atol=0 if of_bytes else 1e-6, equal_nan=True)
            torch.manual_seed(4)
            memory = torch.empty_like(found.movedim(0, 1)).movedim(0, 1)
            with torch.inference_mode():
                assert layer.batch(batch, out=memory) is memory
            assert torch.equal(memory.nan_to_num(), found.nan_to_num())
    in_one_step = [each is not None for each in made]
    assert in_one_step == [name != "with NaN"] * 12


def test_each_image_of_a_tensor_has_its_own_numbers() -> None:
    pipeline = v2.Compose([v2.RandomResizedCrop(9), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])
    layer = compile_(pipeline, threads=2)
    images = random_image(30, 40, torch.uint8, (8,))
    for batch in (images, tv_tensors.Image(images), images.contiguous(memory_format=torch.channels_last), images[:1]):
        torch.manual_seed(4)
        is_wrapped = isinstance(batch, tv_tensors.TVTensor)
        one_by_one = [pipeline(tv_tensors.wrap(each, like=batch) if is_wrapped else each) for each in batch.unbind()]
        after = torch.get_rng_state()
        torch.manual_seed(4)
        found = layer.batch(batch)
        assert torch.equal(found, torch.stack(one_by_one))
        assert type(found) is type(one_by_one[0])
        assert torch.equal(torch.get_rng_state(), after)
        torch.manual_seed(4)
        memory = torch.empty(len(batch), 3, 9, 9)
        assert layer.batch(batch, out=memory) is memory
        assert torch.equal(memory, found)
        assert torch.equal(torch.get_rng_state(), after)
    state = torch.get_rng_state()
    assert layer.batch(images[:0]).shape == (0, 3, 9, 9)
    assert layer.batch(images[:0], out=torch.empty(0, 3, 9, 9)).shape == (0, 3, 9, 9)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(layer(images), layer.batch(images)), "the layer itself draws once"
    with pytest.raises(OnelayerError, match="was given as a batch"):
        layer.batch(images[0])
    with pytest.raises(OnelayerError, match="its results cannot be one"):
        compile_(v2.RandomResize(5, 30)).batch(images)
    with pytest.raises(OnelayerError, match="its results cannot be one"):
        compile_(v2.ToPILImage()).batch(images)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float64, pytest.param(torch.float16, marks=pytest.mark.exhaustive)]
)
def test_the_dtype_of_float_images_is_kept(dtype: torch.dtype) -> None:
    resize = v2.Resize((13, 29), antialias=True)
    images = random_image(45, 60, dtype)
    ours = compile_(resize)(images)
    assert ours.dtype == dtype
    exact = resize(images.double())
    assert float((ours.double() - exact).abs().max()) <= {torch.float64: 1e-12}.get(dtype, torch.finfo(dtype).eps)


def test_tv_tensors_stay_what_they_are() -> None:
    image = tv_tensors.Image(random_image(45, 60))
    assert isinstance(compile_(v2.Resize((5, 6)))(image), tv_tensors.Image)


def test_arrays_are_height_width_channels() -> None:
    array = random_image(45, 60, torch.uint8).permute(1, 2, 0).numpy()
    resize = v2.Resize((13, 29), antialias=True)
    ours = compile_(resize)(array)
    assert isinstance(ours, np.ndarray)
    assert (ours.shape, ours.dtype) == ((13, 29, 3), np.uint8)
    np.testing.assert_array_equal(ours, compile_(resize)(torch.from_numpy(array).permute(2, 0, 1)).permute(1, 2, 0))
    # A view with negative strides, and a batch.
    np.testing.assert_array_equal(compile_(v2.CenterCrop(9))(array[::-1, ::-1]), array[::-1, ::-1][18:27, 26:35])
    np.testing.assert_array_equal(compile_(resize)(np.stack([array, array]))[1], ours)
    as_tensor = v2.Compose([v2.ToImage(), resize])
    result = compile_(as_tensor)(array)
    assert type(result) is type(as_tensor(array))
    assert int((result.int() - as_tensor(array).int()).abs().max()) <= 1


def test_strides_as_they_are() -> None:
    image = random_image(60, 45)
    for view in (image.transpose(-1, -2), image[:, ::2, 1::3], image.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        torch.testing.assert_close(compile_(IMAGENET)(view), IMAGENET(view), rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_pass_as_in_torchvision(value: float) -> None:
    image = random_image(100, 90)
    image[1, 50, 40] = value
    pipeline = v2.Compose([v2.Resize(80, antialias=True), v2.CenterCrop(70), v2.Normalize([0.5], [0.25])])
    ours, theirs = compile_(pipeline)(image), pipeline(image)
    assert torch.equal(ours.isfinite(), theirs.isfinite())
    assert 0 < int((~ours.isfinite()).sum()) < 30
    # 2e-6 of the range, which is 1/.25
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6 / 0.25, equal_nan=True)


def test_differentiable() -> None:
    images = random_image(45, 60).double().requires_grad_()
    layer = compile_(v2.Resize((5, 6), antialias=True))
    layer(images).square().sum().backward()
    ours = images.grad
    images.grad = None
    v2.functional.resize(images, [5, 6], antialias=True).square().sum().backward()
    torch.testing.assert_close(ours, images.grad, rtol=0, atol=1e-10)


def test_plans_are_kept_up_to_a_bound() -> None:
    layer = compile_(v2.GaussianBlur(1, 1.0))
    for width in range(1, PLANS + 10):
        layer(torch.rand(1, 2, width))
    assert len(layer._plans) == PLANS


def test_travels_by_pickle() -> None:
    layer = compile_(IMAGENET)
    images = random_image(45, 60)
    expected = layer(images)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(images), expected)


def test_is_a_module_without_parameters() -> None:
    layer = compile_(nn.Sequential(IMAGENET))
    assert isinstance(layer, nn.Module)
    assert layer.state_dict() == {}
    model = nn.Sequential(layer, nn.Flatten())
    model.load_state_dict(nn.Sequential(nn.Identity(), nn.Flatten()).state_dict())
    assert "Resize" in repr(layer)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("photo.jpg", "str was given"),
        (torch.zeros(32, 32), r"shape \(32, 32\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (torch.zeros(3, 0, 4), "without pixels"),
    ],
)
def test_bad_images(image: object, text: str) -> None:
    with pytest.raises(OnelayerError, match=text):
        compile_(IMAGENET, fullgraph=True)(image)


def test_random_colors_are_refused_when_an_image_comes() -> None:
    layer = compile_(v2.Compose([v2.Resize(8), v2.RandomGrayscale(p=0.5)]), fullgraph=True)
    with pytest.raises(OnelayerError, match="RandomGrayscale") as caught:
        layer(torch.rand(3, 9, 9))
    assert caught.value.stage == 1
    with pytest.raises(OnelayerError, match="RandomGrayscale"):
        compile_(layer.transform, fullgraph=True, example=torch.rand(3, 9, 9))


def test_inference_mode_leaves_nothing_behind() -> None:
    for pipeline in (IMAGENET, v2.Resize((5, 6)), partial(F.rotate, angle=30)):
        layer = compile_(pipeline)
        images = random_image(45, 60)
        with torch.inference_mode():
            expected = layer(images)
        wanted = images.clone().requires_grad_()
        result = layer(wanted)
        result.sum().backward()
        assert wanted.grad is not None
        torch.testing.assert_close(result.detach(), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # PyTorch's own call of it
def test_forward_derivatives() -> None:
    images = random_image(45, 60)
    with forward_ad.dual_level():
        ours = forward_ad.unpack_dual(compile_(IMAGENET)(forward_ad.make_dual(images, torch.ones_like(images))))
        theirs = forward_ad.unpack_dual(IMAGENET(forward_ad.make_dual(images, torch.ones_like(images))))
    torch.testing.assert_close(ours.tangent, theirs.tangent, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_autocast_changes_nothing(backend: str) -> None:
    images = random_image(45, 60)
    layer = compile_(v2.Compose([IMAGENET, v2.Grayscale()]), backend=backend)  # type: ignore[arg-type]
    expected = layer(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(images), expected)


@pytest.mark.parametrize("pipeline", [v2.Normalize([0.0], [1.0]), v2.Pad(0), v2.Grayscale(), v1.RandomRotation((0, 0))])
def test_results_share_no_memory_with_images(pipeline: nn.Module) -> None:
    image = random_image(17, 11)[:1]
    before = image.clone()
    compile_(pipeline)(image).zero_()
    assert torch.equal(image, before)


def test_results_are_contiguous() -> None:
    array = random_image(17, 11).permute(1, 2, 0).contiguous().numpy()
    picture = PIL.Image.fromarray((array * 255).astype(np.uint8))
    for pipeline, image in [
        (v1.ToTensor(), array),
        (v1.Compose([v1.ToTensor(), v1.Normalize([0.5], [0.5])]), picture),
        (partial(F.rotate, angle=30), random_image(17, 11)),
    ]:
        for backend in ("auto", "torch"):
            assert compile_(pipeline, backend=backend)(image).is_contiguous()  # type: ignore[arg-type]


def test_float64_results_are_computed_in_float64() -> None:
    images = random_image(45, 60)
    pipeline = v2.Compose([v2.ToDtype(torch.float64), v2.Resize((13, 29))])
    # The samples are placed in float64 too, as the image is one by then.
    torch.testing.assert_close(compile_(pipeline)(images), pipeline(images), rtol=0, atol=1e-13)


def test_masks_are_no_images() -> None:
    mask = tv_tensors.Mask(torch.zeros(1, 8, 9, dtype=torch.uint8))
    with pytest.raises(OnelayerError, match=r"tv_tensors\.Mask was given as an image"):
        compile_(v2.Resize(4), fullgraph=True)(mask)


def test_results_in_out() -> None:
    layer = compile_(v2.Compose([v2.Resize((8, 9)), v2.ToDtype(torch.float32, scale=True)]))
    images = torch.randint(0, 256, (4, 3, 17, 11), dtype=torch.uint8)
    memory = torch.full((4, 3, 8, 9), torch.nan)
    assert layer(images, out=memory) is memory
    assert torch.equal(memory, layer(images))
    for row in memory:
        assert layer(images[0], out=row) is row
    assert torch.equal(memory, layer(images[:1]).expand(4, -1, -1, -1))
    wrapped = layer(tv_tensors.Image(images), out=memory)
    assert isinstance(wrapped, tv_tensors.Image)
    assert wrapped.data_ptr() == memory.data_ptr()
    assert torch.equal(memory, layer(images))


def test_crops_in_out() -> None:
    layer = compile_(v1.Compose([v1.FiveCrop(4), v1.Lambda(torch.stack)]), fullgraph=False)
    assert layer(torch.rand(3, 9, 8)).shape == (5, 3, 4, 4)
    with pytest.raises(OnelayerError, match="tuple of 5 images"):
        compile_(v2.FiveCrop(4))(torch.rand(3, 9, 8), out=torch.empty(5, 3, 4, 4))


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        (torch.empty(3, 8, 8), r"\[3, 8, 8\], float32, on cpu was given as out=.*expected.*\[3, 8, 9\]"),
        (torch.empty(3, 8, 9, dtype=torch.uint8), "uint8, on cpu was given"),
        (torch.empty(3, 8, 9, device="meta"), "on meta was given"),
        (np.empty((3, 8, 9), np.float32), "ndarray was given as out="),
    ],
)
def test_out_that_does_not_fit(memory: Any, problem: str) -> None:
    layer = compile_(v2.Resize((8, 9)))
    with pytest.raises(OnelayerError, match=f"(?s){problem}"):
        layer(torch.rand(3, 17, 11), out=memory)


def test_out_where_there_can_be_none() -> None:
    layer = compile_(v2.Resize((8, 9)))
    image = torch.rand(3, 8, 9)
    with pytest.raises(OnelayerError, match="shares the memory"):
        layer(image, out=image)
    with pytest.raises(OnelayerError, match=r"(?s)\[3, 8, 9\] was given as out= with 1 images.*batch of 1"):
        layer.batch([image], out=image)
    with pytest.raises(OnelayerError, match=r"out= was given with a sample.*layer\.batch"):
        layer([image], out=image)
    with pytest.raises(OnelayerError, match="no tensor"):
        layer(PIL.Image.new("RGB", (9, 8)), out=torch.empty(3, 8, 9))
    with pytest.raises(OnelayerError, match="gradient is wanted"):
        layer(image.requires_grad_(), out=torch.empty(3, 8, 9))


def test_too_few_threads() -> None:
    with pytest.raises(OnelayerError, match="0 threads"):
        compile_(v2.Resize(8), threads=0)
    assert compile_(v2.Resize(8), threads=2)(torch.rand(3, 16, 16)).shape == (3, 8, 8)
