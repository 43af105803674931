"""Independent jobs over local processes or a Ray cluster. If a worker dies, only its job is lost."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.process
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

Report = Callable[[Any], None]
Environment = Mapping[str, str]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_MAX_DEATHS_IN_A_ROW = 5
_RAY_RETRIES = 2  # of a job whose worker died; after the third death the job fails
_RAY_JOBS_PER_CORE = 2  # submitted ahead of being worked on
# Read by Ray at import. 0 makes its processes use 127.0.0.1 only; ray.init has no argument for that.
_RAY_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class WorkersDieError(OSError):
    """Several workers in a row died, so the cause is probably not the jobs."""


class MissingRayError(ValueError):
    """Ray is not installed."""


Work: TypeAlias = Callable[[Job, Report], Result]
"""What a worker does with a job: an OSError ends the whole run, any other exception fails this job alone.

Work, jobs and results are pickled."""


@dataclass(frozen=True)
class Progress(Generic[Job]):
    """What the work reported about a job that is running."""

    job: Job
    report: Any


@dataclass(frozen=True)
class FrameProgress:
    """How far one file is: frames decoded, and the share of the file in 0 .. 1 (0 where unknown)."""

    num_frames: int
    share: float


@dataclass(frozen=True)
class Finished(Generic[Job, Result]):
    """A job with its result."""

    job: Job
    result: Result


@dataclass(frozen=True)
class Died(Generic[Job]):
    """A job whose worker died (by a signal: out of memory, a crash) or that raised an exception."""

    job: Job
    how: str
    by_exception: bool = False


Event: TypeAlias = Progress[Job] | Finished[Job, Result] | Died[Job]


def run_jobs(
    work: Work[Job, Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    cluster: str = "",
    environments: Sequence[Environment] = (_ONE_THREAD,),
    max_deaths_in_a_row: float = _MAX_DEATHS_IN_A_ROW,
) -> Iterator[Event[Job, Result]]:
    """Events of all jobs, in the order in which they happen. `jobs` is read as workers become free.

    workers: processes; 0 runs the jobs in this process; their exceptions are raised, reports dropped.
    cluster: address of a Ray cluster to use instead, see `_run_on_ray`; the arguments below do not apply.
    environments: variables that the processes get in turn, in addition to ours.
    An OSError of the work is raised here and stops the other workers. WorkersDieError after
    `max_deaths_in_a_row` workers in a row were killed.
    """
    if cluster:
        return _run_on_ray(work, jobs, address=cluster)
    if not workers:
        return (Finished(job, work(job, lambda _report: None)) for job in jobs)
    return _run_in_processes(work, iter(jobs), workers, environments, max_deaths_in_a_row)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_environments(devices: str, workers: int) -> list[dict[str, str]]:
    """Variables for each of `workers` processes (0: one per device) that share devices and cores.

    devices: names separated by commas, `cpu`, `cuda` or `cuda:N` with N counting the GPUs visible here;
    empty: every process uses what it finds. ValueError for another name.
    """
    visible = [_visible(name.strip()) for name in devices.split(",") if name.strip()]
    count = workers or max(1, len(visible))
    threads = {"OMP_NUM_THREADS": str(max(1, usable_cores() // count))} if count > 1 else {}
    return [{**threads, **(visible[number % len(visible)] if visible else {})} for number in range(count)]


def _visible(device: str) -> dict[str, str]:
    kind, _, number = device.partition(":")
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ValueError(f"device {device!r}: expected cpu or cuda:N, as in --device cuda:0,cuda:1")
    ours = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    index = int(number or 0)
    if ours and index >= len(ours):
        raise ValueError(f"device {device!r}: this process sees {len(ours)} GPUs ({','.join(ours)})")
    return {"CUDA_VISIBLE_DEVICES": ours[index] if ours else str(index)}


def _run_in_processes(
    work: Work[Job, Result],
    waiting: Iterator[Job],
    workers: int,
    environments: Sequence[Environment],
    max_deaths_in_a_row: float,
) -> Iterator[Event[Job, Result]]:
    pool: dict[Connection, _Worker] = {}
    deaths_in_a_row = 0
    try:
        packed = pickle.dumps(work)
        started = [
            _Worker(job, environment)
            for environment, job in zip(itertools.cycle(environments), itertools.islice(waiting, workers))
        ]
        pool = {worker.connection: worker for worker in started}
        for worker in started:  # after all were started, so that they import at the same time
            worker.begin(packed)
        while pool:
            for connection in wait(list(pool)):
                worker = pool[connection]  # type: ignore[index]
                event = worker.next_event()
                yield event
                if isinstance(event, Progress):
                    continue
                was_killed = isinstance(event, Died) and not event.by_exception
                deaths_in_a_row = deaths_in_a_row + 1 if was_killed else 0
                if deaths_in_a_row >= max_deaths_in_a_row:
                    raise WorkersDieError(
                        f"{deaths_in_a_row} processes in a row died, the last one {worker.how_it_ended()}. "
                        "Fewer workers need less memory (--workers 1); what is finished is kept, the same "
                        "command goes on."
                    )
                for job in itertools.islice(waiting, 1):
                    if was_killed:
                        del pool[worker.connection]
                        worker = _Worker(job, worker.environment)
                        pool[worker.connection] = worker
                        worker.begin(packed)
                    else:
                        worker.give(job)
                    break
                else:
                    del pool[worker.connection]
                    worker.dismiss()
    finally:
        for worker in pool.values():
            worker.process.terminate()
        for worker in pool.values():
            worker.dismiss()


class _Worker:
    """A process that does one job at a time, and the job."""

    def __init__(self, job: Any, environment: Environment) -> None:
        self.job = job
        self.environment = environment
        context = multiprocessing.get_context("spawn")  # a fork does not survive threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment({"TQDM_DISABLE": "1", **environment}):  # bars of several workers would mix
            self.process.start()
        theirs.close()  # so that the death of the process ends the connection

    def begin(self, packed: bytes) -> None:
        """Send the work and the first job; returns when the process has read the work, or has died."""
        # Not as arguments of the process: that would block forever if it dies before reading them.
        with suppress(OSError):
            self.connection.send_bytes(packed)
        self.give(self.job)

    def give(self, job: Any) -> None:
        """Send a job; if the process has died, the next event says so."""
        self.job = job
        with suppress(OSError):
            self.connection.send(job)

    def next_event(self) -> Event[Any, Any]:
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Died(self.job, self.how_it_ended())
        return Progress(self.job, content) if kind == "progress" else _event(self.job, kind, content)

    def how_it_ended(self) -> str:
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")

    def dismiss(self) -> None:
        self.connection.close()
        self.process.join()


def _serve(connection: Connection) -> None:
    """The main function of a worker. It ends with the connection, and when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))  # the work may handle it
    work: Work[Any, Any] = pickle.loads(connection.recv_bytes())  # noqa: S301  our parent's, not from a file
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(_tried(work, job, lambda report: connection.send(("progress", report))))


def _tried(work: Work[Any, Any], job: Any, report: Report) -> tuple[str, Any]:
    """How a worker fared with a job, for `_event`."""
    import cv2  # here, because commands import this module to print their help

    cv2.setNumThreads(1)
    try:
        return "finished", work(job, report)
    except OSError as error:
        return "error", error
    except Exception as error:  # noqa: BLE001  reported as the job's own fault
        traceback.print_exc()
        return "fault", f"{type(error).__name__}: {error}"


def _event(job: Job, kind: str, content: Any) -> Finished[Job, Any] | Died[Job]:
    if kind == "error":
        raise content
    return Died(job, content, by_exception=True) if kind == "fault" else Finished(job, content)


def end_with_parent(end: Callable[[], object]) -> None:
    """Call `end` in this process once its parent is gone, however that ended: SIGKILL runs no clean-up."""

    def wait_for(parent: multiprocessing.process.BaseProcess) -> None:
        parent.join()
        end()

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=wait_for, args=(parent,), daemon=True).start()


def worker_context(preload: str) -> BaseContext:
    """For a data loader's workers: they are forked from a server without threads that has imported `preload`.

    OpenCV's and OpenMP's pools do not survive a fork of the process itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context


def begin_worker(_worker: int) -> None:
    """One thread per worker; signals are left to the main process, and the worker ends with it."""
    import cv2
    import torch

    end_with_parent(lambda: os._exit(1))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def _environment(values: Environment) -> Iterator[None]:
    """Variables for processes that are started inside; restored afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run_on_ray(
    work: Work[Job, Result], jobs: Iterable[Job], *, address: str
) -> Iterator[Event[Job, Result]]:
    """The jobs over the Ray cluster (extra `ray`) at `address`, one core each.

    `local` starts a cluster of this machine's cores that ends with the run and listens on loopback only;
    `auto` or HOST:PORT joins one. All machines must see the same folders. Reports are dropped. Ray retries
    jobs whose workers die. WorkersDieError where workers cannot import the work; MissingRayError.
    """
    ray = _ray(address)
    with _cluster(ray, address):
        ahead = max(1, int(_RAY_JOBS_PER_CORE * ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=_RAY_RETRIES)(_in_ray_worker)
        shared_work, here = ray.put(work), str(Path.cwd())
        waiting, running = iter(jobs), dict[Any, Job]()
        try:
            while True:
                for job in itertools.islice(waiting, ahead - len(running)):
                    running[task.remote(shared_work, job, here)] = job
                if not running:
                    return
                (done,), _ = ray.wait(list(running), num_returns=1)
                yield _ray_event(ray, done, running.pop(done))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _ray_event(ray: ModuleType, done: Any, job: Job) -> Finished[Job, Any] | Died[Job]:
    try:
        kind, content = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise WorkersDieError(
            f"a worker could not load its work: {error.cause}. Every machine of the cluster needs the same "
            "mien and the same folders; finished jobs are kept, and the same command goes on."
        ) from error
    except ray.exceptions.RayError as error:
        how = str(error).strip().partition("\n")[0]
        return Died(job, f"{_RAY_RETRIES + 1} workers were lost over it; the last: {how}")
    return _event(job, kind, content)


def _in_ray_worker(work: Work[Any, Any], job: Any, folder: str) -> tuple[str, Any]:
    os.chdir(folder)  # relative paths are the driver's
    return _tried(work, job, lambda _report: None)


@contextmanager
def _cluster(ray: ModuleType, address: str) -> Iterator[None]:
    """Join or start a cluster, and leave it at the end, unless this process is already in one."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    ray.init(address, log_to_driver=False, **options)
    try:
        if address == "local" and not ip_address(ray.util.get_node_ip_address()).is_loopback:
            raise ValueError(
                "Ray would listen not only on loopback: it was imported before mien. Set "
                f"{_RAY_CLUSTERS}=0 in the environment, or join a cluster by its address."
            )
        yield
    finally:
        ray.shutdown()


def _ray(address: str) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    if address == "local":
        os.environ.setdefault(_RAY_CLUSTERS, "0")
    try:
        import ray
    except ImportError as error:
        raise MissingRayError(
            "a cluster takes Ray, which is not installed here: pip install 'mien[ray]', on every machine"
        ) from error
    module: ModuleType = ray
    return module
