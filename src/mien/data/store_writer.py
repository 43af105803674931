"""Write one video into a store: a tar of JPEGs, then the part that marks it as done."""

from __future__ import annotations

import struct
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray

from mien.data.accounts import DONE, PARTIAL, SKIPPED, Account, note_on_refused, why_nothing_written
from mien.data.parts import Fingerprint, Part, read_part, write_part
from mien.data.sources import Source, identities_of, storable
from mien.data.store_layout import (
    FRAMES_SCHEMA,
    MEASURED_COLUMNS,
    TEMPORARY,
    StoreError,
    crops_path,
    part_path,
)
from mien.faces.tracked import FrameFaces, TrackSettings
from mien.io import naming_write_errors, replacing
from mien.video import ImageError, VideoError

_BLOCK = tarfile.BLOCKSIZE
_ROW = struct.Struct(f"<iiidqi{len(MEASURED_COLUMNS)}f")  # one row of FRAMES_SCHEMA
_ROW_DTYPE = np.dtype([(column.name, column.type.to_pandas_dtype()) for column in FRAMES_SCHEMA])


@dataclass(frozen=True)
class JpegSettings:
    """How crops are compressed; docs/file-formats.md has the measurements behind the defaults."""

    quality: int = 90
    subsampling: str = "420"  # of the chroma; "444": none

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"JPEG quality {self.quality}: expected 1 .. 100")
        if self.subsampling not in ("420", "422", "444"):
            raise ValueError(f"JPEG subsampling {self.subsampling!r}: expected 420, 422 or 444")


@dataclass(frozen=True)
class PrepareSettings:
    """The settings of a store."""

    min_run_frames: int = 17  # shorter runs hold no clip of 9 frames with stride 2; counted separately
    tracking: TrackSettings = field(default_factory=TrackSettings)
    jpeg: JpegSettings = field(default_factory=JpegSettings)

    def __post_init__(self) -> None:
        if self.min_run_frames < 1:
            raise ValueError(f"min_run_frames = {self.min_run_frames}: at least 1")


def write_video(
    store: Path,
    source: Source,
    looked_at: Iterable[FrameFaces],
    *,
    fingerprint: Fingerprint,
    frames_per_second: float,
    jpeg: JpegSettings,
    notes: str = "",
) -> Account:
    """Write the faces of one video atomically: crops first, then the part.

    Memory grows by about 110 bytes per position. If reading the source fails (VideoError, or ImageError for a
    folder of pictures), the frames before are written and the video is `partial`; without any face it is
    `skipped`. WriteError if the disk is full.
    """
    problems: list[str] = []
    written = _Written()
    crops = store / crops_path(source.video)
    with naming_write_errors(store):
        with replacing(crops, temporary_folder=store / TEMPORARY) as temporary, JpegTar(temporary) as tar:
            temporary.touch()  # so that its disappearance is noticed at the end
            for looked in _until_it_breaks(looked_at, problems):
                written.add(looked, tar, jpeg)
        if not written.num_crops:
            crops.unlink()
        broken = source.without_place(problems[0]) if problems else ""
        if written.num_frames:
            status, message = (PARTIAL, broken) if broken else (DONE, "")
        else:
            status, message = SKIPPED, broken or why_nothing_written(written.num_decoded, written.reasons)
        frames = written.table()
        identities = identities_of_tracks(frames, video=source.video, identity=source.identity)
        account = replace(
            _account(source, status, message),
            source_sha256=fingerprint.sha256,
            num_decoded=written.num_decoded,
            num_written=written.num_frames,
            not_written=dict(sorted(written.reasons.items())),
            num_tracks=len(identities),
            num_crops=written.num_crops,
            num_positions=frames.num_rows,
            notes="; ".join(filter(None, (notes, note_on_refused(written.refused)))),
        )
        write_part(store, Part(account, fingerprint, frames_per_second, identities), frames)
    return account


def skip_video(store: Path, source: Source, message: str, *, fingerprint: Fingerprint) -> Account:
    """Record that nothing of a source is written, and why."""
    account = replace(skip_unrecorded(source, message), source_sha256=fingerprint.sha256)
    with naming_write_errors(store):
        (store / crops_path(source.video)).unlink(missing_ok=True)
        write_part(store, Part(account, fingerprint, 0.0, {}), FRAMES_SCHEMA.empty_table())
    return account


def skip_for_now(store: Path, source: Source, message: str) -> Account:
    """Record that a source cannot be prepared now; the next run tries again.

    If an earlier run wrote crops of it, these and their part stay, and the returned account is not recorded.
    """
    path = store / part_path(source.video)
    if path.exists() and read_part(path).account.num_crops:
        return skip_unrecorded(source, f"{message}; the crops of an earlier run are kept")
    return skip_video(store, source, message, fingerprint=Fingerprint(source.where, -1, -1, ""))


def skip_unrecorded(source: Source, message: str) -> Account:
    """The account of a skipped source; nothing is written."""
    return _account(source, SKIPPED, source.without_place(storable(message)))


def _account(source: Source, status: str, message: str) -> Account:
    return Account(source.video, source.identity, source.source_path, "", status, message, 0, 0)


def _until_it_breaks(looked_at: Iterable[FrameFaces], problems: list[str]) -> Iterator[FrameFaces]:
    """The frames up to an error of reading, whose message is appended to `problems`."""
    try:
        yield from looked_at
    except (VideoError, ImageError, OSError) as error:
        problems.append(storable(str(error)))


class _Written:
    """What became of one video's frames: counts by result, and the rows of its tracks."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.num_decoded = 0
        self.num_frames = 0  # with a face
        self.num_crops = 0
        self._rows = bytearray()

    def add(self, looked: FrameFaces, tar: JpegTar, jpeg: JpegSettings) -> None:
        """Write the crops of a frame and count it."""
        self.num_decoded = max(self.num_decoded, looked.source_frame_index + 1)
        self.refused.update(looked.refused)
        self.reasons.update([looked.reason] if looked.reason else [])
        self.num_frames += bool(looked.faces)
        self.num_crops += len(looked.faces)
        for face in looked.faces:
            name = f"{face.track_number:03d}/{looked.source_frame_index:07d}.jpg"
            stored = tar.add(name, _encode(face.crop_HWC, jpeg))
            measured = (
                *face.box_xyxy_px,
                *np.asarray(face.points_5x2_px).ravel().tolist(),
                *(face.score, face.yaw_degrees, face.pitch_degrees, face.roll_degrees, face.sharpness),
            )
            for slot in looked.slots:
                place = (face.track_number, slot, looked.source_frame_index, looked.seconds)
                self._rows += _ROW.pack(*place, *stored, *measured)

    def table(self) -> pa.Table:
        """FRAMES_SCHEMA, sorted by track and slot; StoreError if a track shows two frames in one slot."""
        rows = np.frombuffer(self._rows, _ROW_DTYPE)
        rows = rows[np.lexsort((rows["slot"], rows["track"]))]
        same_track = np.diff(rows["track"]) == 0
        if np.any(np.diff(rows["slot"])[same_track] <= 0):
            raise StoreError("a track shows two frames in one slot")
        columns = {name: np.ascontiguousarray(rows[name]) for name in FRAMES_SCHEMA.names}
        return pa.Table.from_pydict(columns, schema=FRAMES_SCHEMA)


def identities_of_tracks(frames: pa.Table, *, video: str, identity: str) -> dict[int, str]:
    """Identity by track number, from a video's rows: see `identities_of`."""
    left, top, right, bottom = (frames[name].to_numpy() for name in MEASURED_COLUMNS[:4])
    areas = (right - left).astype(np.float64) * (bottom - top)
    tracks, of_row = np.unique(frames["track"].to_numpy(), return_inverse=True)
    summed = dict(zip(tracks.tolist(), np.bincount(of_row, weights=areas).tolist(), strict=True))
    slots: dict[int, set[int]] = {track: set() for track in summed}
    for track, slot in zip(frames["track"].to_pylist(), frames["slot"].to_pylist(), strict=True):
        slots[track].add(slot)
    return identities_of(slots, summed, video=video, identity=identity)


def _encode(crop_HWC: NDArray[np.uint8], jpeg: JpegSettings) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(crop_HWC), jpeg.quality, "RGB", jpeg.subsampling
    )
    return encoded


class JpegTar:
    """Writes a tar. The file is created with the first picture.

    The same pictures give the same bytes: no times, no owner. (Python's TarFile would keep every member in
    memory.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0

    def add(self, name: str, content: bytes) -> tuple[int, int]:
        """Append a file with a short ASCII name; return the offset and the length of its content in bytes."""
        if self._file is None:
            self._file = self._path.open("wb")
        padding = bytes(-len(content) % _BLOCK)
        self._file.write(b"".join((_header(name, len(content)), content, padding)))
        begins = self._offset + _BLOCK
        self._offset = begins + len(content) + len(padding)
        return begins, len(content)

    def __enter__(self) -> JpegTar:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            with self._file as file:
                file.write(bytes(2 * _BLOCK))  # the end of a tar


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member.tobuf(tarfile.USTAR_FORMAT)
