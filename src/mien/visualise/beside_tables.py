"""Pages and annotated copies beside the tables of a detection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from av.error import FFmpegError

from mien.detect.media import Medium
from mien.detect.table import Detections
from mien.faces.tracked import UNREADABLE
from mien.io import WriteError
from mien.video import VideoError
from mien.visualise.annotated_video import write_annotated_picture, write_annotated_video
from mien.visualise.detection_page import write_detection_page
from mien.visualise.detections_overview import write_overview_page

_NAMED = 3  # problems


def show_medium(medium: Medium, out: Path, *, page: bool, annotated: bool) -> str:
    """`NAME.html` and `NAME.annotated.mp4` (`.annotated.jpg` for pictures), where older than the table.

    A damaged video is shown as far as it can be decoded. What cannot be written is skipped; returns why.
    """
    problems: list[str] = []
    table = out / f"{medium.name}.parquet"
    for html, copy, write_page, write_copy in _views(medium, table):
        for wanted, path, write in ((page, html, write_page), (annotated, copy, write_copy)):
            if wanted and not _is_of(path, table):
                problems += _problem_of(write, path, table)
    more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def show_overview(media: Sequence[Medium], out: Path) -> str:
    """`overview.html`: every file's faces side by side, with links to their pages. Returns why not, or ""."""
    tables = [table for medium in media if (table := out / f"{medium.name}.parquet").is_file()]
    path = out / "overview.html"
    return "".join(_problem_of(partial(write_overview_page, tables), path, path) if tables else ())


_Write = Callable[[Path], object]


def _views(medium: Medium, table: Path) -> Iterator[tuple[Path, Path, _Write, _Write]]:
    """The page and the annotated copy of each file of a medium: their paths, and how to write them."""
    if medium.kind == "video":
        video, stem = medium.files[0].path, table.with_suffix("")
        yield (
            stem.with_name(f"{stem.name}.html"),
            stem.with_name(f"{stem.name}.annotated.mp4"),
            lambda html: write_detection_page(Detections.load(table), video, html),
            partial(write_annotated_video, video, table),
        )
        return
    detections = Detections.load(table)
    for file in medium.files:
        rows = detections.of_input(file.shown)
        if rows.table["reason"][0].as_py() != UNREADABLE:
            stem = table.parent / PurePosixPath(file.shown)
            yield (
                stem.with_name(f"{stem.name}.html"),
                stem.with_name(f"{stem.name}.annotated.jpg"),
                partial(write_detection_page, rows, file.path),
                partial(_annotate_picture, file.path, rows),
            )


def _annotate_picture(picture: Path, detections: Detections, jpg: Path) -> None:
    jpg.parent.mkdir(parents=True, exist_ok=True)
    write_annotated_picture(picture, detections, jpg)


def _problem_of(write: _Write, path: Path, table: Path) -> list[str]:
    """What kept `path` from being written, a full disk for example."""
    try:
        write(path)
    except WriteError as error:
        return [str(error)]
    except (OSError, ValueError, FFmpegError) as error:
        if not (isinstance(error, VideoError) and _is_of(path, table)):  # else written up to the damage
            return [f"{path.name} could not be written: {error}"]
    return []


def _is_of(shown: Path, table: Path) -> bool:
    """Whether it was made from this table: a media file that changed between two runs has a newer one."""
    return shown.exists() and shown.stat().st_mtime_ns >= table.stat().st_mtime_ns
