"""How large a memory bank is for a corpus of another size than the paper's."""

from __future__ import annotations

VIDEOS_OF_PAPER = 48_000
SMALLEST_BANK = 512


def rows_for_corpus(rows_of_paper: int, *, num_videos: int) -> int:
    """The paper's rows a video times `num_videos`: a larger bank holds several stale keys of every video."""
    return max(SMALLEST_BANK, round(rows_of_paper * num_videos / VIDEOS_OF_PAPER))
