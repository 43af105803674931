"""Rendered clips to training arrays: inner crops, meshes as the product's finder measures them, targets.

Every frame is read twice: as it is, and through a worse camera (smaller, blurred, compressed, grey, other
tones), so that both branches meet the finder's errors on poor pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from mien.faces.align import crop_contract, crop_face, template_points_5x2_px
from mien.faces.finder import Mesh, Region
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.mesh_pose import frontal_pictures, normalised_mesh
from mien.faces.warp import fit_similarity, map_points
from mien.video import read_frames
from mien_render.actions import (
    RENDERED_UNITS,
    UNIT_NUMBERS,
    coded_intensity,
    lips_kept_together,
    shape_matrix,
    shape_weights,
)
from mien_render.benchmark_set import ClipPlan, SetSettings
from mien_render.body import MAX_LID_GAZE_DEGREES
from mien_render.clip import POINT_NAMES, Clip
from mien_render.person import Person
from mien_render.write_set import make_person

Image = NDArray[np.uint8]
Arrays = dict[str, NDArray[Any]]

UNITS = tuple(unit for unit in UNIT_NUMBERS if unit != 45)  # a blink is a short 43
SIDED = tuple(unit for unit in UNITS if RENDERED_UNITS[unit].unilateral)
FRAME_PX, STORED_PX, INPUT_PX = 100, 80, 64  # the crop made smaller, its middle stored, its middle read
_MIN_SCORE = 0.5


def read_part(root: Path, part: str, *, workers: int) -> Arrays:
    """pix (N, 80, 80), points (N, 468, 3), xy (N, 468, 2) and frontal (N, 72, 80) of N readings, and whence.

    frame: the row of the targets; version: 0 as it is, 1 the worse camera. xy: in units of half the stored
    picture, 0 in its middle.
    """
    labels = pd.read_parquet(root / part / "labels.parquet")
    names = [f"{point}_{axis}" for point in POINT_NAMES for axis in "xy"]
    points_N5x2 = labels[names].to_numpy().reshape(-1, 5, 2)
    clips = labels.groupby(labels["path"].astype(str), sort=False).indices.items()
    jobs = [(root / part / path, int(rows[0]), points_N5x2[rows]) for path, rows in clips]
    with ProcessPoolExecutor(workers) as pool:
        read = list(tqdm(pool.map(_read_clip, jobs, chunksize=8), total=len(jobs), desc=f"reading {part}"))
    columns = zip(*(clip for clip in read if clip), strict=True)
    frame, version, pix, frontal, mesh, xy = (np.concatenate(column) for column in columns)
    points = normalised_mesh(mesh)
    return {"frame": frame, "version": version, "pix": pix, "frontal": frontal, "points": points, "xy": xy}


def targets_of(
    settings: SetSettings, root: Path, part: str, number: dict[str, int]
) -> tuple[Arrays, pd.DataFrame]:
    """Per frame: units (F, A, 2), left and right, 0 to 5; shapes (F, S); gaze (F, 2); identity; facts.

    number: the face model's shapes by name. S: as `arkit_shapes` names them.
    """
    plans = {plan.path: plan for plan in settings.plans() if plan.part == part}
    paths = pd.read_parquet(root / part / "labels.parquet", columns=["path"])["path"].astype(str).unique()
    clips = [_clip_targets(settings, plans[path], number) for path in paths]
    units, shapes, gaze, facts = zip(*clips, strict=True)
    table = pd.concat(facts, ignore_index=True)
    arrays = {
        "units": np.concatenate(units),
        "shapes": np.concatenate(shapes) @ arkit_shapes(number)[1],
        "gaze": np.concatenate(gaze),
        "identity": table["identity"].to_numpy(),
    }
    return arrays, table


def arkit_shapes(number: dict[str, int]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """ARKit's names, and the matrix (E, S) from the face model's shapes to them.

    The model has two shapes for `browInnerUp` and `cheekPuff`, which ARKit has one of, and some of its own.
    """
    whole, foreign = ("browInnerUp", "cheekPuff"), ("PupilDilate", "cheekRaiser")
    sides = {"_L": "Left", "_R": "Right"}
    named: dict[str, list[int]] = {}
    for name, at in number.items():
        stem, side = (name[:-2], sides[name[-2:]]) if name[-2:] in sides else (name, "")
        if stem not in foreign:
            named.setdefault(stem if stem in whole else stem + side, []).append(at)
    matrix = np.zeros((len(number), len(named)), np.float32)
    for column, rows in enumerate(named.values()):
        matrix[rows, column] = 1 / len(rows)
    return tuple(named), matrix


def worse_camera(random: np.random.Generator, image: Image, eyes_px: float) -> tuple[Image, float]:
    """The picture smaller (eyes 10 to 24 px apart, mostly), blurred, toned, noisy, compressed; its scale."""
    scale = min(1.0, random.uniform(10, 24) / eyes_px) if random.random() < 0.7 else 1.0
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if random.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.0))
    light = (image / np.float32(255)) ** random.uniform(0.6, 1.6)
    light = (light - 0.5) * random.uniform(0.6, 1.4) + 0.5 + random.uniform(-0.12, 0.12)
    light += random.normal(0, random.uniform(0, 0.03), light.shape)
    image = np.clip(light * 255, 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.uniform(25, 80))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image, scale


@cache
def _finder() -> MediaPipeFinder:
    cv2.setNumThreads(1)
    return MediaPipeFinder()


def _read_clip(job: tuple[Path, int, NDArray[np.floating]]) -> tuple[NDArray[Any], ...]:
    """Columns of the readings of one clip; () where the finder sees no face in it."""
    path, first_row, points_T5x2 = job
    random = np.random.default_rng(first_row)
    readings = []
    for at, (frame, points_5x2) in enumerate(zip(read_frames(path), points_T5x2, strict=True)):
        eyes_px = float(np.hypot(*(points_5x2[1] - points_5x2[0])))
        worse, scale = worse_camera(random, frame.image_HWC, eyes_px)
        seen = ((frame.image_HWC, points_5x2), (worse, (points_5x2 + 0.5) * scale - 0.5))
        for version, (picture, points) in enumerate(seen):
            mesh = _measured(random, picture, points)
            if mesh is not None and mesh.score >= _MIN_SCORE:
                readings.append((first_row + at, version, *_cropped(picture, mesh)))
    return tuple(np.stack(column) for column in zip(*readings, strict=True))


def _measured(random: np.random.Generator, picture: Image, points_5x2: NDArray[np.floating]) -> Mesh | None:
    """The mesh as a tracker measures it: in the region of an earlier mesh, which lay somewhat off."""
    eyes, mouth = points_5x2[:2].mean(axis=0), points_5x2[3:].mean(axis=0)
    across = points_5x2[1] - points_5x2[0]
    side = max(4.2 * np.hypot(*(mouth - eyes)), 3.4 * np.hypot(*across)) * random.uniform(0.85, 1.15)
    x, y = points_5x2[:3].mean(axis=0) + 0.15 * (mouth - eyes) + random.normal(0, 0.03, 2) * side
    turn = np.degrees(np.arctan2(across[1], across[0])) + random.normal(0, 4)
    first = _finder().mesh(picture, Region(float(x), float(y), float(side), float(turn)))
    return None if first is None else _finder().mesh(picture, first.region)


def _cropped(picture: Image, mesh: Mesh) -> tuple[Image, Image, NDArray[np.float32], NDArray[np.float32]]:
    """The middle of the crop (80, 80) and the frontal face, grey; the mesh; its x and y in that middle."""
    contract = crop_contract(_finder())
    crop = crop_face(picture, mesh.points_5x2_px, contract)
    small = cv2.resize(crop, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA)
    edge = (FRAME_PX - STORED_PX) // 2
    grey = cv2.cvtColor(small[edge:-edge, edge:-edge], cv2.COLOR_RGB2GRAY)
    to_crop = fit_similarity(mesh.points_5x2_px, template_points_5x2_px(contract))
    xy_px = map_points(to_crop, mesh.points_468x3[:, :2].astype(np.float64))
    xy = ((xy_px / contract.crop_size_px * FRAME_PX - edge + 0.5) / STORED_PX) * 2 - 1
    (frontal,) = frontal_pictures(crop[None], mesh.points_468x3[None], contract)
    return grey, frontal, mesh.points_468x3.astype(np.float32), xy.astype(np.float32)


def _clip_targets(
    settings: SetSettings, plan: ClipPlan, number: dict[str, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], pd.DataFrame]:
    person = make_person(settings, plan.part, plan.identity, num_identity_shapes=100)
    nuisance = settings.parts[plan.part].nuisance
    clip = Clip.draw(plan.seed, motion=settings.motion, nuisance=nuisance, video=settings.video)
    coded_TA2 = coded_intensity(clip.driving_TA2)
    for unit, includes in ((43, 45), (26, 27)):  # a blink closes the eyes, a stretched mouth drops the jaw
        at, other = UNIT_NUMBERS.index(unit), UNIT_NUMBERS.index(includes)
        coded_TA2[:, at] = np.maximum(coded_TA2[:, at], coded_TA2[:, other])
    facts = {
        "identity": plan.identity,
        "yaw_degrees": clip.nuisance.pose_T3[:, 0],
        "pitch_degrees": clip.nuisance.pose_T3[:, 1],
        "half_height_cm": clip.nuisance.half_height_T_cm,
        "skin": float(person.skin @ (0.2126, 0.7152, 0.0722)),
        "age_lines": person.age_lines,
        "beard": person.beard,
        "glasses": person.glasses,
    }
    return (
        coded_TA2[:, [UNIT_NUMBERS.index(unit) for unit in UNITS]].astype(np.float32),
        np.stack(list(_shapes(clip, person, number))),
        clip.nuisance.gaze_T2.astype(np.float32),
        pd.DataFrame(facts),
    )


def _shapes(clip: Clip, person: Person, number: dict[str, int]) -> Iterator[NDArray[np.float32]]:
    """The weights of the shapes in every frame, as the body is posed."""
    gains_2AE = shape_matrix(number)
    resting_E = person.resting_A @ gains_2AE.reshape(2, -1, gains_2AE.shape[1]).sum(axis=0)
    for driving_A2, gaze_2 in zip(clip.driving_TA2, clip.nuisance.gaze_T2, strict=True):
        intensity_A2 = driving_A2 * person.unit_gain_A2
        weights_E = shape_weights(intensity_A2, gains_2AE) + resting_E
        weights_E[number["mouthClose"]] += lips_kept_together(intensity_A2)
        yaw, pitch = (float(value) for value in np.clip(gaze_2 / MAX_LID_GAZE_DEGREES, -1, 1))
        for side, outward in (("L", yaw), ("R", -yaw)):
            directions = {"Out": outward, "In": -outward, "Down": pitch, "Up": -pitch}
            for direction, value in directions.items():
                weights_E[number[f"eyeLook{direction}_{side}"]] += max(value, 0)
        yield weights_E.astype(np.float32)
