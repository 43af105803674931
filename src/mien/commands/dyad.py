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
        help="one table of `mien detect` with two faces, or two tables on the same clock, one face each",
    )
    parser.add_argument(
        "--unit", type=int, required=True, metavar="N", help="number of the action unit, such as 12"
    )
    parser.add_argument(
        "--faces", type=int, nargs=2, metavar=("I", "J"), help="face ids (default: those seen longest)"
    )
    add_out(parser, of="folder for dyad.csv and dyad.svg")
    parser.add_argument(
        "--window",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="length of the window of one correlation (default: %(default)s)",
    )
    parser.add_argument(
        "--max-lag",
        type=float,
        default=3.0,
        metavar="SECONDS",
        help="largest lag in either direction (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the curve, print its highest point."""
    from mien.findings.dyads import DyadSettings, lagged_correlation
    from mien.io import write_csv
    from mien.visualise.findings_pages import write_dyad

    if len(args.tables) > 2:
        raise ValueError(f"{len(args.tables)} tables: expected one with two faces, or two with a face each")
    settings = DyadSettings(window=args.window, most_lag=args.max_lag)
    signals = [_signal(args, rank) for rank in range(2)]
    first, second = (str(signal.name) for signal in signals)
    found = lagged_correlation(*signals, settings=settings)
    write_csv(args.out / "dyad.csv", found.curve, float_format="%.4f")
    write_dyad(found, args.out / "dyad.svg", title=f"AU{args.unit:02d}, {first} and {second}")
    lag, r, low, high = found.peak[["lag", "r", "low", "high"]]
    print(
        f"r = {r:.3f} (95 % over {found.num_windows} windows {low:.3f} to {high:.3f}), "
        f"{second if lag > 0 else first} {abs(lag):.1f} s behind; p = {found.p_value:.3f} against "
        f"surrogates; {found.num_windows_left_out} windows left out (a face is missing or does not move)"
    )
    return 0


def _signal(args: argparse.Namespace, rank: int) -> pd.Series:
    """Intensity, else probability, of the first or second face, by time (s); named by table and face."""
    from mien.detect.table import Detections

    path = args.tables[min(rank, len(args.tables) - 1)]
    table = Detections.load(path).to_pandas()
    longest = table["face_id"].value_counts().index
    chosen = args.faces[rank : rank + 1] if args.faces else longest[rank if len(args.tables) == 1 else 0 :]
    names = [name for name in (f"AU{args.unit:02d}_intensity", f"AU{args.unit:02d}") if name in table]
    if table["input"].nunique() > 1 or not names or not len(chosen) or chosen[0] not in longest:
        raise ValueError(
            f"{path}: faces {', '.join(map(str, longest)) or 'none'} of {table['input'].nunique()} files; "
            f"expected one file with a column AU{args.unit:02d}, and the faces of --faces or one per signal"
        )
    rows = table[table["face_id"] == chosen[0]]
    return rows.set_index("timestamp")[names[0]].rename(f"{path.stem} face {int(chosen[0])}")
