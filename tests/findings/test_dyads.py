"""A planted lag is found; independent faces are taken for a dyad as rarely as p says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from mien import cli
from mien.detect.table import Detections, TableLayout
from mien.findings.dyads import DyadSettings, lagged_correlation
from tests.detect.rows_by_hand import face_row

SECONDS = np.arange(25 * 180) / 25


def moving(generator):
    """A face of its own: autocorrelated over about a second."""
    return lfilter([1], [1, -0.97], generator.normal(size=len(SECONDS)))


def test_a_planted_lag_is_found_with_its_sign():
    generator = np.random.default_rng(0)
    leader = moving(generator)
    follower = np.roll(leader, 20) + 0.7 * moving(generator)  # 0.8 s later
    first, second = pd.Series(leader, SECONDS), pd.Series(follower, SECONDS)
    found, turned = lagged_correlation(first, second), lagged_correlation(second, first)
    assert [dyad.peak["lag"] for dyad in (found, turned)] == pytest.approx([0.8, -0.8], abs=0.11)
    assert found.p_value < 0.01
    assert found.peak["low"] < found.peak["r"] < found.peak["high"]
    assert found.peak["surrogate"] < found.peak["r"]


def test_independent_faces_reach_p_of_5_percent_in_about_5_of_100():
    generator = np.random.default_rng(0)
    settings = DyadSettings(step=0.2, most_lag=2)
    found = [
        lagged_correlation(
            *(pd.Series(moving(generator), SECONDS) for _ in range(2)),
            settings=settings,
            num_surrogates=39,
            seed=k,
        )
        for k in range(100)
    ]
    assert 1 <= sum(dyad.p_value <= 0.05 for dyad in found) <= 10  # 98 % of the binomial distribution


def test_each_window_is_the_correlation_worked_by_numpy():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 400))
    time = np.arange(400) / 10
    settings = DyadSettings(window=5, most_lag=1, step=0.1)
    found = lagged_correlation(pd.Series(x, time), pd.Series(y, time), settings=settings, num_surrogates=1)
    z = [np.arctanh(np.corrcoef(x[b : b + 50], y[b + 3 : b + 53])[0, 1]) for b in range(10, 341, 50)]
    row = found.curve.set_index("lag").loc[0.3]
    assert (found.num_windows, row["r"]) == (len(z), pytest.approx(np.tanh(np.mean(z)), abs=1e-6))


def test_windows_with_a_gap_are_left_out_and_too_few_refused():
    generator = np.random.default_rng(1)
    first, second = (pd.Series(moving(generator), SECONDS) for _ in range(2))
    second[(SECONDS > 60) & (SECONDS < 62)] = np.nan
    found = lagged_correlation(first, second, num_surrogates=9)
    assert (found.num_windows, found.num_windows_left_out) == (15, 2)  # at lags to 3 s
    with pytest.raises(ValueError, match="2 windows of 10 s"):
        lagged_correlation(first[:700], second[:700])
    with pytest.raises(ValueError, match="expected each below the next"):
        DyadSettings(window=2, most_lag=3)


def test_the_command_reads_two_faces_of_a_table(tmp_path, capsys):
    generator = np.random.default_rng(0)
    values = np.clip(0.5 + moving(generator) / 20, 0, 1)
    rows = []
    for k, seconds in enumerate(SECONDS[20:]):
        rows += [face_row(seconds, [values[k + 20]], face_id=0), face_row(seconds, [values[k]], face_id=1)]
    layout = TableLayout((12,), np.array([0.5], np.float32), None)
    Detections(layout.table(rows), {}).save(tmp_path / "pair.parquet")
    out = tmp_path / "out"
    assert cli.main(["dyad", str(tmp_path / "pair.parquet"), "--unit", "12", "--out", str(out)]) == 0
    assert "pair face 1 0.8 s behind" in capsys.readouterr().out
    assert (out / "dyad.svg").read_text().startswith("<?xml")
    assert pd.read_csv(out / "dyad.csv").columns.tolist() == ["lag", "r", "low", "high", "surrogate"]
