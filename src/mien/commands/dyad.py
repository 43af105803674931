"""`mien dyad`: one action unit of two faces -> do they move together, and who leads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.flags import add_out

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TABLE [TABLE] --unit N --out DIR."""
    parser.add_argument(
        "tables",
        nargs="+",
        type=Path,
        metavar="TABLE",
        help="one table of `mien detect` with two faces, or two on one clock, with a face each",
    )
    parser.add_argument("--unit", type=int, required=True, metavar="N", help="the action unit, as 12")
    parser.add_argument(
        "--faces", type=int, nargs=2, metavar=("I", "J"), help="face ids (default: those seen longest)"
    )
    add_out(parser, of="for dyad.csv and dyad.svg")
    parser.add_argument(
        "--window",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="of one correlation (default: %(default)s)",
    )
    parser.add_argument(
        "--max-lag", type=float, default=3.0, metavar="SECONDS", help="to either side (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the curve, print its highest point."""
    from mien.findings.dyads import DyadSettings, lagged_correlation
    from mien.io import write_csv
    from mien.visualise.study_pages import write_dyad

    if len(args.tables) > 2:
        raise ValueError(f"{len(args.tables)} tables: expected one with two faces, or two with a face each")
    settings = DyadSettings(window=args.window, most_lag=args.max_lag)
    first, second = _signals(args.tables, args.unit, args.faces)
    found = lagged_correlation(first, second, settings=settings)
    write_csv(args.out / "dyad.csv", found.curve, float_format="%.4f")
    title = f"AU{args.unit:02d}, {first.name} and {second.name}"
    write_dyad(found, args.out / "dyad.svg", title=title)
    follower = second.name if found.lag_seconds > 0 else first.name
    print(
        f"r = {found.r:.3f} (95 % over {found.num_windows} windows {found.r_low:.3f} to {found.r_high:.3f}), "
        f"{follower} {abs(found.lag_seconds):.1f} s behind; p = {found.p_value:.3f} against surrogates; "
        f"{found.num_windows_left_out} windows left out (a face is missing, or does not move)"
    )
    return 0


def _signals(tables: list[Path], unit: int, faces: list[int] | None) -> list[pd.Series]:
    """Intensity, else probability, of the two faces, by time in seconds; named after table and face."""
    from mien.detect.table import Detections

    signals = []
    for at in range(2):
        path = tables[min(at, len(tables) - 1)]
        detections = Detections.load(path)
        if len(detections.inputs) > 1:
            raise ValueError(f"{path}: rows of {len(detections.inputs)} files; expected one video")
        table = detections.to_pandas()
        longest = [int(face) for face in table["face_id"].value_counts().index]
        rank = at if len(tables) == 1 else 0
        if faces is None and len(longest) <= rank:
            raise ValueError(f"{path}: {len(longest)} faces; expected {rank + 1}")
        rows = detections.face(faces[at] if faces else longest[rank]).to_pandas()
        columns = [name for name in (f"AU{unit:02d}_intensity", f"AU{unit:02d}") if name in rows]
        if not columns:
            raise ValueError(
                f"{path}: no AU{unit:02d} in the table; there are {', '.join(detections.columns)}"
            )
        name = f"{path.stem} face {int(rows['face_id'].iloc[0])}"
        signals.append(rows.set_index("timestamp")[columns[0]].rename(name))
    return signals
