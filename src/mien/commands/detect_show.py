"""Pages and annotated copies of what `mien detect` has read, beside its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mien.detect.frames import UNREADABLE
from mien.detect.media import Medium
from mien.detect.table import Detections
from mien.video import VideoError


def show(medium: Medium, out: Path, *, page: bool, annotated: bool) -> None:
    """`NAME.html` and `NAME.annotated.mp4` (of pictures `.annotated.jpg`), where older than the table.

    A damaged video is shown as far as it goes.
    """
    if not (page or annotated):
        return
    table = out / f"{medium.name}.parquet"
    if medium.kind == "video":
        _show_video(table, medium.files[0].path, page=page, annotated=annotated)
        return
    detections = Detections.load(table)
    for file in medium.files:
        of_picture = detections.of_input(file.shown)
        if of_picture.table["reason"][0].as_py() != UNREADABLE:
            stem = out / PurePosixPath(file.shown)
            _show_picture(of_picture, table, file.path, stem, page=page, annotated=annotated)


def show_overview(media: Sequence[Medium], out: Path) -> None:
    """`overview.html`: every file's faces side by side, with links to their pages."""
    from mien.visualise.detections_overview import write_overview_page

    tables = [table for medium in media if (table := out / f"{medium.name}.parquet").is_file()]
    if tables:
        write_overview_page(tables, out / "overview.html")


def _show_video(table: Path, video: Path, *, page: bool, annotated: bool) -> None:
    from mien.visualise.annotated_video import write_annotated_video
    from mien.visualise.detection_page import write_detection_page

    html, mp4 = (table.with_name(f"{table.stem}.{end}") for end in ("html", "annotated.mp4"))
    if page and not _is_of(html, table):
        write_detection_page(Detections.load(table), video, html)
    if annotated and not _is_of(mp4, table):
        try:
            write_annotated_video(video, table, mp4)
        except VideoError:
            if not _is_of(mp4, table):
                raise


def _show_picture(
    detections: Detections, table: Path, picture: Path, stem: Path, *, page: bool, annotated: bool
) -> None:
    from mien.visualise.annotated_video import write_annotated_picture
    from mien.visualise.detection_page import write_detection_page

    stem.parent.mkdir(parents=True, exist_ok=True)
    html, jpg = (stem.with_name(f"{stem.name}.{end}") for end in ("html", "annotated.jpg"))
    if page and not _is_of(html, table):
        write_detection_page(detections, picture, html)
    if annotated and not _is_of(jpg, table):
        write_annotated_picture(picture, detections, jpg)


def _is_of(shown: Path, table: Path) -> bool:
    """Whether it was made from this table: a media file that changed between two runs has another one."""
    return shown.exists() and shown.stat().st_mtime_ns >= table.stat().st_mtime_ns
