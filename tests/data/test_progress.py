from __future__ import annotations

import io

import pytest

from mien.data import progress
from mien.data.jobs import FrameProgress
from mien.data.progress import FileProgress, ProgressBar, with_bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_no_time_left_before_the_rate_has_settled(clock):
    bar = ProgressBar(total=1001, unit="steps", file=io.StringIO())
    clock[0] = 500.0  # starting up
    bar.update()
    seen = []
    for _ in range(49):
        clock[0] += 0.1
        bar.update()
        seen.append(bar.seconds_left())
    assert set(seen) == {None}
    clock[0] += 0.1
    bar.update()
    assert bar.seconds_left() == pytest.approx(0.1 * 950)


def test_slow_work_shows_its_time_left_after_a_minute(clock):
    bar = ProgressBar(total=10_001, unit="steps", file=io.StringIO())
    bar.update()
    clock[0] = 61.0
    bar.update(100)
    assert bar.seconds_left() == pytest.approx(61.0 * 99)
    assert "left" in str(bar)


def test_work_done_by_an_earlier_run_does_not_count_for_the_rate(clock):
    bar = ProgressBar(total=101, done=90, unit="steps", file=io.StringIO())
    bar.update()
    clock[0] = 2.0
    bar.update()
    assert bar.seconds_left() == pytest.approx(2.0 * 9)


def test_files_advance_by_their_bytes_and_frames_are_counted(capsys):
    with FileProgress() as files:
        files.begins({"a": 100, "b": 300})
        files.is_at("a", FrameProgress(20, 0.5))
        files.is_at("b", FrameProgress(10, 0.1))
        assert files._bar.n == 50 + 30
        files.has("a", num_frames=40, troubled=True)
        assert files._bar.n == 100 + 30
        files.has("b", num_frames=100, troubled=False)
    assert "2/2 files (1 skipped or partial), 140 frames" in capsys.readouterr().err


def test_a_bar_over_items_appears_only_if_they_are_slow(monkeypatch, capsys):
    assert list(with_bar([1, 2], total=2, unit="videos", desc="tables ")) == [1, 2]
    assert not capsys.readouterr().err
    monkeypatch.setattr(progress, "_SECONDS_BEFORE_A_BAR", 0.0)
    assert list(with_bar([1, 2], total=2, unit="videos", desc="tables ")) == [1, 2]
    assert "2/2 videos" in capsys.readouterr().err
