"""Frames a second of the renderer on one core, by picture size, and what each stage costs.

    python benchmarks/render.py --model FaceXModel [--sizes 64 128 224] [--frames 60]

CPU time is counted, not wall time, so that a busy machine distorts it less. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from mien.video import write_video
from mien_render.body import Body, Stage
from mien_render.clip import Clip, VideoSettings, draw_frames
from mien_render.face_model import load_face_model
from mien_render.motion import MotionSettings
from mien_render.nuisance import NuisanceSettings
from mien_render.person import PeopleSettings, draw_person
from mien_render.surface import Surface


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    stage, seconds = _timed(lambda: Stage(Surface.of(load_face_model(args.model))))
    print(f"load and prepare the model: {seconds:.2f} s")
    people = [
        draw_person(np.random.default_rng(seed), PeopleSettings(), num_identity_shapes=100)
        for seed in range(4)
    ]
    bodies, seconds = _timed(lambda: [Body(stage, person) for person in people])
    print(f"dress and paint a person: {seconds / len(people):.2f} s")
    print("size px   draw ms   encode ms   frames/s")
    for size_px in args.sizes:
        draw, encode = _per_frame(bodies, size_px, args.frames)
        print(f"{size_px:7d} {1e3 * draw:9.1f} {1e3 * encode:11.1f} {1 / (draw + encode):10.0f}")


def _per_frame(bodies: list[Body], size_px: int, num_frames: int) -> tuple[float, float]:
    """Seconds a frame: to draw (head, background, sensor) and to encode."""
    video = VideoSettings(size_px=size_px, seconds=num_frames / 25 / len(bodies))
    clips = [
        Clip.draw((1, seed), motion=MotionSettings(), nuisance=NuisanceSettings(), video=video)
        for seed in range(len(bodies))
    ]
    drawn, seconds = _timed(
        lambda: [
            [picture for picture, _ in draw_frames(body, clip, video)]
            for body, clip in zip(bodies, clips, strict=True)
        ]
    )
    count = sum(len(pictures) for pictures in drawn)
    with tempfile.TemporaryDirectory() as folder:
        _, encoding = _timed(
            lambda: [
                write_video(Path(folder) / "clip.mp4", iter(pictures), frames_per_second=25, quality_crf=24)
                for pictures in drawn
            ]
        )
    return seconds / count, encoding / count


def _timed(work):  # type: ignore[no-untyped-def]
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


if __name__ == "__main__":
    main()
