"""Detecting: a video to rows of action units, beside decoding and tracking alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mien.backbones import build_backbone
from mien.bench.clock import Turns
from mien.bench.figures import Figure
from mien.bench.network_parts import ACTION_UNITS, BACKBONE, StepSize
from mien.data.face_tracking import FaceTracking
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.detect.au_model import AuModel, save_au_model
from mien.detect.calibration import Calibration
from mien.detect.detector import Detector
from mien.evaluate.head import ProbeHead
from mien.facs import ACTION_UNITS as KNOWN_UNITS
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos
from mien.train.encoder_file import Encoder, InputContract

FRAMES = 60


def measure_detecting(folder: Path, turns: Turns) -> Figure:
    """One drawn face, its landmarks given, by an untrained model; made in `folder`."""
    drawn = DrawnVideos(num_people=1, videos_per_person=1, frames_per_video=FRAMES, side_px=480)
    write_drawn_videos(folder / "seen", drawn)
    video = next((folder / "seen").rglob("*.mp4"))
    tracking = FaceTracking(landmarks="beside")
    size = StepSize.for_device(turns.device)
    path = folder / "untrained.safetensors"
    save_au_model(path, untrained_model(tracking, size))
    detector = Detector(path, device=turns.device.type, landmarks="beside")
    num_rows = sum(1 for _ in detector.rows(video))
    assert num_rows == FRAMES, f"{num_rows} rows of {FRAMES} frames of one face"
    seconds = turns.least_seconds(
        {
            "track": lambda: sum(1 for _ in tracking.every_frame(video)),
            "detect": lambda: sum(1 for _ in detector.rows(video)),
        }
    )
    return Figure(
        "detect",
        f"frames/s, one face, landmarks given, {BACKBONE}, {size.view_px} px",
        FRAMES / seconds["detect"],
        FRAMES / seconds["track"],
        "decoding and cropping alone",
    )


def untrained_model(tracking: FaceTracking, size: StepSize) -> AuModel:
    """Of the bench's backbone and twelve action units: speed does not depend on what was learned."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(BACKBONE)
        head = ProbeHead(backbone.feature_dim, ACTION_UNITS)
    inputs = InputContract(tracking.contract, size.frame_px, size.view_px, IMAGENET_MEAN, IMAGENET_STD)
    return AuModel(
        encoder=Encoder(backbone.eval().requires_grad_(False), BACKBONE, {}, inputs),
        head=head.eval().requires_grad_(False),
        units=tuple(sorted(KNOWN_UNITS))[:ACTION_UNITS],
        calibration=Calibration.none(ACTION_UNITS),
        threshold_A=np.full(ACTION_UNITS, 0.5, np.float32),
        intensity=None,
        record={},
        source="an untrained network",
    )
