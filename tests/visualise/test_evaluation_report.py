"""The report's words follow from its results: who is compared with whom, and what is said first."""

import dataclasses
import re

import numpy as np
import pytest

from mien.datasets.base import PICTURE
from mien.evaluate.predictions import About, Predictions
from mien.evaluate.tables import PERSON, ablation_table
from mien.visualise.evaluation_report import Report


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
        return Predictions(
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

    return make


@pytest.fixture
def person_of():
    """Numbers of an encoder whose features name the person that often."""

    def make(identity_accuracy):
        numbers = dict.fromkeys((key for _, key in PERSON), 0.0)
        return numbers | {
            "action_unit_auc": 0.7,
            "identity_chance": 0.1,
            "identity_accuracy": identity_accuracy,
        }

    return make


def test_others_are_set_against_the_first_in_the_same_mode_and_supervised_against_its_frozen(result_of):
    results = [
        result_of("ours", "stats"),
        result_of("ours", "frozen"),
        result_of("other", "frozen", skill=0.1),
        result_of("supervised", "all"),
        result_of("other", "frozen", share=0.1),
    ]
    pairs = [(comparison.a, comparison.b) for comparison in Report(results).comparisons]
    assert pairs == [("other (frozen)", "ours (frozen)"), ("supervised (fine-tuned)", "ours (frozen)")]


def test_the_page_begins_with_the_best_system_and_its_interval(result_of):
    results = [
        result_of("ours", "stats", skill=0.3),
        result_of("ours", "frozen", skill=0.3),
        result_of("poor", "frozen", skill=0.1),
        result_of("supervised", "all", skill=0.8),
    ]
    report = Report(results)
    mean = results[3].mean_score
    interval = f"{100 * mean.value:.1f} % ({100 * mean.low:.1f} to {100 * mean.high:.1f})"
    assert report.best == f"Best of 3: supervised (fine-tuned), mean F1 {interval}."
    assert report.lines[0].startswith("It leads the next, ours (frozen), by +")
    assert [bar.label for bar in report.ranking] == [
        "supervised (fine-tuned)",
        "ours (frozen)",
        "poor (frozen)",
    ]
    assert report.ranking[0].text == interval


def test_a_clear_lead_is_told_as_one_and_no_lead_as_chance(result_of):
    good, bad = result_of("good", "frozen", skill=0.9), result_of("bad", "frozen", skill=0.0)
    report = Report([bad, good])
    assert report.lead.mean.p_value < 0.05
    assert "more than chance explains" in report.lines[0]
    report = Report([result_of("a", "frozen"), result_of("b", "frozen")])
    assert not report.lead.mean.p_value < 0.05
    assert "p = 1.000): which may be chance" in report.lines[0]


def test_a_single_system_has_no_rival_and_no_badge(result_of, tmp_path):
    report = Report([result_of("a", "frozen")])
    report.write(tmp_path)
    assert report.lead is None
    assert report.best.startswith("a (frozen), mean F1")
    assert 'class="sure"' not in (tmp_path / "report.html").read_text()


def test_the_best_is_set_against_the_floor_of_always_saying_yes(result_of):
    result = result_of("a", "frozen")
    floor = 100 * result.average("always_on")
    above = 100 * result.mean_score.value - floor
    line = Report([result]).lines[0]
    assert f"gives {floor:.1f} %: the best lies {above:.1f} points above that." in line


def test_a_best_that_is_none_is_not_praised(result_of):
    silent = result_of("a", "frozen", skill=0.0)
    silent = dataclasses.replace(silent, probability_NA=np.zeros_like(silent.probability_NA))
    assert "no system reaches that" in Report([silent]).lines[0]


def test_identity_is_told_at_the_top_of_every_system_that_was_measured(result_of, person_of):
    results = [result_of("ours", "frozen"), result_of("other", "frozen", skill=0.1)]
    report = Report(results, persons={"ours": person_of(0.25), "other": person_of(0.5)})
    assert "names the person in 25 % (ours), 50 % (other); chance is 10 %." in report.lines[-1]


def test_an_alarm_stands_before_the_verdict(result_of, tmp_path):
    Report([result_of("a", "frozen")], alarms=["one face under two names"]).write(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert html.index("one face under two names") < html.index('class="best"')
    assert "**Warning: one face under two names**" in (tmp_path / "report.md").read_text()


def test_modes_stand_side_by_side_in_one_row_a_system(result_of):
    modes = ("affine+stats", "stats", "frozen", "all")
    results = [result_of("ours", mode) for mode in modes] + [result_of("supervised", "all")]
    table = Report(results).tables[0]
    assert table.columns == ["affine+stats", "stats", "frozen", "fine-tuned"]
    assert [row.label for row in table.rows] == ["ours", "supervised"]
    mean = results[4].mean_score
    assert [cell.text for cell in table.rows[1].cells] == [
        *[""] * 3,
        f"{100 * mean.value:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})",
    ]


def test_a_system_has_one_colour_in_every_figure(result_of, person_of, tmp_path):
    results = [
        result_of(system, mode, share=share)
        for system in ("ours", "other")
        for mode in ("frozen", "all")
        for share in (1.0, 0.1)
    ]
    report = Report(results, persons={"ours": person_of(0.25), "other": person_of(0.5)})
    report.write(tmp_path)
    assert [bar.style for bar in sorted(report.ranking, key=lambda bar: bar.label)] == ["s1", "s0"]
    html = (tmp_path / "report.html").read_text()
    keys = re.findall(r'class="key ([\w ]+)">(\w+)([^<]*)<', html)
    assert {(style.split()[0], system) for style, system, _ in keys} == {("s0", "ours"), ("s1", "other")}
    assert ("s1 tuned", "other", " (fine-tuned)") in keys
    figures = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(figures) == 2
    assert all("var(--s0, " in figure and "var(--s1, " in figure for figure in figures)


def test_expressions_are_ranked_by_their_mean_accuracy_and_compared(result_of, tmp_path):
    def faces(system, skill):
        predictions = result_of("x", "frozen", dataset="rafdb")
        generator = np.random.default_rng(1)
        class_N = np.arange(160) % 3
        named_N = np.where(generator.random(160) < skill, class_N, (class_N + 1) % 3)
        about = dataclasses.replace(predictions.about, system=system, dataset="table")
        return dataclasses.replace(
            predictions,
            about=about,
            outputs=("Happy", "Sad", "Fear"),
            class_N=class_N,
            probability_NA=np.eye(3, dtype=np.float32)[named_N],
            label_NA=np.zeros((160, 0), np.float32),
            threshold_NA=np.zeros((160, 0), np.float32),
        )

    report = Report([faces("poor", 0.4), faces("good", 0.9)])
    report.write(tmp_path)
    assert report.best.startswith("Best of 2: good (frozen), mean accuracy of the classes ")
    assert report.lead.mean.p_value < 0.05
    assert [table.title for table in report.tables][-1] == "Differences of accuracy, points"
    html = (tmp_path / "report.html").read_text()
    assert "Dashed" not in html
    assert html.count('aria-label="confusion of expressions"') == 2


def test_the_papers_own_row_stands_beside_ours_marked_as_published(result_of):
    result = result_of("a", "frozen", dataset="gft")
    bars = {bar.label: bar for bar in Report([result]).ranking}
    assert bars["CLP, as published"].text == "54.3 %"
    assert bars["CLP, as published"].style == "published"
    assert len(bars) == 3


def test_the_papers_ablation_stands_on_the_page_of_its_set():
    (table,) = ablation_table("bp4d")
    assert len(table.rows) == 9
    assert [cell.text for cell in table.rows[3].cells] == ["yes", "yes", "1/sqrt(j)", "32768", "62.4"]
    assert {row.kind for row in table.rows} == {"published"}
    assert ablation_table("gft") == []


def test_modes_that_were_not_tried_are_named(result_of):
    assert "not run: affine+stats, stats" in Report([result_of("a", "frozen")]).notes[-1]
    every = [result_of("a", mode) for mode in ("affine+stats", "stats", "frozen")]
    assert not Report(every).notes


def test_a_report_on_rendered_faces_says_so(result_of, tmp_path):
    Report([result_of("a", "frozen", dataset="rendered")]).write(tmp_path)
    for name in ("report.html", "report.md"):
        assert "These faces are rendered" in (tmp_path / name).read_text()
    assert Report([result_of("a", "frozen")]).warning == ""


def test_names_from_files_cannot_break_the_page(result_of, person_of, tmp_path):
    name = "<script>alert(1)</script> $x_1$"
    Report([result_of(name, "frozen")], persons={name: person_of(0.25)}).write(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "<script>" not in html
    assert "https:" not in html
