from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet50_Weights

from onelayer import pipelines
from onelayer.bench.names import WORKLOAD_NAMES
from onelayer.bench.workloads import WORKLOADS, Work
from onelayer.data.photographs import varied_sizes
from onelayer.errors import OnelayerError

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def test_names_examples_and_titles() -> None:
    assert len(BY_NAME) == len(WORKLOADS)
    for workload in WORKLOADS:
        assert workload.example.ndim == (4 if workload.batched else 3)
        result = workload.work.transform(workload.example)
        assert result.shape[-3] == (1 if workload.work.grayscale else 3)
        assert workload.std == workload.work.std
        # Where sizes repeat within a pass, the title says so.
        assert workload.title.endswith(
            "none of which comes twice in a pass" if "stream" in workload.name else "repeated"
        )
    assert "375×500; one size" in BY_NAME["clip-375x500"].title
    assert "1,000 sizes" in BY_NAME["imagenet-stream"].title


def test_the_work_is_that_of_the_named_pipeline() -> None:
    image = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
    for name, pipeline in (("report-float32", "report"), ("clip-375x500", "clip"), ("siglip-375x500", "siglip")):
        assert torch.equal(BY_NAME[name].work.transform(image), pipelines.named(pipeline).transform(image)), name
    image = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    expected = ResNet50_Weights.IMAGENET1K_V2.transforms()(image)
    assert torch.equal(BY_NAME["imagenet-375x500"].work.transform(image), expected)


def test_the_resized_size_is_torchvisions() -> None:
    work = Work(resize=9, interpolation="bilinear")
    for height, width in ((17, 11), (11, 17), (375, 500), (9, 9), (3, 1000)):
        resized = work.transform(torch.zeros(3, height, width, dtype=torch.uint8))
        assert work.resized_size(height, width) == tuple(resized.shape[-2:])


def test_the_reports_images_come_in_both_types(image_folder: Path) -> None:
    levels = BY_NAME["report-uint8"].images(str(image_folder))
    unit = BY_NAME["report-float32"].images(str(image_folder), most=3)
    assert isinstance(levels, torch.Tensor)
    assert isinstance(unit, torch.Tensor)
    # Eight of the folder's forty images are for tests.
    assert (levels.shape, levels.dtype) == ((8, 3, 32, 32), torch.uint8)
    assert (unit.shape, unit.dtype) == ((3, 3, 32, 32), torch.float32)
    assert torch.equal((255 * unit).round().to(torch.uint8), levels[:3])


def test_photographs_lie_in_memory_as_decoders_leave_them_each_by_itself() -> None:
    images = BY_NAME["imagenet-375x500"].images("sample", most=8)
    assert [tuple(image.shape) for image in images] == [(3, 375, 500)] * 8
    assert all(image.movedim(0, -1).is_contiguous() for image in images)
    assert len({image.data_ptr() for image in images}) == 8
    assert not torch.equal(images[0], images[1])


def test_the_stream_is_the_same_for_everybody_and_no_two_sizes_are() -> None:
    sizes = varied_sizes(1000)
    assert sizes == varied_sizes(1000)
    assert sizes[:10] == varied_sizes(10)
    assert len(set(sizes)) == len(sizes) == 1000
    assert all(100 <= min(size) <= max(size) <= 1000 for size in sizes)
    usual = [size for size in sizes if 490 <= max(size) <= 500]
    wide = [height for height, width in sizes if width >= height]
    assert 600 < len(usual) < 900
    assert 600 < len(wide) < 900
    images = BY_NAME["imagenet-stream"].images("sample", most=3)
    assert [tuple(image.shape[1:]) for image in images] == sizes[:3]


def test_batch_sizes() -> None:
    for images, wanted, expected in (
        (10_000, None, (8, 16, 32, 64, 128, 256, 512, 1024, 10_000)),
        (20, None, (8, 16, 20)),
        (3, None, (3,)),
        (20, [0], (20,)),
        (20, [5, 0, 64], (5, 20)),
        (20, [64], (20,)),
    ):
        assert BY_NAME["report-uint8"].sizes_of(images, wanted) == expected
        assert BY_NAME["clip-375x500"].sizes_of(images, wanted) == (None,)


def test_an_unknown_workload_is_named_with_the_nearest() -> None:
    assert list(WORKLOAD_NAMES.names) == [workload.name for workload in WORKLOADS]
    found = WORKLOAD_NAMES.select(WORKLOADS, ["clip-375x500", "report-uint8"])
    assert [workload.name for workload in found] == ["report-uint8", "clip-375x500"]
    with pytest.raises(OnelayerError, match=r"no workload 'clip-375'.*Did you mean clip-375x500"):
        WORKLOAD_NAMES.select(WORKLOADS, ["report-uint8", "clip-375"])
