"""The detector: a model, an engine and the tracker together; media in, rows out."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.config import to_dict
from mien.data.face_tracking import FaceTracking
from mien.detect.au_model import AuModel, load_au_model
from mien.detect.baseline import Baseline, neutral_of_file, without_first_seconds_neutral, without_neutral
from mien.detect.card import unproven_units, warning_of
from mien.detect.engines import open_engine
from mien.detect.frames import largest_only, persons_of, picture_as_frame, timed_frames, until_damage
from mien.detect.media import MediaFile, Medium, list_media
from mien.detect.pipeline import SeenFrame, in_background, read_in_batches, rows_of_block
from mien.detect.rows import FaceRow
from mien.detect.smoothing import Smoothing, smooth
from mien.detect.table import Detections
from mien.detect.table_layout import TableLayout
from mien.faces.track import TrackSettings
from mien.train.encoder_file import pick_device
from mien.video import Frame, VideoError, probe

_FRAMES_AHEAD = 64
_TRACKING = TrackSettings(detect_every_frames=12)  # twice as often as for clips: nobody is to be missed


class Detector:
    """Action units in videos, pictures and live frames.

    model: an AU model or its file. engine: torch, or one that `mien export` made ready. baseline, smoothing:
    off where None. faces: "all", or "largest" for one row a frame. landmarks: "detect", or "beside" for
    points that lie beside the videos. face_models: the folder of the face models' weights, None for the
    installed ones. threads: of the engine. ContractMismatchError for a model whose faces were cropped
    otherwise.
    """

    def __init__(
        self,
        model: AuModel | Path | str,
        *,
        engine: str = "torch",
        device: str = "cpu",
        batch_size: int = 32,
        baseline: Baseline | None = None,
        smoothing: Smoothing | None = None,
        faces: Literal["all", "largest"] = "all",
        landmarks: str = "detect",
        face_models: Path | None = None,
        threads: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}: at least 1")
        if faces not in ("all", "largest"):
            raise ValueError(f"faces = {faces!r}: expected all or largest")
        self.model = model if isinstance(model, AuModel) else load_au_model(model, device=pick_device(device))
        self.batch_size = batch_size
        self.baseline = baseline
        self.smoothing = smoothing
        self.faces = faces
        self.layout = TableLayout(
            self.model.units,
            self.model.threshold_A,
            None if self.model.intensity is None else self.model.intensity.coded_A,
        )
        self._tracking = FaceTracking(_TRACKING, landmarks=landmarks, models=face_models)
        self.model.contract.require_same(
            self._tracking.contract, ours=self.model.source, theirs="faces found now"
        )
        self._engine = open_engine(engine, self.model, model_path=Path(self.model.source), threads=threads)

    def detect(self, media: Path | str | Sequence[Path | str]) -> Detections:
        """Everything in a video, in pictures, in a folder, or in several of these, as one table in memory.

        A damaged video gives a row for each frame, a warning, and an entry in the metadata's `problems`; one
        without any frame is a VideoError or an OSError. The metadata's `notes` say what was assumed or left
        out in reading videos.
        """
        given = [Path(media)] if isinstance(media, Path | str) else [Path(path) for path in media]
        rows: list[FaceRow] = []
        problems: list[str] = []
        notes: list[str] = []
        for medium in list_media(given).media:
            found = list(self.rows(medium, problems=problems))
            if not found:
                raise VideoError(problems[-1])
            rows += found
            notes += probe(medium.files[0].path).notes if medium.kind == "video" else ()
        for problem in problems:
            warnings.warn(problem, stacklevel=2)
        metadata = self.metadata | ({"problems": problems} if problems else {})
        metadata |= {"notes": notes} if notes else {}
        return Detections(self.layout.table(rows), metadata)

    def rows(self, source: Path | str | Medium, *, problems: list[str] | None = None) -> Iterator[FaceRow]:
        """One video's or one picture's rows as they come, in constant memory.

        A damaged video ends early: what is wrong is appended to `problems`, or raised as VideoError behind
        the last row where no list is given. With a baseline over the whole file the video is read twice.
        """
        medium = source if isinstance(source, Medium) else _medium(Path(source))
        told: list[str] = [] if problems is None else problems
        yield from self._finished_rows(medium, told)
        if problems is None and told:
            raise VideoError(told[0])

    def blocks(
        self, medium: Medium, *, problems: list[str], skip_frames: int = 0
    ) -> Generator[list[FaceRow]]:
        """The rows of whole frames, some at a time, before baseline and smoothing.

        Decoding and tracking run in another thread. The network does not see the first `skip_frames` frames.
        """
        frames = self._seen(medium, problems, skip_frames)
        with closing(in_background(frames, ahead=_FRAMES_AHEAD)) as tracked:
            yield from read_in_batches(tracked, self._read_crops, batch_size=self.batch_size)

    def finish(
        self, rows: Iterable[FaceRow], *, is_video: bool = True, cut_short: dict[int, float] | None = None
    ) -> Iterator[FaceRow]:
        """Raw rows less their first seconds' neutral, then smoothed, as far as these are asked for.

        `cut_short` is given the seconds of each face's neutral that the end of the rows cut short.
        """
        finished: Iterator[FaceRow] = iter(rows)
        if not is_video:
            return finished
        if self.baseline is not None and self.baseline.kind == "first":
            finished = without_first_seconds_neutral(
                finished, self.baseline, num_units=self._num_units, cut_short=cut_short
            )
        return self._smoothed(finished)

    def finish_file(
        self, rows: Iterable[FaceRow], again: Iterable[FaceRow], *, is_video: bool = True
    ) -> Iterator[FaceRow]:
        """The same with the neutral of the whole file: its rows are gone through twice."""
        assert self.baseline is not None
        if not is_video:
            return iter(again)
        neutral = neutral_of_file(rows, self.baseline, num_units=self._num_units)
        return self._smoothed(without_neutral(row, neutral, num_units=self._num_units) for row in again)

    def stream(
        self,
        frames: Iterable[NDArray[np.uint8] | tuple[float, NDArray[np.uint8]] | Frame],
        *,
        cut_short: dict[int, float] | None = None,
    ) -> Iterator[FaceRow]:
        """The rows of live frames (uint8 RGB, H x W x 3) as they come: alone they are taken for 25 a second,
        in pairs with their time in seconds.

        A face is looked at at once. A baseline of the first seconds, and half of a centred smoothing's time,
        delay the rows; where the frames end, what is held back comes at once, and `cut_short` is given the
        seconds of each face's neutral that was cut short. ValueError for a baseline over a whole file.
        """
        if self.baseline is not None and self.baseline.kind == "file":
            raise ValueError("a live stream has no whole file to take a baseline from: use first:SECONDS")
        tracked = persons_of(self._tracking.frames(timed_frames(frames)), patience_seconds=0.0)
        blocks = (rows_of_block([("", frame)], self._read_crops) for frame in self._chosen(tracked))
        yield from self.finish((row for block in blocks for row in block), cut_short=cut_short)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the table says of how it came about; JSON."""
        return {
            "mien_version": __version__,
            "model": {
                "file": Path(self.model.source).name,
                "digest": self.model.digest,
                "warning": warning_of(self.model.record),
                "unproven_units": unproven_units(self.model.record),
            },
            "units": list(self.model.units),
            "thresholds": dict(zip(self.model.columns, map(float, self.model.threshold_A), strict=True)),
            "has_intensities": self.layout.with_intensity,
            "crop_contract": self.model.contract.digest,
            "engine": self._engine.name,
            "device": self.model.encoder.device.type if self._engine.name == "torch" else "cpu",
            "batch_size": self.batch_size,
            "faces": self.faces,
            "tracking": to_dict(_TRACKING) | {"landmarks": self._tracking.landmarks},
            "baseline": None if self.baseline is None else self.baseline.record(),
            "smoothing": None if self.smoothing is None else self.smoothing.record(),
        }

    @property
    def _num_units(self) -> int:
        return len(self.model.units)

    def _finished_rows(self, medium: Medium, problems: list[str]) -> Iterator[FaceRow]:
        is_video = medium.kind == "video"
        if is_video and self.baseline is not None and self.baseline.kind == "file":
            return self.finish_file(
                self._raw_rows(medium, []), self._raw_rows(medium, problems), is_video=is_video
            )
        return self.finish(self._raw_rows(medium, problems), is_video=is_video)

    def _raw_rows(self, medium: Medium, problems: list[str]) -> Iterator[FaceRow]:
        with closing(self.blocks(medium, problems=problems)) as blocks:
            for block in blocks:
                yield from block

    def _smoothed(self, rows: Iterator[FaceRow]) -> Iterator[FaceRow]:
        if self.smoothing is None:
            return rows
        return smooth(rows, self.smoothing, num_units=self._num_units)

    def _seen(self, medium: Medium, problems: list[str], skip_frames: int) -> Iterator[SeenFrame]:
        if medium.kind == "pictures":
            return self._pictures(medium.files[skip_frames:], problems)
        return islice(self._video(medium.files[0], problems), skip_frames, None)

    def _pictures(self, files: Sequence[MediaFile], problems: list[str]) -> Iterator[SeenFrame]:
        for file in files:
            (frame,) = self._chosen(iter([picture_as_frame(file.path, self._tracking, problems)]))
            yield file.shown, frame

    def _video(self, file: MediaFile, problems: list[str]) -> Iterator[SeenFrame]:
        tracked = until_damage(self._tracking.every_frame(file.path), problems)
        if self._tracking.landmarks == "detect":
            tracked = persons_of(tracked)
        return ((file.shown, frame) for frame in self._chosen(tracked))

    def _chosen(self, frames: Iterator[Any]) -> Iterator[Any]:
        return map(largest_only, frames) if self.faces == "largest" else frames

    def _read_crops(self, crops_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        readings = self.model.read(self._engine(crops_NHWC))
        if readings.intensity_NA is None:
            return readings.probability_NA.astype(np.float32)
        return np.concatenate([readings.probability_NA, readings.intensity_NA], axis=1).astype(np.float32)


def _medium(path: Path) -> Medium:
    (medium,) = list_media([path]).media
    return medium
