"""A run asked to end: by a signal or by its own clock. It finishes its step and saves; then it goes."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType


class StopRequest:
    """Within `with StopRequest() as stop:`, SIGTERM, SIGINT and the time limit set `stop.reason`.

    The first signal is answered at the next step's end; a second one acts as it would without us.
    """

    def __init__(self, *, max_minutes: float = 0.0) -> None:
        self.reason = ""
        self.exit_status = 0
        self._deadline = time.monotonic() + 60.0 * max_minutes if max_minutes else float("inf")
        self._max_minutes = max_minutes
        self._previous: dict[signal.Signals, object] = {}

    def signalled(self) -> bool:
        """True once a signal came; for before the first step, so that every session takes one at least."""
        return self.exit_status != 0

    def requested(self) -> bool:
        """True once the run is to end; `reason` says why and `exit_status` what the process should return."""
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
