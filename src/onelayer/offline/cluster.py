"""Write parts on Ray Data: actors that hold the layer, on this machine or on a cluster."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

from onelayer.errors import OnelayerError, require
from onelayer.offline.manifest import PartRecord
from onelayer.offline.part_writer import Job, PartWriter
from onelayer.offline.readers import InputPart

PURPOSE = "onelayer apply"

_OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of a Ray that is started here: it holds lists of parts and records, no images."""


class WrittenPart(NamedTuple):
    """A part that was written, by whom, and when, in seconds since the epoch."""

    record: PartRecord
    worker: str
    begin: float
    end: float


def write_parts(
    parts: Sequence[InputPart], job: Job, *, workers: int | None, address: str | None, code: Path | None
) -> Iterator[WrittenPart]:
    """Write parts, in any order, and yield the record of each as soon as its file is there.

    The rows of the Ray dataset are parts, which name files and rows: what an actor reads, computes and writes for a
    part stays in its own memory, and is no more than a row group.

    Args:
        parts: Parts to write.
        job: What is the same for all of them.
        workers: Number of actors, each with a CPU; None for all CPUs.
        address: Address of a cluster, whose nodes have the files of input and output under the same paths; None for a
            Ray on this machine, until all is done.
        code: Folder of a user's modules, which are sent to the actors; None without any.

    Raises:
        OnelayerError: If Ray is not installed or not reached, or a part cannot be written.
    """
    with _connected(address, workers), _sent_along(code):
        import ray

        count = min(len(parts), workers or int(ray.cluster_resources().get("CPU", 1)))
        items = [{"part": part.model_dump_json()} for part in parts]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _Actor,
            fn_constructor_kwargs={"job": job},
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
        )
        rows = iter(dataset.iter_rows())
        while True:
            try:
                row = next(rows, None)
            except ray.exceptions.RayError as error:
                raise OnelayerError(
                    f"the workers of Ray failed: {str(error).strip().splitlines()[-1]}",
                    expected="workers that can import the pipeline, with memory for an image and a row group",
                    hint="Ray tells more in the folder of its session.",
                ) from error
            if row is None:
                return
            if row["error"]:
                raise OnelayerError(**json.loads(row["error"]))
            record = PartRecord.model_validate_json(row["record"])
            yield WrittenPart(record, row["worker"], row["begin"], row["end"])


class _Actor:
    """What Ray calls for each part. Errors for users come back as rows: an exception would come with Ray's stack."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        self._refusal: OnelayerError | None = None
        try:
            self._writer = PartWriter(job)
        except OnelayerError as error:
            self._refusal = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        begin = time.time()
        record, error = "", ""
        try:
            if self._refusal is not None:
                raise self._refusal
            record = self._writer.write(InputPart.model_validate_json(row["part"])).model_dump_json()
        except OnelayerError as refusal:
            error = json.dumps({"problem": refusal.problem, "expected": refusal.expected, "hint": refusal.hint})
        except OSError as failure:
            where = failure.filename or "a file"
            error = json.dumps({"problem": f"{where} cannot be written: {failure.strerror or failure}"})
        worker = f"{platform.node()} {os.getpid()}"
        return {"record": record, "error": error, "worker": worker, "begin": begin, "end": time.time()}


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Start a Ray, or connect to one, unless this process has one already."""
    # No report to Ray's makers, no notice of that, and no internal messages among ours.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", extra="ray", purpose=PURPOSE)
    require("ray.data", extra="ray", purpose=PURPOSE)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if ray.is_initialized():
        yield
        return
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    cache = os.environ.get("ONELAYER_CACHE")
    if address is None:
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    elif cache is not None:
        # Processes that are started here inherit it.
        options["runtime_env"] = {"env_vars": {"ONELAYER_CACHE": cache}}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OnelayerError(
            f"Ray cannot be reached at {address or 'this machine'}: {error}",
            expected="the address of a cluster, such as auto or 10.0.0.5:6379",
        ) from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, handler)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _sent_along(code: Path | None) -> Iterator[None]:
    """Send the code of a user's modules with the objects that need it: no other process may be able to import them."""
    from ray import cloudpickle

    modules = [] if code is None else [each for each in list(sys.modules.values()) if _lies_in(each, code)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a module lies in a folder, but not in an environment there."""
    file = getattr(module, "__file__", None)
    if file is None or sys.modules.get(getattr(module, "__name__", "")) is not module:
        return False
    path = Path(file)
    return path.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(path.parts)
