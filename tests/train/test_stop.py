from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import pytest

from mien.train.stop import StopRequest

pytestmark = pytest.mark.usefixtures("python_answers_interrupts")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_asks_to_stop_and_names_the_exit_status(number, status):
    with StopRequest() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), number)
        assert stop.requested()
        assert (stop.reason, stop.exit_status) == (signal.Signals(number).name, status)


def test_the_second_signal_acts_at_once():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_time_limit_asks_to_stop(monkeypatch):
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("mien.train.stop.time", SimpleNamespace(monotonic=lambda: clock.seconds))
    stop = StopRequest(max_minutes=0.5)
    clock.seconds += 29
    assert not stop.requested()
    clock.seconds += 1
    assert stop.requested()
    assert stop.exit_status == 0
    assert stop.reason.startswith("run.max_minutes")
