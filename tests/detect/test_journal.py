"""What a killed run wrote is read back to the last bit, up to its last whole block."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detect.journal import Journal, read_journal
from mien.detect.rows import FaceRow
from tests.detect.rows_by_hand import no_face_row


def rows(count):
    generator = np.random.default_rng(0)
    return [
        no_face_row(frame / 30, frame=frame, name="a")
        if frame % 4 == 3
        else FaceRow(
            "a",
            frame,
            frame / 30,
            frame % 2,
            0.9,
            "",
            generator.random(17, np.float32),
            generator.random(3, np.float32),
        )
        for frame in range(count)
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        for name in ("input", "frame", "seconds", "face_id", "confidence", "reason"):
            assert getattr(left, name) == getattr(right, name)
        for name in ("place_17", "values_V"):
            assert (getattr(left, name) is None) == (getattr(right, name) is None)
            assert getattr(left, name) is None or np.array_equal(getattr(left, name), getattr(right, name))


@pytest.fixture
def written(tmp_path):
    expected = rows(50)
    with Journal(tmp_path / "rows", num_values=3) as journal:
        for first in range(0, 50, 10):
            journal.write(expected[first : first + 10])
    return tmp_path / "rows", expected


def test_rows_come_back_to_the_last_bit(written):
    path, expected = written
    assert_same(list(read_journal(path)), expected)


@pytest.mark.parametrize("missing_bytes", [1, 7, 8, 100, 1500])
def test_a_journal_cut_anywhere_goes_on_behind_its_last_whole_block(written, missing_bytes):
    path, expected = written
    content = path.read_bytes()
    path.write_bytes(content[:-missing_bytes])
    with Journal(path, num_values=3) as journal:
        kept = list(journal.rows())
        assert len(kept) == 40
        journal.write(expected[40:])
    assert_same(list(read_journal(path)), expected)
    assert path.read_bytes() == content


def test_a_journal_of_other_rows_is_begun_anew(written):
    path, _ = written
    with Journal(path, num_values=5) as journal:
        assert list(journal.rows()) == []


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(5000)])
def test_what_is_no_journal_is_begun_anew(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with Journal(tmp_path / "rows", num_values=3) as journal:
        assert list(journal.rows()) == []
        journal.write(rows(5))
        assert len(list(journal.rows())) == 5
