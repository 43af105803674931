"""Frames a second from media to action units, an engine at a time, beside its two parts alone.

    python benchmarks/detect.py CLIPS [--model MODEL] [--frames 300] [--rounds 3] [--engines torch ...]

Without a model, an untrained ResNet-34 on 224 px with 12 units: speed does not depend on what was learned.
The clips are encoded anew at 640 x 480 and cut to so many frames in all. `crops` is decoding and tracking
alone, in one thread; `network` is the engine alone on crops in memory; `whole` is `Detector.rows`. The three
take turns. Ratio: time of the whole by that of its slower part; aim 1.5 at most. Every figure is told by the
clock and by processor time: of a busy machine believe the second.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from mien.backbones import build_backbone
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.detect.au_model import AuModel, load_au_model, save_au_model
from mien.detect.calibration import Calibration
from mien.detect.detector import Detector
from mien.detect.engines import open_engine
from mien.detect.export import TOLERANCES, Faces, export_model
from mien.detect.network import FittedParts
from mien.evaluate.head import ProbeHead
from mien.faces.contract import InputContract
from mien.faces.track import FaceTracking
from mien.train.encoder_file import Encoder
from mien.video import read_frames, write_video

BATCH = 32
UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 15, 17, 25, 26)
Speeds = tuple[float, float]  # frames in a second of the clock, and of processor time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+", help="videos of one face")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engines", nargs="+", default=["torch", "onnx", "onnx-int8"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads; CPU: {cpu_features()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = cut_to_size(args.clips, folder, args.frames)
        tracking = FaceTracking()
        path = folder / "model.safetensors"
        model = load_au_model(args.model) if args.model else untrained_resnet34(tracking)
        save_au_model(path, model)
        model = load_au_model(path)
        crops = np.stack(
            [f.crop_HWC for clip in clips for frame in tracking.every_frame(clip) for f in frame.faces]
        )
        for engine in args.engines:
            if engine != "torch":
                export(model, path, engine, crops, exact=args.model is not None)
            measure(engine, path, clips, crops, rounds=args.rounds, threads=args.threads)


def measure(engine, path, clips, crops, *, rounds, threads):
    """One engine's lines."""
    detector = Detector(path, engine=engine, batch_size=BATCH, threads=threads)
    alone = open_engine(engine, detector.model, model_path=path, threads=threads)
    alone(crops[:BATCH])
    parts = {
        "crops": lambda: sum(1 for clip in clips for _ in detector._tracking.every_frame(clip)),
        "network": lambda: sum(len(alone(crops[k : k + BATCH])) for k in range(0, len(crops), BATCH)),
        "whole": lambda: len({(clip, row.frame) for clip in clips for row in detector.rows(clip)}),
    }
    speeds: dict[str, list[Speeds]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, work in parts.items():
            speeds[name].append(measured(work))
    clock, processor = ({name: median(s[k] for s in speeds[name]) for name in parts} for k in (0, 1))
    ratios = [min(c[0], n[0]) / w[0] for c, n, w in zip(*speeds.values(), strict=True)]
    # On idle cores the tracker has one of them and the network shares what is left.
    seconds = {name: 1 / processor[name] for name in parts}
    ideal = (seconds["crops"] + seconds["network"]) / threads
    slower = max(seconds["crops"], seconds["network"] / threads)
    told = (", ".join(f"{name} {speed[name]:.1f}" for name in parts) for speed in (clock, processor))
    print(
        f"{engine}: frames in a second of the clock: {next(told)}; ratio to the slower part "
        f"{median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})\n"
        f"    of processor time: {next(told)}; the whole is "
        f"{seconds['whole'] / (seconds['crops'] + seconds['network']):.2f} of its parts; {threads} idle "
        f"cores could do {1 / ideal:.0f} frames/s at best, in {ideal / slower:.2f} of the slower part's time",
        flush=True,
    )


def measured(work: Callable[[], int]) -> Speeds:
    clock, processor = time.perf_counter(), processor_seconds()
    frames = work()
    return frames / (time.perf_counter() - clock), frames / (processor_seconds() - processor)


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def export(model: AuModel, path: Path, engine: str, crops, *, exact: bool) -> None:
    if not exact:  # an untrained network says nothing that 8 bits could keep
        TOLERANCES[engine] = {"mean_difference": 1.0, "presence_agreement": 0.0, "max_difference": None}
    half = len(crops) // 2
    agreement = export_model(
        model,
        path,
        engine,
        calibration=Faces(crops[:half:2]),
        check=Faces(crops[half:]),
        crops_from="the clips",
        out=path.parent,
    )
    print(f"{engine}: {agreement}", flush=True)


def cut_to_size(clips: list[Path], folder: Path, frames: int) -> list[Path]:
    """The clips covering 640 x 480, H.264, 25 fps, as many frames of each."""
    made = []
    for number, clip in enumerate(clips):
        made.append(folder / f"{number}.mp4")
        images = (covering(f.image_HWC) for f in islice(read_frames(clip), frames // len(clips)))
        write_video(made[-1], images, frames_per_second=25)
    return made


def covering(image_HWC):
    scale = max(640 / image_HWC.shape[1], 480 / image_HWC.shape[0])
    size = round(image_HWC.shape[1] * scale), round(image_HWC.shape[0] * scale)
    scaled = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - 480) // 2, (size[0] - 640) // 2
    return scaled[top : top + 480, left : left + 640]


def untrained_resnet34(tracking: FaceTracking) -> AuModel:
    torch.manual_seed(0)
    backbone = build_backbone("resnet34")
    with torch.no_grad():
        for _ in range(3):  # so that the activations have a scale
            backbone(torch.randn(4, 3, 224, 224))
    inputs = InputContract(tracking.contract, 256, 224, IMAGENET_MEAN, IMAGENET_STD)
    A = len(UNITS)
    parts = FittedParts(
        Encoder(backbone.eval().requires_grad_(False), "resnet34", {}, inputs),
        ProbeHead(backbone.feature_dim, A).eval().requires_grad_(False),
    )
    return parts.model(UNITS, Calibration.none(A), np.full(A, 0.5))


def cpu_features() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    return " ".join(flag for flag in known if flag in flags) or "unknown"


if __name__ == "__main__":
    main()
