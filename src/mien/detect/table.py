"""What a table of detections is: its rows, its columns, and the table in memory over Arrow and pandas."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mien.detect.quality import QualitySettings
    from mien.findings.events import EventSettings
    from mien.findings.summary import Summary, SummarySettings

BOX = ("box_left", "box_top", "box_right", "box_bottom")  # px of the picture as shown
POINTS = tuple(f"point{point}_{axis}" for point in range(5) for axis in "xy")  # eyes, nose tip, mouth corners
POSE = ("yaw", "pitch", "roll")  # degrees
MEASURES = ("sharpness", "brightness", "inside", "joined")  # of a face's quality
PLACE = (*BOX, *POINTS, *POSE, *MEASURES)

METADATA_KEY = b"mien"  # of the Arrow schema: JSON

_TYPES = {
    "input": pa.string(),
    "frame": pa.int64(),
    "timestamp": pa.float64(),
    "face_id": pa.int32(),
    "success": pa.int8(),
    "confidence": pa.float32(),
    "reason": pa.string(),
    "usable": pa.int8(),
}
_ROWS_SHOWN = 5
_ROWS_PER_PART = 4096  # made into Arrow's columns at a time


class DetectionsError(ValueError):
    """A file that holds no table of detections, or a face that is not in it."""


@dataclass(frozen=True, eq=False)
class FaceRow:
    """A face in a frame, or a frame without one and the reason why.

    `values_V` are the model's A probabilities and, where it has them, A intensities (0 to 5), the intensities
    of the sides (0 to 5) and the other columns of the layout after them.
    """

    input: str  # the file's name as given
    frame: int  # position in presentation order, from 0; lost frames count
    seconds: float  # the file's own time; strictly increasing from frame to frame
    face_id: int | None  # None exactly where there is no face
    confidence: float  # 0 to 1
    reason: str  # why there is no face, or why the face is not usable; else ""
    place_21: NDArray[np.float32] | None  # the columns PLACE
    values_V: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class TableLayout:
    """The columns of one model's tables."""

    units: tuple[int, ...]
    threshold_A: NDArray[np.float32]  # of presence; NaN: presence is left blank
    coded_A: NDArray[np.bool_] | None  # which units have an intensity; None: a model without intensities
    side_columns: tuple[str, ...] = ()  # as "AU12_intensity_left", 0 to 5, of the subject's left and right
    other_columns: tuple[str, ...] = ()  # as "blendshape_jawOpen", 0 to 1, and "gaze_yaw", degrees

    @property
    def end_of_levels(self) -> int:
        """Where in `FaceRow.values_V` the values of 0 to 5 end, which begin behind the A probabilities."""
        return len(self.units) * (1 if self.coded_A is None else 2) + len(self.side_columns)

    @property
    def thresholds(self) -> dict[str, float]:
        """By column, without the units whose presence is left blank."""
        pairs = zip(self.units, self.threshold_A.tolist(), strict=True)
        return {f"AU{unit:02d}": threshold for unit, threshold in pairs if not np.isnan(threshold)}

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types, in order."""
        units = [f"AU{unit:02d}" for unit in self.units]
        levels = [] if self.coded_A is None else [f"{unit}_intensity" for unit in units]
        types = _TYPES | dict.fromkeys((*PLACE, *units), pa.float32())
        types |= {f"{unit}_present": pa.int8() for unit in units}
        types |= dict.fromkeys((*levels, *self.side_columns, *self.other_columns), pa.float32())
        return pa.schema(types)

    def values(self, row: FaceRow) -> dict[str, Any]:
        """The row by column; None where a frame without a face, or a unit, has no value."""
        seen = row.face_id is not None
        first = (row.input, row.frame, row.seconds, row.face_id, int(seen), row.confidence, row.reason)
        others: list[Any] = [None] * (len(self.schema) - len(_TYPES))
        if row.place_21 is not None and row.values_V is not None:
            probability_A, rest = np.split(row.values_V, [len(self.units)])
            present_A = np.where(np.isnan(self.threshold_A), np.nan, probability_A > self.threshold_A)
            numbers = np.concatenate([row.place_21, probability_A, present_A, rest])
            others = [None if math.isnan(number) else number for number in numbers.tolist()]
        return dict(zip(self.schema.names, [*first, int(seen and not row.reason), *others], strict=True))

    def table(self, rows: Iterable[FaceRow]) -> pa.Table:
        """The rows as an Arrow table."""
        parts, rows = [], iter(rows)
        while some := [list(self.values(row).values()) for row in islice(rows, _ROWS_PER_PART)]:
            columns = zip(zip(*some, strict=True), self.schema.types, strict=True)
            arrays = [pa.array(values, type) for values, type in columns]
            parts.append(pa.record_batch(arrays, schema=self.schema))
        return pa.Table.from_batches(parts, self.schema)


@dataclass(frozen=True, eq=False)
class Detections:
    """One row per frame and face, and one for each frame without a face (`success` 0).

    Columns: input, frame, timestamp (s), face_id, success, confidence, reason (why there is no face, or why
    it is not usable), usable (0/1), box_*, point*_* (px), yaw, pitch, roll (degrees), sharpness, brightness,
    inside, joined (`mien.detect.quality`), AU01 ... (probability), AU01_present ... (0/1) and, where the
    model has them, AU01_intensity ... and AU12_intensity_left, AU12_intensity_right ... (0 to 5);
    blendshape_* (0 to 1) and gaze_* (degrees) where they were asked for. Presence is null (pandas: NA) in all
    rows of a unit that the model was not shown to read better than chance:
    `metadata["model"]["unproven_units"]`.
    """

    table: pa.Table
    metadata: Mapping[str, Any]

    def to_arrow(self) -> pa.Table:
        """The Arrow table, with the metadata in its schema."""
        return self.table.replace_schema_metadata({METADATA_KEY: json.dumps(self.metadata).encode()})

    def to_pandas(self) -> pd.DataFrame:
        """A data frame; face_id and AU01_present are nullable integers (NA), the rest NaN without a face."""
        frame = self.table.to_pandas()
        whole = {name: "Int64" for name in frame if name == "face_id" or str(name).endswith("_present")}
        return frame.astype(whole)

    def save(self, path: Path | str) -> None:
        """Write a .parquet file, or a .csv and a .json with the metadata. ValueError for another suffix."""
        path = Path(path)
        if path.suffix == ".parquet":
            pq.write_table(self.to_arrow(), path)
        elif path.suffix == ".csv":
            self.to_pandas().to_csv(path, index=False)
            path.with_suffix(".json").write_text(json.dumps({"table": dict(self.metadata)}, indent=2))
        else:
            raise ValueError(f"{path}: expected a name that ends in .parquet or .csv")

    @classmethod
    def load(cls, path: Path | str) -> Detections:
        """What `save` or `mien detect` wrote, in mien's own columns. OSError, or DetectionsError."""
        path = Path(path)
        try:
            table = _read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        except pa.ArrowException as error:
            raise DetectionsError(f"{path}: not a table that can be read: {error}") from error
        missing = [name for name in (*_TYPES, *PLACE) if name not in table.column_names]
        if missing:
            raise DetectionsError(
                f"{path}: no table of detections in mien's columns; {missing[0]} is missing. A CSV of "
                "another --format lacks it: load its Parquet file. A table of an older version: detect again."
            )
        return cls(table.replace_schema_metadata(None), _metadata_beside(path) or metadata_of(table.schema))

    @classmethod
    def load_header(cls, path: Path) -> Detections:
        """Columns and metadata of a Parquet file, without a row."""
        schema = pq.read_schema(path)
        return cls(schema.remove_metadata().empty_table(), metadata_of(schema))

    @property
    def warning(self) -> str:
        """What the model is not good for, in one sentence; "" where nothing is known."""
        return str(self.metadata.get("model", {}).get("warning", ""))

    @property
    def columns(self) -> tuple[str, ...]:
        """("AU01", ...): the columns of probabilities."""
        names = self.table.column_names
        return tuple(name for name in names if f"{name}_present" in names)

    @property
    def inputs(self) -> list[str]:
        """The files of the rows; face ids start anew in each."""
        return [str(name) for name in self.table["input"].unique().to_pylist()]

    @property
    def faces(self) -> list[int]:
        """The ids of the faces, in order of appearance."""
        return [int(face_id) for face_id in self.table["face_id"].drop_null().unique().to_pylist()]

    @property
    def num_frames(self) -> int:
        """How many frames the rows cover."""
        return int(self.table.group_by(["input", "frame"]).aggregate([]).num_rows)

    def of_input(self, name: str) -> Detections:
        """The rows of one file; DetectionsError where there is none of that name."""
        if name not in self.inputs:
            raise DetectionsError(f"no file {name!r} in the table; there are {self.inputs}")
        return self._where("input", name)

    def face(self, face_id: int) -> Detections:
        """The rows of one face; DetectionsError where no face has that id."""
        if face_id not in self.faces:
            raise DetectionsError(f"no face {face_id} in the table; there are {self.faces}")
        return self._where("face_id", face_id)

    def plot_timeline(self, face_id: int | None = None) -> Figure:
        """A face's action units over time as a heat map, present ones marked; None: the face seen longest.

        DetectionsError where the rows are of several files (choose one with `of_input`) or without a face.
        """
        from mien.detect.statistics import plot_timeline

        if not self.faces:
            raise DetectionsError("no face in the table: nothing to draw")
        if len(self.inputs) > 1:
            raise DetectionsError(f"rows of several files: choose one with of_input, as {self.inputs[0]!r}")
        chosen = int(self.to_pandas()["face_id"].value_counts().index[0]) if face_id is None else face_id
        return plot_timeline(self.face(chosen).to_pandas())

    def events(self, combinations: str = "", *, settings: EventSettings | None = None) -> pd.DataFrame:
        """One row per event of an action unit, or of a combination as in `"6+12,1+2+4"`: onset, apex, offset.

        Columns, settings and errors: `mien.findings.events.find_events` (docs/findings.md).
        """
        from mien.findings.events import combinations_of, find_events

        return find_events(
            self.to_pandas(),
            self.metadata.get("thresholds", {}),
            combinations=combinations_of(combinations),
            settings=settings,
        )

    def quality(self, settings: QualitySettings | None = None) -> pd.DataFrame:
        """One row per file and face: the share that is usable, and why the rest is not.

        By other limits than the table was made with where `settings` are given. Columns:
        `mien.findings.quality.quality_report`.
        """
        from mien.findings.quality import judged, quality_report

        table = self.to_pandas()
        return quality_report(table if settings is None else judged(table, settings))

    def summarise(
        self,
        conditions: Path | pd.DataFrame,
        *,
        people: Path | pd.DataFrame | None = None,
        combinations: str = "",
        settings: SummarySettings | None = None,
    ) -> Summary:
        """What each person showed under each condition, and curves around its start, as data frames.

        Columns, settings and errors: `mien.findings.summary.summarise`, which takes many tables.
        """
        from mien.findings.events import combinations_of
        from mien.findings.summary import summarise

        asked = combinations_of(combinations)
        return summarise([self], conditions, people=people, combinations=asked, settings=settings)

    def _where(self, column: str, value: object) -> Detections:
        import pyarrow.compute as pc  # slow to import, and not needed to detect

        return replace(self, table=self.table.filter(pc.equal(self.table[column], value)))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        lines = [self.warning] if self.warning else []
        words = f"{len(self):,} rows, {self.num_frames:,} frames, {len(self.faces)} faces"
        return "\n".join([*lines, f"Detections: {words}, {' '.join(self.columns)}"])

    def _repr_html_(self) -> str:
        shown = ["frame", "timestamp", "face_id", "success", *self.columns]
        rows = self.table.slice(0, _ROWS_SHOWN).to_pandas()[shown]
        words = f"{self!r}; model {self.metadata.get('model', {}).get('file', 'unknown')}"
        return f"<p>{html.escape(words)}</p>{rows.to_html(index=False, na_rep='', float_format='%.3g')}"


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """The metadata of a table's Parquet file; {} where there is none."""
    plain: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return plain


def _read_csv(path: Path) -> pa.Table:
    """The CSV in the types of the Parquet table."""
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    other = {name: pa.int8() if name.endswith("_present") else pa.float32() for name in names}
    options = pa_csv.ConvertOptions(column_types=other | _TYPES, strings_can_be_null=False, null_values=[""])
    return pa_csv.read_csv(path, convert_options=options)


def _metadata_beside(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if path.suffix != ".csv" or not beside.is_file():
        return {}
    try:
        plain = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DetectionsError(f"{beside}: not the JSON that belongs to {path.name}: {error}") from error
    found: dict[str, Any] = plain.get("table", {})
    return found
