"""The page of a store: what is in it, what was left out and why, and pictures to look at."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.accounts import DONE, Account, add_up
from mien.data.parts import runs_of
from mien.data.store import StoreSummary, TrackStore
from mien.data.store_layout import FRAMES
from mien.io import write_bytes
from mien.video import SLOTS_PER_SECOND
from mien.visualise.contact_sheet import contact_sheet, jpeg, mean_crop, png, sheet_of_tracks, spread
from mien.visualise.svg_charts import histogram, timeline

_MOST_ROWS = 300  # of the table of files and of the table of tracks
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


@dataclass(frozen=True)
class _FileRow:
    account: Account
    share_written: float  # NaN where nothing was decoded


@dataclass(frozen=True)
class _TrackRow:
    track_id: str
    identity: str
    seconds: float
    num_positions: int
    num_runs: int
    num_short_runs: int
    strip: str


def write_store_page(
    store: TrackStore, accounts: Sequence[Account], out: Path, *, num_tracks_shown: int = 40
) -> Path:
    """Write `out`/index.html, which stands alone, and `out`/contact-sheet.png; the page's path."""
    frames = pq.read_table(store.path / FRAMES, columns=["track", *{name for name, *_ in _MEASURES}])
    sheet = sheet_of_tracks(store, num_tracks=num_tracks_shown) if store.num_tracks else None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("store.html").render(
        store=store,
        name="/".join(store.path.resolve().parts[-2:]),
        num_shown=min(store.num_tracks, num_tracks_shown),
        summary=StoreSummary.of(store),
        totals=add_up(accounts),
        troubled=[account for account in accounts if account.status != DONE][:_MOST_ROWS],
        files=_file_rows(accounts),
        num_files=len(accounts),
        tracks=[_track_row(store, track) for track in spread(store.num_tracks, _MOST_ROWS)],
        charts=_charts(store, frames),
        sheet=_as_url(sheet) if sheet is not None else "",
        mean=_as_url(mean_crop(store)) if store.num_tracks else "",
        extremes=_as_url(_sheet_of_extremes(store, frames)) if store.num_tracks else "",
    )
    if sheet is not None:
        write_bytes(out / "contact-sheet.png", png(sheet), temporary_folder=out)
    write_bytes(out / "index.html", html.encode(), temporary_folder=out)
    return out / "index.html"


def _file_rows(accounts: Sequence[Account]) -> list[_FileRow]:
    """The files of which least was written come first."""
    rows = [
        _FileRow(account, account.num_written / account.num_decoded if account.num_decoded else np.nan)
        for account in accounts
    ]
    rows.sort(key=lambda row: (np.nan_to_num(row.share_written, nan=-1.0), row.account.video))
    return rows[:_MOST_ROWS]


def _track_row(store: TrackStore, track: int) -> _TrackRow:
    about = store.tracks.slice(track, 1).to_pylist()[0]
    slots = store.slots(track)
    return _TrackRow(
        track_id=about["track_id"],
        identity=about["identity"],
        seconds=about["num_frames"] / SLOTS_PER_SECOND,
        num_positions=about["num_frames"],
        num_runs=len(about["runs"]),
        num_short_runs=about["num_short_runs"],
        strip=timeline(
            [(int(slots[start]), length) for start, length in runs_of(slots)], num_slots=int(slots[-1]) + 1
        ),
    )


def _charts(store: TrackStore, frames: pa.Table) -> list[str]:
    tracks = store.tracks
    _, tracks_of_video = np.unique(tracks["video_number"].to_numpy(), return_counts=True)
    runs = pa.compute.list_flatten(tracks["runs"].combine_chunks()).field("length").to_numpy()
    return [
        histogram(tracks_of_video, title="tracks of a video", unit="tracks"),
        histogram(
            tracks["num_frames"].to_numpy() / SLOTS_PER_SECOND, title="length of a track", unit="seconds"
        ),
        histogram(runs / SLOTS_PER_SECOND, title="length of a run", unit="seconds"),
        *(histogram(frames[name].to_numpy(), title=title, unit=unit) for name, title, unit in _MEASURES),
    ]


def _sheet_of_extremes(store: TrackStore, frames: pa.Table, *, num_pictures: int = 10) -> NDArray[np.uint8]:
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
        rows.append(([*_wrapped(title), numbers], np.stack(pictures)))
    return contact_sheet(rows, pictures_per_row=num_pictures)


def _wrapped(title: str, *, width: int = 30) -> list[str]:
    cut = title.rfind(" ", 0, width) if len(title) > width else len(title)
    return [title[:cut], title[cut + 1 :]] if title[cut + 1 :] else [title]


def _as_url(picture_HWC: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture_HWC)).decode()
