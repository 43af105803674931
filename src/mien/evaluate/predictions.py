"""What a system said about every tested frame, as one Parquet file from which all scores can be recomputed.

Columns: path, frame, seconds, subject, fold; an action unit label_AU12 (empty = not coded), probability_AU12,
threshold_AU12 (chosen on training subjects) and, where the set codes them, intensity_AU12 and
predicted_intensity_AU12; or label (a class number) and probability_Happy. The metadata say what it was.
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
    mode: str  # what of the encoder moved: see TrunkMode
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

    def tells_the_same(self, other: About) -> bool:
        """Whether a run of the other would give these predictions again: all but where, when and how long."""
        apart: dict[str, Any] = {"encoder": "", "seconds": 0.0, "notes": ()}
        return dataclasses.replace(self, **apart) == dataclasses.replace(other, **apart)


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


def write_predictions(path: Path, predictions: Predictions) -> None:
    """One Parquet file, at once or not at all."""
    columns: dict[str, Any] = {
        "path": predictions.path_N,
        "frame": predictions.frame_N,
        "seconds": predictions.seconds_N,
        "subject": predictions.subject_N,
        "fold": predictions.fold_N,
    }
    if predictions.class_N is not None:
        columns["label"] = predictions.class_N
    for prefix, values_NA in _blocks(predictions).items():
        for column, name in enumerate(predictions.outputs):
            columns[f"{prefix}_{name}"] = pa.array(
                values_NA[:, column], from_pandas=True
            )  # NaN becomes empty
    record = {
        "format": _FORMAT,
        "outputs": predictions.outputs,
        "about": dataclasses.asdict(predictions.about),
    }
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    table = table.replace_schema_metadata({_KEY: json.dumps(record).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, temporary_folder=path.parent) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """What `write_predictions` wrote; PredictionsError when the file is something else."""
    try:
        table = pq.read_table(path)
        record = json.loads((table.schema.metadata or {})[_KEY])
    except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
        raise PredictionsError(f"{path}: not a file of predictions that `mien evaluate` wrote") from error
    if record["format"] != _FORMAT:
        raise PredictionsError(f"{path}: format {record['format']}; this mien reads {_FORMAT}")
    about = About(**(record["about"] | {"notes": tuple(record["about"]["notes"])}))
    return _from_table(table, tuple(record["outputs"]), about)


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


def _blocks(predictions: Predictions) -> dict[str, NDArray[np.float32]]:
    """(N, A) arrays by the prefix of their columns."""
    blocks: dict[str, NDArray[np.float32] | None] = {
        "probability": predictions.probability_NA,
        "label": predictions.label_NA if predictions.class_N is None else None,
        "threshold": predictions.threshold_NA if predictions.class_N is None else None,
        "intensity": predictions.intensity_NA,
        "predicted_intensity": predictions.predicted_intensity_NA,
    }
    return {prefix: values for prefix, values in blocks.items() if values is not None}


def _from_table(table: pa.Table, outputs: tuple[str, ...], about: About) -> Predictions:
    def block(prefix: str) -> NDArray[np.float32] | None:
        if f"{prefix}_{outputs[0]}" not in table.column_names:
            return None
        columns = [table[f"{prefix}_{name}"].to_numpy().astype(np.float32) for name in outputs]
        return np.stack(columns, axis=1)

    none_NA = np.zeros((table.num_rows, 0), np.float32)
    probability_NA, label_NA, threshold_NA = block("probability"), block("label"), block("threshold")
    assert probability_NA is not None
    return Predictions(
        about=about,
        outputs=outputs,
        path_N=np.array(table["path"].to_pylist(), np.str_),
        frame_N=table["frame"].to_numpy(),
        seconds_N=table["seconds"].to_numpy(),
        subject_N=np.array(table["subject"].to_pylist(), np.str_),
        fold_N=np.array(table["fold"].to_pylist(), np.str_),
        probability_NA=probability_NA,
        label_NA=none_NA if label_NA is None else label_NA,
        threshold_NA=none_NA if threshold_NA is None else threshold_NA,
        class_N=table["label"].to_numpy() if "label" in table.column_names else None,
        intensity_NA=block("intensity"),
        predicted_intensity_NA=block("predicted_intensity"),
    )
