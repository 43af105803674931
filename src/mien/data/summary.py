"""What a store holds, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from mien.data.store import TrackStore
from mien.video import SLOTS_PER_SECOND


@dataclass(frozen=True)
class StoreSummary:
    """Counts over all tracks of a store. Positions in short runs are in the store, but in no clip."""

    num_videos: int
    num_identities: int
    num_tracks: int
    num_positions: int
    num_runs: int  # long enough for a clip
    num_positions_in_runs: int
    num_short_runs: int
    num_positions_in_short_runs: int
    min_run_frames: int
    crops_bytes: int

    @classmethod
    def of(cls, store: TrackStore) -> StoreSummary:
        """Of a store, from its manifest and the sizes of its crop files."""
        tracks = store.tracks
        num_positions = pc.sum(tracks["num_frames"]).as_py() or 0
        num_in_short = pc.sum(tracks["num_frames_in_short_runs"]).as_py() or 0
        return cls(
            num_videos=len(tracks["video"].unique()),
            num_identities=len(tracks["identity"].unique()),
            num_tracks=tracks.num_rows,
            num_positions=num_positions,
            num_runs=pc.sum(pc.list_value_length(tracks["runs"])).as_py() or 0,
            num_positions_in_runs=num_positions - num_in_short,
            num_short_runs=pc.sum(tracks["num_short_runs"]).as_py() or 0,
            num_positions_in_short_runs=num_in_short,
            min_run_frames=store.header.min_run_frames,
            crops_bytes=sum(
                (store.path / crops).stat().st_size for crops in tracks["crops"].unique().to_pylist()
            ),
        )

    def in_words(self) -> str:
        """Three lines."""
        minutes = self.num_positions / SLOTS_PER_SECOND / 60
        a_position = self.crops_bytes / self.num_positions / 1000 if self.num_positions else 0.0
        return (
            f"{self.num_tracks:,} tracks of {self.num_identities:,} identities in {self.num_videos:,} "
            f"videos: {self.num_positions:,} positions at {SLOTS_PER_SECOND} fps, {minutes:,.1f} minutes\n"
            f"{self.num_runs:,} runs of at least {self.min_run_frames} frames hold "
            f"{self.num_positions_in_runs:,} of them; {self.num_short_runs:,} shorter runs, kept out of the "
            f"clips, the other {self.num_positions_in_short_runs:,}\n"
            f"crops: {self.crops_bytes / 1e6:,.1f} MB, {a_position:.1f} kB a position"
        )
