"""The detector: a model, an engine and the tracker together; media in, rows out."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from mien import __version__
from mien.config import to_dict
from mien.decoding import Clock
from mien.detect.au_model import BLENDSHAPE, GAZE, AuModel, load_au_model, shipped_model
from mien.detect.card import shown_thresholds, unproven_units, warning_of
from mien.detect.engines import open_engine
from mien.detect.media import Medium, list_media
from mien.detect.persons import PersonLinker
from mien.detect.quality import QualitySettings, why_not_usable
from mien.detect.signals import (
    Baseline,
    Smoothing,
    neutral_of_file,
    smooth,
    without_first_seconds_neutral,
    without_neutral,
)
from mien.detect.table import Detections, FaceRow, TableLayout
from mien.faces.track import FaceTracking
from mien.faces.tracked import UNREADABLE, FrameFaces, TrackedFace, TrackSettings
from mien.video import SLOTS_PER_SECOND, Frame, ImageError, VideoError, probe

T = TypeVar("T")
Images = NDArray[np.uint8]

_FRAMES_AHEAD = 64
_MAX_FRAMES_PER_BLOCK = 256  # frames without a face are not held back for longer
_TRACKING = TrackSettings(detect_every_frames=12)  # twice as often as for clips: nobody is to be missed
_MIN_FACE_IN_PICTURES_PX = 24  # less than in videos: nothing has to be followed. Such faces are not usable


class Detector:
    """Action units in videos, pictures and live frames.

    model: an AU model or its file; None: the shipped one. engine: torch, onnx or onnx-int8; auto is onnx
    where the model was exported for it, else torch, on `device`. baseline, smoothing: off where None. faces:
    "all", or "largest" for one row per frame. blendshapes, gaze: columns for these too, ValueError where the
    model has none. quality: when a face is usable. face_models: the folder of the face finder's weights, None
    for the installed ones. threads: of the engine. ContractMismatchError for a model whose faces were cropped
    differently.
    """

    def __init__(
        self,
        model: AuModel | Path | str | None = None,
        *,
        engine: str = "auto",
        device: str = "auto",
        batch_size: int = 32,
        baseline: Baseline | None = None,
        smoothing: Smoothing | None = None,
        faces: Literal["all", "largest"] = "all",
        blendshapes: bool = False,
        gaze: bool = False,
        quality: QualitySettings | None = None,
        face_models: Path | None = None,
        threads: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}: at least 1")
        if faces not in ("all", "largest"):
            raise ValueError(f"faces = {faces!r}: expected all or largest")
        self.model = model if isinstance(model, AuModel) else load_au_model(model or shipped_model())
        self._more = [name for name, asked in ((BLENDSHAPE, blendshapes), (GAZE, gaze)) if asked]
        for name in self._more:
            if not self.model.block(name):
                raise ValueError(f"{self.model.source} gives no {name}: leave that out, or use another model")
        self.batch_size = batch_size
        self.baseline = baseline
        self.smoothing = smoothing
        self.faces = faces
        self.quality = quality or QualitySettings()
        self.layout = TableLayout(
            self.model.units,
            shown_thresholds(self.model),
            self.model.coded,
            self.model.side_columns,
            tuple(f"{name}_{column}" for name in self._more for column in self.model.block(name) if column),
        )
        self._tracking = FaceTracking(_TRACKING, models=face_models)
        self.model.contract.require_same(
            self._tracking.contract, ours=self.model.source, theirs="faces found now"
        )
        self._engine = open_engine(
            engine, self.model, model_path=Path(self.model.source), device=device, threads=threads
        )

    def detect(self, media: Path | str | Sequence[Path | str]) -> Detections:
        """Everything in a video, in pictures, in a folder, or in several of these, as one table in memory.

        A damaged video gives a row for each frame, a warning, and an entry in the metadata's `problems`; one
        without any frame is a VideoError or an OSError. The metadata's `notes` list what was assumed or left
        out in reading videos.
        """
        given = [Path(media)] if isinstance(media, Path | str) else [Path(path) for path in media]
        problems: list[str] = []
        notes: list[str] = []
        tables = []
        for medium in list_media(given).media:
            rows = self._rows(medium, problems)
            tables.append(self.layout.table(tqdm(rows, unit=" rows", delay=10, desc=medium.name)))
            if not tables[-1].num_rows:
                raise VideoError(problems[-1])
            notes += probe(medium.files[0].path).notes if medium.kind == "video" else ()
        for problem in problems:
            warnings.warn(problem, stacklevel=2)
        more = {name: lines for name, lines in (("problems", problems), ("notes", notes)) if lines}
        return Detections(pa.concat_tables(tables), self.metadata | more)

    def rows(self, path: Path | str) -> Iterator[FaceRow]:
        """One video's or one picture's rows as they come, in constant memory.

        VideoError after the last row where the file is damaged. With a baseline over the whole file the rows
        wait in memory until the last one is there.
        """
        problems: list[str] = []
        yield from self._rows(list_media([Path(path)]).media[0], problems)
        if problems:
            raise VideoError(problems[0])

    def blocks(
        self,
        medium: Medium,
        *,
        problems: list[str],
        skip_frames: int = 0,
        refused: Counter[str] | None = None,
    ) -> Generator[list[FaceRow]]:
        """The rows of whole frames, some at a time, before baseline and smoothing.

        Each block is one call of the network with `batch_size` faces or more. Where blocks begin depends only
        on the frames after the last block: a run that goes on there gives the same bits as one that never
        stopped. Decoding and tracking run in another thread. The network does not see the first `skip_frames`
        frames. `refused` counts all frames that keep a face and in which another was refused, by reason.
        """
        frames = self._seen(medium, problems, skip_frames, Counter() if refused is None else refused)
        with closing(in_background(frames, ahead=_FRAMES_AHEAD)) as tracked:
            block: list[tuple[str, FrameFaces]] = []
            num_faces = 0
            for seen in tracked:
                block.append(seen)
                num_faces += len(seen[1].faces)
                if num_faces >= self.batch_size or len(block) >= _MAX_FRAMES_PER_BLOCK:
                    yield self._rows_of(block)
                    block, num_faces = [], 0
            if block:
                yield self._rows_of(block)

    def finish(
        self,
        rows: Iterable[FaceRow],
        again: Callable[[], Iterable[FaceRow]] = tuple,
        *,
        is_video: bool = True,
        cut_short: dict[int, float] | None = None,
    ) -> Iterator[FaceRow]:
        """Raw rows less each face's neutral, then smoothed, where the detector has a baseline and smoothing.

        For a neutral of the whole file `rows` are read to their end, and then `again` gives them once more.
        `cut_short` receives the seconds of each neutral of first seconds that the last row cut short.
        """
        finished: Iterator[FaceRow] = iter(rows)
        if not is_video:
            return finished
        if self.baseline is not None and self.baseline.kind == "first":
            finished = without_first_seconds_neutral(
                finished, self.baseline, layout=self.layout, cut_short=cut_short
            )
        elif self.baseline is not None:
            neutral = neutral_of_file(finished, self.baseline, layout=self.layout)
            finished = (without_neutral(row, neutral, layout=self.layout) for row in again())
        return finished if self.smoothing is None else smooth(finished, self.smoothing, layout=self.layout)

    def stream(
        self,
        frames: Iterable[Images | tuple[float, Images]],
        *,
        cut_short: dict[int, float] | None = None,
    ) -> Iterator[FaceRow]:
        """The rows of live frames (uint8 RGB, H x W x 3) as they come.

        Frames come alone, and count as 25 per second, or in pairs with their time in seconds. A face is read
        at once. A baseline of the first seconds, and half of a centred smoothing's time, delay the rows; when
        the frames end, the rows held back come at once, and `cut_short` receives the seconds of each neutral
        that was cut short. ValueError for a baseline over a whole file.
        """
        if self.baseline is not None and self.baseline.kind == "file":
            raise ValueError("a live stream has no whole file to take a baseline from: use first:SECONDS")
        tracked = PersonLinker(patience_seconds=0.0).link(self._tracking.frames(_timed(frames)))
        rows = (row for frame in tracked for row in self._rows_of([("", self._chosen(frame))]))
        yield from self.finish(rows, cut_short=cut_short)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """How the table was made; JSON."""
        return {
            "model": {
                "warning": warning_of(self.model.record, self.model.columns),
                "unproven_units": unproven_units(self.model.record, self.model.columns),
                "file": Path(self.model.source).name,
                "digest": self.model.digest,
            },
            "mien_version": __version__,
            "units": list(self.model.units),
            "thresholds": self.layout.thresholds,
            "has_intensities": self.layout.coded_A is not None,
            "crop_contract": self.model.contract.digest,
            "engine": self._engine.name,
            "device": self._engine.device,
            "batch_size": self.batch_size,
            "faces": self.faces,
            "blendshapes": BLENDSHAPE in self._more,
            "gaze": GAZE in self._more,
            "tracking": to_dict(_TRACKING),
            "quality": to_dict(self.quality),
            "baseline": None if self.baseline is None else self.baseline.record(),
            "smoothing": None if self.smoothing is None else self.smoothing.record(),
        }

    def _rows(self, medium: Medium, problems: list[str]) -> Iterator[FaceRow]:
        with closing(self.blocks(medium, problems=problems)) as blocks:
            rows: Iterable[FaceRow] = chain.from_iterable(blocks)
            if self.baseline is not None and self.baseline.kind == "file":
                rows = list(rows)
            yield from self.finish(rows, lambda: rows, is_video=medium.kind == "video")

    def _seen(
        self, medium: Medium, problems: list[str], skip_frames: int, refused: Counter[str]
    ) -> Iterator[tuple[str, FrameFaces]]:
        """The file's name as given, and each frame of it; what ends a video early goes to `problems`."""
        if medium.kind == "pictures":
            for file in medium.files[skip_frames:]:
                yield file.shown, self._chosen(self._picture(file.path, problems))
            return
        (file,) = medium.files
        frames = _until_damage(self._tracking.every_frame(file.path), problems, refused)
        for frame in islice(PersonLinker().link(frames), skip_frames, None):
            yield file.shown, self._chosen(frame)

    def _picture(self, path: Path, problems: list[str]) -> FrameFaces:
        """A picture as a frame; one that cannot be read has no face and says so."""
        try:
            return self._tracking.picture(path, min_face_px=_MIN_FACE_IN_PICTURES_PX)
        except (ImageError, OSError) as error:
            problems.append(str(error))
            return FrameFaces(0, 0.0, (), UNREADABLE)

    def _chosen(self, frame: FrameFaces) -> FrameFaces:
        """The frame with all its faces, or with the largest one."""
        if self.faces == "all" or len(frame.faces) < 2:
            return frame
        return replace(frame, faces=(max(frame.faces, key=_area),))

    def _rows_of(self, block: Sequence[tuple[str, FrameFaces]]) -> list[FaceRow]:
        """One row per face, and one for every frame without."""
        described = self._described([face for _, frame in block for face in frame.faces])
        rows: list[FaceRow] = []
        for name, frame in block:
            at = (name, frame.source_frame_index, frame.seconds)
            rows += [FaceRow(*at, face.track_number, face.score, *next(described)) for face in frame.faces]
            if not frame.faces:
                rows.append(FaceRow(*at, None, 0.0, frame.reason, None, None))
        return rows

    def _described(self, faces: Sequence[TrackedFace]) -> Iterator[tuple[str, Any, Any]]:
        """Of each face: why it is not usable, or ""; the columns PLACE; the values of the layout."""
        if faces:
            place_N21 = np.array([_place(face) for face in faces], np.float32)
            score_N = np.array([face.score for face in faces], np.float32)
            why_N = why_not_usable(place_N21, score_N, self.quality).tolist()
            yield from zip(why_N, place_N21, self._values(faces), strict=True)

    def _values(self, faces: Sequence[TrackedFace]) -> NDArray[np.float32]:
        """(N, V) values of the layout."""
        crops_NHWC = np.stack([face.crop_HWC for face in faces])
        mesh_N468x3 = np.stack([face.mesh_468x3 for face in faces]) if self.model.uses_points else None
        readings = self.model.read(self._engine(crops_NHWC, mesh_N468x3))
        more = {BLENDSHAPE: readings.blendshape_NB, GAZE: readings.gaze_NG}
        blocks = [readings.probability_NA, readings.intensity_NA, readings.sides_NS]
        blocks += [more[name] for name in self._more]
        return np.concatenate([values for values in blocks if values is not None], axis=1)


def in_background(items: Iterator[T], *, ahead: int) -> Generator[T]:
    """The same items, made in another thread up to `ahead` early; its errors are raised here.

    Closing the generator ends the thread and closes `items`.
    """
    nothing: Any = object()
    pool = ThreadPoolExecutor(1)
    try:
        made = deque(pool.submit(next, items, nothing) for _ in range(ahead))
        while (item := made.popleft().result()) is not nothing:
            made.append(pool.submit(next, items, nothing))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()


def _until_damage(
    frames: Iterator[FrameFaces], problems: list[str], refused: Counter[str]
) -> Iterator[FrameFaces]:
    try:
        for frame in frames:
            refused.update(frame.refused)
            yield frame
    except (VideoError, OSError) as error:
        problems.append(str(error))


def _timed(frames: Iterable[Images | tuple[float, Images]]) -> Iterator[Frame]:
    """Frames of a program; ValueError where a picture is not (H, W, 3) uint8.

    Times that do not increase are continued, as those of a file are.
    """
    clock = Clock(1 / SLOTS_PER_SECOND)
    for number, given in enumerate(frames):
        seconds, image_HWC = given if isinstance(given, tuple) else (number / SLOTS_PER_SECOND, given)
        image_HWC = np.ascontiguousarray(image_HWC)
        if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
            raise ValueError(
                f"frame {number}: expected a (height, width, 3) uint8 RGB picture, got "
                f"{image_HWC.dtype} {image_HWC.shape}"
            )
        yield Frame(clock.seconds(float(seconds)), number, partial(np.asarray, image_HWC))


def _area(face: TrackedFace) -> float:
    left, top, right, bottom = face.box_xyxy_px
    return (right - left) * (bottom - top)


def _place(face: TrackedFace) -> list[float]:
    """The columns PLACE."""
    pose = (face.yaw_degrees, face.pitch_degrees, face.roll_degrees)
    measures = (face.sharpness, face.brightness, face.share_inside, face.joined_seconds)
    return [*face.box_xyxy_px, *face.points_5x2_px.ravel(), *pose, *measures]
