from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from planted_tracking import PlantedTracking, prepare_planted

from mien.data.accounts import format_accounts
from mien.data.jobs import WorkersDieError
from mien.data.parts import Fingerprint
from mien.data.prepare import StrictError, plan_work
from mien.data.sources import list_sources
from mien.data.store import TrackStore
from mien.data.store_layout import StoreError, writing_to
from mien.data.store_writer import JpegSettings, PrepareSettings, write_video
from mien.faces.contract import ContractMismatchError

TABLES = ("manifest.parquet", "frames.parquet", "frames.index.npy", "accounts.parquet", "store.json")


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a finished store that must not depend on how the run went."""
    crops = sorted(store.glob("crops/**/*.tar"))
    return {
        str(path.relative_to(store)): path.read_bytes() for path in [*map(store.joinpath, TABLES), *crops]
    }


@pytest.fixture(scope="module")
def unbroken(planted_tree, tmp_path_factory):
    store = tmp_path_factory.mktemp("unbroken") / "store"
    accounts = prepare_planted(planted_tree, store)
    return store, accounts


@pytest.fixture
def tree(planted_tree, tmp_path):
    """A copy of the planted tree that a test may change."""
    return Path(shutil.copytree(planted_tree, tmp_path / "mp4"))


def by_name(accounts):
    return {account.source_path: account for account in accounts}


def test_every_decoded_frame_is_accounted_for(unbroken):
    store, accounts = unbroken
    decoded = {account.source_path: account.num_decoded for account in accounts}
    assert decoded["id00002/ccccccccccc/00001.mp4"] == 60
    assert by_name(accounts)["id00002/ccccccccccc/00001.mp4"].not_written == {"between_grid_times": 10}
    assert by_name(accounts)["id00001/aaaaaaaaaaa/00002.mp4"].not_written == {"no_face": 3}
    table = pq.read_table(store / "accounts.parquet").to_pandas()
    reasons = table.filter(like="not_written_").sum(axis=1)
    assert (table.num_decoded == table.num_written + reasons).all()
    assert pq.read_metadata(store / "frames.parquet").num_rows == table.num_positions.sum()


def test_the_store_does_not_depend_on_the_number_of_processes(planted_tree, unbroken, tmp_path):
    prepare_planted(planted_tree, tmp_path, workers=3)
    assert contents(tmp_path) == contents(unbroken[0])


def test_a_run_that_stopped_between_two_files_goes_on_to_the_same_store(planted_tree, unbroken, tmp_path):
    with pytest.raises(ArithmeticError):
        prepare_planted(planted_tree, tmp_path, fails_at="00002.mp4")
    done = sorted(tmp_path.glob("parts/**/*.parquet"))
    times = [path.stat().st_mtime_ns for path in done]
    assert 0 < len(done) < 6
    prepare_planted(planted_tree, tmp_path)
    assert [path.stat().st_mtime_ns for path in done] == times  # not done again
    assert contents(tmp_path) == contents(unbroken[0])


RUN = "import sys; sys.path[:0] = [{planted!r}]\nfrom planted_tracking import prepare_planted\n"
RUN += "if __name__ == '__main__':\n    prepare_planted({tree!r}, {store!r}, workers={workers}, {more})\n"


def begin_run(script: Path, tree: Path, store: Path, *, workers: int, more: str = "") -> subprocess.Popen:
    planted = str(Path(__file__).parent / "planted")
    script.write_text(
        RUN.format(planted=planted, tree=str(tree), store=str(store), workers=workers, more=more)
    )
    return subprocess.Popen([sys.executable, script], start_new_session=True, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_store(planted_tree, unbroken, tmp_path):
    """MIEN_KILLS sets how often (default 3)."""
    rng = np.random.default_rng()
    store = tmp_path / "store"
    num_killed = 0
    while num_killed < int(os.environ.get("MIEN_KILLS", "3")):
        run = begin_run(tmp_path / "run.py", planted_tree, store, workers=2, more="seconds_a_frame=0.01")
        time.sleep(rng.uniform(1.0, 3.5))
        if run.poll() is not None:  # it got to the end
            assert run.returncode == 0
            assert contents(store) == contents(unbroken[0])
            shutil.rmtree(store)
            continue
        os.kill(run.pid, signal.SIGKILL)  # its workers are left to themselves
        run.wait()
        num_killed += 1
    prepare_planted(planted_tree, store, workers=2)
    assert contents(store) == contents(unbroken[0])
    assert not (store / "tmp").exists()


def test_a_full_disk_stops_the_run_cleanly_and_it_goes_on_later(planted_tree, unbroken, tmp_path):
    store = tmp_path / "store"

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    planted = str(Path(__file__).parent / "planted")
    script = tmp_path / "run.py"
    script.write_text(
        RUN.format(planted=planted, tree=str(planted_tree), store=str(store), workers=1, more="")
    )
    run = subprocess.run(
        [sys.executable, script], preexec_fn=little_room, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert f"WriteError: cannot write {store}" in run.stderr
    assert "run the same command again" in run.stderr
    assert not list(store.glob("tmp/*"))
    prepare_planted(planted_tree, store)
    assert contents(store) == contents(unbroken[0])


def spoil(tree: Path, plant) -> dict[str, str]:
    """Files that cannot be prepared, with what is said of them."""
    (tree / "id00009").mkdir()
    (tree / "id00009/empty.mp4").write_bytes(b"")
    (tree / "id00009/text.mp4").write_text("not a video\n" * 50)
    whole = (tree / "id00001/aaaaaaaaaaa/00001.mp4").read_bytes()
    (tree / "id00009/cut.mp4").write_bytes(whole[: len(whole) // 3])
    plant(tree / "id00009/faceless.mp4", "." * 20)
    return {
        "empty": "0 bytes",
        "text": "not a video",
        "cut": "cut short",
        "faceless": "no face in any of its 20",
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_prepared_is_a_recorded_skip_with_file_and_reason(tree, plant, tmp_path, workers):
    says = spoil(tree, plant)
    accounts = by_name(prepare_planted(tree, tmp_path / "store", workers=workers))
    assert len(accounts) == 10
    for name, reason in says.items():
        account = accounts[f"id00009/{name}.mp4"]
        assert account.status == "skipped"
        assert reason in account.message
    recorded = pq.read_table(tmp_path / "store/accounts.parquet").to_pylist()
    assert {row["source_path"] for row in recorded if row["status"] == "skipped"} == {
        f"id00009/{name}.mp4" for name in says
    }
    assert "id00009" not in TrackStore.open(tmp_path / "store").tracks["identity"].to_pylist()


def test_strict_makes_a_skip_an_error_also_one_recorded_earlier(tree, plant, tmp_path):
    plant(tree / "id00009/faceless.mp4", "." * 20)
    for _ in range(2):
        with pytest.raises(StrictError, match=r"id00009/faceless\.mp4: no face in any of its 20 frames"):
            prepare_planted(tree, tmp_path / "store", strict=True)


def test_a_damaged_file_keeps_what_could_be_read(tree, tmp_path):
    video = tree / "id00002/ccccccccccc/00001.mp4"
    content = bytearray(video.read_bytes())
    middle = content.find(b"mdat") + (len(content) - content.find(b"mdat")) // 2
    content[middle : middle + 3000] = bytes(3000)
    video.write_bytes(content)
    account = by_name(prepare_planted(tree, tmp_path / "store"))["id00002/ccccccccccc/00001.mp4"]
    assert account.status == "partial"
    assert "damaged or cut short" in account.message
    assert 0 < account.num_written < 50
    assert account.num_decoded == 60
    assert account.not_written["unreadable"] > 0


def test_a_file_whose_process_dies_is_recorded_and_tried_again(tree, unbroken, tmp_path):
    store = tmp_path / "store"
    accounts = by_name(prepare_planted(tree, store, workers=2, dies_at="00002.mp4"))
    died = accounts["id00001/aaaaaaaaaaa/00002.mp4"]
    assert died.status == "skipped"
    assert died.message == "the process that worked on it died: killed by SIGKILL (out of memory?)"
    assert sum(account.status == "done" for account in accounts.values()) == 4
    prepare_planted(tree, store)
    assert contents(store) == contents(unbroken[0])


def test_other_settings_than_the_store_was_begun_with_are_refused(planted_tree, tmp_path):
    prepare_planted(planted_tree, tmp_path)
    other = PrepareSettings(min_run_frames=9, jpeg=JpegSettings(quality=80))
    with pytest.raises(
        StoreError, match=r"(?s)jpeg\.quality: 90 in .*, 80 in.*min_run_frames: 17 in .*, 9 in"
    ):
        prepare_planted(planted_tree, tmp_path, settings=other)
    with pytest.raises(ContractMismatchError, match=r"margin: 0\.2 in .*, 0\.5 in this run"):
        prepare_planted(planted_tree, tmp_path, margin=0.5)
    with pytest.raises(StoreError, match="holds shard 1/1, this run is shard 1/2"):
        prepare_planted(planted_tree, tmp_path, shard="1/2")
    header = tmp_path / "store.json"
    plain = json.loads(header.read_text())
    plain["settings"]["tracking"]["max_faces"] = 4  # a setting of earlier versions
    header.write_text(json.dumps(plain))
    with pytest.raises(StoreError, match=r"tracking\.max_faces: 4 in .*, no such setting in this run"):
        prepare_planted(planted_tree, tmp_path)


def test_a_file_that_has_changed_is_done_again_and_a_touched_one_is_not(tree, plant, tmp_path):
    store = tmp_path / "store"
    prepare_planted(tree, store)
    changed, touched = tree / "id00001/aaaaaaaaaaa/00001.mp4", tree / "id00001/aaaaaaaaaaa/00002.mp4"
    plant(changed, "L" * 25, seed=9)
    os.utime(touched, (1, 1))
    part = store / "parts/id00001/aaaaaaaaaaa/00002.parquet"
    before = part.stat().st_mtime_ns
    accounts = by_name(prepare_planted(tree, store))
    assert accounts["id00001/aaaaaaaaaaa/00001.mp4"].num_decoded == 25
    assert part.stat().st_mtime_ns == before
    fresh = tmp_path / "fresh"
    prepare_planted(tree, fresh)
    assert contents(store) == contents(fresh)


def test_videos_added_later_give_the_store_of_one_run(tree, unbroken, tmp_path):
    prepare_planted(tree / "id00001", tmp_path / "store")
    accounts = prepare_planted([tree / "id00002", tree / "id00003"], tmp_path / "store")
    assert len(accounts) == 6
    theirs, ours = (pq.read_table(path / "manifest.parquet") for path in (unbroken[0], tmp_path / "store"))
    assert ours.drop_columns("source_path") == theirs.drop_columns("source_path")


def test_another_file_of_a_name_that_the_store_has_is_refused(plant, tmp_path):
    plant(tmp_path / "x/a.mp4", "L" * 5)
    plant(tmp_path / "y/a.mp4", "L" * 6)
    prepare_planted(tmp_path / "x", tmp_path / "store")
    with pytest.raises(StoreError, match=r"y/a\.mp4 would be called 'a\.mp4'.*x/a\.mp4"):
        prepare_planted(tmp_path / "y", tmp_path / "store")


def test_faces_refused_beside_others_are_counted_in_the_account(plant, tmp_path):
    path = tmp_path / "a.mp4"
    plant(path, "L" * 5)
    looks = [
        replace(look, refused=("face_too_small",) if number < 3 else ())
        for number, look in enumerate(PlantedTracking()(path))
    ]
    (source,) = list_sources([path]).sources
    account = write_video(
        tmp_path / "store",
        source,
        looks,
        fingerprint=Fingerprint.take(path),
        frames_per_second=25,
        jpeg=JpegSettings(),
        notes="HDR",
    )
    assert account.notes == "HDR; frames that keep a face and in which another was refused: 3 face_too_small"


def test_another_identity_relabels_without_preparing_again(plant, tmp_path):
    plant(tmp_path / "videos/a.mp4", "B" * 20)
    store = tmp_path / "store"
    prepare_planted(tmp_path / "videos", store)
    crops = store / "crops/a.mp4.tar"
    before = crops.stat().st_mtime_ns
    table = tmp_path / "people.csv"
    table.write_text("path,identity\nvideos/a.mp4,anna\n")
    prepare_planted([tmp_path / "videos", table], store)
    assert TrackStore.open(store).tracks["identity"].to_pylist() == ["anna", "a.mp4+1"]
    assert crops.stat().st_mtime_ns == before


def test_two_runs_do_not_write_to_one_store(planted_tree, tmp_path):
    with writing_to(tmp_path), pytest.raises(StoreError, match=r"another process is writing.*--shard"):
        prepare_planted(planted_tree, tmp_path)


def test_a_file_whose_name_is_no_unicode_is_prepared(plant, tmp_path):
    plant(tmp_path / "a.mp4", "L" * 20)
    odd = tmp_path / "videos" / os.fsdecode(b"caf\xe9.mp4")
    odd.parent.mkdir()
    (tmp_path / "a.mp4").rename(odd)
    (tmp_path / "videos" / os.fsdecode(b"\xff.mp4")).write_bytes(b"")
    accounts = prepare_planted(tmp_path / "videos", tmp_path / "store")
    assert [account.status for account in accounts] == ["skipped", "done"]
    assert len(TrackStore.open(tmp_path / "store").read_frames(0, [0])) == 1


def test_a_store_of_no_face_at_all_is_a_store_of_no_tracks(plant, tmp_path):
    plant(tmp_path / "videos/a.mp4", "." * 20)
    (account,) = prepare_planted(tmp_path / "videos", tmp_path / "store")
    assert account.status == "skipped"
    assert TrackStore.open(tmp_path / "store").num_tracks == 0


def test_a_source_that_cannot_be_read_now_keeps_its_crops(tree, unbroken, tmp_path):
    store = tmp_path / "store"
    prepare_planted(tree, store)
    gone = tree / "id00001/aaaaaaaaaaa/00001.mp4"
    gone.unlink()
    gone.symlink_to(tmp_path / "a-disk-that-is-away")
    plan = plan_work(store, list_sources([tree]).sources)
    assert (plan.pending, len(plan.done)) == ((), 6)
    prepare_planted(tree, store)
    assert contents(store) == contents(unbroken[0])


def test_a_changed_source_that_cannot_be_opened_keeps_its_crops(tree, unbroken, plant, tmp_path, monkeypatch):
    store = tmp_path / "store"
    prepare_planted(tree, store)
    plant(tree / "id00001/aaaaaaaaaaa/00001.mp4", "L" * 25, seed=9)

    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Fingerprint, "take", closed)
    prepare_planted(tree, store)
    assert contents(store) == contents(unbroken[0])


def test_a_process_that_dies_over_a_changed_source_leaves_the_crops_there_were(
    tree, unbroken, plant, tmp_path
):
    store = tmp_path / "store"
    prepare_planted(tree, store)
    plant(tree / "id00001/aaaaaaaaaaa/00002.mp4", "L" * 25, seed=9)
    prepare_planted(tree, store, workers=1, dies_at="00002.mp4")
    assert contents(store) == contents(unbroken[0])
    accounts = by_name(prepare_planted(tree, store))  # tried again
    assert accounts["id00001/aaaaaaaaaaa/00002.mp4"].num_decoded == 25


def test_files_whose_processes_died_before_come_last_and_stop_the_run_no_more(plant, tmp_path):
    videos, store = tmp_path / "videos", tmp_path / "store"
    for number in range(5):
        plant(videos / f"{number}/poison.mp4", "L" * 20, seed=number)
    plant(videos / "9/good.mp4", "L" * 20)
    with pytest.raises(WorkersDieError):
        prepare_planted(videos, store, workers=1, dies_at="poison.mp4")
    plan = plan_work(store, list_sources([videos]).sources)
    assert plan.pending[0].video == "9/good.mp4"
    assert plan.num_died == 5
    accounts = by_name(prepare_planted(videos, store, workers=1, dies_at="poison.mp4"))
    assert [name for name, account in accounts.items() if account.status == "done"] == ["9/good.mp4"]
    assert TrackStore.open(store).num_tracks == 1


def test_what_is_said_of_a_skipped_file_names_it_once(tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    monkeypatch.chdir(tmp_path)
    for given in (Path("text.mp4"), tmp_path):
        accounts = prepare_planted(given, tmp_path / "store" / given.name)
        assert "\n  skipped: text.mp4: not a video" in format_accounts(accounts)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_name_that_the_store_cannot_take_costs_that_file_alone(plant, tmp_path, workers):
    folder, long_name = tmp_path / "videos", "x" * 245 + ".mp4"  # with .parquet it is longer than 255 bytes
    for name in ("a.mp4", "a.mp4.parquet/inside.mp4", "z.mp4"):
        plant(folder / name, "L" * 20)
    shutil.copyfile(folder / "z.mp4", folder / long_name)
    for _ in range(2):  # the second run goes on: what could be written is done
        accounts = by_name(prepare_planted(folder, tmp_path / "store", workers=workers))
        assert {name for name, account in accounts.items() if account.status == "done"} == {
            "a.mp4",
            "z.mp4",
        }
        assert "Its name is too long for this disk: give the source a shorter" in accounts[long_name].message
        assert "where a folder is needed" in accounts["a.mp4.parquet/inside.mp4"].message
    recorded = pd.read_csv(tmp_path / "store/accounts.csv").set_index("source_path")
    assert recorded.status.to_dict() == {name: account.status for name, account in accounts.items()}
    assert recorded.loc["z.mp4", ["num_decoded", "num_written"]].tolist() == [20, 20]
