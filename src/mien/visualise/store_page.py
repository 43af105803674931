"""The page of a store: what it contains, what was left out and why, and contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import DONE, Account, add_up, sum_in_words, worst_first
from mien.data.parts import runs_of
from mien.data.progress import with_bar
from mien.data.store import StoreSummary, TrackStore
from mien.data.store_layout import FRAMES
from mien.io import write_bytes
from mien.video import SLOTS_PER_SECOND
from mien.visualise.charts import SYSTEMS, chart
from mien.visualise.page_parts import Picture, picture_url, png, template

_MOST_ROWS = 300  # of the table of files and of the table of tracks
_LABEL_WIDTH_PX = 230
_LINE_HEIGHT_PX = 18
_LINE_LETTERS = 32
_PAPER, _INK = 250, 40
_MEASURES = (
    ("yaw_degrees", "yaw", "degrees"),
    ("pitch_degrees", "pitch", "degrees"),
    ("roll_degrees", "roll", "degrees"),
    ("score", "score", ""),
    ("sharpness", "sharpness (variance of the Laplacian)", ""),
)
_EXTREMES = (
    ("score", "lowest scores", 1),
    ("sharpness", "least sharp", 1),
    ("yaw_degrees", "turned farthest to the right of the picture", -1),
    ("yaw_degrees", "turned farthest to the left", 1),
    ("pitch_degrees", "looking farthest up", -1),
    ("pitch_degrees", "looking farthest down", 1),
)


def write_store_page(
    store: TrackStore, accounts: Sequence[Account], out: Path, *, num_tracks_shown: int = 40
) -> Path:
    """Write `out`/index.html, which stands alone, and `out`/contact-sheet.png; the page's path."""
    frames = pq.read_table(store.path / FRAMES, columns=["track", *{name for name, *_ in _MEASURES}])
    sheet = sheet_of_tracks(store, num_tracks=num_tracks_shown) if store.num_tracks else None
    html = template("store.html").render(
        store=store,
        name="/".join(store.path.resolve().parts[-2:]),
        num_shown=min(store.num_tracks, num_tracks_shown),
        summary=StoreSummary.of(store),
        counts=sum_in_words(accounts).replace("_", " ").splitlines(),
        reasons=list(add_up(accounts).not_written),
        troubled=[account for account in accounts if account.status != DONE][:_MOST_ROWS],
        files=worst_first(accounts)[:_MOST_ROWS],
        num_files=len(accounts),
        slots_per_second=SLOTS_PER_SECOND,
        tracks=[_track_row(store, track) for track in spread(store.num_tracks, _MOST_ROWS)],
        charts=_charts(store, frames),
        sheet=picture_url(sheet) if sheet is not None else "",
        mean=picture_url(mean_crop(store)) if store.num_tracks else "",
        extremes=picture_url(_sheet_of_extremes(store, frames)) if store.num_tracks else "",
    )
    if sheet is not None:
        write_bytes(out / "contact-sheet.png", png(sheet), temporary_folder=out)
    write_bytes(out / "index.html", html.encode(), temporary_folder=out)
    return out / "index.html"


def contact_sheet(rows: Iterable[tuple[Sequence[str], Picture]], *, pictures_per_row: int) -> Picture:
    """(H, W, 3) RGB of rows of (lines of the label, (n, S, S, 3) pictures); short rows end in blank paper.

    ValueError when there is no row.
    """
    drawn = [_row(label, pictures, pictures_per_row) for label, pictures in rows]
    if not drawn:
        raise ValueError("a contact sheet of no pictures")
    return np.concatenate(drawn)


def sheet_of_tracks(
    store: TrackStore, *, num_tracks: int, pictures_per_track: int = 10, size_px: int = 96
) -> Picture:
    """Tracks spread evenly over the store, each with frames spread evenly over the track."""
    chosen = spread(store.num_tracks, num_tracks)
    rows = (
        _sheet_row(store, track, pictures_per_track, size_px)
        for track in with_bar(chosen, total=len(chosen), unit="tracks", desc="contact sheet ")
    )
    return contact_sheet(rows, pictures_per_row=pictures_per_track)


def mean_crop(store: TrackStore, *, num_crops: int = 400) -> Picture:
    """(S, S, 3): the mean of crops spread over all tracks. Sharp eyes and mouth mean that alignment holds."""
    lengths = store.tracks["num_frames"].to_numpy()
    ends = np.cumsum(lengths)
    size = store.contract.crop_size_px
    total = np.zeros((size, size, 3))
    rows = spread(int(ends[-1]), num_crops)
    for row in with_bar(rows, total=len(rows), unit="crops", desc="mean crop "):
        track = int(np.searchsorted(ends, row, side="right"))
        total += store.read_frames(track, [row - int(ends[track] - lengths[track])])[0]
    return (total / len(rows)).round().astype(np.uint8)


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of 0 .. count - 1, evenly spread, the middle of each stretch."""
    wanted = min(count, wanted)
    return [int((place + 0.5) * count / wanted) for place in range(wanted)]


def _track_row(store: TrackStore, track: int) -> dict[str, Any]:
    """The row of `tracks`; `seen`: where, short runs too, as (first slot, length)."""
    slots = store.slots(track)
    seen = [(int(slots[start]), length) for start, length in runs_of(slots)]
    about: dict[str, Any] = store.tracks.slice(track, 1).to_pylist()[0]
    return about | {"seen": seen, "num_slots": int(slots[-1]) + 1}


def _charts(store: TrackStore, frames: pa.Table) -> Iterator[tuple[str, str]]:
    """Title and histogram of each measure; "" where it has no value."""
    tracks = store.tracks
    _, tracks_of_video = np.unique(tracks["video_number"].to_numpy(), return_counts=True)
    runs = pa.compute.list_flatten(tracks["runs"].combine_chunks()).field("length").to_numpy()
    track_seconds = tracks["num_frames"].to_numpy() / SLOTS_PER_SECOND
    yield "tracks of a video", _histogram(tracks_of_video, "tracks")
    yield "length of a track", _histogram(track_seconds, "seconds")
    yield "length of a run", _histogram(runs / SLOTS_PER_SECOND, "seconds")
    for name, title, unit in _MEASURES:
        yield title, _histogram(frames[name].to_numpy(), unit)


def _histogram(values: NDArray[np.number[Any]], unit: str) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return ""

    def draw(axes: Any) -> None:
        axes.hist(finite, bins=30, color=SYSTEMS[1], rwidth=0.9)
        axes.set_xlabel(f"{unit} (median {np.median(finite):.3g})".strip())

    return chart(draw, width=225, height=110, label="histogram")


def _sheet_of_extremes(store: TrackStore, frames: pa.Table, *, num_pictures: int = 10) -> Picture:
    """For each measure, the most extreme frame of each of the most extreme tracks."""
    track_of_row = frames["track"].to_numpy()
    first_row = store.tracks["first_row"].to_numpy()
    size = min(96, store.contract.crop_size_px)
    rows = []
    for name, title, sign in _EXTREMES:
        values = np.nan_to_num(sign * frames[name].to_numpy().astype(np.float64), nan=np.inf)
        order = np.argsort(values, kind="stable")
        _, first_of_track = np.unique(track_of_row[order], return_index=True)
        worst = order[np.sort(first_of_track)[:num_pictures]]
        pictures = [
            store.read_frames(track, [row - first_row[track]], size_px=size)[0]
            for row, track in ((int(row), int(track_of_row[row])) for row in worst)
        ]
        numbers = ", ".join(f"{frames[name][int(row)].as_py():.4g}" for row in worst[[0, -1]])
        rows.append(([*wrap(title, 30), numbers], np.stack(pictures)))
    return contact_sheet(rows, pictures_per_row=num_pictures)


def _sheet_row(
    store: TrackStore, track: int, num_pictures: int, size_px: int
) -> tuple[Sequence[str], Picture]:
    about = store.tracks.slice(track, 1).to_pylist()[0]
    positions = spread(about["num_frames"], num_pictures)
    label = [
        about["track_id"],
        about["identity"] if about["identity"] not in about["track_id"] else "",
        f"positions {about['num_frames']}, runs {len(about['runs'])}",
        f"short runs {about['num_short_runs']}" if about["num_short_runs"] else "",
    ]
    pictures = store.read_frames(track, positions, size_px=min(size_px, store.contract.crop_size_px))
    return [line for line in label if line], pictures


def _row(label: Sequence[str], pictures_NHWC: Picture, pictures_per_row: int) -> Picture:
    size = pictures_NHWC.shape[1]
    # The font has ASCII letters only.
    lines = [part for line in label for part in wrap(line.encode("ascii", "replace").decode(), _LINE_LETTERS)]
    height = max(size + 2, _LINE_HEIGHT_PX * len(lines) + 8)
    row = np.full((height, _LABEL_WIDTH_PX + pictures_per_row * (size + 2), 3), _PAPER, np.uint8)
    for number, line in enumerate(lines):
        place = (4, _LINE_HEIGHT_PX * (number + 1))
        cv2.putText(row, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, [_INK] * 3, 1, cv2.LINE_AA)
    for number, picture in enumerate(pictures_NHWC[:pictures_per_row]):
        left = _LABEL_WIDTH_PX + number * (size + 2)
        row[:size, left : left + size] = picture
    return row
