"""Scores of two codings against values worked by hand and scikit-learn; events paired; whose frames count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from mien import cli
from mien.evaluate.metrics import icc_3_1
from mien.findings.agreement import agree, event_f1, f1, icc, kappa, paired_events
from mien.findings.coding import CodingError
from mien.findings.exchange import read_coding


def frames_of(face_values, unit="AU12"):
    """Frames at 25 per second of each face, from values per frame."""
    return {
        face: pd.DataFrame({"frame": np.arange(len(v)), "seconds": np.arange(len(v)) / 25, unit: v})
        for face, v in face_values.items()
    }


def test_kappa_f1_and_event_f1_are_those_worked_by_hand():
    # both 20, only A 10, only B 5, neither 15: observed 0.7, by chance 0.6 * 0.5 + 0.4 * 0.5 = 0.5
    sums = np.array([20, 10, 5, 15, *[0] * 6, 4, 6, 3], float)
    assert kappa(sums) == pytest.approx(0.4)
    assert f1(sums) == pytest.approx(40 / 55)
    assert event_f1(sums) == pytest.approx(0.6)
    nothing = np.array([0, 0, 0, 50, *[0] * 9], float)
    assert np.isnan([kappa(nothing), f1(nothing), icc(nothing), event_f1(nothing)]).all()


def test_scores_are_those_of_scikit_learn_and_of_evaluate(coding):
    generator = np.random.default_rng(0)
    a_N, b_N = generator.integers(0, 2, (2, 200)).astype(float)
    b_N[:40], b_N[190:] = a_N[:40], np.nan
    graded_a, graded_b = generator.uniform(0, 5, (2, 200))
    face, tier = ("v", ""), ("v", "", "AU12", "")
    a, b = (
        coding({tier: []}, frames={face: frames_of({face: values})[face].assign(AU12_intensity=graded)})
        for values, graded in ((a_N, graded_a), (b_N, graded_b))
    )
    row = agree(a, b).scores.iloc[0]
    assert row["frames"] == 190
    assert row["kappa"] == pytest.approx(cohen_kappa_score(a_N[:190], b_N[:190]))
    assert row["f1"] == pytest.approx(f1_score(a_N[:190], b_N[:190]))
    assert row["icc"] == pytest.approx(icc_3_1(graded_a[:, None], graded_b[:, None])[0])


def test_a_planted_disagreement_has_the_kappa_worked_by_hand_and_is_listed(coding):
    # 100 frames: A marks 20 to 60, B 30 to 60: both 30, only A 10, neither 60;
    # observed 0.9, by chance 0.4 * 0.3 + 0.6 * 0.7 = 0.54
    values = np.zeros(100)
    values[20:60] = 1
    a = coding({("v.mp4", "0", "AU12", ""): []}, frames=frames_of({("v.mp4", "0"): values}))
    b = coding({("v.mp4", "", "AU12", ""): [(1.2, 2.4)], ("v.mp4", "", "AU04", ""): []}, path="b.eaf")
    found = agree(a, b)
    row = found.scores.iloc[0]
    assert (row["unit"], row["people"], row["frames"]) == ("AU12", 1, 100)
    assert row["kappa"] == pytest.approx((0.9 - 0.54) / 0.46)
    assert np.isnan(row["kappa_low"])  # of one person there is no interval
    assert (row["events_a"], row["events_b"], row["events_paired"]) == (1, 1, 1)
    assert (row["onset_ms"], row["offset_ms"]) == (pytest.approx(400), pytest.approx(0))
    assert row["overlap"] == pytest.approx(0.75)
    assert found.disagreements.values.tolist() == [["v.mp4", "0", "AU12", 0.8, pytest.approx(1.2), "a"]]
    assert agree(a, b, tolerance_seconds=0.3).scores.iloc[0]["events_paired"] == 0


def test_intervals_resample_people_not_frames(coding):
    """Frames of a person repeat each other: twice the frames must not narrow the interval."""
    generator = np.random.default_rng(1)
    widths = []
    for times in (1, 4):
        generator = np.random.default_rng(1)
        people = {(f"{n}.mp4", "0"): generator.integers(0, 2, (2, 50)).astype(float) for n in range(12)}
        a, b = (
            coding(
                {(*face, "AU12", ""): [] for face in people},
                frames=frames_of({face: np.tile(values[which], times) for face, values in people.items()}),
            )
            for which in (0, 1)
        )
        row = agree(a, b).scores.iloc[0]
        assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
        widths.append(row["kappa_high"] - row["kappa_low"])
    assert widths[0] == pytest.approx(widths[1])


def test_as_many_events_pair_as_can():
    a, b = [(0.0, 1.0), (0.6, 1.0), (5.0, 6.0)], [(0.5, 1.0), (1.0, 2.0), (5.5, 6.0)]
    assert paired_events(a, b, 0.5) == list(zip(a, b, strict=True))
    assert paired_events(a, b, 0.2) == [(a[1], b[0])]
    assert paired_events(a, [], 0.5) == []


def test_a_coding_by_a_player_is_compared_on_the_clock_of_the_file(coding):
    """The file starts at 1 s; a coder's tool shows its first frame at 0."""
    values = np.zeros(50)
    values[10:20] = 1
    frames = frames_of({("v.mp4", "0"): values})
    frames["v.mp4", "0"]["seconds"] += 1.0
    a = coding({("v.mp4", "0", "AU12", ""): []}, frames=frames, limits={"v.mp4": (1.0, 3.0)})
    b = coding({("v.mp4", "", "AU12", ""): [(0.4, 0.8)]}, from_first_frame=True)
    assert agree(a, b).scores.iloc[0]["kappa"] == agree(b, a).scores.iloc[0]["kappa"] == 1


def test_a_unit_that_was_coded_for_one_person_alone_has_no_interval(coding):
    a = coding({(v, "0", u, ""): [(0, 1)] for v, u in (("u", "AU12"), ("v", "AU12"), ("v", "AU04"))})
    low = agree(a, a).scores.set_index("unit")["event_f1_low"]
    assert np.isnan(low["AU04"])
    assert low["AU12"] == low["mean"] == 1


def test_labels_by_frame_number_meet_detections_with_times(coding):
    values = np.array([0, 1, 1, 0, 0.0])
    a = coding({("v.mp4", "0", "AU12", ""): []}, frames=frames_of({("v.mp4", "0"): values}))
    labels = frames_of({("x/v.mp4", ""): values[1:4]})
    labels["x/v.mp4", ""] = labels["x/v.mp4", ""].assign(frame=[1, 2, 3], seconds=np.nan)
    b = coding({("x/v.mp4", "", "AU12", ""): []}, frames=labels, people={("x/v.mp4", ""): "ann"})
    row = agree(a, b).scores.iloc[0]
    assert (row["frames"], row["kappa"], row["events_b"]) == (3, 1, 1)
    with pytest.raises(CodingError, match=r"no times of the frames of x/v\.mp4; give its folder as --media"):
        agree(b, b)


def test_which_face_and_file_is_compared_is_noted_and_nothing_in_common_refused(coding):
    frames = frames_of({("v.mp4", "0"): np.zeros(5), ("v.mp4", "1"): np.ones(20)})
    a = coding(
        {("v.mp4", "0", "AU12", ""): [], ("v.mp4", "1", "AU12", ""): [], ("w.mp4", "0", "AU12", ""): []},
        frames=frames,
        path="a.parquet",
    )
    b = coding({("v.mp4", "", "AU12", ""): [(0, 0.8)], ("u.mp4", "", "AU12", ""): []}, path="b.eaf")
    found = agree(a, b)
    assert found.scores.iloc[0]["share_a"] == 1  # of face 1
    assert found.notes[:2] == ("w.mp4 is in a.parquet only", "u.mp4 is in b.eaf only")
    assert "face 1, seen longest" in found.notes[2]
    with pytest.raises(CodingError, match=r"a.parquet and c.eaf: no action unit"):
        agree(a, coding({("v.mp4", "1", "AU01", ""): []}, path="c.eaf"))


def test_people_over_files_are_read_from_a_csv(tmp_path):
    events, csv = tmp_path / "a.csv", tmp_path / "people.csv"
    rows = [f"{name}.mp4,{face},AU12,0,1\n" for name in "uv" for face in ("0", "1")]
    events.write_text("input,face,unit,onset,offset\n" + "".join(rows))
    csv.write_text("file,face,person,minutes\nu.mp4,0,ann,1\nv.mp4,1,ann,1\nv.mp4,0,,1\n")
    a = read_coding(events, people=csv)
    assert a.people == {("u.mp4", "0"): "ann", ("v.mp4", "1"): "ann"}
    assert agree(a, a).scores.iloc[0]["people"] == 3
    events.write_text("input,face,unit,onset,offset\nu.mp4,,AU12,0,1\n")
    assert read_coding(events, people=csv).people == {("u.mp4", ""): "ann"}
    events.write_text("input,face,unit,onset,offset\nw.mp4,,AU12,0,1\n")
    with pytest.raises(CodingError, match=r"people.csv: names nobody in w.mp4"):
        read_coding(events, people=csv)


def test_the_command_writes_scores_disagreements_and_a_page(tmp_path, capsys):
    for name, offset in (("a", 2.0), ("b", 1.0)):
        (tmp_path / f"{name}.csv").write_text(
            f"input,face,unit,onset,offset\n<b>.mp4,0,AU12,0.0,{offset}\n<b>.mp4,0,AU04,1.0,2.0\n"
        )
    out = tmp_path / "out"
    assert cli.main(["agree", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(out)]) == 0
    scores = pd.read_csv(out / "agreement.csv")
    assert scores["unit"].tolist() == ["AU04", "AU12", "mean"]
    assert pd.read_csv(out / "disagreements.csv").values.tolist() == [["<b>.mp4", 0, "AU12", 1.0, 2.0, "a"]]
    page = (out / "agreement.html").read_text()
    assert "&lt;b&gt;.mp4" in page and "<b>.mp4" not in page
    assert "<td>–</td>" in page and "[–" not in page  # one person, no intensities
    assert "1 disagreements" in capsys.readouterr().out
