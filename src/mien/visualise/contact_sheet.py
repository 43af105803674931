"""Contact sheets: rows of small pictures with a label each, as one picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.store import TrackStore

Picture = NDArray[np.uint8]

_LABEL_WIDTH_PX = 230
_LINE_HEIGHT_PX = 18
_LINE_LETTERS = 32
_PAPER, _INK = 250, 40


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
    rows = (_track_row(store, track, pictures_per_track, size_px) for track in chosen)
    return contact_sheet(rows, pictures_per_row=pictures_per_track)


def mean_crop(store: TrackStore, *, num_crops: int = 400) -> Picture:
    """(S, S, 3): the mean of crops spread over all tracks. Sharp eyes and mouth mean that alignment holds."""
    lengths = store.tracks["num_frames"].to_numpy()
    ends = np.cumsum(lengths)
    size = store.contract.crop_size_px
    total = np.zeros((size, size, 3))
    rows = spread(int(ends[-1]), num_crops)
    for row in rows:
        track = int(np.searchsorted(ends, row, side="right"))
        total += store.read_frames(track, [row - int(ends[track] - lengths[track])])[0]
    return (total / len(rows)).round().astype(np.uint8)


def png(picture_HWC: Picture) -> bytes:
    """The picture as a PNG file's content."""
    return _encoded(picture_HWC, ".png", [])


def jpeg(picture_HWC: Picture, *, quality: int = 85) -> bytes:
    """The picture as a JPEG file's content."""
    return _encoded(picture_HWC, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def picture_url(picture_HWC: Picture) -> str:
    """The picture as a JPEG in a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture_HWC)).decode()


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of 0 .. count - 1, evenly spread, the middle of each stretch."""
    wanted = min(count, wanted)
    return [int((place + 0.5) * count / wanted) for place in range(wanted)]


def _track_row(
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
    lines = [part for line in label for part in _wrapped(line)]
    height = max(size + 2, _LINE_HEIGHT_PX * len(lines) + 8)
    row = np.full((height, _LABEL_WIDTH_PX + pictures_per_row * (size + 2), 3), _PAPER, np.uint8)
    for number, line in enumerate(lines):
        place = (4, _LINE_HEIGHT_PX * (number + 1))
        cv2.putText(row, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, [_INK] * 3, 1, cv2.LINE_AA)
    for number, picture in enumerate(pictures_NHWC[:pictures_per_row]):
        left = _LABEL_WIDTH_PX + number * (size + 2)
        row[:size, left : left + size] = picture
    return row


def _wrapped(line: str) -> list[str]:
    """The whole line in pieces that fit; the font has ASCII letters only."""
    plain = line.encode("ascii", "replace").decode()
    return [plain[start : start + _LINE_LETTERS] for start in range(0, len(plain), _LINE_LETTERS)]


def _encoded(picture_HWC: Picture, suffix: str, options: list[int]) -> bytes:
    _, content = cv2.imencode(suffix, cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()
