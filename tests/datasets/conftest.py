"""Small trees in the real layouts of the labelled sets, with known labels."""

import csv
from pathlib import Path

import pytest

BP4D_ACTION_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)


@pytest.fixture
def write_rows():
    """Write a CSV of those rows; folders are made."""

    def write(path: Path, rows) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        return path

    return write


@pytest.fixture
def touch():
    """Make empty files."""

    def make(*paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def bp4d_task(write_rows, touch):
    """One task of BP4D: frames numbered from `first`, `active[frame]` = AUs present, `hidden` not coded."""

    def write(root, name, active, *, first=2440, hidden=(), digits=4, sequences="Sequences(2D+3D)"):
        rows = [list(range(100))]
        for offset, present in enumerate(active):
            cells = [9 if au in hidden else int(au in present) for au in range(1, 100)]
            rows.append([first + offset, *cells])
        write_rows(root / "AUCoding" / "AU_OCC" / f"{name}.csv", rows)
        subject, task = name.split("_")
        numbers = [str(first + k).zfill(digits) for k in range(len(active))]
        touch(*(root / sequences / subject / task / f"{n}.jpg" for n in numbers))

    return write


@pytest.fixture
def disfa_subject(write_rows, touch):
    """One subject of DISFA: `intensity_by_au[au][t]`; media is "video" or "pictures"."""

    def write(root, subject, intensity_by_au, *, media="video"):
        length = len(next(iter(intensity_by_au.values())))
        for au in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26):
            values = intensity_by_au.get(au, [0] * length)
            path = root / "ActionUnit_Labels" / subject / f"{subject}_au{au}.txt"
            write_rows(path, [[t + 1, value] for t, value in enumerate(values)])
        if media == "video":
            touch(root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi")
        else:
            touch(*(root / subject / f"{t}.png" for t in range(length)))

    return write


@pytest.fixture
def gft_subject(write_rows, touch):
    """One subject of GFT: `codes[au][t]`, columns in the order of the dictionary."""

    def write(root, subject, codes, *, first=1, prefix="AU", media="video"):
        length = len(next(iter(codes.values())))
        header = [f"{prefix}{au}" for au in codes]
        rows = [[*(codes[au][t] for au in codes), first + t] for t in range(length)]
        write_rows(root / "labels" / f"{subject}.csv", [[*header, "frame"], *rows])
        if media == "video":
            touch(root / "videos" / f"{subject}.mp4")
        else:
            touch(*(root / "frames" / subject / f"{first + t:05d}.jpg" for t in range(length)))

    return write
