from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mien import cli
from mien.data.store import TrackStore
from mien.evaluate.features import embed_frames
from mien.train.encoder_file import load_encoder


def embed(*sources, encoder, out, more=()):
    return cli.main(["embed", *map(str, sources), "--encoder", str(encoder), "--out", str(out), *more])


def test_a_store_becomes_a_row_a_frame_and_face(disc_store, disc_encoder, tmp_path, capsys):
    out = tmp_path / "features.parquet"
    assert embed(disc_store, encoder=disc_encoder, out=out) == 0
    assert "480 rows of 32 features" in capsys.readouterr().out
    table = pq.read_table(out)
    assert table.num_rows == 12 * 40
    row = table.slice(3 * 40 + 5, 1).to_pylist()[0]
    assert row["path"] == "id3/video3/00001.mp4"
    assert (row["track"], row["frame"], row["seconds"], row["identity"]) == (0, 5, 0.2, "id3")
    frames = TrackStore.open(disc_store).read_frames(3, [5], size_px=36)
    expected = embed_frames(load_encoder(disc_encoder), frames)[0]
    assert np.allclose([row[f"f{number:03d}"] for number in range(32)], expected, atol=1e-5)


def test_a_file_that_is_no_encoder_is_refused(disc_store, tmp_path, capsys):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "model.pth")
    assert embed(disc_store, encoder=tmp_path / "model.pth", out=tmp_path / "t.csv") == 1
    assert "is a pickle" in capsys.readouterr().err
    assert embed(disc_store, encoder=tmp_path / "none", out=tmp_path / "t.csv") == 1
    assert "No such file" in capsys.readouterr().err


def test_a_table_of_another_kind_is_refused(disc_store, disc_encoder, tmp_path, capsys):
    assert embed(disc_store, encoder=disc_encoder, out=tmp_path / "t.txt") == 1
    assert "ends in .parquet or .csv" in capsys.readouterr().err


def test_a_folder_without_anything_to_embed_is_named(disc_encoder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert embed(tmp_path / "empty", encoder=disc_encoder, out=tmp_path / "t.csv") == 1
    assert "no store, video or picture in" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named(disc_store, disc_encoder, tmp_path, capsys):
    more = ("--device", "cuda")
    assert embed(disc_store, encoder=disc_encoder, out=tmp_path / "t.csv", more=more) == 1
    assert "sees no GPU here" in capsys.readouterr().err
