"""`mien demo`: detect, pretrain and evaluate on the shipped clips of rendered people, in minutes."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import time
from pathlib import Path
from typing import Any

from mien.commands import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--out FOLDER [--workers N] [--set section.key=value ...]."""
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="default: %(default)s")
    flags.add_workers(parser)
    flags.add_set(parser, of="the recipe clp-demo", example="run.steps=100")


def run(args: argparse.Namespace) -> int:
    """Run the commands, each printed as one would type it; the first exit status that is not 0."""
    from mien.datasets.rendered import shipped_clips

    clips, out = shipped_clips() / "main", args.out
    workers = ["--workers", args.workers]
    found, table, truth = out / "detections", out / "detections.parquet", out / "truth.csv"
    encoder = out / "run" / "encoder.safetensors"
    settings = ["--set", *args.assignments] if args.assignments else []
    contestants = ["--encoder", f"CLP={encoder}", "--untrained", "--modes", "frozen"]
    labels = ["--dataset", "rendered", "--root", "shipped", "--store", out / "labelled-store"]
    print(
        "Detected against rendered action units, on 30 rendered people that the shipped model has not seen:"
    )
    commands: dict[str, list[Any]] = {
        "detect": [clips / "mp4", "--out", found, "--page", *workers],
        "agree": [table, truth, "--out", out / "agreement", "--media", clips / "mp4"],
        "prepare": [clips.with_name("pretraining"), "--out", out / "store", *workers],
        "pretrain": ["clp-demo", "--store", out / "store", "--out", encoder.parent, *settings],
        "evaluate": [*labels, *contestants, "--out", out / "evaluation", *workers],
    }
    for verb, words in commands.items():
        if verb == "agree":
            _join(found, clips / "labels.parquet", table=table, truth=truth)
        if verb == "prepare":
            print("\nA short pretraining on videos without labels, and an evaluation of its features:")
        status = _run_verb(verb, list(map(str, words)))
        if status:
            return status
    print(
        f"\nOpen in a browser:\n  {found / 'overview.html'}: what the shipped model detects"
        f"\n  {out / 'agreement' / 'agreement.html'}: where that differs from what was rendered"
        f"\n  {out / 'evaluation' / 'report.html'}: the short pretraining, not expected to beat the "
        "untrained network\nAll faces here are rendered; for real faces, see docs/detect.md."
    )
    return 0


def _join(found: Path, labels: Path, *, table: Path, truth: Path) -> None:
    """All tables of detections as one, and the labels of the same frames as a table of labels."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mien.detect.table import Detections

    parts = [Detections.load(path) for path in sorted(found.rglob("*.parquet"))]
    Detections(pa.concat_tables([part.table for part in parts]), parts[0].metadata).save(table)
    rendered = pq.read_table(labels).to_pandas()
    units = [name for name in rendered if re.fullmatch(r"AU\d\d", name)]
    rows = pd.DataFrame({"path": rendered["path"].astype(str).str.removeprefix("mp4/")})
    rows["subject"], rows["frame"] = rendered["identity"].astype(str), rendered["frame"]
    pd.concat([rows, rendered[units]], axis=1).to_csv(truth, index=False)


def _run_verb(verb: str, words: list[str]) -> int:
    print(f"\n$ mien {shlex.join([verb, *words])}", flush=True)
    began = time.monotonic()
    command = importlib.import_module(f"mien.commands.{verb}")
    parser = argparse.ArgumentParser(prog=f"mien {verb}")
    command.add_arguments(parser)
    status: int = command.run(parser.parse_args(words))
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return status
