"""Pages and annotated copies of what `mien detect` has read, beside its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from av.error import FFmpegError

from mien.detect.media import Medium
from mien.detect.table import Detections
from mien.faces.tracked import UNREADABLE
from mien.io import WriteError
from mien.video import VideoError

_TOLD = 3  # problems


def show(medium: Medium, out: Path, *, page: bool, annotated: bool) -> str:
    """`NAME.html` and `NAME.annotated.mp4` (of pictures `.annotated.jpg`), where older than the table.

    A damaged video is shown as far as it goes. What cannot be written costs itself alone: why is returned.
    """
    if not (page or annotated):
        return ""
    table = out / f"{medium.name}.parquet"
    problems: list[str] = []
    if medium.kind == "video":
        _show_video(table, medium.files[0].path, problems, page=page, annotated=annotated)
    else:
        detections = Detections.load(table)
        for file in medium.files:
            of_picture = detections.of_input(file.shown)
            if of_picture.table["reason"][0].as_py() != UNREADABLE:
                picture = _Picture(of_picture, file.path, out / PurePosixPath(file.shown))
                _show_picture(picture, table, problems, page=page, annotated=annotated)
    more = f" and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
    return "; ".join(problems[:_TOLD]) + more


def show_overview(media: Sequence[Medium], out: Path) -> str:
    """`overview.html`: every file's faces side by side, with links to their pages; why not, if not."""
    from mien.visualise.detections_overview import write_overview_page

    tables = [table for medium in media if (table := out / f"{medium.name}.parquet").is_file()]
    problems: list[str] = []
    if tables:
        with _told(out / "overview.html", problems):
            write_overview_page(tables, out / "overview.html")
    return "; ".join(problems)


@dataclass(frozen=True)
class _Picture:
    """A picture with its rows; its files are named from `stem`."""

    detections: Detections
    path: Path
    stem: Path


def _show_video(table: Path, video: Path, problems: list[str], *, page: bool, annotated: bool) -> None:
    from mien.visualise.annotated_video import write_annotated_video
    from mien.visualise.detection_page import write_detection_page

    html, mp4 = (table.with_name(f"{table.stem}.{end}") for end in ("html", "annotated.mp4"))
    with _told(html, problems):
        if page and not _is_of(html, table):
            write_detection_page(Detections.load(table), video, html)
    with _told(mp4, problems):
        if annotated and not _is_of(mp4, table):
            try:
                write_annotated_video(video, table, mp4)
            except VideoError:
                if not _is_of(mp4, table):
                    raise


def _show_picture(
    picture: _Picture, table: Path, problems: list[str], *, page: bool, annotated: bool
) -> None:
    from mien.visualise.annotated_video import write_annotated_picture
    from mien.visualise.detection_page import write_detection_page

    html, jpg = (picture.stem.with_name(f"{picture.stem.name}.{end}") for end in ("html", "annotated.jpg"))
    with _told(html, problems):
        if page and not _is_of(html, table):
            write_detection_page(picture.detections, picture.path, html)
    with _told(jpg, problems):
        if annotated and not _is_of(jpg, table):
            jpg.parent.mkdir(parents=True, exist_ok=True)
            write_annotated_picture(picture.path, picture.detections, jpg)


@contextmanager
def _told(shown: Path, problems: list[str]) -> Iterator[None]:
    """What keeps `shown` from being written is told, not raised; a full disk, say."""
    try:
        yield
    except WriteError as error:
        problems.append(str(error))
    except (OSError, ValueError, FFmpegError) as error:
        problems.append(f"{shown.name} could not be written: {error}")


def _is_of(shown: Path, table: Path) -> bool:
    """Whether it was made from this table: a media file that changed between two runs has another one."""
    return shown.exists() and shown.stat().st_mtime_ns >= table.stat().st_mtime_ns
