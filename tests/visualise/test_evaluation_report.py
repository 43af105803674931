"""The report's words follow from its results: who is compared with whom, and what is said first."""

import numpy as np
import pytest

from mien.datasets.base import PICTURE
from mien.evaluate.predictions import About, Predictions
from mien.evaluate.results import Result
from mien.visualise.evaluation_report import ReportParts, compared, page_of, write_report


@pytest.fixture(scope="module")
def result_of():
    """A result of some system, mode and skill on 8 people."""
    generator = np.random.default_rng(0)
    labels_NA = (generator.random((160, 2)) < 0.4).astype(np.float32)
    subject_N = np.repeat([f"s{k}" for k in range(8)], 20)
    noise_NA = generator.random((160, 2))

    def make(system, mode, *, skill=0.5, share=1.0, dataset="table"):
        about = About(dataset, system, mode, share, "file", "", "c", "p", "", "d", "f", {}, "0", 1.0)
        probability_NA = (skill * labels_NA + (1 - skill) * noise_NA).astype(np.float32)
        return Result.of(
            Predictions(
                about=about,
                outputs=("AU01", "AU12"),
                path_N=np.array([f"{k}.jpg" for k in range(160)]),
                frame_N=np.full(160, PICTURE),
                seconds_N=np.zeros(160),
                subject_N=subject_N,
                fold_N=np.where(subject_N < "s4", "p1", "p2"),
                probability_NA=probability_NA,
                label_NA=labels_NA,
                threshold_NA=np.full((160, 2), np.nan, np.float32),
            )
        )

    return make


def test_others_are_set_against_the_first_in_the_same_mode_and_supervised_against_its_frozen(result_of):
    results = [
        result_of("ours", "stats"),
        result_of("ours", "frozen"),
        result_of("other", "frozen", skill=0.1),
        result_of("supervised", "all"),
        result_of("other", "frozen", share=0.1),
    ]
    pairs = [(comparison.a, comparison.b) for comparison in compared(results)]
    assert pairs == [("other (frozen)", "ours (frozen)"), ("supervised (fine-tuned)", "ours (frozen)")]


def test_the_page_begins_with_one_line_a_system(result_of):
    results = [result_of("ours", "stats"), result_of("ours", "frozen"), result_of("supervised", "all")]
    verdict = page_of(results, ReportParts()).verdict
    assert [line.split(":")[0] for line in verdict[:2]] == ["ours (frozen)", "supervised (fine-tuned)"]
    assert "where predicting everything gives" in verdict[0]


def test_a_clear_difference_is_told_as_one_and_no_difference_as_chance(result_of):
    results = [result_of("good", "frozen", skill=0.9), result_of("bad", "frozen", skill=0.0)]
    assert "may be chance" not in page_of(results, ReportParts()).verdict[-1]
    results = [result_of("a", "frozen"), result_of("b", "frozen")]
    assert "p = 1.000 (may be chance)" in page_of(results, ReportParts()).verdict[-1]


def test_modes_that_were_not_tried_are_named(result_of):
    assert "not tried: affine+stats, stats" in page_of([result_of("a", "frozen")], ReportParts()).notes[-1]
    every = [result_of("a", mode) for mode in ("affine+stats", "stats", "frozen")]
    assert not page_of(every, ReportParts()).notes


def test_a_toy_says_that_it_is_one(result_of, tmp_path):
    write_report([result_of("a", "frozen", dataset="drawn")], ReportParts(), tmp_path)
    for name in ("report.html", "report.md"):
        assert "These faces are drawn" in (tmp_path / name).read_text()
    assert page_of([result_of("a", "frozen")], ReportParts()).warning == ""


def test_names_from_files_cannot_break_the_page(result_of, tmp_path):
    result = result_of("<script>alert(1)</script>", "frozen")
    write_report([result], ReportParts(), tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()
