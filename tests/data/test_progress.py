from __future__ import annotations

import io

from mien.data import progress
from mien.data.jobs import FrameProgress
from mien.data.progress import FileProgress, progress_bar, with_bar


def test_work_done_by_an_earlier_run_does_not_count_for_the_rate():
    now = [0.0]
    bar = progress_bar(total=101, done=91, unit="steps", file=io.StringIO())
    bar._time, bar.start_t = (lambda: now[0]), 0.0
    now[0] = 4.0
    bar.update(2)
    assert "93/101 steps, 00:04, 00:16 left" in str(bar)


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
