"""Tables say what was measured here and what was published; texts hold the same numbers."""

import numpy as np
import pytest

from mien.datasets.base import DATASETS
from mien.evaluate.predictions import compare, in_order, scores_table
from mien.evaluate.tables import (
    FLOOR,
    MEASURED,
    PUBLISHED,
    TABLES,
    as_latex,
    as_markdown,
    auc_table,
    comparison_table,
    expression_table,
    f1_table,
    paper_rows,
    read_paper_table,
    summary_table,
)

BP4D = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)


@pytest.fixture(scope="module")
def results(predictions_of):
    """Two systems on frames with BP4D's action units; the second never says yes."""
    import dataclasses

    from mien.datasets.base import PICTURE, LabelledFrames

    generator = np.random.default_rng(0)
    N = 360
    frames = LabelledFrames(
        action_units=BP4D,
        path_N=np.array([f"{k}.jpg" for k in range(N)]),
        frame_N=np.full(N, PICTURE),
        seconds_N=np.zeros(N),
        subject_N=np.repeat([f"s{k:02d}" for k in range(12)], 30),
        occurrence_NA=(generator.random((N, 12)) < 0.4).astype(np.float32),
    )
    good = 0.5 * frames.occurrence_NA + 0.6 * generator.random((N, 12))
    found = []
    for name, probability in (("clp", good.clip(0, 1)), ("none", np.zeros((N, 12)))):
        predictions = predictions_of(frames, probability, system=name)
        about = dataclasses.replace(predictions.about, dataset="bp4d")
        found.append(dataclasses.replace(predictions, about=about))
    return found


def test_the_f1_table_holds_floors_then_ours_then_the_papers_rows(results):
    table = f1_table(results)
    kinds = [row.kind for row in table.rows]
    assert kinds == [FLOOR] * 2 + [MEASURED] * 2 + [PUBLISHED] * 25
    assert table.columns == ["mean", "95 % interval", *(f"AU{n}" for n in BP4D)]
    clp = next(row for row in table.rows if row.label == "CLP")
    assert [cell.text for cell in clp.cells][:3] == ["62.4", "", "47.7"]
    assert next(row for row in table.rows if row.label == "TAE*").cells[0].text == "60.3"


def test_measured_cells_are_the_scores_in_percent(results):
    row = f1_table(results).rows[2]
    assert row.cells[2 + 3].text == f"{100 * results[0].each('f1')[3].value:.1f}"
    assert row.cells[1].text.startswith(f"{100 * results[0].mean_score.low:.1f} to")


def test_a_score_that_is_not_surely_above_its_floor_is_faint(results):
    good, never = f1_table(results).rows[2:4]
    pairs = zip(results[0].each("f1"), results[0].each("always_on"), strict=True)
    expected = [not f1.low > floor.value for f1, floor in pairs]
    assert [cell.faint for cell in good.cells[2:]] == expected
    assert all(cell.faint for cell in never.cells[2:])
    assert [cell.faint for cell in auc_table(results).rows[2].cells[1:]] == [True] * 12


def test_a_system_that_never_says_yes_has_f1_zero_and_auc_one_half(results):
    assert f1_table(results).rows[3].cells[0].text == "0.0"
    assert auc_table(results).rows[2].cells[0].text == "50.0"
    assert summary_table(results).rows[1].cells[0].text == "0.0"


def test_a_significant_difference_carries_a_dagger(results):
    comparison = compare(results[1], results[0], names=("none", "clp"))
    row = comparison_table([comparison], results[0].outputs).rows[0]
    assert row.label == "none → clp"
    assert row.cells[3].text.startswith("+")
    assert row.cells[3].text.endswith("†")


def test_results_come_by_share_then_mode_then_as_given(results):
    import dataclasses

    def other(mode, share):
        about = dataclasses.replace(results[0].about, mode=mode, share_of_labels=share)
        return dataclasses.replace(results[0], about=about)

    given = [other("all", 0.1), other("frozen", 1.0), other("affine+stats", 1.0)]
    labels = [result.label for result in in_order(given)]
    assert labels == ["clp (affine+stats)", "clp (frozen)", "clp (fine-tuned, 10 % of labels)"]


def test_expressions_stand_in_the_papers_order(results):
    import dataclasses

    predictions = results[0]
    N = len(predictions.path_N)
    names = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")
    class_N = np.arange(N) % 7
    probability = np.eye(7, dtype=np.float32)[np.where(class_N == 3, 0, class_N)]  # happy is never named
    expressions = dataclasses.replace(
        predictions,
        about=dataclasses.replace(predictions.about, dataset="rafdb"),
        outputs=names,
        class_N=class_N,
        probability_NA=probability,
    )
    table = expression_table([expressions])
    assert table.columns[:7] == ["Neutral", "Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise"]
    assert [cell.text for cell in table.rows[0].cells[:7]] == ["100.0"] * 4 + ["0.0"] + ["100.0"] * 2
    assert table.rows[0].cells[7].text == "85.7"
    assert [row.kind for row in table.rows].count(PUBLISHED) == 8
    assert set(scores_table([expressions])["score"]) == {"accuracy"}


def test_markdown_and_latex_hold_every_row_and_say_what_was_published(results):
    table = f1_table(results)
    markdown, latex = as_markdown(table), as_latex(table)
    assert len([line for line in markdown.splitlines() if line.startswith("|")]) == 2 + len(table.rows)
    assert "| CLP (published) |" in markdown
    assert latex.count(r" \\") == 1 + len(table.rows)
    assert latex.count(r"\midrule") == 2
    assert "F1 by action unit, \\%" in latex
    assert "%" not in latex.replace(r"\%", "")


def test_the_table_of_scores_holds_every_score_with_its_bounds(results):
    rows = scores_table(results).set_index(["system", "score", "output"]).sort_index()
    expected = results[0].each("f1")[BP4D.index(12)]
    assert rows.loc[("clp", "f1", "AU12"), ["value", "low", "high"]].tolist() == list(vars(expected).values())
    assert rows.loc[("clp", "icc")]["value"].isna().all()
    assert len(rows) == 2 * (2 + 10 * 12)


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
    assert srerl.label == "SRERL*"


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
