from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from mien import cli
from mien.data.store import TrackStore
from mien.evaluate import embed as embed_module
from mien.evaluate.embed import FeatureKey, feature_table
from mien.evaluate.features import embed_frames
from mien.train.encoder_file import load_encoder
from mien.video import write_video
from tests.shipped import crop_contract_of_finder, face_frames, few_people
from tests.tiny_encoder import write_encoder


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


def test_a_folder_without_anything_to_embed_is_named(disc_encoder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert embed(tmp_path / "empty", encoder=disc_encoder, out=tmp_path / "t.csv") == 1
    assert "no store, video or picture in" in capsys.readouterr().err


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two people, two short videos each, and a broken file."""
    folder = few_people(tmp_path_factory.mktemp("faces"), 2)
    (next(folder.rglob("*.mp4")).parent / "broken.mp4").write_bytes(b"")
    return folder / "mp4"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(
        tmp_path_factory.mktemp("encoder") / "encoder.safetensors", crop_contract_of_finder()
    )


def test_videos_become_a_row_a_frame_and_a_broken_one_is_named(videos, encoder, tmp_path, capsys):
    out = tmp_path / "features.csv"
    assert embed(videos, encoder=encoder, out=out) == 0
    said = capsys.readouterr()
    assert "broken.mp4: an empty file" in said.err
    assert "2 identities, taken from a VoxCeleb2 tree (4 of 5 files), sub-folders (1 of 5 files)" in said.err
    assert "5 sources: 0 without a face, 1 unreadable or broken off" in said.out
    table = pd.read_csv(out)
    assert table.groupby("path").frame.apply(list).to_list() == [list(range(40))] * 4
    assert np.allclose(table.seconds, table.frame / 25)
    assert sorted(table.identity.unique()) == ["id01000", "id01001"]


def test_strict_stops_at_a_broken_file(videos, encoder, tmp_path, capsys):
    out = tmp_path / "features.csv"
    assert embed(videos, encoder=encoder, out=out, more=("--strict",)) == 1
    assert "broken.mp4: an empty file" in capsys.readouterr().err
    assert not out.exists()


def test_faces_cropped_otherwise_than_the_encoders_are_refused(videos, disc_encoder, tmp_path, capsys):
    assert embed(videos, encoder=disc_encoder, out=tmp_path / "t.csv") == 1
    assert "detector: 'discs' in" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_named(disc_store, disc_encoder, tmp_path, capsys):
    more = ("--device", "cuda")
    assert embed(disc_store, encoder=disc_encoder, out=tmp_path / "t.csv", more=more) == 1
    assert "sees no GPU here" in capsys.readouterr().err


@pytest.fixture(scope="module")
def with_bystander(tmp_path_factory):
    """One video of 20 frames in which a second, smaller face is seen beside the first."""
    folder = tmp_path_factory.mktemp("videos")
    frames = np.full((20, 160, 280, 3), 90, np.uint8)
    frames[:, :, :160] = face_frames(0)[:20]
    frames[:, 20:140, 160:] = [cv2.resize(frame, (120, 120)) for frame in face_frames(1)[:20]]
    path = folder / "id00000" / "video00" / "00001.mp4"
    path.parent.mkdir(parents=True)
    write_video(path, frames, frames_per_second=25)
    return folder


def test_a_bystander_is_somebody_else_as_in_a_store(with_bystander, encoder, tmp_path):
    assert embed(with_bystander, encoder=encoder, out=tmp_path / "t.parquet") == 0
    table = pq.read_table(tmp_path / "t.parquet").to_pandas()
    store = tmp_path / "store"
    assert cli.main(["prepare", str(with_bystander), "--out", str(store), "--workers", "0"]) == 0
    tracks = TrackStore.open(store).tracks.to_pylist()
    expected = {int(row["track_id"].rpartition("#")[2]): row["identity"] for row in tracks}
    assert sorted(expected.values()) == ["id00000", "id00000/video00/00001+1"]
    assert dict(zip(table.track, table.identity, strict=True)) == expected
    assert table.groupby("track").size().to_list() == [20, 20]


def test_rows_of_a_video_stay_in_the_order_of_its_frames(with_bystander, encoder, tmp_path):
    assert embed(with_bystander, encoder=encoder, out=tmp_path / "t.parquet", more=("--batch", "7")) == 0
    table = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert table.frame.tolist() == [frame for frame in range(20) for _ in range(2)]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["t.parquet"]


def test_files_of_one_name_in_two_folders_are_refused(encoder, tmp_path, capsys):
    files = [tmp_path / folder / "1.mp4" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    assert embed(*files, encoder=encoder, out=tmp_path / "t.parquet") == 1
    assert "would both be called '1.mp4'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def mixed_sources(encoder, tmp_path_factory):
    """A store, a picture and two videos, 40 frames each, and their table in both formats."""
    folder = few_people(tmp_path_factory.mktemp("mixed"), 1, clips=2)
    first, second = sorted(folder.rglob("*.mp4"))
    store, picture = folder / "store", folder / "face.png"
    assert cli.main(["prepare", str(first), "--out", str(store), "--workers", "0"]) == 0
    cv2.imwrite(str(picture), face_frames(0)[0][:, :, ::-1])
    sources = [store, picture, first, second]
    for suffix in (".parquet", ".csv"):
        out = folder / f"whole{suffix}"
        assert embed(*sources, encoder=encoder, out=out, more=("--batch", "16")) == 0
    return sources, folder


@pytest.mark.parametrize(
    "case",
    [
        (".csv", 2, 7),  # in the batch of store and picture
        (".parquet", 4, 6),  # in the first video
        (".parquet", 7, 3),  # in the second one
    ],
)
def test_a_killed_run_goes_on_to_the_same_table(mixed_sources, encoder, tmp_path, monkeypatch, case):
    suffix, killed_at, calls_left = case
    sources, folder = mixed_sources
    out = tmp_path / f"t{suffix}"
    calls = []

    def counted(*args):
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        calls.append(1)
        return embed_frames(*args)

    monkeypatch.setattr(embed_module, "embed_frames", counted)
    assert embed(*sources, encoder=encoder, out=out, more=("--batch", "16")) == 130
    assert not out.exists()
    calls, killed_at = [], None
    assert embed(*sources, encoder=encoder, out=out, more=("--batch", "16")) == 0
    assert out.read_bytes() == (folder / out.name.replace("t.", "whole.")).read_bytes()
    assert len(calls) == calls_left
    assert list(tmp_path.iterdir()) == [out]


def test_rows_of_other_sources_are_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(embed_module, "ROWS_PER_GROUP", 8)
    out, features = tmp_path / "t.parquet", np.zeros((30, 2), np.float32)
    keys = [FeatureKey("a.mp4", 0, 0, 0.0, "")] * 30
    for made_from, num_rows in (("these", 30), ("these", 60), ("others", 30)):
        with (
            pytest.raises(KeyboardInterrupt),
            feature_table(out, feature_dim=2, made_from=made_from) as table,
        ):
            table.write_features(features)
            table.write_keys(keys)
            table.keep({"num_sources": num_rows})
            table.write_features(features)  # and was killed
            assert table.num_rows == num_rows
            raise KeyboardInterrupt
        with (
            pytest.raises(KeyboardInterrupt),
            feature_table(out, feature_dim=2, made_from=made_from) as table,
        ):
            assert table.resumed == {"num_sources": num_rows}
            raise KeyboardInterrupt
    with feature_table(out, feature_dim=2, made_from="others") as table:
        assert table.num_rows == 30
    assert pq.read_table(out).num_rows == 30
