from __future__ import annotations

import math
import os

import pytest
from planted_jobs import DiskFull, Large, Obedient, Process

from mien.data.worker_pool import Died, Finished, Progress, WorkersDieError, run_here, run_in_processes


def finished(events):
    return {event.job: event.result for event in events if isinstance(event, Finished)}


def test_every_job_is_done_once_whatever_the_number_of_processes():
    expected = {number: number * number for number in range(7)}
    assert finished(run_here(Obedient(), range(7))) == expected
    assert finished(run_in_processes(Obedient(), range(7), workers=3)) == expected
    assert finished(run_in_processes(Obedient(), [], workers=3)) == {}


WAITS_FOR_ANOTHER = """
import pathlib, sys, time
if "spawn_main" in " ".join(sys.orig_argv):
    began, meeting = time.monotonic(), pathlib.Path(__file__).parent / "meeting"
    (meeting / str(time.time_ns())).touch()
    while len(list(meeting.iterdir())) < 2:
        if time.monotonic() - began > 120:
            sys.exit("nobody else came")
        time.sleep(0.01)
"""


def test_processes_start_side_by_side_however_large_the_work_is(tmp_path):
    (tmp_path / "meeting").mkdir()
    (tmp_path / "sitecustomize.py").write_text(WAITS_FOR_ANOTHER)
    before_imports = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    events = run_in_processes(Large(), range(2), workers=2, environments=[before_imports])
    assert finished(events) == {0: 0, 1: 1}


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
