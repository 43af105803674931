"""Draw a set into a folder: several processes, clip by clip, so that a killed run goes on where it was.

OUT/PART/mp4/IDENTITY/VIDEO/00001.mp4   the clips
OUT/PART/labels.parquet                 one row a frame, written when the part is whole
OUT/manifest.json                       recipe, versions, the SHA-256 of every file, written last
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien import __version__
from mien.data.jobs import Died, Finished, Report, run_jobs
from mien.io import replacing, write_bytes
from mien.video import write_video
from mien_render.arrays import Floats
from mien_render.benchmark_set import ClipPlan, SetSettings
from mien_render.body import Body, Stage
from mien_render.clip import Clip, draw_frames, label_table
from mien_render.face_model import FaceModel, load_face_model
from mien_render.person import Person, draw_person
from mien_render.surface import Surface

UNFINISHED_LABELS = ".labels-of-finished-clips"


class SetMismatchError(ValueError):
    """The folder holds a set that was drawn with other settings or another model."""


def write_set(
    settings: SetSettings,
    model_path: Path,
    out: Path,
    *,
    processes: int,
    after_clip: Callable[[int], None] = lambda finished: None,
) -> Path:
    """Draw the missing clips and return the manifest; `after_clip` gets the number of newly finished clips.

    SetMismatchError when `out` was begun with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, settings, model_digest(load_face_model(model_path)))
    manifest = out / "manifest.json"
    if manifest.is_file():
        return manifest
    plans = list(settings.plans())
    missing = [plan for plan in plans if not _labels_path(out, plan).is_file()]
    after_clip(len(plans) - len(missing))
    people = [list(group) for _, group in groupby(missing, key=lambda plan: plan.identity)]
    draw = _DrawPerson(settings, model_path, out)
    for event in run_jobs(draw, people, workers=processes if processes > 1 else 0):
        if isinstance(event, Died):
            raise ChildProcessError(
                f"{out}: {event.job[0].identity_name} failed ({event.how}); the same command continues"
            )
        if isinstance(event, Finished):
            after_clip(event.result)
    _join_labels(settings, out)
    _write_manifest(settings, out, plans)
    for part in settings.parts:
        shutil.rmtree(out / part / UNFINISHED_LABELS)
    return manifest


def model_digest(model: FaceModel) -> str:
    """The first 16 hexadecimal digits of the SHA-256 over the mesh and its shapes."""
    digest = hashlib.sha256()
    shapes = model.identity_KV3, model.expression_EV3
    for array in (model.neutral_V3, model.triangles_T3, model.uv_U2, *shapes):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def make_person(settings: SetSettings, part: str, identity: int, *, num_identity_shapes: int) -> Person:
    """The person of that number."""
    random = np.random.default_rng(settings.person_seed(identity))
    return draw_person(random, settings.parts[part].people, num_identity_shapes=num_identity_shapes)


@dataclass(frozen=True)
class _DrawPerson:
    """The work of one process: the clips of one person after another."""

    settings: SetSettings
    model_path: Path
    out: Path

    @cached_property
    def stage(self) -> Stage:
        """Made once a process."""
        cv2.setNumThreads(1)
        return Stage(Surface.of(load_face_model(self.model_path)), atlas_px=self.settings.video.atlas_px)

    def __call__(self, plans: list[ClipPlan], _report: Report, /) -> int:
        """The number of clips drawn."""
        num_shapes = len(self.stage.surface.identity_KV3)
        person = make_person(self.settings, plans[0].part, plans[0].identity, num_identity_shapes=num_shapes)
        body = Body(self.stage, person)
        for plan in plans:
            self._draw_clip(body, plan)
        return len(plans)

    def _draw_clip(self, body: Body, plan: ClipPlan) -> None:
        settings, nuisance = self.settings, self.settings.parts[plan.part].nuisance
        clip = Clip.draw(plan.seed, motion=settings.motion, nuisance=nuisance, video=settings.video)
        path = self.out / plan.part / plan.path
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = settings.video.frames_per_second
        points: list[Floats] = []

        def pictures() -> Iterator[NDArray[np.uint8]]:
            for picture, points_5x2 in draw_frames(body, clip, settings.video):
                points.append(points_5x2)
                yield picture

        write_video(
            path,
            pictures(),
            frames_per_second=rate,
            quality_crf=clip.nuisance.quality,
            key_frames_only=settings.video.key_frames_only,
        )
        occurs_at = settings.motion.occurs_at
        labels = label_table(clip, np.stack(points), frames_per_second=rate, occurs_at=occurs_at)
        columns = {
            "path": _always(plan.path, len(labels)),
            "identity": _always(plan.identity_name, len(labels)),
            "fold": _always(plan.fold, len(labels)),
            "seed": _always("-".join(map(str, plan.seed)), len(labels)),
            **{name: labels[name] for name in labels.column_names},
            "background": _always(clip.nuisance.background, len(labels)),
            "glasses": pa.array([int(body.person.glasses)] * len(labels), pa.int8()),
        }
        with replacing(_labels_path(self.out, plan)) as unfinished:
            pq.write_table(pa.table(columns), unfinished)


def _always(value: str, num_rows: int) -> pa.DictionaryArray:
    return pa.array([value] * num_rows).dictionary_encode()


def _labels_path(out: Path, plan: ClipPlan) -> Path:
    return out / plan.part / UNFINISHED_LABELS / f"{plan.identity_name}-{plan.clip:04d}.parquet"


def _join_labels(settings: SetSettings, out: Path) -> None:
    for part in settings.parts:
        files = sorted((out / part / UNFINISHED_LABELS).glob("id*.parquet"))
        table = pa.concat_tables([pq.read_table(file) for file in files]).unify_dictionaries()
        with replacing(out / part / "labels.parquet") as unfinished:
            pq.write_table(table, unfinished, compression="zstd", compression_level=9)


def _write_manifest(settings: SetSettings, out: Path, plans: list[ClipPlan]) -> None:
    begun = json.loads((out / "set.json").read_text(encoding="utf-8"))
    files = [f"{part}/labels.parquet" for part in settings.parts]
    files += [f"{plan.part}/{plan.path}" for plan in plans]
    manifest = {
        **begun,
        "mien": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "num_clips": len(plans),
        "num_frames": len(plans) * settings.video.num_frames,
        "sha256": {file: hashlib.sha256((out / file).read_bytes()).hexdigest() for file in files},
    }
    write_bytes(out / "manifest.json", json.dumps(manifest, indent=1).encode())


def _claim(out: Path, settings: SetSettings, model: str) -> None:
    """Write down what is being drawn, or refuse when something else was."""
    stated = {
        "name": settings.name,
        "digest": settings.digest,
        "model": model,
        "settings": settings.to_dict(),
    }
    note = out / "set.json"
    if not note.is_file():
        write_bytes(note, json.dumps(stated, indent=1).encode())
        return
    begun = json.loads(note.read_text(encoding="utf-8"))
    for key in ("digest", "model"):
        if begun.get(key) != stated[key]:
            raise SetMismatchError(
                f"{out}: was begun with another {'recipe' if key == 'digest' else 'face model'} "
                f"({key} {begun.get(key)}, now {stated[key]}); give an empty folder or what it was begun with"
            )
