"""`mien render`: videos of rendered people whose action units are known in every frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien_render.benchmark_set import SetSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "--model", type=Path, required=True, help="ICT-FaceKit's folder FaceXModel, or a packed .npz of it"
    )
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe, such as recipes/render-*.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder to draw into; a begun one goes on")
    parser.add_argument("--processes", type=int, default=1, help="how many clips are drawn at once (1)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override of the recipe"
    )
    parser.add_argument(
        "--sheet", action="store_true", help="only look: people.png and units.png in --out, no videos"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the set, or its contact sheets; 0 when all is there."""
    from mien.config import load_recipe, override
    from mien_render.benchmark_set import SetSettings

    if args.processes < 1:
        raise ValueError(f"--processes {args.processes}: at least 1")
    recipe = override(load_recipe(args.recipe), args.set)
    settings = SetSettings.from_recipe(recipe, where=str(args.recipe))
    return _draw_sheets(args, settings) if args.sheet else _draw_set(args, settings)


def _draw_set(args: argparse.Namespace, settings: SetSettings) -> int:
    from tqdm import tqdm

    from mien_render.write_set import write_set

    num_clips = sum(part.identities * part.clips for part in settings.parts.values())
    with tqdm(total=num_clips, unit="clip", desc=settings.name) as progress:
        manifest = write_set(
            settings, args.model, args.out, processes=args.processes, after_clip=progress.update
        )
    print(f"{settings.name}: {num_clips} clips of {settings.video.num_frames} frames; {manifest}")
    return 0


def _draw_sheets(args: argparse.Namespace, settings: SetSettings) -> int:
    import cv2

    from mien_render.actions import UNIT_NUMBERS
    from mien_render.body import Stage
    from mien_render.face_model import load_face_model
    from mien_render.sheet import models, people_sheet, unit_sheet
    from mien_render.surface import Surface
    from mien_render.write_set import make_person

    stage = Stage(Surface.of(load_face_model(args.model)), atlas_px=settings.video.atlas_px)
    num_shapes = len(stage.surface.identity_KV3)
    name, part = next(iter(settings.parts.items()))
    numbers = range(part.first_identity, part.first_identity + min(part.identities, 40))
    people = [make_person(settings, name, number, num_identity_shapes=num_shapes) for number in numbers]
    args.out.mkdir(parents=True, exist_ok=True)
    sheets = {
        "people.png": people_sheet(stage, people, columns=8, size_px=192),
        "units.png": unit_sheet(stage, models(people), units=UNIT_NUMBERS, size_px=224),
    }
    for file, picture in sheets.items():
        if not cv2.imwrite(str(args.out / file), picture[..., ::-1]):
            raise OSError(f"{args.out / file}: could not be written")
        print(args.out / file)
    return 0
