"""Draw a set into a folder: several processes, clip by clip, so that a killed run goes on where it was.

OUT/PART/mp4/IDENTITY/VIDEO/00001.mp4   the clips
OUT/PART/labels.parquet                 one row a frame, written when the part is whole
OUT/manifest.json                       recipe, versions, the SHA-256 of every file, written last
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien import __version__
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


@dataclass(frozen=True)
class _Work:
    settings: SetSettings
    model_path: Path
    out: Path


def write_set(
    settings: SetSettings,
    model_path: Path,
    out: Path,
    *,
    processes: int,
    after_clip: Callable[[int], None] = lambda finished: None,
) -> Path:
    """Draw what is not there yet and return the manifest; `after_clip` is told how many clips are done.

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
    for finished in _each(_Work(settings, model_path, out), people, processes=processes):
        after_clip(finished)
    _join_labels(settings, out)
    _write_manifest(settings, out, plans)
    for part in settings.parts:
        shutil.rmtree(out / part / UNFINISHED_LABELS)
    return manifest


def model_digest(model: FaceModel) -> str:
    """The first 16 hexadecimal digits of the SHA-256 over the mesh and its shapes."""
    digest = hashlib.sha256()
    for array in (
        model.neutral_V3,
        model.triangles_T3,
        model.uv_U2,
        model.identity_KV3,
        model.expression_EV3,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def make_person(settings: SetSettings, part: str, identity: int, *, num_identity_shapes: int) -> Person:
    """The person of that number."""
    random = np.random.default_rng(settings.person_seed(identity))
    return draw_person(random, settings.parts[part].people, num_identity_shapes=num_identity_shapes)


def _each(work: _Work, people: list[list[ClipPlan]], *, processes: int) -> Iterator[int]:
    """Draw the clips of every person; yields how many clips each was."""
    if processes == 1:
        cv2.setNumThreads(1)
        _start_worker(work)
        for plans in people:
            yield _draw_person(plans)
        return
    with drawing_pool(processes, _start_worker, work) as pool:
        waiting = {pool.submit(_draw_person, plans) for plans in people}
        try:
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_EXCEPTION, timeout=1.0)
                yield sum(future.result() for future in finished)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def drawing_pool(processes: int, load: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """Processes that have run `load(*arguments)`, one OpenCV thread each; they end with their parent."""
    spawn = multiprocessing.get_context("spawn")  # forking a process that has threads may hang it
    return ProcessPoolExecutor(processes, spawn, initializer=_start, initargs=(load, arguments))


def _start(load: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    load(*arguments)


def _end_with_parent() -> None:
    """A killed parent cannot end its pool, whose processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_worker: dict[str, Any] = {}


def _start_worker(work: _Work) -> None:
    stage = Stage(Surface.of(load_face_model(work.model_path)), atlas_px=work.settings.video.atlas_px)
    _worker.update(work=work, stage=stage)


def _draw_person(plans: list[ClipPlan]) -> int:
    work, stage = _worker["work"], _worker["stage"]
    first = plans[0]
    person = make_person(
        work.settings, first.part, first.identity, num_identity_shapes=len(stage.surface.identity_KV3)
    )
    body = Body(stage, person)
    for plan in plans:
        _draw_clip(work, body, plan)
    return len(plans)


def _draw_clip(work: _Work, body: Body, plan: ClipPlan) -> None:
    settings = work.settings
    nuisance = settings.parts[plan.part].nuisance
    clip = Clip.draw(plan.seed, motion=settings.motion, nuisance=nuisance, video=settings.video)
    path = work.out / plan.part / plan.path
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
    for name, value in (
        ("seed", "-".join(map(str, plan.seed))),
        ("fold", plan.fold),
        ("identity", plan.identity_name),
        ("path", plan.path),
    ):
        labels = labels.add_column(0, name, pa.array([value] * len(labels)).dictionary_encode())
    labels = labels.append_column(
        "background", pa.array([clip.nuisance.background] * len(labels)).dictionary_encode()
    )
    labels = labels.append_column("glasses", pa.array([int(body.person.glasses)] * len(labels), pa.int8()))
    _write_atomically(_labels_path(work.out, plan), lambda at: pq.write_table(labels, at))


def _labels_path(out: Path, plan: ClipPlan) -> Path:
    return out / plan.part / UNFINISHED_LABELS / f"{plan.identity_name}-{plan.clip:04d}.parquet"


def _join_labels(settings: SetSettings, out: Path) -> None:
    for part in settings.parts:
        files = sorted((out / part / UNFINISHED_LABELS).glob("id*.parquet"))
        table = pa.concat_tables([pq.read_table(file) for file in files]).unify_dictionaries()
        write = functools.partial(pq.write_table, table, compression="zstd", compression_level=9)
        _write_atomically(out / part / "labels.parquet", write)


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
    text = json.dumps(manifest, indent=1)
    _write_atomically(out / "manifest.json", lambda at: at.write_text(text, encoding="utf-8"))


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
        _write_atomically(note, lambda at: at.write_text(json.dumps(stated, indent=1), encoding="utf-8"))
        return
    begun = json.loads(note.read_text(encoding="utf-8"))
    for key in ("digest", "model"):
        if begun.get(key) != stated[key]:
            raise SetMismatchError(
                f"{out}: was begun with another {'recipe' if key == 'digest' else 'face model'} "
                f"({key} {begun.get(key)}, now {stated[key]}); give an empty folder or what it was begun with"
            )


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
