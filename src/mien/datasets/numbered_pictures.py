"""Folders of pictures whose file names are frame numbers, zero-padded or not: 0000.jpg, 732.jpg, 0.png."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from pathlib import Path

from mien.datasets.base import DatasetError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def numbered_pictures(folder: Path) -> dict[int, str]:
    """File name by frame number; other files are passed over. DatasetError when two names are one number."""
    names: dict[int, str] = {}
    for name in sorted(_entries(folder)):
        stem, dot, suffix = name.rpartition(".")
        if (dot + suffix).lower() in PICTURE_SUFFIXES and stem.isdecimal():
            if int(stem) in names:
                raise DatasetError(
                    f"{folder}: {names[int(stem)]} and {name} are both frame {int(stem)}; expected one"
                )
            names[int(stem)] = name
    return names


def _entries(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DatasetError(
            f"{folder}: {error.strerror}; expected a folder of pictures named by their frame numbers"
        ) from error


def require_shown(shown: Sized, numbers: Iterable[int], folder: Path) -> None:
    """DatasetError where not one of the labelled frames has its picture in the folder."""
    if not len(shown):
        first = min(numbers, default=0)
        raise DatasetError(
            f"{folder}: no picture of any labelled frame; expected {first:04d}.jpg or {first}.png and so on"
        )


def first_folder(root: Path, names: tuple[str, ...], *, holds: str) -> Path:
    """The first of `names` that is a folder in `root` ("." is root itself); DatasetError listing them all."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(
        f"{root}: expected a folder with {holds} named {' or '.join(names)}; found none of them"
    )


def relative(path: Path, root: Path) -> str:
    """With forward slashes, as tables have it."""
    return path.relative_to(root).as_posix()
