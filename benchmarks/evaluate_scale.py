"""A dry run at BP4D's true size and layout: 41 people, 328 tasks, 146 847 frames, planted signals.

    python benchmarks/evaluate_scale.py FOLDER [--share 0.1] [--workers 2]

Writes small pictures with a face at given points, crops them into a store, embeds them with a small untrained
encoder, probes it in frozen mode over the three folds of the field, and prints minutes, processor time and
memory of each stage. AU12 is the picture's brightness, AU4 its redness, all others are noise.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from mien.backbones import build_backbone
from mien.data.store import TrackStore
from mien.datasets.bp4d import Bp4d
from mien.evaluate.evaluation import Evaluation, System, Trial, features_of
from mien.evaluate.labelled_faces import match_faces
from mien.evaluate.labelled_store import Look, prepare_labelled
from mien.evaluate.probe import ProbeSettings, TrunkMode
from mien.evaluate.protocols import load_protocol
from mien.faces.align import crop_contract, crop_face
from mien.faces.contract import InputContract
from mien.faces.tracked import FrameFaces, TrackedFace
from mien.train.encoder_file import Encoder
from mien.video import Frame

NUM_FRAMES = 146_847
SIDE_PX = 48
POINTS = (17, 18, 31, 18, 24, 26, 18, 34, 30, 34)


class _Nobody:
    """The names in the crop contract."""

    detector = landmarker = "given points"
    detector_sha256 = landmarker_sha256 = ""


class _GivenFaces:
    """One face per picture, at the same points."""

    contract = crop_contract(_Nobody())

    def look(self, _path: Path) -> Look:
        return _look


def _look(frame: Frame) -> FrameFaces:
    points_5x2 = np.array(POINTS, float).reshape(5, 2)
    crop_HWC = crop_face(frame.image_HWC, points_5x2, _GivenFaces.contract)
    box, mesh_468x3 = (9.0, 9.0, 39.0, 39.0), np.zeros((468, 3), np.float32)
    face = TrackedFace(0, box, points_5x2, 1.0, 0.0, 0.0, 0.0, 1.0, crop_HWC, mesh_468x3)
    return FrameFaces(frame.source_frame_index, frame.seconds, (face,), "")


def main() -> None:
    """All stages, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the frames, for a look")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    root, store = args.folder / "BP4D", args.folder / "store"
    with _told("write the fake set"):
        write_fake_bp4d(root, num_frames=round(NUM_FRAMES * args.share))
    with _told("read the labels"):
        frames = Bp4d(root).frames()
    print(f"{frames.num_frames:,} frames of {len(np.unique(frames.subject_N))} people")
    with _told("crop into a store"):
        prepare_labelled(frames, root, store, _GivenFaces(), workers=args.workers)
    with _told("join labels and faces"):
        data = match_faces(frames, root, TrackStore.open(store))
    protocol = load_protocol("bp4d-3fold")
    folds = protocol.folds(data.frames.subject_N)
    evaluation = Evaluation("bp4d", data, protocol, folds, ProbeSettings(), args.folder / "predictions")
    system = _system()
    with _told("embed"):
        features_ND = features_of(system, data, workers=args.workers - 1)
    with _told("probe, frozen, three folds, thresholds chosen as well"):
        found = evaluation.try_and_keep(Trial(system, TrunkMode.FROZEN, 1.0), features_ND)
    with _told("score with intervals"):
        floors = found.each("always_on")
    for output, f1, floor in zip(found.outputs, found.each("f1"), floors, strict=True):
        print(f"{output}: F1 {f1.value:.3f} ({f1.low:.3f} to {f1.high:.3f}), always on {floor.value:.3f}")


def write_fake_bp4d(root: Path, *, num_frames: int) -> None:
    """The layout of the real set; numbers of frames differ a little from task to task and add up."""
    tasks = [(subject, f"T{k}") for subject in _subjects() for k in range(1, 9)]
    generator = np.random.default_rng(0)
    lengths = generator.multinomial(num_frames, np.full(len(tasks), 1 / len(tasks)))
    for (subject, task), length in zip(tasks, lengths, strict=True):
        active = generator.random((length, 99)) < 0.3
        _write_codes(root / "AUCoding" / "AU_OCC" / f"{subject}_{task}.csv", active)
        folder = root / "Sequences(2D+3D)" / subject / task
        folder.mkdir(parents=True, exist_ok=True)
        tint = generator.integers(0, 30, 3)
        for t in range(length):
            picture = np.full((SIDE_PX, SIDE_PX, 3), 60 + 80 * active[t, 11], np.uint8) + tint.astype(
                np.uint8
            )
            picture[..., 0] += np.uint8(50 * active[t, 3])
            picture[generator.integers(0, SIDE_PX, 12), :, 1] += np.uint8(15)
            (folder / f"{100 + t:04d}.jpg").write_bytes(simplejpeg.encode_jpeg(picture, 80))


def _subjects() -> list[str]:
    return [f"F{k:03d}" for k in range(1, 24)] + [f"M{k:03d}" for k in range(1, 19)]


def _write_codes(path: Path, active_TA: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(range(100))
        writer.writerows([100 + t, *row] for t, row in enumerate(active_TA.astype(int).tolist()))


def _system() -> System:
    torch.manual_seed(0)
    settings = {"width": 8}
    inputs = InputContract(_GivenFaces.contract, 32, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    backbone = build_backbone("resnet18", **settings).eval()
    encoder = Encoder(backbone, "resnet18", settings, inputs, source="untrained")
    return System("untrained", encoder, "", (TrunkMode.FROZEN,))


@contextmanager
def _told(stage: str) -> Iterator[None]:
    began, cpu = time.monotonic(), _cpu_seconds()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    minutes, busy = (time.monotonic() - began) / 60, (_cpu_seconds() - cpu) / 60
    print(f"{stage}: {minutes:.1f} min, {busy:.1f} min of processor, peak {peak:.2f} GB so far", flush=True)


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
