"""Jobs over several processes, one job at a time in each; a process that dies costs its job, not the run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

import cv2

Job = TypeVar("Job")
Result = TypeVar("Result")
Job_contra = TypeVar("Job_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Report = Callable[[Any], None]

_MAX_DEATHS_IN_A_ROW = 5
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class WorkersDieError(OSError):
    """One process after the other died: not the jobs but the machine or the program is at fault."""


class Work(Protocol[Job_contra, Result_co]):
    """What each process does with a job; it may `report` how far it is. Both travel by pickle."""

    def __call__(self, job: Job_contra, report: Report, /) -> Result_co:
        """The result. An OSError ends the whole run; any other exception the process alone."""


@dataclass(frozen=True)
class Progress(Generic[Job]):
    """What the work reported about a job under way."""

    job: Job
    report: Any


@dataclass(frozen=True)
class Finished(Generic[Job, Result]):
    """A job that came to its end."""

    job: Job
    result: Result


@dataclass(frozen=True)
class Died(Generic[Job]):
    """A job whose process died, and how: by a signal (out of memory, a crash), or of an exception."""

    job: Job
    how: str
    by_exception: bool = False  # the job's own fault: it says nothing against the machine


def run_here(
    work: Work[Job, Result], jobs: Iterable[Job]
) -> Iterator[Progress[Job] | Finished[Job, Result] | Died[Job]]:
    """The jobs one after the other in this process; what is reported on the way is dropped."""
    for job in jobs:
        yield Finished(job, work(job, lambda _report: None))


def run_in_processes(
    work: Work[Job, Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    max_deaths_in_a_row: float = _MAX_DEATHS_IN_A_ROW,
    environments: Sequence[Mapping[str, str]] = ({},),
) -> Iterator[Progress[Job] | Finished[Job, Result] | Died[Job]]:
    """The jobs over `workers` fresh processes of one thread each; events in the order in which they happen.

    The processes have the variables of `environments` in turn, beside ours: which device to see, say.
    An OSError of the work is raised here, and the other processes are stopped.
    WorkersDieError when `max_deaths_in_a_row` processes in a row are gone; exceptions are no such deaths.
    """
    waiting = iter(jobs)
    pool: dict[Connection, _Worker[Job]] = {}
    deaths_in_a_row = 0
    try:
        packed = pickle.dumps(work)
        for number, job in enumerate(_first(waiting, workers)):
            worker = _Worker.start(job, environments[number % len(environments)])
            pool[worker.connection] = worker
        for worker in pool.values():  # when all have been started: none reads before it has imported
            worker.begin(packed)
        while pool:
            for connection in wait(list(pool)):
                worker = pool[connection]  # type: ignore[index]
                event = worker.next_event()
                yield event
                if isinstance(event, Progress):
                    continue
                if isinstance(event, Died) and not event.by_exception:
                    deaths_in_a_row += 1
                    _stop_if_hopeless(deaths_in_a_row, event.how, most=max_deaths_in_a_row)
                else:
                    deaths_in_a_row = 0
                del pool[worker.connection]
                for job in _first(waiting, 1):
                    successor = worker.go_on(packed, job)
                    pool[successor.connection] = successor
                    break
                else:
                    worker.dismiss()
    finally:
        for worker in pool.values():
            worker.stop()


class _Worker(Generic[Job]):
    def __init__(
        self, process: BaseProcess, connection: Connection, job: Job, environment: Mapping[str, str]
    ) -> None:
        self.environment = environment
        self.process = process
        self.connection = connection
        self.job = job

    @classmethod
    def start(cls, job: Job, environment: Mapping[str, str]) -> _Worker[Job]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        with _environment({**_ONE_THREAD, **environment}):
            process.start()
        theirs.close()  # so that the death of the process ends the connection
        return cls(process, ours, job, environment)

    def begin(self, packed: bytes) -> None:
        """Hand over the work and the first job; returns when the process has read the work, or has died."""
        # Over the connection, which breaks when the process dies. What is handed over at its start, should it
        # die before it has read that, is waited for in vain.
        with suppress(OSError):
            self.connection.send_bytes(packed)
            self.connection.send(self.job)

    def go_on(self, packed: bytes, job: Job) -> _Worker[Job]:
        """Hand over the next job; to a successor if this process has died."""
        try:
            self.connection.send(job)
        except OSError:
            self.process.join()
            successor = _Worker.start(job, self.environment)
            successor.begin(packed)
            return successor
        self.job = job
        return self

    def next_event(self) -> Progress[Job] | Finished[Job, Any] | Died[Job]:
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Died(self.job, _how_it_ended(self.process.exitcode))
        if kind == "error":
            raise content
        if kind == "fault":
            self.process.join()
            return Died(self.job, content, by_exception=True)
        return Progress(self.job, content) if kind == "progress" else Finished(self.job, content)

    def dismiss(self) -> None:
        self.connection.close()
        self.process.join()

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, parent: int) -> None:
    """The life of a worker: it ends with the connection, and when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    cv2.setNumThreads(1)
    work: Work[Any, Any] = pickle.loads(connection.recv_bytes())  # noqa: S301  our parent's, out of no file

    def report(progress: Any) -> None:
        if os.getppid() != parent:
            os._exit(1)
        connection.send(("progress", progress))

    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("finished", work(job, report)))
        except OSError as error:
            connection.send(("error", error))
        except Exception as error:
            connection.send(("fault", f"{type(error).__name__}: {error}"))
            raise


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    return f"exit code {exit_code}"


def _stop_if_hopeless(deaths_in_a_row: int, how: str, *, most: float) -> None:
    if deaths_in_a_row >= most:
        raise WorkersDieError(
            f"{deaths_in_a_row} processes in a row died, the last one {how}. Fewer workers need less memory "
            "(--workers 1); what was finished is kept, and the same command goes on."
        )


def _first(items: Iterator[Job], count: int) -> Iterator[Job]:
    for _, item in zip(range(count), items, strict=False):
        yield item


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that processes started inside inherit; as before afterwards."""
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
