"""How right are the tables of `mien detect` on rendered faces, whose action units are known?

    mien detect SET/mp4 --model MODEL --out TABLES
    python benchmarks/detect_scores.py SET/labels.parquet TABLES [--occurs-at 1]

One line per unit: share of frames that have it, F1 of `present` (NaN where that is left blank) and ROC-AUC
of the probability, in per cent, and the AUC with each file's median taken off, as a person's baseline would.
Frames without a face, or without labels, are left out and counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from mien.evaluate.metrics import base_rates, f1_per_column


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--occurs-at", type=float, default=1.0)
    args = parser.parse_args()
    rows, unlabelled = joined(pd.read_parquet(args.labels), args.tables)
    units = [name for name in rows if name.endswith("_present")]
    names = [name.removesuffix("_present") for name in units]
    faces = rows[rows["success"] == 1]
    print(f"{len(faces)} faces; {len(rows) - len(faces)} rows without one; {in_words(unlabelled)}")
    labels_NA = (faces[[f"{name}_label" for name in names]].to_numpy() >= args.occurs_at).astype(np.float32)
    centred = faces[names] - faces.groupby("input")[names].transform("median")
    scores = {
        "base rate": base_rates(labels_NA),
        "F1": f1_per_column(labels_NA, faces[units].fillna(0).to_numpy(np.int64)),
        "AUC": areas(labels_NA, faces[names]),
        "AUC centred": areas(labels_NA, centred),
    }
    table = 100 * pd.DataFrame(scores, index=names)
    table.loc[faces[units].isna().all().to_numpy(), "F1"] = np.nan  # presence is left blank
    print(pd.concat([table, table.mean().to_frame("mean").T]).round(1).to_string())


def joined(labels: pd.DataFrame, tables: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables' rows with their frames' labels, AU01_label ..., and the rows whose frames have none.

    The labels' paths may begin above the tables' names.
    """
    paths = sorted(tables.rglob("*.parquet"))
    rows = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    names = [name.removesuffix("_present") for name in rows if name.endswith("_present")]
    inputs = set(rows["input"])
    ends = {path: longest_end(path, inputs) for path in labels["path"].unique()}
    coded = labels[names].add_suffix("_label")
    coded["input"], coded["frame"] = labels["path"].map(ends), labels["frame"]
    both = rows.merge(coded, on=["input", "frame"], how="left", validate="many_to_one", indicator="found")
    has_labels = both.pop("found") == "both"
    return both[has_labels], both[~has_labels]


def in_words(unlabelled: pd.DataFrame) -> str:
    """How many rows have no labels, and in which files, the first few by name."""
    inputs = unlabelled["input"].unique()
    named = ", ".join(map(str, inputs[:3])) + (" ..." if len(inputs) > 3 else "")
    words = f"{len(unlabelled)} rows without labels"
    return f"{words}, in {len(inputs)} files: {named}" if len(inputs) else words


def longest_end(path: str, inputs: set[str]) -> str:
    """The table's name of a labelled video, by the most of its path; empty where there is none."""
    return max((name for name in inputs if f"/{path}".endswith(f"/{name}")), key=len, default="")


def areas(labels_NA: np.ndarray, probability: pd.DataFrame) -> np.ndarray:
    """(A,) ROC-AUC; NaN where all frames are alike."""
    columns = zip(labels_NA.T, probability.to_numpy().T, strict=True)
    return np.array([roc_auc_score(*column) if len(set(column[0])) == 2 else np.nan for column in columns])


if __name__ == "__main__":
    main()
