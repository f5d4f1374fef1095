"""torchvision's v2 transforms on whole batches, compiled by PyTorch's own compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import torch

from onelayer.bench.peers.peer import Images
from onelayer.bench.peers.torch_peer import Function, TorchPeer
from onelayer.bench.peers.transforms import v2_transforms
from onelayer.bench.peers.work import Work


def _refuse(work: Work, images: Images) -> str | None:  # noqa: ARG001 - the signature of all refusals
    if sys.platform == "win32":
        return "torch.compile is not tried on Windows"
    # As torch.compile looks for it.
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name):
        return "torch.compile needs a C++ compiler, and there is none"
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is None:
        return "torch.compile needs triton for CUDA, and it is not installed"
    return None


def _make(work: Work, images: Images, device: torch.device) -> Function:  # noqa: ARG001 - compiled when images come
    # What was compiled before may be for another number of threads, or have used up the compiler's patience with new
    # sizes, after which it would go on uncompiled without a word.
    torch.compiler.reset()
    compiled: Function = torch.compile(v2_transforms(work))
    return compiled


PEER = TorchPeer("torchvision-compiled", "torchvision v2, torch.compile", _make, refuse=_refuse)
