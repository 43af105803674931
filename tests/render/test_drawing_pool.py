from __future__ import annotations

import subprocess
import sys

import psutil

HELD = """
import os, time
from mien_render.write_set import drawing_pool
pool = drawing_pool(2, len, "")
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""


def test_no_process_of_a_killed_parent_lives_on():
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.ppid() == parent.pid
        parent.kill()
        worker.wait(timeout=300)  # raises TimeoutExpired where it lives on
    assert not worker.is_running()
