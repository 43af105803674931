from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from mien import cli
from mien.data.store import TrackStore
from mien.evaluate.features import embed_frames
from mien.faces.align import crop_contract
from mien.faces.landmarks_beside import FaceLandmarksBeside
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos
from mien.train.encoder_file import load_encoder, save_encoder


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


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two drawn people, two short videos each, the points beside, and a broken file."""
    folder = tmp_path_factory.mktemp("drawn")
    settings = DrawnVideos(num_people=2, videos_per_person=2, frames_per_video=20, side_px=160)
    write_drawn_videos(folder, settings)
    (next(folder.rglob("*.mp4")).parent / "broken.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def drawn_encoder(tmp_path_factory, disc_encoder):
    encoder = load_encoder(disc_encoder)
    path = tmp_path_factory.mktemp("drawn_encoder") / "encoder.safetensors"
    inputs = dataclasses.replace(encoder.inputs, crop=crop_contract(FaceLandmarksBeside()))
    settings = {"backbone_name": "resnet18", "backbone_settings": {"width": 4}}
    save_encoder(path, encoder.backbone, inputs=inputs, training={}, **settings)
    return path


def test_videos_become_a_row_a_frame_and_a_broken_one_is_named(drawn, drawn_encoder, tmp_path, capsys):
    out = tmp_path / "features.csv"
    more = ("--landmarks", "beside")
    assert embed(drawn, encoder=drawn_encoder, out=out, more=more) == 0
    said = capsys.readouterr()
    assert "broken.landmarks.csv: not there" in said.err
    assert "5 sources: 0 without a face, 1 unreadable or broken off" in said.out
    table = pd.read_csv(out)
    assert table.groupby("path").frame.apply(list).to_list() == [list(range(20))] * 4
    assert np.allclose(table.seconds, table.frame / 25)
    assert sorted(table.identity.unique()) == ["id00000", "id00001"]


def test_strict_stops_at_a_broken_file(drawn, drawn_encoder, tmp_path, capsys):
    out = tmp_path / "features.csv"
    assert embed(drawn, encoder=drawn_encoder, out=out, more=("--landmarks", "beside", "--strict")) == 1
    assert "broken.landmarks.csv: not there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_faces_cropped_otherwise_than_the_encoders_are_refused(drawn, disc_encoder, tmp_path, capsys):
    more = ("--landmarks", "beside")
    assert embed(drawn, encoder=disc_encoder, out=tmp_path / "t.csv", more=more) == 1
    assert "detector: 'discs' in" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named(disc_store, disc_encoder, tmp_path, capsys):
    more = ("--device", "cuda")
    assert embed(disc_store, encoder=disc_encoder, out=tmp_path / "t.csv", more=more) == 1
    assert "sees no GPU here" in capsys.readouterr().err
