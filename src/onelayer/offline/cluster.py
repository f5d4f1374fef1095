"""Write parts on Ray Data: actors that hold the layer, on this machine or on a cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch

import onelayer
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
        OnelayerError: If Ray is not installed or not reached, the pipeline cannot be pickled, or a part cannot be
            written.
    """
    ray = _import_ray()
    # Ray would say on many lines what cannot be pickled here, or loaded there.
    pickled = pickled_job(job, code)
    with _connected(address, workers):
        count = min(len(parts), workers or int(ray.cluster_resources().get("CPU", 1)))
        items = [{"part": part.model_dump_json()} for part in parts]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _Actor,
            fn_constructor_kwargs={"pickled": pickled},
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
        )
        rows = iter(dataset.iter_rows())
        while True:
            try:
                row = next(rows, None)
            except ray.exceptions.RayError as error:
                # The last line of its text is advice on Ray's own options.
                cause = getattr(error, "cause", None) or str(error).strip().partition("\n")[0]
                raise OnelayerError(
                    f"the workers of Ray failed ({type(error).__name__}): {cause}",
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

    def __init__(self, pickled: bytes) -> None:
        from ray import cloudpickle

        torch.set_num_threads(1)
        self._refusal: OnelayerError | None = None
        try:
            self._writer = PartWriter(cloudpickle.loads(pickled))
        except OnelayerError as error:
            self._refusal = error
        except Exception as error:  # noqa: BLE001 - whatever a module of a user's raises
            self._refusal = OnelayerError(
                f"a worker cannot load the pipeline: {type(error).__name__}: {error}",
                expected="workers that can import what the pipeline needs",
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        begin = time.time()
        record, error = "", ""
        part = InputPart.model_validate_json(row["part"])
        try:
            if self._refusal is not None:
                raise self._refusal
            record = self._writer.write(part).model_dump_json()
        except OnelayerError as refusal:
            error = json.dumps({"problem": refusal.problem, "expected": refusal.expected, "hint": refusal.hint})
        except OSError as failure:
            where = failure.filename or "a file"
            error = json.dumps({"problem": f"{where} cannot be written: {failure.strerror or failure}"})
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - Ray would bury it in stacks and advice, or try again
            reason = f"{type(failure).__name__}: {failure}"
            error = json.dumps({"problem": f"file {part.number} of the output cannot be written: {reason}"})
        worker = f"{platform.node()} {os.getpid()}"
        return {"record": record, "error": error, "worker": worker, "begin": begin, "end": time.time()}


def _import_ray() -> ModuleType:
    # No report to Ray's makers, no notice of that, and no internal messages among ours.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    require("ray.data", extra="ray", purpose=PURPOSE)
    return require("ray", extra="ray", purpose=PURPOSE)


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[None]:
    """Start a Ray, or connect to one, unless this process has one already."""
    ray = _import_ray()
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


def pickled_job(job: Job, code: Path | None) -> bytes:
    """Pickle a job with the code of a user's modules, which no other process may be able to import.

    Raises:
        OnelayerError: If the job cannot be pickled.
    """
    from ray import cloudpickle

    modules = [] if code is None else list(user_modules(code))
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(job)
    except Exception as error:  # whatever an object of a user's raises
        raise OnelayerError(
            f"the pipeline {job.name} cannot be pickled, and so not be sent to workers: {error}",
            expected="objects without locks, open files, connections and the like",
            hint="Make these in the first call, or leave them out of the state in __getstate__.",
        ) from error
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    return pickled


def source_digest(file: Path, folder: Path) -> str:
    """Hash a pipeline's source file, and those of the modules beside it that are loaded.

    Args:
        file: Source file.
        folder: Folder of the user's modules.
    """
    total = hashlib.sha256()
    for path in sorted({file, *user_modules(folder).values()}):
        name = os.path.relpath(path, folder)
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def user_modules(folder: Path) -> dict[ModuleType, Path]:
    """Find the loaded modules whose files lie in a folder or below it, but in no installation of Python or onelayer."""
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed.append(Path(onelayer.__file__).parent)
    found = {}
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "")
        # A module is pickled by the one name that it is found by.
        if (
            path.is_relative_to(folder)
            and path.is_file()
            and getattr(module, "__name__", None) == name != "__main__"
            and not {"site-packages", "dist-packages"} & set(path.parts)
            and not any(map(path.is_relative_to, installed))
        ):
            found[module] = path
    return found
