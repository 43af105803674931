from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from planted_jobs import DiskFull, Obedient
from planted_tracking import prepare_planted

from mien.data.ray_pool import MissingRayError, run_on_ray
from mien.data.worker_pool import Died, Finished


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingRayError, match=r"pip install 'mien\[ray\]'"):
        list(run_on_ray(Obedient(), range(3), address="local"))


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
    events = list(run_on_ray(Obedient(killed_at=2, fails_at=4), range(6), address=cluster))
    results = {event.job: event.result for event in events if isinstance(event, Finished)}
    assert results == {0: 0, 1: 1, 3: 9, 5: 25}
    deaths = {event.job: event for event in events if isinstance(event, Died)}
    assert deaths.keys() == {2, 4}
    assert deaths[2].how.startswith("3 workers were lost over it")
    assert (deaths[4].how, deaths[4].by_exception) == ("ArithmeticError: planted", True)
    with pytest.raises(OSError, match="no room"):
        list(run_on_ray(DiskFull(), range(3), address=cluster))


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
from mien.data.ray_pool import run_on_ray
from planted_jobs import Obedient

for event in run_on_ray(Obedient(), range(2), address="local"):
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
