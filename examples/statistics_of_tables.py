"""What tables of `mien detect` say in a few numbers: how often, how long, what together.

    python examples/statistics_of_tables.py OUT statistics.csv

OUT is the folder of `mien detect`, or one table of it. The CSV has one row per file, face and action unit;
units whose presence is left blank have none.
"""

import sys
from pathlib import Path

import pandas as pd

from mien import Detections
from mien.detect.statistics import co_occurrence, unit_statistics


def main(found: Path, out: Path) -> None:
    paths = sorted(found.rglob("*.parquet")) if found.is_dir() else [found]
    tables = [Detections.load(path).to_pandas() for path in paths]
    statistics = pd.concat([unit_statistics(table) for table in tables], ignore_index=True)
    statistics.to_csv(out, index=False)
    frames = pd.concat([table.drop_duplicates(["input", "frame"]) for table in tables])
    num_files, share = frames["input"].nunique(), frames["success"].mean()
    print(f"{len(frames):,} frames in {num_files} files, {share:.1%} with a face")
    print("\nmean over faces")
    print(statistics.groupby("unit")[["share_present", "mean_episode_seconds"]].mean().round(3).to_string())
    print("\nof the rows with either action unit, the share with both")
    print(co_occurrence(pd.concat(tables)).round(2).to_string())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
