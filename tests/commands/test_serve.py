"""`mien serve` as a process with a real model, from outside: its sockets, a file dropped in, its end."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import psutil
import pytest

from mien.video import write_video
from tests.detect.tiny_model import write_tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="no extra `serve`"),
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(process, its address, the folder it may write temporary files to)."""
    folder = tmp_path_factory.mktemp("served")
    model, temporary = write_tiny_model(folder), folder / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", "serve", "--model", str(model), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    address = ""
    while not address:
        line = process.stdout.readline()
        assert line, "it ended before it printed its address"
        address = (re.findall(r"http://\S+", line) or [""])[0]
    yield process, address, temporary
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def client(served):
    from gradio_client import Client

    return Client(served[1], verbose=False, analytics_enabled=False)


def test_a_dropped_video_gives_its_page_and_its_tables(served, client, tmp_path):
    from gradio_client import handle_file

    video = tmp_path / "a'b<img>.mp4"
    pictures = np.random.default_rng(0).integers(0, 255, (12, 96, 128, 3), np.uint8)
    write_video(video, iter(pictures), frames_per_second=25)
    frame, statistics, files = client.predict(handle_file(video), api_name="/detect")
    page, csv, parquet = map(Path, files)
    assert len(pd.read_csv(csv)) == len(pd.read_parquet(parquet)) == 12
    assert statistics["headers"][:3] == ["input", "face_id", "unit"]
    inside = _get(served[1], re.findall(r'src="([^"]+)"', frame)[0])
    assert inside.status == 200
    assert inside.read() == page.read_bytes()
    assert "default-src 'self'" in inside.headers["Content-Security-Policy"]
    (media,) = re.findall(r'src="([^"]+\.mp4)"', page.read_text())
    assert _get(served[1], f"{inside.path.rpartition('/')[0]}/{media}").status == 200


def test_a_recording_of_the_camera_gives_its_tables_without_ffmpeg(client, tmp_path):
    from gradio_client import handle_file

    video = tmp_path / "camera.mp4"
    pictures = np.zeros((3, 96, 128, 3), np.uint8)
    write_video(video, iter(pictures), frames_per_second=25)
    _, _, files = client.predict(handle_file(video), api_name="/camera")
    assert len(pd.read_csv(files[1])) == 3


def test_a_file_that_is_no_video_is_an_error_and_the_app_goes_on(served, client, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for _ in range(2):
        with pytest.raises(AppError, match=r"broken\.mp4"):
            client.predict(handle_file(broken), api_name="/detect")


def test_it_listens_on_this_machine_alone_and_answers_its_own_names_below_its_secret(served):
    process, address, _ = served
    sockets = psutil.Process(process.pid).net_connections("all")
    listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN]
    port, secret = urlsplit(address).port, urlsplit(address).path
    assert listening == [("127.0.0.1", port)]
    assert _get(address, secret).status == 200
    assert _get(address, secret, host=f"elsewhere.example:{port}").status == 400
    for path in ("/", "/gradio_api/info", "/docs", f"{secret}pages/"):
        assert _get(address, path).status == 404


def test_a_signal_ends_it_and_nothing_is_left(served):
    process, _, temporary = served
    assert list(temporary.iterdir())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    left = [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor")]
    assert left == []


def _get(address, path, *, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=60)
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    response.path = path
    return response
