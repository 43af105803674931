"""Files that were dropped in, one looked at at a time; each has a folder of its own that goes with it."""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "working", "done", "failed"]
Tell = Callable[[float], None]  # the share that is done; raises where nobody wants the result any more
Work = Callable[[Path, str, Path, Tell], dict[str, str]]
"""(the file, its name as given, a folder for the results, progress) -> what to download: label, file name."""

MOST_WAITING = 16
MOST_KEPT = 12  # of those that are done; the oldest goes


class JobsFullError(RuntimeError):
    """As many files wait as may."""


class _NotWantedError(Exception):
    """The job was removed while it was worked at."""


@dataclass(eq=False)
class Job:
    """One file and what became of it."""

    job_id: str
    name: str
    folder: Path
    state: State = "waiting"
    share: float = 0.0
    message: str = ""
    files: dict[str, str] = field(default_factory=dict)  # label: name in the folder
    gone: threading.Event = field(default_factory=threading.Event)  # nobody wants it any more


class Jobs:
    """A queue with one worker thread. `close` stops it and removes every folder."""

    def __init__(self, root: Path, work: Work) -> None:
        self._root, self._work = root, work
        self._jobs: dict[str, Job] = {}
        self._coming: set[Path] = set()  # folders of files on their way
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.busy = threading.Lock()  # held while the network works, also by the camera
        self._worker = threading.Thread(target=self._run, name="mien-serve-jobs", daemon=True)
        self._worker.start()

    def new_folder(self) -> Path:
        """An empty folder for a file that is coming in. JobsFullError where too many wait, or are coming in.

        It is for `add`, or for `drop_folder` where the file does not come.
        """
        folder = self._root / secrets.token_hex(8)
        with self._lock:
            num_waiting = sum(job.state == "waiting" for job in self._jobs.values())
            if num_waiting + len(self._coming) >= MOST_WAITING:
                raise JobsFullError(f"{MOST_WAITING} files are waiting already")
            self._coming.add(folder)
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            self.drop_folder(folder)
            raise
        return folder

    def drop_folder(self, folder: Path) -> None:
        """Remove the folder of a file that did not come whole, with what came."""
        with self._lock:
            self._coming.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def add(self, folder: Path, file: Path, name: str) -> Job:
        """Queue the file that has come into the folder."""
        job = Job(secrets.token_hex(8), name, folder, files={"file": file.name})
        with self._lock:
            self._coming.discard(folder)
            self._jobs[job.job_id] = job
        self._queue.put(job)
        return job

    def get(self, job_id: str) -> Job | None:
        """The job of that id, if it is there."""
        with self._lock:
            return self._jobs.get(job_id)

    def ahead_of(self, job: Job) -> int:
        """How many come before it."""
        with self._lock:
            unfinished = [other for other in self._jobs.values() if other.state in ("waiting", "working")]
        return unfinished.index(job) if job in unfinished else 0

    def remove(self, job: Job) -> None:
        """Forget the job and its files; one that is being worked at stops at its next frame."""
        with self._lock:
            job.gone.set()
            self._jobs.pop(job.job_id, None)
            working = job.state == "working"
        if not working:
            shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop, wait for the worker, and remove all files."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self.remove(job)
        self._queue.put(None)
        self._worker.join(timeout=20)
        shutil.rmtree(self._root, ignore_errors=True)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.gone.is_set():
                continue
            with self.busy:
                self._do(job)
            if job.gone.is_set():
                shutil.rmtree(job.folder, ignore_errors=True)
            self._forget_oldest()

    def _do(self, job: Job) -> None:
        def tell(share: float) -> None:
            job.share = max(job.share, min(1.0, share))
            if job.gone.is_set():
                raise _NotWantedError

        job.state = "working"
        try:
            found = self._work(job.folder / job.files["file"], job.name, job.folder, tell)
            job.files |= found
            job.state, job.share = "done", 1.0
        except _NotWantedError:
            job.state = "failed"
        except (ValueError, OSError) as error:  # what a verb would say in one line
            job.message, job.state = str(error).replace(str(job.folder), "").lstrip("/"), "failed"
        except Exception:  # noqa: BLE001 -- one file must not stop the others; the terminal has the whole of it
            traceback.print_exc()
            job.message, job.state = "an error within mien; the terminal says which", "failed"

    def _forget_oldest(self) -> None:
        with self._lock:
            done = [job for job in self._jobs.values() if job.state in ("done", "failed")]
        for job in done[:-MOST_KEPT]:
            self.remove(job)


def as_told(job: Job, *, ahead: int) -> dict[str, Any]:
    """What a browser is told of the job."""
    return {
        "id": job.job_id,
        "name": job.name,
        "state": job.state,
        "share": job.share,
        "message": job.message,
        "ahead": ahead,
        "files": {label: name for label, name in job.files.items() if label != "file"},
    }
