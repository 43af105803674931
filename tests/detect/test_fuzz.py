"""Damaged media: no crash, no hang, and an account that names every file that is not whole."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest

from mien.detect.detector import Detector
from mien.detect.media import PICTURES, list_media
from mien.detect.recording import DAMAGED, DIED, UNREADABLE, WHOLE, record_medium
from mien.detect.table import Detections
from mien.faces.tracked import UNREADABLE as UNREADABLE_PICTURE
from tests.detect.mutated_media import write_mutated, write_seeds
from tests.detect.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return write_seeds(tmp_path_factory.mktemp("seeds"))


def assert_told(accounts, out):
    """Every table has its rows, and what is wrong names its file."""
    for account in accounts:
        name, status = account["name"], account["status"]
        assert status in (WHOLE, DAMAGED, UNREADABLE), account
        if name == PICTURES:
            reasons = Detections.load(out / f"{name}.parquet").table["reason"].to_pylist()
            assert reasons.count(UNREADABLE_PICTURE) > 0
            continue
        assert (status == WHOLE) == (not account["message"]), account
        assert status == WHOLE or name in account["message"], account
        assert (status == UNREADABLE) == (int(account["num_frames"]) == 0), account
        if status != UNREADABLE:
            table = Detections.load(out / f"{name}.parquet")
            assert table.num_frames == int(account["num_frames"])


@pytest.mark.usefixtures("points_beside")
def test_a_few_damaged_files_are_told(seeds, beside_model, tmp_path):
    folder = write_mutated(tmp_path / "media", [seed for seed in seeds if seed.suffix != ".png"], 30)
    detector = Detector(beside_model)
    media = [medium for medium in list_media([folder]).media if medium.kind == "video"]
    accounts = [vars(record_medium(medium, detector, tmp_path / "out")) for medium in media]
    assert_told(accounts, tmp_path / "out")
    assert {WHOLE, DAMAGED, UNREADABLE} >= {account["status"] for account in accounts}
    assert any(account["status"] != WHOLE for account in accounts)


@pytest.mark.slow
def test_77_damaged_files_are_told_by_the_command(seeds, tmp_path):
    folder = write_mutated(tmp_path / "media", seeds, 77)  # seven of each kind
    out = tmp_path / "out"
    command = [sys.executable, "-m", "mien", "detect", str(folder)]
    command += ["--model", str(write_tiny_model(tmp_path)), "--out", str(out), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1, done.stderr
    with (out / "account.csv").open(newline="") as file:
        accounts = list(csv.DictReader(file))
    videos = [path for path in folder.iterdir() if path.suffix in (".mp4", ".mov", ".avi", ".mkv")]
    assert len(accounts) > len(videos)
    assert not [account for account in accounts if account["status"] == DIED]
    assert_told(accounts, out)
