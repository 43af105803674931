"""`mien serve` as a process with a real model, from outside: its sockets, a browser, its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mien.datasets.rendered import shipped_clips
from tests.detect.tiny_model import write_tiny_model

pytest.importorskip("uvicorn", reason="no extra `serve`")
psutil = pytest.importorskip("psutil")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
]

HOSTILE = "a\"'><img src=x onerror=alert(1)>&;$(touch pwned)%41#?.mp4"


@pytest.fixture(scope="module")
def face_video(tmp_path_factory):
    """A rendered face under a hostile name."""
    path = tmp_path_factory.mktemp("face") / HOSTILE
    shutil.copyfile(next((shipped_clips() / "main").rglob("*.mp4")), path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(process, its address, the folder it may write temporary files to)."""
    folder = tmp_path_factory.mktemp("served")
    model = write_tiny_model(folder)
    temporary = folder / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "mien", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    address = ""
    while not address:
        line = process.stdout.readline()
        assert line, "it ended before it said where it is"
        address = (re.findall(r"http://\S+", line) or [""])[0]
    yield process, address, temporary
    process.kill()
    process.wait()


def test_nothing_listens_beyond_this_machine(served):
    process, address, _ = served
    listening = [
        socket.laddr
        for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True))
        for socket in one.net_connections("all")
        if socket.status == psutil.CONN_LISTEN
    ]
    assert [(place.ip, place.port) for place in listening] == [("127.0.0.1", urlsplit(address).port)]


def test_a_file_dropped_into_a_browser_gives_the_page(served, face_video, chromium):
    _, address, temporary = served
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    asked, troubles = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append("a dialog opened"))
    page.on("console", lambda line: line.type == "error" and troubles.append(line.text))
    page.goto(address)
    page.set_input_files("#choose", face_video)
    page.wait_for_selector("#result:not([hidden])", timeout=600_000)
    assert page.inner_text("#resultname") == HOSTILE
    inner = page.frame_locator("#frame")
    assert inner.locator("h1").inner_text() == HOSTILE
    assert "40 frames in 1.6 s" in inner.locator("header").inner_text()
    lane = inner.locator("#lane")
    lane.scroll_into_view_if_needed()
    lane.click(position={"x": lane.bounding_box()["width"] * 0.5, "y": 5})
    assert "0:01.00" in inner.locator("#clock").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("CSV table")).click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 51
    page.get_by_role("button", name=re.compile("^Remove ")).click()
    page.wait_for_selector("#result", state="hidden")
    context.close()
    assert troubles == []
    assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}
    assert not list(temporary.parent.rglob("pwned"))
    (folder,) = temporary.glob("mien-serve-*")
    assert list(folder.iterdir()) == []


def test_the_camera_s_pictures_come_back_with_action_units(served, chromium):
    _, address, _ = served
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    page.click("#tabcamera")
    page.click("#start")
    page.wait_for_selector("text=pictures a second", timeout=600_000)  # Chromium's test picture has no face
    assert page.inner_text("#live").startswith("no face")
    page.click("#stop")
    context.close()


def test_a_camera_s_face_has_a_box_and_probabilities(served, face_video):
    import cv2

    from mien.video import read_frames

    address = urlsplit(served[1])
    picture = next(read_frames(face_video)).image_HWC
    content = cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)
    for k in range(2):
        connection.request("POST", f"{address.path}live?seconds={k / 10}", content)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200, told
        (face,) = told["faces"]
        assert face["id"] == 0
        left, top, right, bottom = face["box"]
        assert 0 <= left < 128 < right <= 256
        assert 0 <= top < 128 < bottom <= 256
        assert len(face["probability"]) == len(face["present"]) == 4
    connection.request("DELETE", f"{address.path}live")
    assert connection.getresponse().status == 204
    connection.close()


def test_a_signal_ends_it_and_its_files_are_gone(served, face_video):
    process, address, temporary = served
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=600)
    connection.request("POST", f"{place.path}jobs?name=a.mp4", face_video.read_bytes())
    assert connection.getresponse().status == 201
    connection.close()
    assert list(temporary.glob("mien-serve-*"))
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=600)
    assert list(temporary.glob("mien-serve-*")) == []
