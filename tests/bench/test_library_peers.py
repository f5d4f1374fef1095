"""The peers that run another library's pipeline."""

from __future__ import annotations

import pytest
import torch

from onelayer.bench.peers import PEERS
from onelayer.bench.peers.base import Resources
from onelayer.bench.workloads import WORKLOADS, Workload

BY_NAME = {peer.name: peer for peer in PEERS}
OF_LIBRARIES = [workload for workload in WORKLOADS if workload.work.library is not None]


@pytest.mark.parametrize("workload", OF_LIBRARIES, ids=lambda workload: workload.name)
def test_the_library_and_its_layer_do_what_the_workload_says(workload: Workload) -> None:
    library = workload.work.library
    assert library is not None
    pytest.importorskip(library.module)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in ((250, 300), (300, 240))
    ]
    # Processors of transformers make a tensor of a PIL image first, and divide by 255 and by std at once.
    of_tensors = library.package == "transformers"
    results = {}
    for name in ("library", "onelayer-library", "torchvision" if of_tensors else "torchvision-v1"):
        peer = BY_NAME[name]
        assert peer.why_not(workload.work, images[0]) is None
        prepared = peer.prepare(workload.work, images, Resources())
        results[name] = [prepared.tensor(prepared.apply(each)) for each in prepared.inputs]
    for theirs, ours, described in zip(*results.values(), strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, described, rtol=0, atol=1e-6 if of_tensors else 0)


def test_other_work_is_refused() -> None:
    usual = next(workload for workload in WORKLOADS if workload.work.library is None)
    peer = BY_NAME["library"]
    assert "torchvision's" in str(peer.why_not(usual.work, usual.example))
    assert "one by one" in str(peer.why_not(OF_LIBRARIES[0].work, torch.zeros(2, 3, 9, 9, dtype=torch.uint8)))
    assert len(OF_LIBRARIES) >= 3
