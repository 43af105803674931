"""What `mien detect` is given: videos and pictures, each table's name, and no two with the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
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
        """The size of its files, for the progress bar; at least 1."""
        return max(1, sum(file.path.stat().st_size for file in self.files if file.path.exists()))


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
    found: dict[str, tuple[Path, Path]] = {}  # real path: path, the folder that it is named from
    num_others = 0
    shut = None if leave_out is None else os.path.realpath(leave_out)
    for path in map(spelt_as_on_disk, given):
        if not path.exists():
            raise MediaError(missing(path))
        if not path.is_dir():
            found.setdefault(os.path.realpath(path), (path, path.parent))
            continue
        for file in walk_files(path, seen=set()):
            real = os.path.realpath(file)
            if shut is not None and os.path.commonpath([shut, real]) == shut:
                continue
            if file.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES:
                found.setdefault(real, (file, path))
            else:
                num_others += 1
    if not found:
        own = "" if leave_out is None else f"nothing below {leave_out} is read; "
        raise MediaError(
            f"no video or picture in {', '.join(map(str, given))} (other files: {num_others}; {own}"
            f"known suffixes: {' '.join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES))})"
        )
    return MediaListing(_named(list(found.values())), num_others)


def _named(found: list[tuple[Path, Path]]) -> tuple[Medium, ...]:
    relative = [path.relative_to(root).as_posix() for path, root in found]
    if len(set(relative)) < len(relative):  # from several folders: named from the one above them all
        above = os.path.commonpath([os.path.abspath(root) for _, root in found])  # noqa: PTH100 -- links stay, `..` goes
        relative = [Path(os.path.relpath(path, above)).as_posix() for path, _ in found]
    named = zip(map(storable, relative), (path for path, _ in found), strict=True)
    files = [MediaFile(path, shown) for shown, path in sorted(named)]
    videos = [file for file in files if file.path.suffix.lower() not in PICTURE_SUFFIXES]
    pictures = tuple(file for file in files if file.path.suffix.lower() in PICTURE_SUFFIXES)
    media = [Medium("video", name, (file,)) for file, name in zip(videos, _names(videos), strict=True)]
    if pictures:
        media.append(Medium("pictures", PICTURES, pictures))
    return tuple(sorted(media, key=lambda medium: medium.name))


def _names(videos: Sequence[MediaFile]) -> list[str]:
    """The path without suffix; with it where two would be one table, also on a disk that ignores case."""
    bare = [str(PurePosixPath(file.shown).with_suffix("")) for file in videos]
    counts = Counter(name.casefold() for name in (*bare, *_TAKEN))
    taken, names = set(_TAKEN), []
    for short, file in zip(bare, videos, strict=True):
        name = short if counts[short.casefold()] == 1 else file.shown
        numbered = chain([name], (f"{name}-{number}" for number in count(2)))
        names.append(next(one for one in numbered if one.casefold() not in taken))
        taken.add(names[-1].casefold())
    return names
