"""The stages of the demo: draw, prepare, pretrain, embed, read out, show."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.commands.demo_folder import DemoFolder
from mien.commands.demo_story import demo_page
from mien.commands.embedding import embed_sources
from mien.commands.prepare_progress import ProgressBar
from mien.commands.pretrain_settings import PretrainSettings
from mien.commands.pretraining import pretrain
from mien.config import load_recipe, override, to_dict
from mien.data.accounts import Account, format_accounts
from mien.data.face_tracking import FaceTracking
from mien.data.prepare import PrepareSettings, prepare
from mien.data.sources import list_sources
from mien.data.store import TrackStore
from mien.datasets.drawn import Drawn
from mien.evaluate.keyed_faces import store_faces
from mien.evaluate.matching import LabelledFaces
from mien.evaluate.read_outs import ReadOut, read_out
from mien.evaluate.untrained import untrained_twin
from mien.render.drawn_videos import DrawnVideos, write_drawn_videos
from mien.train.encoder_file import load_encoder
from mien.train.recipe import find_recipe
from mien.visualise.demo_page import write_demo_page

RECIPE = "clp-demo"
PIXELS_SIDE = 16
CROP_SIDE_PX = 104  # as the page shows them
FIRST_READOUT_PERSON = 50_000


@dataclass(frozen=True)
class DemoSettings:
    """How much is drawn. People of the read-out are never people of the pretraining."""

    num_people: int = 48
    videos_per_person: int = 4
    num_readout_people: int = 21
    readout_videos_per_person: int = 3
    frames_per_video: int = 50
    seed: int = 0
    workers: int = 2
    landmarks: Literal["detect", "beside"] = "detect"

    def __post_init__(self) -> None:
        if self.num_readout_people < 6:
            raise ValueError(f"num_readout_people = {self.num_readout_people}: at least 6, for three folds")

    @property
    def pretraining(self) -> DrawnVideos:
        """What is drawn for the pretraining."""
        return DrawnVideos(
            num_people=self.num_people,
            videos_per_person=self.videos_per_person,
            frames_per_video=self.frames_per_video,
            seed=self.seed,
        )

    @property
    def readout(self) -> DrawnVideos:
        """What is drawn for the read-out: other people."""
        return DrawnVideos(
            num_people=self.num_readout_people,
            first_person=FIRST_READOUT_PERSON,
            videos_per_person=self.readout_videos_per_person,
            frames_per_video=self.frames_per_video,
            seed=self.seed,
        )


@dataclass
class Stages:
    """Says what begins and keeps how long each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        print(f"\n== {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        print(f"   {self.seconds[name]:.0f} s", file=sys.stderr, flush=True)


def run_demo(out: Path, settings: DemoSettings, *, recipe_assignments: Sequence[str] = ()) -> Path:
    """Everything, into the folder `out`; the page's path. ValueError when `out` holds something else."""
    folder, stages = DemoFolder(out), Stages()
    where = find_recipe(RECIPE)
    recipe = override(load_recipe(where), [f"run.seed={settings.seed}", *recipe_assignments])
    PretrainSettings.from_recipe(recipe, where=str(where))  # refuse a wrong setting before anything is drawn
    folder.begin_anew(to_dict(settings))
    with stages.stage("draw"):
        write_drawn_videos(folder.drawn, settings.pretraining, processes=settings.workers)
        write_drawn_videos(folder.drawn_readout, settings.readout, processes=settings.workers)
    with stages.stage("prepare"):
        accounts = {
            "pretraining": _prepare(folder.drawn, folder.store, settings),
            "read-out": _prepare(folder.drawn_readout, folder.readout_store, settings),
        }
    with stages.stage("pretrain"):
        pretrain(recipe, where=str(where), store=folder.store, out=folder.run)
    with stages.stage("embed"):
        features = _embed(folder)
    with stages.stage("read out"):
        faces, pictures = _labelled_faces(folder, size_px=CROP_SIDE_PX)
        read_outs = [_told(read_out(name, rows_ND, faces)) for name, rows_ND in features.items()]
    page = demo_page(
        folder,
        faces,
        pictures,
        nearest_by_ND=next(iter(features.values())),
        read_outs=read_outs,
        accounts=accounts,
        seconds_by_stage=stages.seconds,
    )
    return write_demo_page(page, out)


def _prepare(videos: Path, store: Path, settings: DemoSettings) -> list[Account]:
    """As `mien prepare` does."""
    prepare_settings = PrepareSettings(landmarks=settings.landmarks)
    with ProgressBar() as progress:
        accounts = prepare(
            list_sources([videos]).sources,
            store,
            FaceTracking(prepare_settings.tracking, landmarks=prepare_settings.landmarks),
            settings=prepare_settings,
            workers=settings.workers,
            watcher=progress,
        )
    print(format_accounts(accounts, max_files=0), file=sys.stderr)
    return accounts


def _embed(folder: DemoFolder) -> dict[str, NDArray[np.float32]]:
    """Features of the read-out's faces by name, the trained encoder's first, then what it is held against."""
    trained = load_encoder(folder.encoder)
    method = str(trained.training["settings"]["method"]["name"])
    embed_sources([folder.readout_store], trained, folder.features)
    embed_sources([folder.readout_store], untrained_twin(trained), folder.untrained_features)
    return {
        f"{method.upper()}, pretrained": _read_features(folder.features),
        "the same encoder, untrained": _read_features(folder.untrained_features),
        f"{PIXELS_SIDE} x {PIXELS_SIDE} pixels": _pixels(folder.readout_store),
    }


def _labelled_faces(folder: DemoFolder, *, size_px: int) -> tuple[LabelledFaces, NDArray[np.uint8]]:
    """Labels of the rows of the feature tables, in their order, and their crops."""
    frames = Drawn(folder.drawn_readout).frames()
    keyed = list(store_faces(TrackStore.open(folder.readout_store), size_px=size_px))
    rows_N = frames.positions([face.key.path for face in keyed], [face.key.frame for face in keyed])
    assert (rows_N >= 0).all(), "every drawn frame has labels"
    chosen = frames.rows(rows_N)
    faces = LabelledFaces(chosen.action_units, chosen.occurrence_NA, chosen.subject_N, chosen.videos())
    return faces, np.stack([face.crop_HWC for face in keyed])


def _read_features(table: Path) -> NDArray[np.float32]:
    columns = pq.read_table(table)
    names = [name for name in columns.column_names if name[0] == "f" and name[1:].isdigit()]
    return np.stack([columns[name].to_numpy() for name in names], axis=1)


def _pixels(store: Path) -> NDArray[np.float32]:
    """What no network is needed for: the crops themselves, made small."""
    small = [face.crop_HWC for face in store_faces(TrackStore.open(store), size_px=PIXELS_SIDE)]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)


def _told(result: ReadOut) -> ReadOut:
    print(
        f"{result.name}: mean ROC-AUC {result.mean_auc:.3f}, identity {result.identity_accuracy:.2f}",
        file=sys.stderr,
    )
    return result
