"""The web application over real HTTP on this machine, with work that is made up."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
import simplejpeg

pytest.importorskip("starlette", reason="no extra `serve`")
uvicorn = pytest.importorskip("uvicorn", reason="no extra `serve`")

from mien.commands.serve_app import Serving, build_app  # noqa: E402
from mien.commands.serve_jobs import MOST_KEPT, MOST_WAITING, Jobs  # noqa: E402
from mien.commands.serve_live import LiveEndedError, LiveStream  # noqa: E402
from mien.commands.serving import HOST, Camera, _listening, server_settings  # noqa: E402
from tests.detect.rows_by_hand import no_face_row  # noqa: E402

SECRET = "secret"
HOSTILE = "a\"'><img src=x onerror=alert(1)>&;$(touch pwned)`id`%41#?.mp4"


def until(condition, *, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


class Served:
    """The application on a free port, and how to ask it."""

    def __init__(self, root, work, read_live=lambda seconds, jpeg: {"faces": [], "reason": "no face"}):
        self.root = root
        self.root.mkdir()
        self.jobs = Jobs(root, work)
        serving = Serving(
            secret=SECRET,
            html="<p>the page",
            policy="default-src 'none'",
            jobs=self.jobs,
            suffixes=frozenset({".mp4", ".png"}),
            max_upload_bytes=1000,
            read_live=read_live,
            end_live=lambda: None,
        )
        self._socket = _listening(0)
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(server_settings(build_app(serving)))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        until(lambda: self._server.started)

    def ask(self, method, path, body=None, *, secret=SECRET, headers=None):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        connection.request(method, f"/{secret}{path}", body=body, headers=headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.headers.get("content-type") == "application/json":
            content = json.loads(content)
        return answer.status, content, answer.headers

    def drop(self, name="a.mp4", content=b"film"):
        return self.ask("POST", f"/jobs?name={quote(name, safe='')}", content)

    def finished(self, told):
        until(lambda: self.ask("GET", f"/jobs/{told['id']}")[1]["state"] in ("done", "failed"))
        return self.ask("GET", f"/jobs/{told['id']}")[1]

    def stop(self):
        self._server.should_exit = True
        self._thread.join(timeout=120)
        self._socket.close()


def make_page(file, name, folder, tell):
    tell(0.5)
    (folder / "page.html").write_text("<p>page of the file")
    (folder / "table.csv").write_text("frame\n0\n")
    return {"page": "page.html", "csv": "table.csv"}


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(work=make_page, **more):
        started.append(Served(tmp_path / f"served{len(started)}", work, **more))
        return started[-1]

    yield start
    for served in started:
        served.stop()


def test_a_file_gives_a_page_and_a_table(serve):
    served = serve()
    status, told, _ = served.drop("me.mp4")
    assert status == 201
    done = served.finished(told)
    assert done["files"] == {"page": "page.html", "csv": "table.csv"}
    assert served.ask("GET", f"/jobs/{told['id']}/page.html")[1] == b"<p>page of the file"
    _, table, headers = served.ask("GET", f"/jobs/{told['id']}/table.csv")
    assert table == b"frame\n0\n"
    assert headers["content-disposition"] == 'attachment; filename="me.csv"'
    assert served.ask("GET", f"/jobs/{told['id']}/input.mp4", headers={"Range": "bytes=1-2"})[1] == b"il"


@pytest.mark.parametrize(
    "name", [HOSTILE, "../../../tmp/x.mp4", "..\\..\\x.mp4", "/etc/x.mp4", "a\0b.mp4", ".mp4"]
)
def test_a_name_is_only_shown_and_decides_no_path(serve, tmp_path, name):
    served = serve()
    status, told, _ = served.drop(name)
    if status == 415:  # ".mp4" is a name without a suffix
        assert name == ".mp4"
        return
    served.finished(told)
    assert told["name"] == name.replace("\\", "/").rsplit("/", 1)[-1]
    (folder,) = served.root.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["input.mp4", "page.html", "table.csv"]
    assert served.ask("GET", f"/jobs/{told['id']}/table.csv")[0] == 200
    assert not list(tmp_path.rglob("*pwned*"))


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%2e%2e/x", "table.json", "input.mp4%00", ".."])
def test_only_the_files_of_a_job_are_given_out(serve, path):
    served = serve()
    (served.root / "table.json").write_text("{}")
    told = served.drop()[1]
    served.finished(told)
    assert served.ask("GET", f"/jobs/{told['id']}/{path}")[0] == 404


def test_nothing_is_answered_without_the_secret_or_under_another_host(serve):
    served = serve()
    assert served.ask("GET", "/")[0] == 200
    assert served.ask("GET", "/", secret="another")[0] == 404
    assert served.ask("POST", "/jobs?name=a.mp4", b"x", secret="another")[0] == 404
    assert served.ask("GET", "/", headers={"Host": "evil.example"})[0] == 400
    assert served.ask("GET", "/", headers={"Host": f"localhost:{served.port}"})[0] == 200


def test_a_file_too_large_is_refused_and_leaves_nothing(serve):
    served = serve()
    assert served.drop(content=bytes(1001))[0] == 413
    status, told, _ = served.ask("POST", "/jobs?name=a.mp4", iter([bytes(600), bytes(600)]))  # length unsaid
    assert status == 413
    assert "more than 0 MB" in told["message"]
    assert list(served.root.iterdir()) == []
    assert served.drop(content=bytes(1000))[0] == 201


def send_in_part(served, *, of_bytes=900):
    """A connection over which a file is coming in; half of it has come."""
    line = socket.create_connection((HOST, served.port), timeout=60)
    head = f"POST /{SECRET}/jobs?name=a.mp4 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {of_bytes}\r\n\r\n"
    line.sendall(head.encode() + bytes(of_bytes // 2))
    until(lambda: list(served.root.glob("*/*")))
    return line


def test_a_file_that_breaks_off_on_its_way_leaves_nothing(serve):
    served = serve()
    send_in_part(served).close()
    until(lambda: list(served.root.iterdir()) == [])


def test_a_file_that_cannot_be_kept_leaves_nothing_and_is_told(serve, monkeypatch):
    served = serve()

    async def full(*_given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mien.commands.serve_app._received", full)
    status, told, _ = served.drop()
    assert (status, told["message"]) == (507, "a.mp4 could not be kept: No space left on device")
    assert list(served.root.iterdir()) == []


def test_a_file_that_never_comes_to_its_end_does_not_keep_the_program_from_its_own(serve):
    served = serve()
    line = send_in_part(served)
    served.stop()
    assert not served._thread.is_alive()
    assert not served.root.exists()
    line.close()


def test_files_on_their_way_count_as_waiting(serve):
    served = serve()
    lines = [send_in_part(served) for _ in range(MOST_WAITING)]
    until(lambda: len(list(served.root.iterdir())) == MOST_WAITING)
    assert served.drop()[0] == 503
    lines.pop().close()
    until(lambda: len(list(served.root.iterdir())) == MOST_WAITING - 1)
    assert served.drop()[0] == 201
    for line in lines:
        line.close()


def test_what_is_neither_video_nor_picture_by_name_is_refused(serve):
    assert serve().drop("a.exe")[0] == 415


def test_one_file_is_looked_at_at_a_time_in_the_order_they_came(serve):
    at_work, order, most, all_came = set(), [], [], threading.Event()

    def work(file, name, folder, tell):
        assert all_came.wait(120)
        at_work.add(name)
        most.append(len(at_work))
        time.sleep(0.05)
        order.append(name)
        at_work.discard(name)
        return {}

    served = serve(work)
    told = [served.drop(f"{k}.mp4")[1] for k in range(4)]
    assert told[-1]["ahead"] == 3
    all_came.set()
    for one in told:
        served.finished(one)
    assert order == [f"{k}.mp4" for k in range(4)]
    assert max(most) == 1


def test_only_so_many_may_wait(serve):
    go = threading.Event()
    served = serve(lambda *_: go.wait(120) and {})
    try:
        statuses = [served.drop()[0] for _ in range(MOST_WAITING + 3)]
    finally:
        go.set()
    assert statuses.count(503) >= 1
    assert statuses[:MOST_WAITING] == [201] * MOST_WAITING


def test_a_file_that_is_removed_while_looked_at_stops_and_goes(serve):
    def work(file, name, folder, tell):
        for _ in range(12_000):
            tell(0.1)
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    served = serve(work)
    told = served.drop()[1]
    until(lambda: served.ask("GET", f"/jobs/{told['id']}")[1]["state"] == "working")
    assert served.ask("DELETE", f"/jobs/{told['id']}")[0] == 204
    assert served.ask("GET", f"/jobs/{told['id']}")[0] == 404
    until(lambda: list(served.root.iterdir()) == [])


def test_the_oldest_go_when_there_are_many(serve):
    served = serve()
    told = [served.finished(served.drop()[1]) for _ in range(MOST_KEPT + 2)]
    until(lambda: served.ask("GET", f"/jobs/{told[0]['id']}")[0] == 404)
    assert served.ask("GET", f"/jobs/{told[-1]['id']}")[0] == 200
    until(lambda: len(list(served.root.iterdir())) == MOST_KEPT)


def test_an_error_is_told_without_the_folder_and_the_next_file_is_looked_at(serve, capfd):
    def work(file, name, folder, tell):
        if name == "bad.mp4":
            raise ValueError(f"{file}: not a video")
        if name == "bug.mp4":
            raise ZeroDivisionError("within")
        return {}

    served = serve(work)
    bad = served.finished(served.drop("bad.mp4")[1])
    assert (bad["state"], bad["message"]) == ("failed", "input.mp4: not a video")
    bug = served.finished(served.drop("bug.mp4")[1])
    assert bug["message"] == "an error within mien; the terminal says which"
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert served.finished(served.drop("good.mp4")[1])["state"] == "done"


def test_the_end_removes_every_file(serve):
    served = serve()
    served.finished(served.drop()[1])
    assert list(served.root.iterdir())
    served.stop()
    assert not served.root.exists()


def test_the_camera_s_pictures_are_answered_and_bad_ones_refused(serve):
    def read(seconds, jpeg):
        if jpeg == b"bad":
            raise ValueError("no JPEG")
        if jpeg == b"busy":
            raise RuntimeError("a file is being looked at")
        return {"faces": [], "reason": f"{len(jpeg)} bytes at {seconds}"}

    served = serve(read_live=read)
    assert served.ask("POST", "/live?seconds=1.5", b"1234")[1]["reason"] == "4 bytes at 1.5"
    assert served.ask("POST", "/live?seconds=1.5", b"bad")[0] == 400
    assert served.ask("POST", "/live?seconds=1.5", b"busy")[0] == 409
    for seconds in ("", "nan", "-1", "inf", "x"):
        assert served.ask("POST", f"/live?seconds={seconds}", b"1234")[0] == 400
    assert served.ask("POST", "/live?seconds=1", bytes(4_000_001))[0] == 413
    assert served.ask("DELETE", "/live")[0] == 204


def test_a_live_stream_gives_each_frame_its_own_rows():
    def stream(frames):
        for seconds, picture in frames:
            yield from (f"{seconds}:{face}" for face in range(int(picture)))

    live = LiveStream(stream)
    assert live.read(0.0, 2) == ["0.0:0", "0.0:1"]
    assert live.read(0.5, 0) == []
    assert live.read(1.0, 1) == ["1.0:0"]
    live.close()
    with pytest.raises(LiveEndedError):
        live.read(2.0, 1)


def test_an_error_in_a_live_stream_reaches_who_asked():
    def stream(frames):
        for seconds, _ in frames:
            if seconds:
                raise ValueError("a picture of no size")
            yield seconds

    live = LiveStream(stream)
    assert live.read(0.0, 1) == [0.0]
    with pytest.raises(LiveEndedError, match="a picture of no size"):
        live.read(1.0, 1)


class HandTimer:
    """As threading.Timer, but it goes off when the test says so."""

    def __init__(self, seconds, act, arguments):
        self.seconds, self._act, self._arguments = seconds, act, arguments
        self.is_pending = False

    def start(self):
        self.is_pending = True

    def cancel(self):
        self.is_pending = False

    def go_off(self):
        self.is_pending = False
        self._act(*self._arguments)


class HandClock:
    """A clock and timers that stand still but for `pass_by`."""

    def __init__(self):
        self.seconds, self.timers = 0.0, []

    def __call__(self):
        return self.seconds

    def timer(self, *given):
        self.timers.append(HandTimer(*given))
        return self.timers[-1]

    def pending(self):
        return [timer for timer in self.timers if timer.is_pending]

    def pass_by(self, seconds):
        self.seconds += seconds
        for timer in self.pending():
            timer.go_off()


def see_nobody(frames):
    return (no_face_row(0.0) for _ in frames)


@pytest.fixture
def new_camera():
    """Cameras that are let go after 10 s in which nobody asks; their `busy` is the lock that they hold."""
    made = []

    def new(stream=see_nobody, **more):
        busy = threading.Lock()
        made.append(Camera(SimpleNamespace(stream=stream), busy, **{"idle_seconds": 10.0} | more))
        made[-1].busy = busy
        return made[-1]

    yield new
    for camera in made:
        camera.end()


JPEG = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8))


def test_a_camera_that_is_started_often_is_watched_by_one_timer_and_let_go_with_it(new_camera):
    clock = HandClock()
    camera = new_camera(clock=clock, timer=clock.timer)
    for _ in range(6):
        assert camera.read(0.0, JPEG)["reason"] == "no face"
        camera.end()
    assert clock.pending() == []
    camera.read(0.0, JPEG)
    clock.pass_by(1.0)
    assert len(clock.pending()) == 1
    camera.end()
    assert clock.pending() == []
    assert not camera.busy.locked()


def test_a_camera_that_nobody_asks_about_is_let_go_and_one_in_use_is_not(new_camera):
    clock = HandClock()
    camera = new_camera(clock=clock, timer=clock.timer)
    for _ in range(5):
        camera.read(0.0, JPEG)
        clock.pass_by(9.0)
        assert camera.busy.locked()
    clock.pass_by(1.5)
    assert not camera.busy.locked()
    assert clock.pending() == []


def test_a_camera_that_is_asked_as_it_is_found_idle_goes_on(new_camera):
    clock = HandClock()
    camera = new_camera(clock=clock, timer=clock.timer)
    camera.read(0.0, JPEG)

    class AskedOnceItIsFree:
        """The camera's lock; the first to let go of it has a picture come in before anything else."""

        def __init__(self, lock):
            self._lock, self._is_first = lock, True

        def __enter__(self):
            self._lock.acquire()

        def __exit__(self, *_):
            self._lock.release()
            if self._is_first:
                self._is_first = False
                assert camera.read(0.1, JPEG)["reason"] == "no face"

    camera._lock = AskedOnceItIsFree(camera._lock)
    clock.pass_by(10.5)
    assert camera.busy.locked()
    assert camera.read(0.2, JPEG)["reason"] == "no face"


def test_a_camera_that_is_slow_to_answer_is_not_idle(new_camera):
    clock = HandClock()

    def slow(frames):
        for _ in frames:
            clock.pass_by(20.0)
            yield no_face_row(0.0)

    camera = new_camera(slow, clock=clock, timer=clock.timer)
    for k in range(3):
        assert camera.read(float(k), JPEG)["reason"] == "no face"
    assert camera.busy.locked()


def test_a_camera_is_let_go_by_the_machine_s_own_clock(new_camera):
    camera = new_camera(idle_seconds=0.01)
    camera.read(0.0, JPEG)
    until(lambda: not camera.busy.locked())


def test_a_port_that_is_taken_is_told():
    with _listening(0) as taken, pytest.raises(OSError, match="give another --port"):
        _listening(taken.getsockname()[1])
