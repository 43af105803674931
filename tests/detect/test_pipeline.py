"""The thread in front of the network: in order, with its errors, and gone when nobody asks any more."""

from __future__ import annotations

import threading
import time

import pytest

from mien.detect.detector import in_background


def test_items_come_in_order_and_are_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    background = in_background(items(), ahead=4)
    assert next(background) == 0
    end = time.monotonic() + 120
    while len(made) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert 5 <= len(made) <= 6
    assert list(background) == list(range(1, 20))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("broken off")

    background = in_background(items(), ahead=4)
    assert [next(background), next(background)] == [1, 2]
    with pytest.raises(ValueError, match="broken off"):
        next(background)


def test_who_stops_asking_leaves_no_thread_behind():
    before = set(threading.enumerate())
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    background = in_background(items(), ahead=2)
    next(background)
    background.close()
    assert set(threading.enumerate()) <= before
    assert closed == [True]
