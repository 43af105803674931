"""Independent jobs side by side, a device each: what each may use, and threads that wait for processes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slot:
    """Room for one job at a time: variables for its processes."""

    environment: dict[str, str] = field(default_factory=dict)


def slots_for(devices: Sequence[str], jobs: int, *, cores: int) -> list[Slot]:
    """`jobs` slots (0: one a device), over the devices in turn; the cores are divided among them.

    A device is `cpu`, `cuda` or `cuda:N`, N counting the GPUs that this process sees; without devices a job
    may use what it finds. ValueError for another name.
    """
    if jobs < 0:
        raise ValueError(f"--jobs {jobs}: at least 1")
    count = jobs or max(1, len(devices))
    if count == 1 and not devices:
        return [Slot()]
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))} if count > 1 else {}
    seen = [_visible(name) for name in devices] or [{}]
    return [Slot({**threads, **seen[number % len(seen)]}) for number in range(count)]


def names_in(devices: str) -> list[str]:
    """The names of a list with commas; empty ones are none."""
    return [name.strip() for name in devices.split(",") if name.strip()]


def usable_cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible(device: str) -> dict[str, str]:
    kind, _, number = device.partition(":")
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ValueError(f"device {device!r}: expected cpu or cuda:N, as in --devices cuda:0,cuda:1")
    ours = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    index = int(number or 0)
    if ours and index >= len(ours):
        raise ValueError(f"device {device!r}: this process sees {len(ours)} GPUs ({','.join(ours)})")
    return {"CUDA_VISIBLE_DEVICES": ours[index] if ours else str(index)}


class Stop(threading.Event):
    """Set when no further job is to begin and those under way are to end."""


def work_off(items: Sequence[Item], slots: Sequence[Slot], do: Callable[[Item, Slot, Stop], None]) -> None:
    """`do` for every item in order, as many at a time as there are slots; each item once.

    The first exception of one, and an interrupt of this thread, set the `Stop` that every `do` is given,
    and are raised when all have ended.
    """
    waiting, stop, errors = deque(items), Stop(), list[BaseException]()

    def serve(slot: Slot) -> None:
        while waiting and not stop.is_set():
            try:
                item = waiting.popleft()
            except IndexError:  # another slot was faster
                return
            try:
                do(item, slot, stop)
            except BaseException as error:  # noqa: BLE001  raised below, in the thread that asked
                errors.append(error)
                stop.set()

    threads = [threading.Thread(target=serve, args=(slot,)) for slot in slots[: max(1, len(items))]]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in short waits, so that a signal is answered
    except BaseException:
        stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
