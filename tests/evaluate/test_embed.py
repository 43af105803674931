from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.data.sources import SourceError
from mien.evaluate.embed import FeatureKey, FeatureTableError, feature_table, sort_by_kind
from mien.io import WriteError

KEYS = [FeatureKey("a.mp4", 0, 7, 0.28, "id1"), FeatureKey('b,"c.mp4', 1, 8, 0.32, "")]
FEATURES = np.array([[0.1, -2.0], [1 / 3, 1e-20]], np.float32)


def write(path):
    with feature_table(path, feature_dim=2) as table:
        table.write_features(FEATURES)
        table.write_keys(KEYS)
        table.keep({})
        table.write_features(FEATURES[1:])
        table.write_keys(KEYS[:1])
    return path


def test_parquet_holds_the_rows_in_order(tmp_path):
    table = pq.read_table(write(tmp_path / "t.parquet"))
    assert table.column_names == ["path", "track", "frame", "seconds", "identity", "f000", "f001"]
    assert table["path"].to_pylist() == ["a.mp4", 'b,"c.mp4', "a.mp4"]
    assert table["seconds"].to_pylist() == [0.28, 0.32, 0.28]
    assert np.array_equal(table["f001"].to_numpy(), np.array([-2.0, 1e-20, 1e-20], np.float32))


def test_csv_holds_the_same_numbers_exactly(tmp_path):
    with write(tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a.mp4", 'b,"c.mp4', "a.mp4"]
    assert np.array_equal(np.array([row["f000"] for row in rows], np.float32), FEATURES[[0, 1, 1], 0])


def test_a_wider_feature_has_wider_names(tmp_path):
    with feature_table(tmp_path / "t.csv", feature_dim=1001):
        pass
    assert (tmp_path / "t.csv").read_text().strip().endswith('"f0999","f1000"')


def test_another_ending_is_refused(tmp_path):
    refused = pytest.raises(FeatureTableError, match=r"expected a name that ends in \.parquet or \.csv")
    with refused, feature_table(tmp_path / "t.xlsx", feature_dim=2):
        pass


def test_an_error_leaves_what_stood_there_before(tmp_path):
    path = write(tmp_path / "t.csv")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), feature_table(path, feature_dim=2) as table:
        table.write_features(FEATURES)
        raise RuntimeError
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("max_bytes", [0, 10_000])
def test_a_disk_that_takes_no_more_is_reported_with_the_table_s_name(tmp_path, name, max_bytes):
    resource = pytest.importorskip("resource", reason="no limit on the size of files here")
    features = np.random.default_rng(0).normal(size=(20, 512)).astype(np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, limits[1]))
    try:
        with (
            pytest.raises(WriteError, match=rf"cannot write .*/{name}: File too large\. Make room"),
            feature_table(tmp_path / name, feature_dim=512) as table,
        ):
            table.write_features(features)
            table.write_keys(KEYS[:1] * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_identities_of_pictures_and_videos_come_from_one_pattern(tmp_path):
    for name in ("P01_a.jpg", "P01_b.png", "P02_c.mp4"):
        (tmp_path / name).touch()
    _, pictures, videos = sort_by_kind([tmp_path], identities=r"(P\d+)_")
    assert [source.identity for source in (*pictures, *videos)] == ["P01", "P01", "P02"]
    with pytest.raises(SourceError, match=r"gives none for P01_a\.jpg, nor for 1 others"):
        sort_by_kind([tmp_path], identities=r"(P02)_")
