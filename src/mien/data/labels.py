"""Labels of a store's frames, from a table, for methods that train on labels.

CSV or Parquet with the columns `path` (the source file), `frame` (its index in decoding order, from 0) and
one column per label, like `labels.parquet` of `mien render`. Empty means not coded; so does 9 in a column of
an action unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.data.store import TrackStore
from mien.facs import NOT_CODED, columns_by_unit
from mien.registry import nearest

Labels = NDArray[np.float32]


class LabelTableError(ValueError):
    """A table that cannot be used; the message names the file, what was found and what was expected."""


@dataclass(frozen=True)
class FrameLabels:
    """The K labels of every position of every track; NaN where a frame is not coded."""

    labels_of_track: list[Labels]  # (positions of the track, K)

    def of(self, track: int, positions: NDArray[np.int64]) -> Labels:
        """(n, K) labels of some positions."""
        return self.labels_of_track[track][positions]

    @property
    def share_coded(self) -> float:
        """The share of the store's frames that have at least one label."""
        coded = [~np.isnan(labels).all(axis=1) for labels in self.labels_of_track]
        return float(np.concatenate(coded).mean())


def action_unit_columns(path: Path) -> list[str]:
    """The table's columns that are action units, in its order; LabelTableError when there is none."""
    columns = pq.read_schema(path).names if path.suffix == ".parquet" else list(pd.read_csv(path, nrows=0))
    try:
        chosen = [column for (_, kind), column in _units(columns).items() if kind != "r"]
    except ValueError as error:
        raise LabelTableError(f"{path}: {error}") from error
    if not chosen:
        raise LabelTableError(f"{path}: no column is an action unit (AU01, AU12, ...); it has {columns}")
    return chosen


def read_frame_labels(path: Path, columns: Sequence[str], store: TrackStore) -> FrameLabels:
    """The columns' labels of the store's frames.

    The table's paths may name the same files from another folder up or down: `mp4/a/b.mp4` for `a/b.mp4`.
    LabelTableError when a column is missing or not one of the store's frames is in the table.
    """
    table = _read(path, columns)
    sources = store.tracks["source_path"].to_pylist()
    table["path"] = _as_in_store(table["path"], sources)
    units = set(_units(columns).values())
    labels = table.drop_duplicates(["path", "frame"]).set_index("frame")
    labels_of = {path: rows[list(columns)].astype(np.float32) for path, rows in labels.groupby("path")}
    is_unit_K = np.array([column in units for column in columns])
    per_track = []
    for track, source in enumerate(sources):
        indices = store.source_frame_indices(track)
        if source in labels_of:
            labels_NK = labels_of[source].reindex(indices).to_numpy(copy=True)
        else:
            labels_NK = np.full((len(indices), len(columns)), np.nan, np.float32)
        labels_NK[is_unit_K & (labels_NK == NOT_CODED)] = np.nan
        per_track.append(labels_NK)
    found = FrameLabels(per_track)
    if found.share_coded == 0.0:
        raise LabelTableError(
            f"{path}: it contains none of the frames of {store.path}. Its paths are like "
            f"{table['path'].iloc[0]!r}, the store's like {sources[0]!r}"
        )
    return found


def _units(columns: Sequence[str]) -> dict[tuple[int, str], str]:
    """`columns_by_unit` without those of one side of the face, which `mien render` adds."""
    return columns_by_unit(column for column in columns if not column.endswith(("_left", "_right")))


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"path": str})
    for column in ("path", "frame", *columns):
        if column not in table.columns:
            raise LabelTableError(f"{path}: no column {column!r}{nearest(column, table.columns)}")
    if table.empty:
        raise LabelTableError(f"{path}: no rows; expected one row per coded frame")
    return table


def _as_in_store(paths: pd.Series[str], sources: Sequence[str]) -> pd.Series[str]:
    """The table's paths with leading folders removed or added until they match the store's."""
    known = set(sources)
    parts = PurePosixPath(paths.iloc[0]).parts
    for depth in range(len(parts)):
        cut = paths.map(lambda path, depth=depth: "/".join(PurePosixPath(path).parts[depth:]))
        if cut.isin(known).any():
            return cut
    by_tail = {"/".join(PurePosixPath(source).parts[-len(parts) :]): source for source in sources}
    return paths.map(lambda path: by_tail.get(path, path))
