from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from planted_jobs import DiskFull, Large, Obedient, Process
from planted_tracking import prepare_planted

from mien.data import jobs
from mien.data.jobs import (
    Died,
    Finished,
    MissingRayError,
    Progress,
    WorkersDieError,
    device_environments,
    run_jobs,
)


def finished(events):
    return {event.job: event.result for event in events if isinstance(event, Finished)}


def test_every_job_is_done_once_whatever_the_number_of_processes():
    expected = {number: number * number for number in range(7)}
    assert finished(run_jobs(Obedient(), range(7), workers=0)) == expected
    assert finished(run_jobs(Obedient(), range(7), workers=3)) == expected
    assert finished(run_jobs(Obedient(), [], workers=3)) == {}


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
    events = run_jobs(Large(), range(2), workers=2, environments=[before_imports])
    assert finished(events) == {0: 0, 1: 1}


def test_the_work_reports_on_the_way_from_processes_of_one_thread():
    events = list(run_jobs(Process(), ["where"], workers=1))
    assert isinstance(events[0], Progress)
    assert events[0].report["pid"] != os.getpid()
    assert events[0].report["OMP_NUM_THREADS"] == "1"


def test_a_process_that_is_killed_costs_its_job_alone():
    events = list(run_jobs(Obedient(killed_at=2), range(5), workers=2))
    (death,) = [event for event in events if isinstance(event, Died)]
    assert (death.job, death.how) == (2, "killed by SIGKILL (out of memory?)")
    assert finished(events) == {0: 0, 1: 1, 3: 9, 4: 16}


def test_an_unexpected_error_costs_its_job_alone_and_is_told(capfd):
    events = list(run_jobs(Obedient(fails_at=1), range(3), workers=1))
    (death,) = [event for event in events if isinstance(event, Died)]
    assert (death.job, death.how) == (1, "ArithmeticError: planted")
    assert finished(events) == {0: 0, 2: 4}
    assert "Traceback" in capfd.readouterr().err


def test_an_error_of_the_operating_system_ends_everything():
    with pytest.raises(OSError, match="no room"):
        list(run_jobs(DiskFull(), range(3), workers=2))


def test_when_one_process_after_the_other_dies_the_run_stops():
    with pytest.raises(WorkersDieError, match=r"5 processes in a row died.*--workers 1"):
        list(run_jobs(Obedient(killed_at=-1), range(20), workers=1))


def test_exceptions_one_after_the_other_do_not_stop_the_run():
    events = list(run_jobs(Obedient(fails_at=-1), range(6), workers=1))
    assert [event.by_exception for event in events if isinstance(event, Died)] == [True] * 6


def test_deaths_stop_nothing_where_that_is_asked_for():
    events = list(run_jobs(Obedient(killed_at=-1), range(6), workers=2, max_deaths_in_a_row=math.inf))
    assert sorted(event.job for event in events if isinstance(event, Died)) == list(range(6))


def test_devices_are_taken_in_turn_and_cores_divided(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(jobs, "usable_cores", lambda: 16)
    environments = device_environments("cuda:0, cuda:3", 4)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0", "3", "0", "3"]
    assert {each["OMP_NUM_THREADS"] for each in environments} == {"4"}
    assert device_environments("", 0) == [{}]


def test_devices_count_among_those_that_the_process_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert device_environments("cuda:1", 0) == [{"CUDA_VISIBLE_DEVICES": "7"}]
    with pytest.raises(ValueError, match="sees 2 GPUs"):
        device_environments("cuda:2", 0)


@pytest.mark.parametrize("name", ["gpu0", "cuda:x", "cuda:-1"])
def test_another_device_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match="as in --device cuda:0,cuda:1"):
        device_environments(name, 0)


ORPHAN = """
from mien.data.jobs import run_jobs
from planted_jobs import Sleep
if __name__ == "__main__":
    for event in run_jobs(Sleep(), [600], workers=1):
        print(event.report, flush=True)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(ORPHAN)
    path = os.pathsep.join([str(Path(__file__).parent / "planted"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    parent = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    worker.wait(timeout=60)


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingRayError, match=r"pip install 'mien\[ray\]'"):
        list(run_jobs(Obedient(), range(3), workers=0, cluster="local"))


@pytest.fixture(scope="module")
def cluster():
    """One of two cores, started once: that alone takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    planted = str(Path(__file__).parent / "planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([planted, *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False)
        yield "local"
        ray.shutdown()


@pytest.mark.slow
def test_a_cluster_does_every_job_retries_the_killed_and_tells_of_those_that_fail(cluster):
    events = list(run_jobs(Obedient(killed_at=2, fails_at=4), range(6), workers=0, cluster=cluster))
    results = {event.job: event.result for event in events if isinstance(event, Finished)}
    assert results == {0: 0, 1: 1, 3: 9, 5: 25}
    deaths = {event.job: event for event in events if isinstance(event, Died)}
    assert deaths.keys() == {2, 4}
    assert deaths[2].how.startswith("3 workers were lost over it")
    assert (deaths[4].how, deaths[4].by_exception) == ("ArithmeticError: planted", True)
    with pytest.raises(OSError, match="no room"):
        list(run_jobs(DiskFull(), range(3), workers=0, cluster=cluster))


@pytest.mark.slow
def test_a_cluster_with_a_worker_killed_on_the_way_writes_the_same_store(cluster, planted_tree, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    prepare_planted(planted_tree, here)
    killed = tmp_path / "killed"
    prepare_planted(planted_tree, there, cluster=cluster, dies_once=str(killed))
    assert killed.exists()
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    for name in files:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


LISTENERS = """
from contextlib import suppress
import psutil
from mien.data.jobs import run_jobs
from planted_jobs import Obedient

for event in run_jobs(Obedient(), range(2), workers=0, cluster="local"):
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    print("listens on", connection.laddr.ip)
"""


@pytest.mark.slow
def test_a_cluster_of_this_machine_listens_on_its_loopback_alone():
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    path = os.pathsep.join([str(Path(__file__).parent / "planted"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
    ended = subprocess.run(
        [sys.executable, "-c", LISTENERS], env=environment, check=True, capture_output=True, text=True
    )
    said = [line for line in ended.stdout.splitlines() if line.startswith("listens on")]
    assert len(said) > 4
    assert {line.split()[-1].removeprefix("::ffff:") for line in said} == {"127.0.0.1"}
