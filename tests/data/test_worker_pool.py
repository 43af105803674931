from __future__ import annotations

import math
import os

import pytest
from planted_jobs import DiskFull, Obedient, Process

from mien.data.worker_pool import Died, Finished, Progress, WorkersDieError, run_here, run_in_processes


def finished(events):
    return {event.job: event.result for event in events if isinstance(event, Finished)}


def test_every_job_is_done_once_whatever_the_number_of_processes():
    expected = {number: number * number for number in range(7)}
    assert finished(run_here(Obedient(), range(7))) == expected
    assert finished(run_in_processes(Obedient(), range(7), workers=3)) == expected
    assert finished(run_in_processes(Obedient(), [], workers=3)) == {}


def test_the_work_reports_on_the_way_from_processes_of_one_thread():
    events = list(run_in_processes(Process(), ["where"], workers=1))
    assert isinstance(events[0], Progress)
    assert events[0].report["pid"] != os.getpid()
    assert events[0].report["OMP_NUM_THREADS"] == "1"


def test_a_process_that_is_killed_costs_its_job_alone():
    events = list(run_in_processes(Obedient(killed_at=2), range(5), workers=2))
    (death,) = [event for event in events if isinstance(event, Died)]
    assert (death.job, death.how) == (2, "killed by SIGKILL (out of memory?)")
    assert finished(events) == {0: 0, 1: 1, 3: 9, 4: 16}


def test_an_unexpected_error_costs_its_job_alone_and_is_told(capfd):
    events = list(run_in_processes(Obedient(fails_at=1), range(3), workers=1))
    (death,) = [event for event in events if isinstance(event, Died)]
    assert (death.job, death.how) == (1, "ArithmeticError: planted")
    assert finished(events) == {0: 0, 2: 4}
    assert "Traceback" in capfd.readouterr().err


def test_an_error_of_the_operating_system_ends_everything():
    with pytest.raises(OSError, match="no room"):
        list(run_in_processes(DiskFull(), range(3), workers=2))


def test_when_one_process_after_the_other_dies_the_run_stops():
    with pytest.raises(WorkersDieError, match=r"5 processes in a row died.*--workers 1"):
        list(run_in_processes(Obedient(killed_at=-1), range(20), workers=1))


def test_exceptions_one_after_the_other_do_not_stop_the_run():
    events = list(run_in_processes(Obedient(fails_at=-1), range(6), workers=1))
    assert [event.by_exception for event in events if isinstance(event, Died)] == [True] * 6


def test_deaths_stop_nothing_where_that_is_asked_for():
    events = list(run_in_processes(Obedient(killed_at=-1), range(6), workers=2, max_deaths_in_a_row=math.inf))
    assert sorted(event.job for event in events if isinstance(event, Died)) == list(range(6))
