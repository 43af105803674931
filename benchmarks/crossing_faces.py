"""Do face ids stay with their people where two faces cross? Heads cut from real clips walk past each other.

    python benchmarks/crossing_faces.py CLIPS... [--crossings 24] [--seed 2]

Each crossing takes two clips, cuts a head from each, and moves one past the other before a blurred scene, or
up to it and back. `kept`: both have the id after that they had before, and no other; `more`: one got a
further id; `changed`: an id passed from one to the other.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mien.detect.persons import PersonLinker
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.track import FaceTracking
from mien.faces.tracked import TrackSettings
from mien.video import Frame, read_frames

NUM_FRAMES, SIZE, HEAD = 100, (640, 360), (150, 180)  # width, height
MEETING_PX = 450  # what both walk together until one stands before the other
Heads = list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+", help="videos of one face, each of somebody else")
    parser.add_argument("--crossings", type=int, default=24)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    generator = np.random.default_rng(args.seed)
    finder = MediaPipeFinder()
    counts: Counter[str] = Counter()
    while sum(counts.values()) < args.crossings:
        pair = [args.clips[number] for number in generator.choice(len(args.clips), 2, replace=False)]
        heads = [heads_of(path, finder) for path in pair]
        ways = ways_of(speed=generator.uniform(3, 7), turns_back=generator.random() < 0.4)
        if all(len(of_one) == NUM_FRAMES for of_one in heads):
            counts[crossing(heads, ways, generator)] += 1
            print(dict(counts), flush=True)


def heads_of(path: Path, finder: MediaPipeFinder) -> Heads:
    """The head of each frame, cut where it stands in the first."""
    heads: Heads = []
    part = None
    for frame in islice(read_frames(path), NUM_FRAMES):
        image = frame.image_HWC
        if part is None:
            found = finder.detect(image)
            if not found:
                return []
            region = found[0].region
            x, y, half = region.centre_x_px, region.centre_y_px, 0.62 * region.side_px
            part = (slice(max(0, int(y - half)), int(y + half)), slice(max(0, int(x - half)), int(x + half)))
        heads.append(cv2.resize(image[part], HEAD))
    return heads


def ways_of(*, speed: float, turns_back: bool) -> np.ndarray:
    """(T, 2) left edges of the two heads."""
    walked = speed * np.arange(NUM_FRAMES)
    if turns_back:
        furthest = (MEETING_PX - 60) / 2
        walked = furthest - np.abs(furthest - walked)
    return np.stack([20 + walked, 20 + MEETING_PX - walked], axis=1)


def crossing(heads: list[Heads], ways: np.ndarray, generator: np.random.Generator) -> str:
    coarse = generator.integers(60, 190, (12, 20, 3), dtype=np.uint8)
    background = cv2.GaussianBlur(cv2.resize(coarse, SIZE), (0, 0), 9)
    apart = np.abs(ways[:, 0] - ways[:, 1])
    middle = int(np.argmin(apart))
    ids: defaultdict[tuple[int, bool], set[int]] = defaultdict(set)  # of a person, before and after
    tracked = FaceTracking(TrackSettings(detect_every_frames=12)).frames(pictures(heads, ways, background))
    for frame in PersonLinker().link(tracked):
        at = frame.source_frame_index
        for face in frame.faces:
            x = (face.box_xyxy_px[0] + face.box_xyxy_px[2] - HEAD[0]) / 2
            person = int(np.argmin(np.abs(ways[at] - x)))
            if apart[at] >= 100:  # elsewhere it cannot be told who it is
                ids[person, at > middle].add(face.track_number)
    of_one, of_other = (ids[person, False] | ids[person, True] for person in (0, 1))
    if of_one & of_other:
        return "changed"
    return "kept" if len(of_one) == len(of_other) == 1 else "more"


def pictures(heads: list[Heads], ways: np.ndarray, background: np.ndarray) -> Iterator[Frame]:
    for at in range(NUM_FRAMES):
        image = background.copy()
        for of_one, left in zip(heads, ways[at].astype(int).tolist(), strict=True):
            first, last = max(0, left), min(SIZE[0], left + HEAD[0])
            if first < last:
                image[90 : 90 + HEAD[1], first:last] = of_one[at][:, first - left : last - left]
        yield Frame(at / 25, at, lambda image=image: image)


if __name__ == "__main__":
    main()
