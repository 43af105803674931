"""`mien detect`: pictures, videos or a camera -> tables of action units, one row a frame and face."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MEDIA... --model M --out DIR, and how to read, to write and to show them."""
    parser.add_argument("media", nargs="*", type=Path, metavar="MEDIA", help="videos, pictures, folders")
    parser.add_argument("--model", type=Path, required=True, help="an action-unit model, from `mien fit`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="NAME.csv and NAME.parquet")
    parser.add_argument("--camera", type=int, metavar="N", help="a camera's number instead of MEDIA: 0, say")
    parser.add_argument(
        "--seconds", type=float, help="how long to look at the camera (default: until Ctrl-C)"
    )
    parser.add_argument("--engine", default="torch", help="what runs the network (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument(
        "--format",
        choices=["mien", "openface", "pyfeat"],
        default="mien",
        help="the CSV's columns; the Parquet file has mien's own (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="files at a time (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="threads of the network, for a single process")
    parser.add_argument(
        "--baseline",
        metavar="first:SECONDS|file",
        help="take each face's own neutral off: of its first seconds, or a low percentile of the file",
    )
    parser.add_argument("--smooth", type=float, metavar="SECONDS", help="average over so much time, centred")
    parser.add_argument(
        "--faces", choices=["all", "largest"], default="all", help="largest: one face a frame"
    )
    parser.add_argument("--batch", type=int, default=32, help="faces at a time (default: %(default)s)")
    parser.add_argument("--page", action="store_true", help="also NAME.html: the video with its timeline")
    parser.add_argument("--video", action="store_true", help="also NAME.annotated.mp4: boxes and bars")
    parser.add_argument(
        "--landmarks",
        choices=["detect", "beside"],
        default="detect",
        help="beside: take NAME.landmarks.csv beside each video instead of detecting faces",
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")


def run(args: argparse.Namespace) -> int:
    """Detect in everything; 0 where every file was read whole and shown as asked, else 1."""
    from mien.commands.detecting import DetectPlan, detect_camera, detect_media
    from mien.detect.signals import Baseline

    if (args.camera is None) == (not args.media):
        raise ValueError("expected videos, pictures or folders, or --camera N; not both")
    plan = DetectPlan(
        model=args.model,
        out=args.out,
        engine=args.engine,
        device=args.device,
        csv_format=args.format,
        baseline=None if args.baseline is None else Baseline.parse(args.baseline),
        smooth_seconds=args.smooth,
        faces=args.faces,
        batch_size=args.batch,
        landmarks=args.landmarks,
        face_models=args.models,
        threads=args.threads,
        page=args.page,
        video=args.video,
    )
    if args.camera is not None:
        return detect_camera(plan, args.camera, seconds=args.seconds)
    return detect_media(plan, args.media, processes=args.processes)
