"""Processes that draw: started clean, one OpenCV thread each, gone when their parent is gone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2


def nothing_to_load() -> None:
    """For processes that need nothing of their own."""


def drawing_pool(
    processes: int, load: Callable[..., None] = nothing_to_load, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool in each of whose processes `load(*arguments)` has run first; both travel by pickle."""
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads may hang it
    return ProcessPoolExecutor(processes, spawn, initializer=_start, initargs=(load, arguments))


def _start(load: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    load(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot tell its pool, whose processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
