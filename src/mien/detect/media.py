"""What `mien detect` is given: videos and pictures, each table's name, and no two with the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from mien.data.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES, storable, walk_files
from mien.data.spelling import missing, spelt_as_on_disk

PICTURES = "pictures"
"""The name of the one table that all pictures of a run share."""

_TAKEN = (PICTURES, "account", "overview")


class MediaError(ValueError):
    """Nothing to look at, or a file that is not there; names it."""


@dataclass(frozen=True)
class MediaFile:
    """A file, and what the table's column `input` calls it: its path below the folder that was given."""

    path: Path
    shown: str


@dataclass(frozen=True)
class Medium:
    """What becomes one table: a video, or all pictures. `name` is the table's, without its suffix."""

    kind: Literal["video", "pictures"]
    name: str
    files: tuple[MediaFile, ...]

    @property
    def num_bytes(self) -> int:
        """The size of its files, to tell progress by; at least 1."""
        return max(1, sum(_size(file.path) for file in self.files))


@dataclass(frozen=True)
class MediaListing:
    """The media, sorted by name, and how many other files lay in the folders."""

    media: tuple[Medium, ...]
    num_other_files: int


def list_media(given: Sequence[Path], *, leave_out: Path | None = None) -> MediaListing:
    """Everything that `given` (files and folders) names, each file once.

    Folders give what is a video or a picture by its suffix, but nothing below `leave_out`; a file that is
    given itself is taken wherever it lies and whatever it is called. MediaError where one does not exist, and
    where nothing is found.
    """
    found: dict[str, tuple[Path, Path]] = {}  # real path: path, root
    num_others = 0
    shut = None if leave_out is None else os.path.realpath(leave_out)
    for path in map(spelt_as_on_disk, given):
        if not path.exists():
            raise MediaError(missing(path))
        for file, root in _files(path):
            real = os.path.realpath(file)
            if shut is not None and path.is_dir() and os.path.commonpath([shut, real]) == shut:
                continue
            if path.is_dir() and not _is_media(file):
                num_others += 1
            else:
                found.setdefault(real, (file, root))
    if not found:
        own = "" if leave_out is None else f"nothing below {leave_out} is read; "
        raise MediaError(
            f"no video or picture in {', '.join(map(str, given))} (other files: {num_others}; {own}"
            f"known suffixes: {' '.join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))})"
        )
    return MediaListing(_named(list(found.values())), num_others)


def _files(given: Path) -> Iterator[tuple[Path, Path]]:
    """Files with the folder that they are named from; for a file given by itself that is its parent."""
    if given.is_dir():
        yield from ((file, given) for file in walk_files(given, seen=set()))
    else:
        yield given, given.parent


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES


def _named(found: list[tuple[Path, Path]]) -> tuple[Medium, ...]:
    relative = [PurePosixPath(storable(path.relative_to(root).as_posix())) for path, root in found]
    if len(set(relative)) < len(relative):  # from several folders: named from the one above them all
        above = os.path.commonpath([os.path.abspath(root) for _, root in found])  # noqa: PTH100 -- links stay, `..` goes
        relative = [
            PurePosixPath(storable(Path(os.path.relpath(path, above)).as_posix())) for path, _ in found
        ]
    files = sorted(
        (MediaFile(path, str(name)) for (path, _), name in zip(found, relative, strict=True)),
        key=lambda file: file.shown,
    )
    pictures = tuple(file for file in files if file.path.suffix.lower() in PICTURE_SUFFIXES)
    videos = [file for file in files if file not in pictures]
    media = [Medium("video", name, (file,)) for file, name in zip(videos, _names(videos), strict=True)]
    if pictures:
        media.append(Medium("pictures", PICTURES, pictures))
    return tuple(sorted(media, key=lambda medium: medium.name))


def _names(videos: Sequence[MediaFile]) -> list[str]:
    """The path without suffix; with it where two would be one table, also on a disk that ignores case."""
    bare = [str(PurePosixPath(file.shown).with_suffix("")) for file in videos]
    counts = Counter(name.casefold() for name in (*bare, *_TAKEN))
    names = [
        short if counts[short.casefold()] == 1 else file.shown
        for short, file in zip(bare, videos, strict=True)
    ]
    taken = set(_TAKEN)
    for at, name in enumerate(names):
        number = 2
        while names[at].casefold() in taken:
            names[at] = f"{name}-{number}"
            number += 1
        taken.add(names[at].casefold())
    return names


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
