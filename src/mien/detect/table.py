"""The table of detections in memory: over Arrow and pandas, saved and loaded, shown and plotted."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mien.detect.rows import PLACE
from mien.detect.table_layout import metadata_of, with_metadata

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST = ("input", "frame", "timestamp", "face_id", "success", "confidence", "reason", *PLACE)
_ROWS_SHOWN = 5


class DetectionsError(ValueError):
    """A file that holds no table of detections, or a face that is not in it."""


@dataclass(frozen=True, eq=False)
class Detections:
    """One row a frame and face, and one for each frame without a face (`success` 0).

    Columns: input, frame, timestamp (s), face_id, success, confidence, reason, box_*, point*_* (px), yaw,
    pitch, roll (degrees), AU01 ... (probability), AU01_present ... (0/1) and, where the model has them,
    AU01_intensity ... (0 to 5).
    """

    table: pa.Table
    metadata: Mapping[str, Any]

    def to_arrow(self) -> pa.Table:
        """The Arrow table, with the metadata in its schema."""
        return self.table.replace_schema_metadata(with_metadata(self.table.schema, self.metadata).metadata)

    def to_pandas(self) -> pd.DataFrame:
        """A data frame; face_id and AU01_present are nullable integers, the rest NaN without a face."""
        frame = self.table.to_pandas()
        whole = {name: "Int64" for name in frame if name == "face_id" or str(name).endswith("_present")}
        return frame.astype(whole)

    def save(self, path: Path | str) -> None:
        """To .parquet, or to .csv with the metadata as JSON beside it. ValueError for another suffix."""
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
        missing = [name for name in _FIRST if name not in table.column_names]
        if missing:
            raise DetectionsError(
                f"{path}: no table of detections in mien's columns; {missing[0]} is missing"
            )
        return cls(table.replace_schema_metadata(None), _metadata_beside(path) or metadata_of(table.schema))

    @property
    def columns(self) -> tuple[str, ...]:
        """("AU01", ...): the columns of probabilities."""
        names = self.table.column_names
        return tuple(name for name in names if f"{name}_present" in names)

    @property
    def inputs(self) -> list[str]:
        """The files that the rows are of; face ids count anew in each."""
        return [str(name) for name in self.table["input"].unique().to_pylist()]

    @property
    def faces(self) -> list[int]:
        """The ids of the faces, those seen first first."""
        return [int(face_id) for face_id in self.table["face_id"].drop_null().unique().to_pylist()]

    @property
    def num_frames(self) -> int:
        """How many frames the rows are of."""
        return int(self.table.group_by(["input", "frame"]).aggregate([]).num_rows)

    def of_input(self, name: str) -> Detections:
        """The rows of one file; DetectionsError where there is none of that name."""
        if name not in self.inputs:
            raise DetectionsError(f"no file {name!r} in the table; there are {self.inputs}")
        return Detections(self.table.filter(pc.equal(self.table["input"], name)), self.metadata)

    def face(self, face_id: int) -> Detections:
        """The rows of one face; DetectionsError where no face has that id."""
        if face_id not in self.faces:
            raise DetectionsError(f"no face {face_id} in the table; there are {self.faces}")
        chosen = pc.equal(self.table["face_id"], face_id)
        return Detections(self.table.filter(chosen), self.metadata)

    def plot_timeline(self, face_id: int | None = None) -> Figure:
        """A face's action units over time as a heat map, present ones marked; None: the face seen longest.

        DetectionsError where the rows are of several files: choose one with `of_input`.
        """
        from mien.detect.plots import plot_timeline

        return plot_timeline(self, face_id)

    def plot_summary(self) -> Figure:
        """How often each action unit was present, a bar a face; a bar a file where there are several."""
        from mien.detect.plots import plot_summary

        return plot_summary(self)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return (
            f"Detections: {len(self):,} rows, {self.num_frames:,} frames, {len(self.faces)} faces, "
            f"{' '.join(self.columns)}"
        )

    def _repr_html_(self) -> str:
        shown = ["frame", "timestamp", "face_id", "success", *self.columns]
        rows = self.table.slice(0, _ROWS_SHOWN).to_pandas()[shown]
        facts = self.metadata.get("model", {})
        words = f"{self!r}; model {facts.get('file', 'unknown')}"
        return f"<p>{html.escape(words)}</p>{rows.to_html(index=False, na_rep='', float_format='%.3g')}"


def _read_csv(path: Path) -> pa.Table:
    """The CSV in the types of the Parquet table."""
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    types = {name: _type(name) for name in names}
    options = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False, null_values=[""])
    return pa_csv.read_csv(path, convert_options=options)


def _type(name: str) -> pa.DataType:
    if name in ("input", "reason"):
        return pa.string()
    if name == "success" or name.endswith("_present"):
        return pa.int8()
    special = {"frame": pa.int64(), "face_id": pa.int32(), "timestamp": pa.float64()}
    return special.get(name, pa.float32())


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
