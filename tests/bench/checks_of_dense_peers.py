"""ONNX Runtime and OpenVINO among the peers: what is asked of the others, and that their matrix is the pipeline's."""

from __future__ import annotations

import pytest
from bench.test_third_party_peers import (
    CASES,
    RUNTIMES,
    differences,
    installed,
    test_reduced_images_are_close_to_torchvisions,
    test_results_do_not_depend_on_threads,
)

from onelayer.bench.peers.base import Peer
from onelayer.bench.workloads import Work

__all__ = ["test_reduced_images_are_close_to_torchvisions", "test_results_do_not_depend_on_threads"]


@pytest.fixture(params=RUNTIMES)
def peer(request: pytest.FixtureRequest) -> Peer[Work]:
    return installed(request.param)


def test_one_matrix_is_the_pipeline_up_to_float32_sums(peer: Peer[Work]) -> None:
    for case in ("evaluation of one float32", "report float32"):
        assert differences(peer, *CASES[case])[0] < 0.001
