"""Kernels in other processes: forked, spawned, and with threads that still compute at their end."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKED = """
import os, sys, torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2
import onelayer
from onelayer.backends.cpu import launch

launch.MULTIPLICATIONS_PER_THREAD = 1
torch.set_num_threads(3)
layer = onelayer.compile(ResNet50_Weights.DEFAULT.transforms())
images = [torch.full((3, 60 + n, 50), n, dtype=torch.uint8) for n in range(6)]
expected = torch.stack([layer(image) for image in images])
assert not any(name.startswith("onelayer.backends.triton.kernels") for name in sys.modules)

# Threads do not survive a fork.
child = os.fork()
if child == 0:
    # Not torch.equal: after a fork PyTorch's own threads are gone, and it would wait for them.
    os._exit(0 if (layer(images[3]).numpy() == expected[3].numpy()).all() else 1)
assert os.waitpid(child, 0)[1] == 0, "the forked process"
print("forked")

def collated(samples):
    batch = layer.collate(samples)
    # Whatever the main process gets is shared; here only what is not copied for it.
    assert batch.is_shared()
    return batch

(batch,) = DataLoader(images, 6, num_workers=2, collate_fn=collated, multiprocessing_context="fork")
assert torch.equal(batch, expected)
print("workers")

# Random numbers are those of transforms in the data set.
crop = v2.Compose([v2.RandomResizedCrop(30), v2.RandomHorizontalFlip()])

class Cropped(Dataset):
    def __len__(self):
        return len(images)
    def __getitem__(self, index):
        return crop(images[index]), index

def loaded(data, **how):
    torch.manual_seed(2)
    return list(DataLoader(data, 2, num_workers=2, multiprocessing_context="fork", **how))

decoded = [(image, index) for index, image in enumerate(images)]
for theirs, ours in zip(loaded(Cropped()), loaded(decoded, collate_fn=onelayer.compile(crop).collate), strict=True):
    assert all(map(torch.equal, theirs, ours))
    assert len(ours) == 2
print("random")

# The end of the process while threads compute, as when the calling thread was interrupted. (Daemon threads of the user
# that call PyTorch itself then are another matter: they abort any process.)

def interrupt(*_):
    raise KeyboardInterrupt

launch.wait_a_little = interrupt
try:
    layer(torch.zeros(1, 3, 600, 500, dtype=torch.uint8).expand(1000, -1, -1, -1))
except KeyboardInterrupt:
    print("end")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forks_and_the_end_of_a_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], timeout=300, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["forked", "workers", "random", "end"], "")


LOADER = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models import ResNet50_Weights
import onelayer

class Photographs(Dataset):
    def __init__(self):
        self.layer = onelayer.compile(ResNet50_Weights.DEFAULT.transforms())
        self.images = [torch.full((3, 60 + n, 50), n, dtype=torch.uint8) for n in range(6)]
    def __len__(self):
        return 6
    def __getitem__(self, index):
        return self.layer(self.images[index])

if __name__ == "__main__":
    data = Photographs()
    expected = torch.stack([data[index] for index in range(6)])
    (batch,) = DataLoader(data, batch_size=6, num_workers=2, multiprocessing_context=sys.argv[1])
    (collated,) = DataLoader(
        data.images, batch_size=6, num_workers=2, multiprocessing_context=sys.argv[1], collate_fn=data.layer.collate
    )
    raise SystemExit(0 if torch.equal(batch, expected) and torch.equal(collated, expected) else 1)
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_in_workers(context: str, tmp_path: Path) -> None:
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    (tmp_path / "loader.py").write_text(LOADER)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "loader.py"), context]
    assert subprocess.run(command, timeout=300, check=False).returncode == 0


DAEMONS = """
import sys, threading, time, torch
from torchvision.transforms import v2
import onelayer

torch.set_num_threads(int(sys.argv[1]))
layer = onelayer.compile(v2.Compose([v2.Resize(100), v2.ToDtype(torch.float32, scale=True)]))
program = onelayer.compile(v2.GaussianBlur(5, sigma=1.0), rounding="fused")
image = torch.randint(0, 256, (3, 230, 240), dtype=torch.uint8)

def run(call):
    while True:
        call(image)

for call in (layer, layer.apply_program, program) * 3:
    call(image)
    threading.Thread(target=run, args=(call,), daemon=True).start()
time.sleep(0.2)
print("end")
"""


@pytest.mark.parametrize("threads", [1, 2, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_the_end_of_a_process_whose_daemon_threads_compute(threads: int) -> None:
    """PyTorch aborts it when one of them comes back from C++ to an interpreter that has ended."""
    command = [sys.executable, "-W", "ignore", "-c", DAEMONS, str(threads)]
    ended = subprocess.run(command, timeout=300, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")
