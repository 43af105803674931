"""Stop a run by a signal or a time limit, after its current step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType


class StopRequest:
    """Within `with StopRequest() as stop:`, SIGTERM, SIGINT and the time limit set `stop.reason`.

    The first signal takes effect after the current step; a second one acts as usual.
    """

    def __init__(self, *, max_minutes: float = 0.0) -> None:
        self.reason = ""
        self.exit_status = 0
        self._deadline = time.monotonic() + 60.0 * max_minutes if max_minutes else float("inf")
        self._max_minutes = max_minutes
        self._previous: dict[signal.Signals, object] = {}

    def signalled(self) -> bool:
        """True after a signal. Used before the first step, so that a time limit never prevents progress."""
        return self.exit_status != 0

    def requested(self) -> bool:
        """True if the run must end; sets `reason` and `exit_status`."""
        if not self.reason and time.monotonic() >= self._deadline:
            self.reason = f"run.max_minutes = {self._max_minutes:g} are over"
        return bool(self.reason)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        self.exit_status = 128 + number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()
