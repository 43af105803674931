"""The files to prepare and the person in each: files, folders, VoxCeleb2 trees, CSVs, patterns."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TypeVar

from mien.data.remote import RemoteError, RemoteFile, is_url, list_remote, look_at, require_readable
from mien.data.spelling import missing, normal_form, spelt_as_on_disk

Item = TypeVar("Item")

PICTURE_SUFFIXES = frozenset(
    f".{name}" for name in ("bmp", "heic", "heif", "jpeg", "jpg", "png", "tif", "tiff", "webp")
)
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("264", "265", "3g2", "3gp", "asf", "avi", "divx", "dv", "flv", "gif", "h264", "h265", "hevc"),
        *("m2ts", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts"),
        *("vob", "webm", "wmv", "y4m"),
    )
)

FILE_NAMES, VOXCELEB = "file names", "a VoxCeleb2 tree"  # origins of identities; others: sub-folders, a CSV

_VOXCELEB_IDENTITY = re.compile(r"(?:vox2_)?(id\d{5,})")
_VOXCELEB_UTTERANCE = re.compile(r"\d{5}")


class SourceError(ValueError):
    """Sources that cannot be listed, named or given an identity; the message names the file or folder."""


@dataclass(frozen=True)
class Source:
    """One file to prepare.

    `video` is its unique name in the store: identity/video/utterance in a VoxCeleb2 tree, otherwise the path
    below the given folder. `identity` is the person it shows, according to `identity_from`.
    """

    path: Path
    video: str
    identity: str
    source_path: str  # relative to the given folder (or the folder of the given CSV or file)
    url: str = ""  # of a file in an object store; `path` is its copy while it is read
    listed: RemoteFile | None = None  # its entry in the remote listing
    identity_from: str = FILE_NAMES  # the origin of `identity`

    @property
    def where(self) -> str:
        """Its URL or its absolute path."""
        return self.url or str(self.path.absolute())

    @property
    def num_bytes(self) -> int:
        """Its size, at least 1; 1 where unknown."""
        if self.url:
            return max(1, self.listed.size_bytes) if self.listed else 1
        return max(1, self.path.stat().st_size) if self.path.exists() else 1

    def without_place(self, message: str) -> str:
        """A message about the file without its path in front, or with its URL for the path of its copy."""
        if not self.url:
            return message.removeprefix(f"{storable(str(self.path))}: ")  # shown beside the video's name
        if self.path.is_absolute():
            message = message.replace(storable(str(self.path.parent)), self.url.rpartition("/")[0])
        return message if self.url in message else f"{self.url}: {message}"

    def now(self) -> RemoteFile:
        """The current state of a file in an object store. RemoteError."""
        return self.listed or look_at(self.url)


@dataclass(frozen=True)
class Listing:
    """The files to prepare, sorted by `video`, and the number of other files."""

    sources: tuple[Source, ...]
    num_other_files: int  # files in the folders that are not videos by their suffix

    def in_words(self) -> str:
        """One line: the number of videos, the number of identities, and their origin."""
        words = f"{len(self.sources):,} videos of {identities_in_words(self.sources)}"
        return words + (f"; other files left aside: {self.num_other_files:,}" if self.num_other_files else "")


@dataclass(frozen=True)
class Shard:
    """Every `count`-th item of a list, beginning with the `number`-th (from 1)."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise SourceError(f"shard {self}: expected i/n with 1 <= i <= n")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/8` is the second of eight."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None:
            raise SourceError(f"shard {text!r}: expected i/n, as in 2/8")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """The items of this shard. The n shards are disjoint and complete."""
        return tuple(items[self.number - 1 :: self.count])


WHOLE = Shard()
"""The only shard of one."""


def list_sources(given: Sequence[Path | str], *, identities: str = "") -> Listing:
    """All files that `given` (files, folders, CSVs, URLs) names, each once.

    A CSV overrides the identity of a file that another source names too; `identities` overrides that of all
    files (see `with_identities`). SourceError if something is missing or unreadable, if nothing is found, or
    if two files would get the same name.
    """
    found: dict[str, Source] = {}
    rows: dict[str, Source] = {}
    num_other_files = 0
    for one in given:
        path = Path(one) if is_url(one) else spelt_as_on_disk(Path(one))
        if path.suffix.lower() == ".csv" and not is_url(one):
            rows |= {_key(source): source for source in _in_csv(path)}
            continue
        sources, others = _behind(str(one)) if is_url(one) else _at_path(path)
        found |= {_key(source): source for source in sources}
        num_other_files += others
    for key, row in rows.items():
        same = found.setdefault(key, row)
        if row.identity_from not in (FILE_NAMES, VOXCELEB):
            found[key] = replace(same, identity=row.identity, identity_from=row.identity_from)
    if not found:
        raise SourceError(
            f"no video in {', '.join(str(path) for path in given) or 'no source'} "
            f"(other files: {num_other_files}; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    sources = sorted(found.values(), key=lambda source: source.video)
    refuse_same_names(sources)
    return Listing(tuple(with_identities(sources, identities) if identities else sources), num_other_files)


def refuse_same_names(sources: Iterable[Source]) -> None:
    """SourceError if two files have the same name: one utterance of VoxCeleb2, or one path in two folders."""
    named: dict[str, Source] = {}
    for source in sources:
        other = named.setdefault(source.video, source)
        if other is not source:
            raise SourceError(
                f"{other.url or other.path} and {source.url or source.path} would both be called "
                f"{source.video!r}. Give the folder above both, so that their paths differ, or give them to "
                "two runs."
            )


def with_identities(sources: Sequence[Source], given: str) -> list[Source]:
    """The sources with the identities of a CSV (path,identity) or of a pattern.

    A pattern is a regular expression with one group, searched for in the path below the given folder.
    SourceError if it is not, and if a file gets no identity.
    """
    if given.lower().endswith(".csv"):
        rows = {_key(row): row for row in _in_csv(spelt_as_on_disk(Path(given)))}
        came_from = Path(given).name
        listed = (rows.get(_key(source)) for source in sources)
        found = [row.identity if row and row.identity_from == came_from else "" for row in listed]
    else:
        pattern, came_from = _one_group(given), f"the pattern {given}"
        matches = [pattern.search(source.source_path) for source in sources]
        found = [normal_form(match[1] or "").strip() if match else "" for match in matches]
    without = [source for source, identity in zip(sources, found, strict=True) if not identity]
    if without:
        more = f", nor for {len(without) - 1:,} others" if len(without) > 1 else ""
        raise SourceError(f"--identities {given}: gives none for {without[0].source_path}{more}")
    return [
        replace(source, identity=identity, identity_from=came_from)
        for source, identity in zip(sources, found, strict=True)
    ]


def _one_group(given: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise SourceError(f"--identities {given}: not a regular expression: {error}") from error
    if pattern.groups != 1:
        raise SourceError(
            f"--identities {given}: expected a CSV, or a pattern with one group, as in '(P[0-9]+)_'"
        )
    return pattern


def identities_in_words(sources: Sequence[Source]) -> str:
    """`3 identities, taken from sub-folders`; with several origins, also the number of files of each."""
    counts = Counter(source.identity_from for source in sources)
    origins = [
        origin + (f" ({count:,} of {len(sources):,} files)" if len(counts) > 1 else "")
        for origin, count in sorted(counts.items(), key=lambda pair: (pair[0] == FILE_NAMES, pair[0]))
    ]
    words = f"{len({source.identity for source in sources}):,} identities, taken from {', '.join(origins)}"
    if counts[FILE_NAMES] < 2:
        return words
    return f"{words}: each such file counts as another person unless --identities says who it shows"


def voxceleb_names(path: Path) -> tuple[str, str, str] | None:
    """(identity, video, utterance) of [vox2_]id00012/21Uxsk56VDQ/00001.mp4; None for other paths."""
    parts = path.absolute().parts
    if len(parts) < 4:
        return None
    identity = _VOXCELEB_IDENTITY.fullmatch(parts[-3])
    if identity is None or _VOXCELEB_UTTERANCE.fullmatch(path.stem) is None:
        return None
    return identity[1], parts[-2], path.stem


def identities_of(
    slots_by_track: Mapping[int, Collection[int]],
    size_by_track: Mapping[int, float],
    *,
    video: str,
    identity: str,
) -> dict[int, str]:
    """Identity by track number, from the slots in which each track is seen and the summed area of its boxes.

    The path names one person: the largest track, and every track that never appears together with a larger
    track of that person. Every other track gets an identity of its own: `video+1`, `video+2`, ... by size.
    """
    seen_with_person: set[int] = set()
    identities: dict[int, str] = {}
    num_others = 0
    for track in sorted(slots_by_track, key=lambda track: (-size_by_track[track], track)):
        if seen_with_person.isdisjoint(slots_by_track[track]):
            identities[track] = identity
            seen_with_person.update(slots_by_track[track])
        else:
            num_others += 1
            identities[track] = f"{video}+{num_others}"
    return dict(sorted(identities.items()))


def storable(text: str) -> str:
    """The text with invalid Unicode (such as a file name in another encoding) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _source(path: Path, relative: PurePath) -> Source:
    """The file at `path`, named by its path `relative` to what was given."""
    name = storable(relative.as_posix())
    voxceleb = voxceleb_names(path)
    if voxceleb is not None:
        return Source(path, storable("/".join(voxceleb)), voxceleb[0], name, identity_from=VOXCELEB)
    first, *below = name.split("/")  # the sub-folder, or the file itself if it lies in the given folder
    origin = "sub-folders" if below else FILE_NAMES
    return Source(path, name, normal_form(first), name, identity_from=origin)


def _at_path(path: Path) -> tuple[list[Source], int]:
    """A file, or the videos below a folder; and the number of other files. Hidden ones are neither."""
    if not path.is_dir():
        _require_file(path, where="")
        return [_source(path, Path(path.name))], 0
    files = list(walk_files(path, seen=set()))
    videos = [_source(file, file.relative_to(path)) for file in files if _is_video(file.name)]
    return videos, len(files) - len(videos)


def _behind(url: str) -> tuple[list[Source], int]:
    """The videos below a URL, or the file there, and the number of other files."""
    if url.lower().endswith(".csv"):
        raise SourceError(f"{url}: copy the list here; it may name URLs")
    try:
        found = list_remote(url)
    except RemoteError as error:
        raise SourceError(str(error)) from error
    videos = [_remote(file) for file in found if not file.name or _is_video(file.name)]
    return videos, len(found) - len(videos)


def _is_video(name: str) -> bool:
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def _remote(file: RemoteFile) -> Source:
    path = Path(file.url)
    return replace(_source(path, PurePath(file.name or path.name)), url=file.url, listed=file)


def walk_files(folder: Path, *, seen: set[str]) -> Iterator[Path]:
    """The files below a folder, sorted, without hidden ones; SourceError for an unreadable folder."""
    real = _real(folder)
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(
            f"cannot read the folder {folder}: {error.strerror}. Make it readable, or leave it out."
        ) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from walk_files(Path(entry.path), seen=seen)
        else:
            yield Path(entry.path)


def _in_csv(path: Path) -> Iterator[Source]:
    """The source of each row; `identity_from` is the CSV's name where the row gives an identity."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or []):
                raise SourceError(f"{path}: expected the columns path,identity; found {reader.fieldnames}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {error}") from error
    seen: dict[str, int] = {}
    for line, row in rows:
        where, given = f"{path}, line {line}", (row["path"] or "").strip()
        source = _listed_url(given, where=where) if is_url(given) else _listed_file(given, path, where=where)
        identity = normal_form((row.get("identity") or "").strip())
        if identity:
            source = replace(source, identity=identity, identity_from=path.name)
        elif source.identity_from != VOXCELEB:  # not the folders between the CSV and the file
            source = replace(source, identity=source.video, identity_from=FILE_NAMES)
        first_line = seen.setdefault(_key(source), line)
        if first_line != line:
            raise SourceError(f"{where}: {source.url or source.path} is in line {first_line} already")
        yield source


def _listed_file(given: str, table: Path, *, where: str) -> Source:
    """The file that a row of a CSV names."""
    if not given:
        raise SourceError(f"{where}: the path is empty")
    file = spelt_as_on_disk(table.parent / given)
    _require_file(file, where=f"{where}: ")
    inside = Path(os.path.relpath(file, table.parent))
    if ".." in inside.parts:  # a name in the store stays inside the store
        inside = Path(*file.resolve().parts[1:])
    return _source(file, inside)


def _listed_url(url: str, *, where: str) -> Source:
    """A row's URL, named by all of it but the protocol. Whether it is there shows when it is read."""
    try:
        require_readable(url)
    except RemoteError as error:
        raise SourceError(f"{where}: {error}") from error
    place = PurePath(url.partition("://")[2].lstrip("/"))
    if not place.parts or ".." in place.parts:
        raise SourceError(f"{where}: {url} names no file")
    return replace(_source(Path(url), place), url=url)


def _require_file(path: Path, *, where: str) -> None:
    if path.is_dir():
        raise SourceError(f"{where}{path} is a folder, expected a file")
    if not path.exists():
        raise SourceError(f"{where}{missing(path)}")


def _key(source: Source) -> str:
    return source.url or _real(source.path)


def _real(path: Path) -> str:
    return os.path.realpath(path)
