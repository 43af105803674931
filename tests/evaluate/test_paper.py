"""The paper's tables as data: whole, and their averages checked."""

import numpy as np
import pytest

from mien.datasets.base import DATASETS
from mien.evaluate.tables import TABLES, paper_rows, read_paper_table


def test_every_set_of_the_paper_has_its_table_with_the_same_columns():
    for dataset in TABLES:
        cls = DATASETS.get(dataset)
        for row in paper_rows(dataset):
            expected = [f"AU{number}" for number in cls.action_units]
            if not expected:
                expected = ["Neutral", "Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise"]
            assert list(row.values) == expected


def test_clps_averages_are_the_papers():
    averages = {
        dataset: next(r for r in paper_rows(dataset) if r.method == "CLP").average for dataset in TABLES
    }
    assert averages == {"bp4d": 62.4, "disfa": 57.4, "gft": 54.3, "rafdb": 62.3, "affectnet": 51.9}


def test_the_checks_hold_for_the_rows_as_they_stand():
    names = {"1": "bp4d", "2": "disfa", "3": "gft", "5": "rafdb", "6": "affectnet"}
    rows = {(table, row.method): row for table, dataset in names.items() for row in paper_rows(dataset)}
    checks = read_paper_table("checks")
    assert len(checks) == 77
    for check in checks:
        row = rows[check["table"], check["method"]]
        assert row.average == float(check["printed_average"])
        if check["row_mean"]:
            assert np.mean(list(row.values.values())) == pytest.approx(float(check["row_mean"]), abs=1e-3)


def test_repaired_cells_carry_their_note():
    srerl = next(row for row in paper_rows("bp4d") if row.method == "SRERL")
    assert "62.1 CORRECTED to 62.9" in srerl.repair
    assert srerl.copied


def test_ablation_and_sequence_lengths_are_there():
    assert len(read_paper_table("table4_ablation")) == 18
    assert [row["average"] for row in read_paper_table("extra_sequence_length")] == [
        "59.7",
        "62.4",
        "",
        "60.3",
        "58.7",
    ]


def test_a_set_outside_the_paper_has_no_rows():
    assert paper_rows("rendered") == []
