"""The rows of one video, kept on disk until it is over: only then is it known whose face each track is."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mien.data.identities import identities_of
from mien.data.sources import Source
from mien.evaluate.feature_table import FeatureKey, FeatureTable
from mien.evaluate.keyed_faces import TrackedCrop

_READ_AT_ONCE = 1024


class VideoRows:
    """Within `with VideoRows(folder, feature_dim=512) as rows:`, rows go to a nameless file in `folder`."""

    def __init__(self, folder: Path, *, feature_dim: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed in __exit__
        self._dtype = np.dtype(
            [("track", "<i4"), ("frame", "<i8"), ("seconds", "<f8"), ("feature", "<f4", feature_dim)]
        )
        self._slots: dict[int, set[int]] = defaultdict(set)
        self._size: dict[int, float] = defaultdict(float)

    def add(self, crops: Sequence[TrackedCrop], features_ND: NDArray[np.float32]) -> None:
        """Append N rows."""
        rows = np.empty(len(crops), self._dtype)
        for row, crop in zip(rows, crops, strict=True):
            row["track"], row["frame"], row["seconds"] = crop.track, crop.frame, crop.seconds
            self._slots[crop.track].update(crop.slots)
            self._size[crop.track] += crop.box_area_px2 * len(crop.slots)
        rows["feature"] = features_ND
        self._file.write(rows.tobytes())

    def write_into(self, table: FeatureTable, source: Source) -> None:
        """All rows, in the order in which they came, with the identities that `mien prepare` would give."""
        identities = identities_of(self._slots, self._size, video=source.video, identity=source.identity)
        self._file.seek(0)
        while chunk := self._file.read(_READ_AT_ONCE * self._dtype.itemsize):
            rows = np.frombuffer(chunk, self._dtype)
            keys = [
                FeatureKey(str(source.path), track, frame, seconds, identities[track])
                for track, frame, seconds in rows[["track", "frame", "seconds"]].tolist()
            ]
            table.write(keys, rows["feature"])

    def __enter__(self) -> VideoRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
