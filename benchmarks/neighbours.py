"""A sheet to look at: frames of a store and, of each, the nearest frames of other people by an encoder.

    python benchmarks/neighbours.py ENCODER --store STORE --out sheet.png [--centred]

Queries are drawn among the frames that lie farthest from their track's mean: faces that do something.
--centred takes each track's mean feature away first. The first picture of a row is the query.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mien.data.store import TrackStore
from mien.evaluate.feature_content import nearest_of_others
from mien.evaluate.features import embed_frames
from mien.evaluate.readout import centred_by_video
from mien.train.encoder_file import load_encoder
from mien.visualise.page_parts import png
from mien.visualise.store_page import contact_sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--neighbours", type=int, default=8)
    parser.add_argument("--every-frames", type=int, default=5)
    parser.add_argument("--centred", action="store_true")
    args = parser.parse_args()
    store, encoder = TrackStore.open(args.store), load_encoder(args.encoder)
    encoder.contract.require_same(store.contract, ours=encoder.source, theirs=str(store.path))
    size_px = encoder.inputs.frame_size_px
    places = [np.arange(0, store.num_frames(track), args.every_frames) for track in range(store.num_tracks)]
    feature_ND = np.concatenate(
        [
            embed_frames(encoder, store.read_frames(track, rows.tolist(), size_px=size_px))
            for track, rows in enumerate(places)
        ]
    )
    track_N, place_N = np.repeat(np.arange(len(places)), list(map(len, places))), np.concatenate(places)
    person_N = np.array([store.identity_number(int(track)) for track in track_N])
    moved_ND = centred_by_video(feature_ND, track_N)
    busy = np.argsort(-np.linalg.norm(moved_ND / feature_ND.std(axis=0).clip(1e-9), axis=1))
    busy = busy[: len(busy) // 10]
    queries = np.random.default_rng(0).choice(busy, args.rows, replace=False)
    near_QK = nearest_of_others(
        moved_ND if args.centred else feature_ND, person_N, num_neighbours=args.neighbours, queries=queries
    )
    rows = []
    for query, near in zip(queries, near_QK, strict=True):
        shown = [
            store.read_frames(int(track_N[row]), [int(place_N[row])], size_px=96)[0] for row in (query, *near)
        ]
        rows.append(([f"person {person_N[query]}", f"track {track_N[query]}"], np.stack(shown)))
    args.out.write_bytes(png(contact_sheet(rows, pictures_per_row=1 + args.neighbours)))


if __name__ == "__main__":
    main()
