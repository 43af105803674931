"""`mien render`: videos of rendered people whose action units are known in every frame."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.commands import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RECIPE --face-model MODEL --out FOLDER [--workers N] [--set section.key=value ...]."""
    parser.add_argument(
        "--face-model",
        type=Path,
        required=True,
        metavar="MODEL",
        help="ICT-FaceKit's folder FaceXModel, or an .npz made of it",
    )
    flags.add_recipe(parser, kind="rendering recipe")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to render into; the same command continues"
    )
    flags.add_workers(parser)
    flags.add_set(parser, of="the recipe", example="parts.main.identities=10")


def run(args: argparse.Namespace) -> int:
    """Render the set; 0 when it is complete."""
    from mien.config import find_recipe, load_recipe, override
    from mien.data.progress import progress_bar
    from mien_render.benchmark_set import SetSettings
    from mien_render.write_set import write_set

    if args.workers < 1:
        raise ValueError(f"--workers {args.workers}: at least 1")
    path = find_recipe(args.recipe, section="parts")
    settings = SetSettings.from_recipe(override(load_recipe(path), args.assignments), where=str(path))
    num_clips = sum(part.identities * part.clips for part in settings.parts.values())
    with progress_bar(total=num_clips, unit="clips", desc=settings.name) as progress:
        manifest = write_set(
            settings, args.face_model, args.out, processes=args.workers, after_clip=progress.update
        )
    print(f"{settings.name}: {num_clips} clips of {settings.video.num_frames} frames; {manifest}")
    return 0
