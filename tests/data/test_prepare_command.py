"""The verbs prepare, merge and inspect as a user types them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mien.cli import main
from mien.data.store import TrackStore
from tests.shipped import crop_contract_of_finder, write_faces


@pytest.fixture
def folder(tmp_path):
    """Three videos of 20 frames with one face, the last of them with none."""
    for name, face in (("anna/a.mp4", [0]), ("anna/b.mp4", [0]), ("ben/c.mp4", [])):
        write_faces(tmp_path / "videos" / name, [face] * 20)
    return tmp_path / "videos"


def test_prepare_shards_merge_and_inspect_from_the_command_line(folder, tmp_path, capsys):
    store = str(tmp_path / "store")
    options = ["--workers", "2", "--set", "jpeg.quality=95"]
    assert main(["prepare", str(folder), "--out", store, *options]) == 0
    out = capsys.readouterr().out
    assert "3 videos of 2 identities, taken from sub-folders" in out
    assert "60 decoded = 40 written + 20 no_face" in out
    assert "skipped: ben/c.mp4: no face in any of its 20 frames" in out
    whole = TrackStore.open(store)
    assert whole.contract == crop_contract_of_finder()
    assert whole.header.settings["jpeg"]["quality"] == 95
    assert whole.read_clip(0, 0, 9, 2).shape == (9, 256, 256, 3)

    for shard in ("1/2", "2/2"):
        place = str(tmp_path / f"shard{shard[0]}")
        assert (
            main(["prepare", str(folder), "--out", place, "--shard", shard, *options, "--workers", "0"]) == 0
        )
    merged = str(tmp_path / "merged")
    assert main(["merge", str(tmp_path / "shard1"), str(tmp_path / "shard2"), "--out", merged]) == 0
    assert (tmp_path / "merged/manifest.parquet").read_bytes() == (
        tmp_path / "store/manifest.parquet"
    ).read_bytes()

    assert main(["inspect", merged, "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page/index.html").exists()
    assert (tmp_path / "page/contact-sheet.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["VIDEOS", "--shard", "3/2"], "shard 3/2: expected i/n with 1 <= i <= n"),
        (["VIDEOS", "--set", "jpeg.qualty=9"], "unknown key 'qualty'; did you mean 'quality'?"),
        (["VIDEOS", "--set", "jpeg.quality=900"], "JPEG quality 900: expected 1 .. 100"),
        (["VIDEOS", "--strict"], "ben/c.mp4: no face in any of its 20 frames"),
        (["VIDEOS", "--workers", "-1"], "--workers -1: expected 0 or more"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_status_1(folder, tmp_path, capsys, arguments, says):
    given = [str(folder) if word == "VIDEOS" else word for word in arguments]
    workers = [] if "--workers" in given else ["--workers", "0"]
    status = main(["prepare", *given, *workers, "--out", str(tmp_path / "store")])
    assert status == 1
    assert says in capsys.readouterr().err


def test_the_command_line_imports_nothing_heavy_before_it_knows_the_arguments():
    code = (
        "import sys; from mien.cli import main\ntry: main(['prepare', '--help'])\nexcept SystemExit: pass\n"
    )
    code += "print(sorted({'torch', 'cv2', 'pyarrow', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_an_object_store_to_write_to_is_refused_before_any_folder_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "videos", "--out", "s3://bucket/store"]) == 1
    assert "Prepare into a folder and copy it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
