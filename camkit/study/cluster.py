"""A study on Ray Data: workers with a classifier each, on this machine or on a cluster, and one checkpoint.

Ray is imported when it is asked for, not before. A picture is one piece of work: what it gave is kept as soon as its
worker hands it back, and when a worker or its machine dies, another one does its picture again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, quoted
from ..evidence.settings import Settings
from .checkpoint import Checkpoint
from .pictures import StudyPicture
from .progress import Job, StudyProgress, StudyState
from .study import Study, UnreadableError, check_study

if TYPE_CHECKING:
    from ..classifier import Classifier

LOCAL = "local"
RETRIES = 3  # of a picture whose worker dies: one that kills every worker must not be tried for ever
# Handed on to the workers. How many threads TensorFlow has decides the last digits of a map, and so which of two nearly
# equal pixels comes first in a curve: a worker has as many as one process has, unless both are told otherwise.
SETTINGS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_ENABLE_ONEDNN_OPTS", "KERAS_HOME", "HF_HUB_OFFLINE")


def list_files(uri: str) -> dict[str, str]:
    """Return the files below s3://bucket/folder, gs://, hf:// or the URI of one file: name -> URI, sorted. InputError
    when it cannot be read."""
    _ray()
    from pyarrow.fs import FileSelector, FileSystem, FileType

    scheme = uri.partition("://")[0]
    try:
        system, root = FileSystem.from_uri(uri)
        if system.get_file_info(root).type == FileType.File:
            return {root.rpartition("/")[2]: uri}
        found = system.get_file_info(FileSelector(root, recursive=True))
    except (OSError, ValueError, ImportError) as error:  # pyarrow's own errors are of these types
        raise InputError(f"The source {quoted(uri)} cannot be read: {quoted(error)}") from error
    files = sorted(info.path for info in found if info.type == FileType.File)
    return {path.removeprefix(root).lstrip("/"): f"{scheme}://{path}" for path in files}


def study_on_ray(
    classifier: Classifier,
    load: Callable[[], Classifier],
    pictures: Sequence[StudyPicture],
    settings: Settings,
    measurements: Sequence[str],
    checkpoint: Checkpoint,
    address: str = LOCAL,
    workers: int | None = None,
    skipped: Mapping[str, str] | None = None,
) -> Iterator[StudyState]:
    """Do what `study_stream` does by `workers`, each of which calls `load` once; yield a StudyState a picture.

    `address` is that of a Ray cluster, or "local" for workers on this machine; `workers` None means one for each GPU,
    without GPUs one for every two CPUs. Where the checkpoint holds some measurements of a picture and lacks others, all
    of them are made again. Arguments are checked at the call; InputError also when Ray cannot be reached or gives up.
    """
    if workers is not None and workers < 1:
        raise InputError(f"The number of workers is {workers}: it must be at least 1.")
    wanted = check_study(classifier, pictures, settings, measurements)
    return _on_ray(_ray(), load, pictures, settings, wanted, checkpoint, address, workers, skipped)


def _ray():
    try:
        import ray.data
    except ImportError as error:
        raise InputError("Ray is not installed: pip install -r requirements-ray.txt") from error
    return ray


def _on_ray(
    ray,
    load: Callable[[], Classifier],
    pictures: Sequence[StudyPicture],
    settings: Settings,
    wanted: list[str],
    saved: Checkpoint,
    address: str,
    workers: int | None,
    skipped: Mapping[str, str] | None,
) -> Iterator[StudyState]:
    progress = StudyProgress(len(pictures), saved, {key: [] for key in wanted}, dict(skipped or {}))
    _connect(ray, address)
    try:
        rows = _rows(ray, workers, load, pictures, settings, wanted, frozenset(saved))
        for row in rows:
            name = pictures[row["place"]].name
            progress.finish(name, [Job(*each) for each in json.loads(row["jobs"])], row["skipped"])
            yield progress.state(name)
    except ray.exceptions.RayError as error:
        reason = quoted(str(error).strip().splitlines()[-1])
        raise InputError(
            f"Ray gave up: {reason} What is finished is kept: the same command goes on from here."
        ) from error
    finally:
        ray.shutdown()


def _connect(ray, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # its core warns of what a restarted worker's arguments need
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        ray.init("local", include_dashboard=False, **quiet)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        # The cluster's machines need not have this code.
        ray.init(address, runtime_env={"py_modules": [str(Path(__file__).parents[1])]}, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"There is no Ray cluster at {quoted(address)}: give its address, or local.") from error


def _rows(ray, workers: int | None, *given) -> Iterator[dict]:
    """Yield a row a picture, in the order in which they are finished."""
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), resources.get("CPU", 1.0)
    count = workers or gpus or max(1, int(cpus) // 2)
    needs = {"num_gpus": 1.0} if gpus else {"num_cpus": cpus // count or cpus / count}
    environment = {name: os.environ[name] for name in SETTINGS if name in os.environ} | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pictures = given[1]
    return (
        ray.data.from_items([{"place": place} for place in range(len(pictures))], override_num_blocks=len(pictures))
        .map(
            _Worker,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
            runtime_env={"env_vars": environment},
            ray_remote_args_fn=lambda: {"max_task_retries": RETRIES},
            **needs,
        )
        .iter_rows()
    )


class _Worker:
    """One process with a loaded classifier. `finished` are the keys of all results that the checkpoint holds."""

    def __init__(
        self, load, pictures: Sequence[StudyPicture], settings: Settings, wanted: list[str], finished: frozenset
    ):
        self.study = Study(load(), settings, wanted)
        self.pictures = pictures
        self.finished = finished

    def __call__(self, row: dict) -> dict:
        picture = self.pictures[row["place"]]
        try:
            jobs = list(self._jobs(picture))
        except UnreadableError as error:
            return row | {"jobs": "[]", "skipped": str(error)}
        return row | {"jobs": json.dumps([(job.measurement, job.key, job.value) for job in jobs]), "skipped": ""}

    def _jobs(self, picture: StudyPicture) -> Iterator[Job]:
        if isinstance(picture.source, str) and "://" in picture.source:
            picture = replace(picture, source=_fetch(picture.source))
        keys = self.study.keys(picture)
        if self.finished.issuperset(keys.values()):
            return (Job(*each) for each in keys.items())
        return (step for step in self.study.take(picture, Checkpoint()) if isinstance(step, Job))


def _fetch(uri: str) -> bytes:
    from pyarrow.fs import FileSystem

    try:
        system, path = FileSystem.from_uri(uri)
        with system.open_input_stream(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        raise UnreadableError(f"The picture file cannot be opened: {quoted(error)}") from error
