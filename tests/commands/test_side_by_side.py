from __future__ import annotations

import threading

import pytest

from mien.commands.side_by_side import slots_for, work_off


def test_devices_are_taken_in_turn_and_cores_divided(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slots = slots_for(["cuda:0", "cuda:3"], 4, cores=16)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "3", "0", "3"]
    assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"4"}


def test_devices_count_among_those_that_the_process_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert slots_for(["cuda:1"], 0, cores=4)[0].environment == {"CUDA_VISIBLE_DEVICES": "7"}
    with pytest.raises(ValueError, match="sees 2 GPUs"):
        slots_for(["cuda:2"], 0, cores=4)


@pytest.mark.parametrize("name", ["gpu0", "cuda:x", "cuda:-1"])
def test_another_device_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match="as in --devices cuda:0,cuda:1"):
        slots_for([name], 0, cores=4)


def test_every_item_is_done_once_and_as_many_at_a_time_as_there_are_slots():
    done, meeting = [], threading.Barrier(3, timeout=120)

    def do(item, slot, stop):
        meeting.wait()  # breaks unless three are under way together
        done.append(item)

    work_off(range(9), slots_for([], 3, cores=3), do)
    assert sorted(done) == list(range(9))


def test_an_error_stops_the_others_and_is_raised():
    stopped = []

    def do(item, slot, stop):
        if item == 1:
            raise ArithmeticError("planted")
        stopped.append(stop.wait(120))

    with pytest.raises(ArithmeticError, match="planted"):
        work_off(range(6), slots_for([], 2, cores=2), do)
    assert stopped == [True]
