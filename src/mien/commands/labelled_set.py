"""The flags that name a labelled set: of `mien evaluate`, `mien fit` and `mien adapt`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands.flags import add_device, add_finder, add_store_cache, add_workers
from mien.data.remote import path_or_url


def add_labelled_set(
    parser: argparse.ArgumentParser, *, is_required: bool = True, more_devices: str = ""
) -> None:
    """The flags of `mien.evaluate.labelled_faces.FacesRequest`, and the device."""
    labels = parser.add_argument_group("the labelled set")
    labels.add_argument(
        "--dataset", required=is_required, metavar="D", help="bp4d, disfa, gft, rendered, table, ..."
    )
    labels.add_argument(
        "--root",
        type=_root,
        required=is_required,
        metavar="PATH",
        help="the set's folder; for `table` the table itself; `shipped` for the shipped clips (`rendered`)",
    )
    labels.add_argument(
        "--store",
        type=path_or_url,
        metavar="STORE",
        help="its cropped faces, made when not there (default: beside --out), or the URL of a finished store",
    )
    add_store_cache(labels)
    labels.add_argument(
        "--occurs-at", type=float, metavar="X", help="intensity from which an AU is present (`table`)"
    )
    labels.add_argument("--protocol", metavar="NAME", help="a named list of subjects, or a file with one")
    labels.add_argument(
        "--folds", type=int, default=3, help="where the set has no list or split (default: %(default)s)"
    )
    means = parser.add_argument_group("means")
    add_workers(means, of="crop and read the faces")
    add_device(means, more=more_devices)
    add_finder(means)


def _root(text: str) -> Path:
    """The path; `shipped` is the part `main` of the shipped clips."""
    if text != "shipped":
        return Path(text)
    from mien.datasets.rendered import shipped_clips

    return shipped_clips() / "main"
