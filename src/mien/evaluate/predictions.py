"""A system's predictions for every tested frame: one Parquet file from which all scores can be recomputed.

Columns: path, frame, seconds, subject, fold; per action unit label_AU12 (empty = not coded),
probability_AU12, threshold_AU12 (chosen on training subjects) and, where the set codes them, intensity_AU12
and predicted_intensity_AU12; or label (a class number) and probability_Happy. The metadata are
an `About` record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.facs import action_unit
from mien.io import replacing

_KEY = b"mien predictions"
_FORMAT = 1


class PredictionsError(ValueError):
    """A file of predictions that cannot be used, or two that do not compare."""


@dataclass(frozen=True)
class About:
    """What was tested, how, and on what: everything a reader needs to know whether two files compare."""

    dataset: str
    system: str  # shown in the report
    mode: str  # trained parts of the encoder: see TrunkMode
    share_of_labels: float  # of the training subjects
    encoder: str  # file or description
    encoder_sha256: str
    contract_digest: str
    protocol: str
    protocol_source: str
    protocol_digest: str
    frames_digest: str
    settings: dict[str, Any]
    mien_version: str
    seconds: float  # spent on fitting and predicting
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """N tested frames. Outputs are action units, or expressions when `class_N` is given.

    label_NA, threshold_NA, intensities: NaN where not coded or not chosen; A = 0 for expressions.
    """

    about: About
    outputs: tuple[str, ...]  # AU12 or Happy
    path_N: NDArray[np.str_]
    frame_N: NDArray[np.int64]
    seconds_N: NDArray[np.float64]
    subject_N: NDArray[np.str_]
    fold_N: NDArray[np.str_]
    probability_NA: NDArray[np.float32]
    label_NA: NDArray[np.float32]
    threshold_NA: NDArray[np.float32]
    class_N: NDArray[np.int64] | None = None
    intensity_NA: NDArray[np.float32] | None = None
    predicted_intensity_NA: NDArray[np.float32] | None = None

    @property
    def action_units(self) -> tuple[int, ...]:
        """Their numbers; empty for expressions."""
        return () if self.class_N is not None else tuple(int(name[2:]) for name in self.outputs)

    @property
    def labels_digest(self) -> str:
        """A hash over frames, folds and labels: equal exactly when two files were tested on the same."""
        labels = self.label_NA if self.class_N is None else self.class_N
        order = np.lexsort((self.frame_N, self.path_N))
        text = "\n".join(
            f"{self.path_N[n]}\t{self.frame_N[n]}\t{self.fold_N[n]}\t{labels[n].tolist()}" for n in order
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def output_names(action_units: tuple[int, ...], expressions: tuple[str, ...]) -> tuple[str, ...]:
    """Column endings: AU01, AU12, or the expressions."""
    return expressions or tuple(action_unit(number).column for number in action_units)


_ROW = ("path", "frame", "seconds", "subject", "fold")
_BLOCKS = ("probability", "label", "threshold", "intensity", "predicted_intensity")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """One Parquet file, written whole or not at all."""
    columns: dict[str, Any] = {name: pa.array(getattr(predictions, f"{name}_N")) for name in _ROW}
    if predictions.class_N is not None:
        columns["label"] = pa.array(predictions.class_N)
    for block in _BLOCKS:
        values_NA = getattr(predictions, f"{block}_NA")
        if values_NA is not None and values_NA.shape[1]:
            for name, values_N in zip(predictions.outputs, values_NA.T, strict=True):
                columns[f"{block}_{name}"] = pa.array(values_N, from_pandas=True)  # NaN becomes empty
    about = dataclasses.asdict(predictions.about)
    record = {"format": _FORMAT, "outputs": predictions.outputs, "about": about}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(record).encode()})
    with replacing(path, temporary_folder=path.parent) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """The contents of a file of `write_predictions`; PredictionsError when the file is something else."""
    record = _read_record(path)
    table = pq.read_table(path)
    rows = {f"{name}_N": table[name].to_numpy() for name in _ROW}
    rows |= {name: rows[name].astype(np.str_) for name in ("path_N", "subject_N", "fold_N")}
    none_NA = np.zeros((table.num_rows, 0), np.float32)
    blocks = {"label_NA": none_NA, "threshold_NA": none_NA}
    for block in _BLOCKS:
        names = [f"{block}_{output}" for output in record["outputs"]]
        if names[0] in table.column_names:
            columns = [table[name].to_numpy().astype(np.float32) for name in names]
            blocks[f"{block}_NA"] = np.stack(columns, axis=1)
    return Predictions(
        about=_about_of(record),
        outputs=tuple(record["outputs"]),
        class_N=table["label"].to_numpy() if "label" in table.column_names else None,
        **rows,
        **blocks,
    )


def read_about(path: Path) -> About:
    """The record of a file of predictions, without its rows; PredictionsError as `read_predictions`."""
    return _about_of(_read_record(path))


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[_KEY])
    except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
        raise PredictionsError(f"{path}: not a file of predictions that `mien evaluate` wrote") from error
    if record["format"] != _FORMAT:
        raise PredictionsError(f"{path}: format {record['format']}; this mien reads {_FORMAT}")
    return record


def _about_of(record: dict[str, Any]) -> About:
    return About(**(record["about"] | {"notes": tuple(record["about"]["notes"])}))


def require_comparable(a: Predictions, b: Predictions, *, names: tuple[str, str]) -> None:
    """PredictionsError saying what differs, unless both were tested on the same frames, folds and labels."""
    for what in ("dataset", "protocol_digest", "frames_digest"):
        left, right = getattr(a.about, what), getattr(b.about, what)
        if left != right:
            raise PredictionsError(
                f"{names[0]} and {names[1]} do not compare: {what} is {left} in the first, "
                f"{right} in the second"
            )
    if a.outputs != b.outputs or a.labels_digest != b.labels_digest:
        raise PredictionsError(
            f"{names[0]} and {names[1]} do not compare: not the same frames, folds and labels "
            f"({len(a.path_N)} and {len(b.path_N)} tested frames)"
        )
