"""Jobs over a cluster by Ray (extra `ray`): retried when their workers die, and set aside in the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2

from mien.data.worker_pool import Died, Finished, Job, Result, Work, WorkersDieError

MAX_RETRIES = 2  # of a job whose worker died; a third death sets the job aside
JOBS_AHEAD = 2  # a core: handed to the cluster before they can be worked on


# Ray reads this when it is imported. With 0 its processes know this machine by 127.0.0.1 and listen there
# alone, on any system; the address that ray.init can be given does not do it, Ray looks up another for it.
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class MissingRayError(ValueError):
    """Ray is not installed."""


class ClusterAddressError(ValueError):
    """A cluster of this machine alone that others could reach."""


def run_on_ray(
    work: Work[Job, Result], jobs: Iterable[Job], *, address: str
) -> Iterator[Finished[Job, Result] | Died[Job]]:
    """The jobs over the cluster at `address`, one core each; events in the order in which they happen.

    `local` starts a cluster of this machine's cores that ends with the run; `auto` or HOST:PORT joins one.
    All machines must see the same folders. What the work reports on its way is dropped. An OSError of the
    work is raised here, when the others have been cancelled; WorkersDieError where workers cannot import it.
    MissingRayError without the package. A cluster of `local` listens on this machine's loopback alone.
    """
    ray = _ray(address)
    with _cluster(ray, address):
        ahead = max(1, int(JOBS_AHEAD * ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_in_worker)
        shared_work, here = ray.put(work), str(Path.cwd())
        waiting, under_way = iter(jobs), dict[Any, Job]()
        try:
            while True:
                for job in _first(waiting, ahead - len(under_way)):
                    under_way[task.remote(shared_work, job, here)] = job
                if not under_way:
                    return
                (done,), _ = ray.wait(list(under_way), num_returns=1)
                yield _event(ray, done, under_way.pop(done))
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)


def _event(ray: ModuleType, done: Any, job: Job) -> Finished[Job, Any] | Died[Job]:
    try:
        kind, content = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise WorkersDieError(
            f"a worker could not take up its work: {error.cause}. Every machine of the cluster needs the "
            "same mien and the same folders; what was finished is kept, and the same command goes on."
        ) from error
    except ray.exceptions.RayError as error:
        how = str(error).strip().partition("\n")[0]
        return Died(job, f"{MAX_RETRIES + 1} workers were lost over it; the last: {how}")
    if kind == "error":
        raise content
    return Died(job, content, by_exception=True) if kind == "fault" else Finished(job, content)


def _in_worker(work: Work[Any, Any], job: Any, folder: str) -> tuple[str, Any]:
    cv2.setNumThreads(1)
    os.chdir(folder)  # relative paths are the driver's
    try:
        return "finished", work(job, lambda _report: None)
    except OSError as error:
        return "error", error
    except Exception as error:  # noqa: BLE001  told by the driver, as the job's own fault
        return "fault", f"{type(error).__name__}: {error}"


@contextmanager
def _cluster(ray: ModuleType, address: str) -> Iterator[None]:
    """Joined or started, and left at the end; one that this process is in already stays."""
    if ray.is_initialized():
        yield
        return
    # Of its own accord Ray gives a worker of one core one thread.
    if address == "local":
        ray.init("local", include_dashboard=False, log_to_driver=False)
        _require_loopback(ray)
    else:
        ray.init(address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def _require_loopback(ray: ModuleType) -> None:
    address = ray.util.get_node_ip_address()
    if not ip_address(address).is_loopback:
        ray.shutdown()
        raise ClusterAddressError(
            f"Ray would listen on {address}, not on this machine's loopback alone: it was imported before "
            f"mien could tell it. Set {_CLUSTERS}=0 in the environment, or join a cluster by its address."
        )


def _ray(address: str) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of the run
    if address == "local":
        os.environ.setdefault(_CLUSTERS, "0")
    try:
        import ray
    except ImportError as error:
        raise MissingRayError(
            "a cluster takes Ray, which is not installed here: pip install 'mien[ray]', on every machine"
        ) from error
    module: ModuleType = ray
    return module


def _first(items: Iterator[Job], count: int) -> Iterator[Job]:
    for _, item in zip(range(count), items, strict=False):
        yield item
