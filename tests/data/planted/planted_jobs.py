"""Work for the worker pool's tests, importable by name in a worker."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Obedient:
    """The square of a number; killed (at every job if -1) or failing at one (likewise)."""

    killed_at: int | None = None
    fails_at: int | None = None

    def __call__(self, job, report):
        if self.killed_at in (job, -1):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails_at in (job, -1):
            raise ArithmeticError("planted")
        return job * job


@dataclass(frozen=True)
class Large(Obedient):
    """More than a connection holds before the process at its other end reads."""

    ballast: bytes = bytes(8_000_000)


class Process:
    """Reports on the process it runs in."""

    def __call__(self, job, report):
        report({"pid": os.getpid(), "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]})
        return job


class Sleep:
    """Reports its process, then takes the job's seconds."""

    def __call__(self, job, report):
        report(os.getpid())
        time.sleep(job)


class DiskFull:
    """Meets a full disk."""

    def __call__(self, job, report):
        raise OSError("no room")
