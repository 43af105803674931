from __future__ import annotations

import pytest

from mien.data.lock import only_one


def test_a_lock_whose_file_was_removed_lets_go_of_no_other_one(tmp_path):
    lock = tmp_path / "table.lock"
    first, second = (only_one(lock, refusal=RuntimeError(name)) for name in ("first", "second"))
    first.__enter__()
    lock.unlink()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="third"), only_one(lock, refusal=RuntimeError("third")):
        pass
    second.__exit__(None, None, None)


def test_a_lock_of_a_file_that_is_removed_before_it_is_locked_is_not_held(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="no locks of POSIX")
    lock, flock = tmp_path / "table.lock", fcntl.flock

    def too_late(file, how):
        lock.unlink(missing_ok=True)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    with pytest.raises(RuntimeError, match="gone"), only_one(lock, refusal=RuntimeError("gone")):
        pass
