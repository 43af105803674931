from __future__ import annotations

import shutil

import pytest
from planted_tracking import prepare_planted

from mien.data.parts import merge, missing_shards
from mien.data.store import TrackStore
from mien.data.store_layout import StoreError, writing_to
from mien.data.store_writer import PrepareSettings
from mien.faces.contract import ContractMismatchError


def every_file(store):
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and "parts" not in path.parts and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def shards(planted_tree, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        prepare_planted(planted_tree, root / str(number), shard=f"{number}/3")
    return [root / str(number) for number in (1, 2, 3)]


def test_a_merge_that_broke_off_goes_on_to_the_unsharded_store(planted_tree, shards, tmp_path, monkeypatch):
    prepare_planted(planted_tree, tmp_path / "whole")
    copies = [shutil.copytree(shard, tmp_path / shard.name) for shard in shards]
    merge(copies[:2], tmp_path / "merged")

    def breaks_off(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mien.data.parts._bring", breaks_off)
        merge(copies, tmp_path / "merged")
    assert not (tmp_path / "merged/manifest.parquet").exists()
    merge([copies[2], copies[0], copies[1]], tmp_path / "merged")
    for copy in copies:
        shutil.rmtree(copy)
    assert every_file(tmp_path / "merged") == every_file(tmp_path / "whole")
    store = TrackStore.open(tmp_path / "merged")
    assert all(len(store.read_frames(track, [0])) == 1 for track in range(store.num_tracks))


def test_a_merged_store_can_be_prepared_further(planted_tree, shards, plant, tmp_path):
    tree = shutil.copytree(planted_tree, tmp_path / "mp4")
    plant(tree / "id00007/aaaaaaaaaaa/00001.mp4", "L" * 20)
    merge(shards, tmp_path / "merged")
    assert len(prepare_planted(tree, tmp_path / "merged")) == 7


def test_a_video_in_two_stores_is_refused(planted_tree, shards, tmp_path):
    prepare_planted(planted_tree / "id00003", tmp_path / "other")
    with pytest.raises(
        StoreError, match=r"'id00003/ddddddddddd/00001' is in .* and in .*; a video goes in once"
    ):
        merge([*shards, tmp_path / "other"], tmp_path / "merged")


def test_stores_made_differently_are_refused(planted_tree, shards, tmp_path):
    prepare_planted(planted_tree, tmp_path / "margin", shard="3/3", margin=0.4)
    with pytest.raises(ContractMismatchError, match=r"margin: 0\.4 in .*, 0\.2 in"):
        merge([*shards[:2], tmp_path / "margin"], tmp_path / "merged")
    prepare_planted(planted_tree, tmp_path / "runs", shard="3/3", settings=PrepareSettings(min_run_frames=5))
    with pytest.raises(StoreError, match=r"min_run_frames: 5 in .*, 17 in"):
        merge([*shards[:2], tmp_path / "runs"], tmp_path / "merged")


def test_an_unfinished_shard_is_refused(shards, tmp_path):
    unfinished = shutil.copytree(shards[0], tmp_path / "unfinished")
    (unfinished / "manifest.parquet").unlink()
    with pytest.raises(StoreError, match=r"unfinished \(shard 1/3\) is not finished"):
        merge([unfinished], tmp_path / "merged")


def test_shards_that_are_lacking_are_named(shards):
    assert missing_shards(shards) == []
    assert missing_shards([shards[1]]) == ["1/3", "3/3"]


def test_a_store_that_another_process_writes_to_is_not_merged_into(shards, tmp_path):
    with writing_to(tmp_path), pytest.raises(StoreError, match="another process is writing"):
        merge(shards, tmp_path)
