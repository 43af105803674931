"""Which files to prepare and who each shows: files, folders, VoxCeleb2 trees, a CSV, a pattern."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
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

_VOXCELEB_IDENTITY = re.compile(r"(?:vox2_)?(id\d{5,})")
_VOXCELEB_UTTERANCE = re.compile(r"\d{5}")


class SourceError(ValueError):
    """Sources that cannot be listed, named or given an identity; names the file or the folder."""


@dataclass(frozen=True)
class Source:
    """One file to prepare.

    `video` names it in the store, unique there: identity/video/utterance in a VoxCeleb2 tree, else the path
    below the folder that was given, or the whole path where two files share that one. `identity` is the
    person it shows, as far as `identity_from` says.
    """

    path: Path
    video: str
    identity: str
    source_path: str  # relative to the folder (or the folder of the CSV or file) that was given
    url: str = ""  # if it is in an object store; `path` is then its copy while it is read
    listed: RemoteFile | None = None  # its entry in the listing there
    identity_from: str = "file names"  # what `identity` was taken from

    @property
    def where(self) -> str:
        """Its URL or its absolute path."""
        return self.url or str(self.path.absolute())

    def without_place(self, message: str) -> str:
        """A message about the file without its path in front, or with its URL for the path of its copy."""
        if not self.url:
            return message.removeprefix(f"{storable(str(self.path))}: ")  # whoever shows it names the video
        if self.path.is_absolute():
            message = message.replace(storable(str(self.path.parent)), self.url.rpartition("/")[0])
        return message if self.url in message else f"{self.url}: {message}"

    def now(self) -> RemoteFile:
        """A file of an object store as it is there now. RemoteError."""
        return self.listed or look_at(self.url)


@dataclass(frozen=True)
class Listing:
    """The files to prepare, sorted by `video`, and how many others lay beside them."""

    sources: tuple[Source, ...]
    num_other_files: int  # files in the folders that are no videos by their name

    def in_words(self) -> str:
        """One line: how many videos, of how many identities, and what these were taken from."""
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
        """The share of `items`; the shares of all n are disjoint and make up the whole."""
        return tuple(items[self.number - 1 :: self.count])


WHOLE = Shard()
"""All of it: shard 1/1."""


def list_sources(given: Sequence[Path | str], *, identities: str = "") -> Listing:
    """Everything that `given` (files, folders, CSVs, URLs) names, each file once, to be put into one store.

    SourceError as from `find_sources`, and where two files would have the same name in the store: the same
    utterance of a VoxCeleb2 tree twice.
    """
    listing = find_sources(given, take_urls=True, identities=identities)
    _refuse_same_names(listing.sources)
    return listing


def find_sources(given: Sequence[Path | str], *, take_urls: bool = False, identities: str = "") -> Listing:
    """Everything that `given` (files, folders, CSVs) names, each file once.

    A CSV decides the identity of a file that another source names too; `identities`, if given, that of all
    files (see `with_identities`). With `take_urls` URLs are listed as folders are, and CSVs may name some.
    SourceError where something is missing or unreadable, and where nothing is found.
    """
    from_csv: dict[str, Source] = {}
    from_paths: dict[str, Source] = {}
    named: dict[str, tuple[str, str]] = {}  # the identities that a CSV gives, and its name
    num_other_files = 0
    for one in given:
        path = Path(one) if is_url(one) else spelt_as_on_disk(Path(one))
        if is_url(one):
            files_there, others = _behind(str(one))
            num_other_files += others
            from_paths |= {_key(source): source for source in files_there}
        elif path.suffix.lower() == ".csv":
            for source, is_named in _in_csv(path, take_urls=take_urls):
                from_csv[_key(source)] = source
                if is_named:
                    named[_key(source)] = (source.identity, source.identity_from)
        elif path.is_dir():
            files, others = _in_folder(path)
            num_other_files += others
            from_paths |= {_real(file): _source(file, root=path) for file in files}
        else:
            _require_file(path, where="")
            from_paths[_real(path)] = _source(path, root=path.parent)
    sources = [
        replace(source, identity=named[key][0], identity_from=named[key][1]) if key in named else source
        for key, source in (from_csv | from_paths).items()
    ]
    if not sources:
        raise SourceError(
            f"no video in {', '.join(str(path) for path in given) or 'no source'} "
            f"(other files: {num_other_files}; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    distinct = with_distinct_names(sources)
    if identities:
        distinct = with_identities(distinct, identities)
    return Listing(tuple(sorted(distinct, key=lambda source: source.video)), num_other_files)


def with_distinct_names(sources: Sequence[Source]) -> list[Source]:
    """Files that share a path below the folders given are named by their whole paths, and so are their
    identities where these were only file names. `a/1.mp4` and `b/1.mp4` given as files are an example.
    """
    times = Counter(source.video for source in sources)
    return [
        _named_by_whole_path(source)
        if times[source.video] > 1 and source.video == source.source_path
        else source
        for source in sources
    ]


def other_name(source: Source) -> str:
    """What the file is called where other files are given beside it; "" in a VoxCeleb2 tree.

    That is its whole path for a file named by the path below the folder given, and the other way round.
    """
    whole = _whole_path(source)
    return {source.source_path: whole, whole: source.source_path}.get(source.video, "")


def _named_by_whole_path(source: Source) -> Source:
    name = _whole_path(source)
    identity = name if source.identity_from == "file names" else source.identity
    return replace(source, video=name, identity=identity)


def _whole_path(source: Source) -> str:
    """Without the leading slash or the protocol: names stay inside the store."""
    parts = Path(os.path.abspath(source.path)).parts[1:]  # noqa: PTH100 -- without `..`, links as they are
    return storable(source.url.partition("://")[2].lstrip("/") or "/".join(parts))


def with_identities(sources: Sequence[Source], given: str) -> list[Source]:
    """The sources with the identities of a CSV (path,identity) or of a pattern.

    A pattern is a regular expression with one group, searched for in the path below the folder given.
    SourceError where it is none, and naming a file that gets no identity.
    """
    if given.lower().endswith(".csv"):
        rows = _in_csv(spelt_as_on_disk(Path(given)), take_urls=True)
        named = {_key(source): source.identity for source, is_named in rows if is_named}
        found, came_from = [named.get(_key(source), "") for source in sources], Path(given).name
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
    """`3 identities, taken from sub-folders`; where there are several origins, with the files of each."""
    counts = Counter(source.identity_from for source in sources)
    origins = [
        origin + (f" ({count:,} of {len(sources):,} files)" if len(counts) > 1 else "")
        for origin, count in sorted(counts.items(), key=lambda pair: (pair[0] == "file names", pair[0]))
    ]
    words = f"{len({source.identity for source in sources}):,} identities, taken from {', '.join(origins)}"
    if counts["file names"] < 2:
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

    The path names one person: the largest track, and every track that is never seen beside a larger one of
    that person. Each other track is somebody else, known from this video only: `video+1`, `video+2`, ... by
    size.
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
    """The text with what is no Unicode (from a file name in another encoding, say) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _source(path: Path, *, root: Path) -> Source:
    relative = PurePosixPath(storable(path.relative_to(root).as_posix()))
    voxceleb = voxceleb_names(path)
    if voxceleb is not None:
        name = storable("/".join(voxceleb))
        return Source(path, name, voxceleb[0], str(relative), identity_from="a VoxCeleb2 tree")
    first = relative.parts[0]  # the sub-folder, or the file itself where it lies in the folder given
    origin = "sub-folders" if len(relative.parts) > 1 else "file names"
    return Source(path, str(relative), normal_form(first), str(relative), identity_from=origin)


def _behind(url: str) -> tuple[list[Source], int]:
    """The videos below a URL, or the file there, and the number of other files."""
    if url.lower().endswith(".csv"):
        raise SourceError(f"{url}: copy the list here; it may name URLs")
    try:
        found = list_remote(url)
    except RemoteError as error:
        raise SourceError(str(error)) from error
    videos = [file for file in found if not file.name or _is_video(file.name)]
    return [_remote(file) for file in videos], len(found) - len(videos)


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES


def _remote(file: RemoteFile) -> Source:
    path = Path(file.url)
    name = file.name or path.name
    root = path.parents[len(PurePosixPath(name).parts) - 1]
    source = _source(root / name, root=root)
    return replace(source, url=file.url, listed=file)


def _in_folder(root: Path) -> tuple[list[Path], int]:
    """The videos below `root`, and the number of other files; hidden ones are neither."""
    videos, num_others = [], 0
    for path in walk_files(root, seen=set()):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(path)
        else:
            num_others += 1
    return videos, num_others


def walk_files(folder: Path, *, seen: set[str]) -> Iterator[Path]:
    """The files below a folder by name, none hidden, no folder twice; SourceError for an unreadable one."""
    real = _real(folder)
    if real in seen:  # a link back up
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


def _in_csv(path: Path, *, take_urls: bool) -> Iterator[tuple[Source, bool]]:
    """Each row's source, and whether the row gives its identity."""
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
        where = f"{path}, line {line}"
        identity = normal_form((row.get("identity") or "").strip())
        if is_url((row["path"] or "").strip()):
            if not take_urls:
                raise SourceError(f"{where}: URLs are read by `mien prepare` alone; copy the file here first")
            source = _csv_url((row["path"] or "").strip(), identity, where=where)
        else:
            source = _csv_row(path.parent, row["path"] or "", identity, where=where)
        first_line = seen.setdefault(_key(source), line)
        if first_line != line:
            raise SourceError(f"{where}: {source.url or source.path} stands in line {first_line} already")
        yield (replace(source, identity_from=path.name) if identity else source), bool(identity)


def _csv_row(folder: Path, path: str, identity: str, *, where: str) -> Source:
    if not path.strip():
        raise SourceError(f"{where}: the path is empty")
    file = spelt_as_on_disk(folder / path.strip())
    _require_file(file, where=f"{where}: ")
    inside = Path(os.path.relpath(file, folder))
    if ".." in inside.parts:  # a name in the store stays inside the store
        inside = Path(*file.resolve().parts[1:])
    source = replace(_source(folder / inside, root=folder), path=file)
    return _with_identity_of_row(source, identity, voxceleb_names(file))


def _csv_url(url: str, identity: str, *, where: str) -> Source:
    """Named by the whole URL without its protocol. Whether it is there shows when it is read."""
    try:
        require_readable(url)
    except RemoteError as error:
        raise SourceError(f"{where}: {error}") from error
    parts = PurePosixPath(url.partition("://")[2]).parts
    inside = parts[1:] if parts[:1] == ("/",) else parts
    if not inside or ".." in inside:
        raise SourceError(f"{where}: {url} names no file")
    root = Path(f"{url.partition('://')[0]}:")
    source = _source(root.joinpath(*inside), root=root)
    source = _with_identity_of_row(source, identity, voxceleb_names(source.path))
    return replace(source, path=Path(url), url=url)


def _with_identity_of_row(source: Source, identity: str, voxceleb: tuple[str, str, str] | None) -> Source:
    """A row without an identity takes none from the folders that lead from the CSV to its file."""
    if identity:
        return replace(source, identity=identity)
    if voxceleb:
        return replace(source, identity=voxceleb[0], identity_from="a VoxCeleb2 tree")
    return replace(source, identity=source.video, identity_from="file names")


def _require_file(path: Path, *, where: str) -> None:
    if path.is_dir():
        raise SourceError(f"{where}{path} is a folder, expected a file")
    if not path.exists():
        raise SourceError(f"{where}{missing(path)}")


def _refuse_same_names(sources: Sequence[Source]) -> None:
    named: dict[str, Source] = {}
    for source in sources:
        other = named.setdefault(source.video, source)
        if other is not source:
            raise SourceError(
                f"{other.url or other.path} and {source.url or source.path} would both be called "
                f"{source.video!r} in the store. "
                "Give the folder above both, so that their paths differ, or prepare them into two stores."
            )


def _key(source: Source) -> str:
    return source.url or _real(source.path)


def _real(path: Path) -> str:
    return os.path.realpath(path)
