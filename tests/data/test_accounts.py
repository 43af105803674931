from __future__ import annotations

import pytest

from mien.data.accounts import (
    Account,
    accounts_table,
    add_up,
    format_accounts,
    read_accounts,
    why_nothing_written,
)


def account(name="a.mp4", *, decoded=10, written=7, not_written=None, status="done", message="", notes=""):
    reasons = {"no_face": 2, "between_grid_times": 1} if not_written is None else not_written
    return Account(
        name, "anna", name, "ab12", status, message, decoded, written, reasons, 1, written, written, notes
    )


def test_an_account_that_does_not_add_up_is_refused():
    with pytest.raises(ValueError, match=r"a\.mp4: 10 frames decoded, but 8 written \+ 3 left out"):
        account(written=8)


def test_a_file_without_a_face_gives_the_reasons_that_were_found():
    why = why_nothing_written(130, {"no_face": 2, "face_too_small": 128})
    assert why.startswith("no face kept of its 130 frames: 128 face_too_small, 2 no_face")
    assert why_nothing_written(130, {"no_face": 130}) == "no face in any of its 130 frames"


def test_totals_add_up_over_files_and_reasons():
    totals = add_up([account(), account("b.mp4", decoded=4, written=0, not_written={"low_score": 4})])
    assert totals.not_written == {"between_grid_times": 1, "low_score": 4, "no_face": 2}
    assert (totals.num_decoded, totals.num_written) == (14, 7)


def test_the_table_gives_back_the_accounts():
    accounts = [
        account(notes="HDR"),
        account("b.mp4", decoded=0, written=0, not_written={}, status="skipped", message="m"),
    ]
    assert read_accounts(accounts_table(accounts)) == accounts


def test_the_printed_table_is_aligned_and_names_what_was_skipped():
    broken = account(
        "long/name/of/a/file.mp4", decoded=2, written=0, not_written={"no_face": 2}, status="skipped"
    )
    lines = format_accounts([account(decoded=1010, written=1007), broken]).splitlines()
    header, first, second, total = lines[0], lines[2], lines[3], lines[5]
    for column in ("decoded", "written", "no_face", "tracks"):
        end = header.index(column) + len(column)
        assert all(
            line[end - 1].isdigit() and line[end : end + 1] in ("", " ") for line in (first, second, total)
        )
    assert "1,012 decoded = 1,007 written + 1 between_grid_times + 4 no_face" in lines
    assert "  skipped: long/name/of/a/file.mp4: " in lines


def test_of_many_files_those_with_most_lost_are_printed_and_the_others_added_up():
    accounts = [account(f"good{number}.mp4", written=10, not_written={}) for number in range(50)]
    accounts.append(account("half.mp4", decoded=100, written=50, not_written={"no_face": 50}))
    accounts.append(account("bad.mp4", status="partial", message="broke off"))
    text = format_accounts(accounts, max_files=10)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["bad.mp4", "half.mp4", "good0.mp4"]
    assert lines[12].split() == ["42", "other", "files", "420", "420", "0", "0", "42", "420"]
    assert sum(line.startswith("good") for line in lines) == 8
    assert "52 files: 51 done, 1 partial, 0 skipped; each of them is in the store's accounts.csv" in lines
    assert "  partial: bad.mp4: broke off" in lines


def test_what_was_assumed_of_a_file_is_printed():
    lines = format_accounts([account(), account("b.mp4", notes="HDR (PQ): its tones are mapped to SDR")])
    assert "  note: b.mp4: HDR (PQ): its tones are mapped to SDR" in lines.splitlines()
    assert not any("note: a.mp4" in line for line in lines.splitlines())
