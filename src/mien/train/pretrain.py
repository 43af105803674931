"""A pretraining run from a recipe, a store and a run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import torch

from mien import __version__
from mien.backbones import Backbone, build_backbone
from mien.backbones.weights import load_public_weights
from mien.config import Settings, SettingsError, to_dict
from mien.data.clips import ClipPool
from mien.data.labels import FrameLabels, read_frame_labels
from mien.data.loader import ClipDataset, EpochPlan, ResidentFrames, clip_loader, resident_batches
from mien.data.store import TrackStore
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD, FaceViews
from mien.faces.contract import InputContract
from mien.layers.batch_norm import share_batch_statistics
from mien.train.encoder_file import record_of_people, save_encoder
from mien.train.engine import StepModule, compile_backbones, precision_advice, start_engine
from mien.train.loop import Trainer, train, warm_start
from mien.train.method import ClipBatch
from mien.train.optimiser import build_optimiser, rate_at
from mien.train.ranks import Ranks, noticing_lost_ranks
from mien.train.recorder import Recorder
from mien.train.run_folder import Checkpoint, RunFolder, RunFolderError
from mien.train.settings import PretrainSettings
from mien.train.stop import StopRequest

WARM_START_SEED = 2**32  # added to the run's seed, so that warm-start clips are not the first epoch's


def pretrain(recipe: Settings, *, where: str, store: Path, out: Path) -> int:
    """Train by a recipe on the store at `store`, into the folder `out`; return the exit status.

    0: all steps taken, or out of run.max_minutes; 128 + n: ended by signal n. `where` names the recipe in
    errors.

    A run that `out` contains already continues from its newest checkpoint. Raises ValueError or OSError
    subclasses that say what to change; nothing is written before settings, store and folder are checked.
    """
    return _Job(
        PretrainSettings.from_recipe(recipe, where=where), TrackStore.open(store), RunFolder(out)
    ).run()


class _Job:
    def __init__(self, settings: PretrainSettings, store: TrackStore, folder: RunFolder) -> None:
        self.store, self.folder = store, folder
        self.pool = ClipPool(store, settings.method_class.clip_request(settings.method))
        self.settings = settings = settings.fit_to_corpus(num_videos=self.pool.num_videos)
        data, run = settings.data, settings.run
        self.plan = EpochPlan(self.pool.num_videos, data.clips_per_video, data.clips_per_step, run.seed)
        self.total_steps = run.steps or run.epochs * self.plan.steps_per_epoch
        folder.require_usable(
            settings.to_recipe(),
            resolve=lambda begun: PretrainSettings.from_recipe(begun, where=str(folder.settings)).to_recipe(),
        )
        self.labels = _labels(settings, store)
        self.fabric = start_engine(run)
        self.ranks = Ranks()
        self.resident: ResidentFrames | None = None  # all frames decoded in memory
        if data.in_memory != "no":
            device = self.fabric.device if data.in_memory == "device" else torch.device("cpu")
            self.resident = ResidentFrames.load(
                store, size_px=data.frame_size_px, device=device, copies=run.devices
            )
        self.corpus = self._corpus()

    def run(self) -> int:
        first = self.fabric.global_rank == 0
        with self.folder.writing(self.settings.to_recipe()) if first else nullcontext():
            self._say_what_begins()
            self.fabric.barrier()
            with (
                StopRequest(max_minutes=self.settings.run.max_minutes) as stop,
                noticing_lost_ranks(newest=self.folder.last_step_saved),
            ):
                return self._train(stop)

    def _train(self, stop: StopRequest) -> int:
        checkpoint = self._newest_checkpoint()
        trainer = self._trainer(fresh=checkpoint is None)
        if checkpoint:
            checkpoint.restore(trainer.method, trainer.optimiser)
        else:
            self._warm_start(trainer, stop)
        steps = range(checkpoint.step if checkpoint else 0, self.total_steps)
        done = steps.start
        if steps and not self.ranks.any(stop.signalled()):
            with closing(self._recorder(trainer, stop)) as recorder:
                recorder.open(checkpoint)
                done = train(trainer, self._batches(self.plan, steps), recorder, steps=steps)
        return self._finish(trainer, done, stop)

    def _newest_checkpoint(self) -> Checkpoint | None:
        checkpoint, problems = self.folder.newest_checkpoint()
        for problem in problems:
            self._say(problem)
        if checkpoint is None:
            return None
        if checkpoint.record["corpus"] != self.corpus:
            raise RunFolderError(
                f"{self.store.path} holds other clips, identities or crops than the store that the run in "
                f"{self.folder.path} was begun with; give that store, or another --out"
            )
        self._say(f"goes on from step {checkpoint.step} of {self.total_steps}")
        return checkpoint

    def _trainer(self, *, fresh: bool) -> Trainer:
        settings = self.settings
        torch.manual_seed(settings.run.seed)
        method = settings.method_class(self._backbone(fresh=fresh), settings.method)  # type: ignore[call-arg]
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.run.batch_norm == "all_devices":
            share_batch_statistics(method, device_type=self.fabric.device.type)
        if settings.run.compile:
            compile_backbones(method)
        optimiser = build_optimiser(settings.optimiser, method.parameters())
        forward, _ = self.fabric.setup(StepModule(method), optimiser)
        return Trainer(
            self.fabric,
            method,
            forward,
            optimiser,
            views_for=lambda generator: FaceViews(settings.views, generator),
            rate_at=lambda step: rate_at(
                step,
                total_steps=self.total_steps,
                clips_per_step=self.plan.clips_per_step,
                settings=settings.optimiser,
            ),
            seed=settings.run.seed,
        )

    def _backbone(self, *, fresh: bool) -> Backbone:
        settings = self.settings
        backbone = build_backbone(settings.backbone_name, **to_dict(settings.backbone))
        if settings.weights and fresh:
            sha256 = load_public_weights(backbone, Path(settings.weights))
            self._say(f"begins with the weights of {settings.weights}, SHA-256 {sha256}")
        return backbone

    def _warm_start(self, trainer: Trainer, stop: StopRequest) -> None:
        plan = dataclasses.replace(self.plan, seed=self.plan.seed + WARM_START_SEED)
        taken = warm_start(
            trainer, self._batches(plan, None), ranks=self.ranks, stop_requested=stop.signalled
        )
        if taken > 1:
            self._say(f"warm start: {taken * self.plan.clips_per_step} clips passed through without training")

    def _batches(self, plan: EpochPlan, steps: range | None) -> Iterator[ClipBatch]:
        data = self.settings.data
        dataset = ClipDataset(
            self.store, self.pool, frame_size_px=data.frame_size_px, seed=plan.seed, labels=self.labels
        )
        rank, num_ranks = self.fabric.global_rank, self.fabric.world_size
        if self.resident:
            numbers = itertools.count() if steps is None else iter(steps)
            gathered = resident_batches(
                self.resident, dataset, plan, steps=numbers, rank=rank, num_ranks=num_ranks
            )
            return itertools.starmap(ClipBatch, gathered)
        pin = self.fabric.device.type == "cuda"
        loader = clip_loader(
            dataset, plan, steps=steps, settings=data, rank=rank, num_ranks=num_ranks, pin_memory=pin
        )
        return itertools.starmap(ClipBatch, loader)

    def _recorder(self, trainer: Trainer, stop: StopRequest) -> Recorder:
        record = {"corpus": self.corpus, "mien_version": __version__, "torch_version": torch.__version__}
        own = (self.fabric, self.ranks, self.folder, self.settings.run, self.plan, self.total_steps)
        return Recorder(*own, stop, trainer.method, trainer.optimiser, record)

    def _finish(self, trainer: Trainer, done: int, stop: StopRequest) -> int:
        total = self.total_steps
        if self.fabric.global_rank == 0 and done:
            self._save_encoder(trainer, done)
        if done == total:
            self._say(f"all {total} steps taken; the encoder is {self.folder.encoder}")
            return 0
        saved = f"saved as {self.folder.last_step_saved()}" if done else "nothing to save yet"
        reason = stop.reason or "another process was asked to"
        self._say(
            f"stopped after step {done} of {total} ({reason}), {saved}; the same command goes on from there"
        )
        return stop.exit_status

    def _save_encoder(self, trainer: Trainer, done: int) -> None:
        settings, names = self.settings, self.store.tracks["identity"].to_pylist()
        training = {
            "settings": settings.to_recipe(),
            "steps_done": done,
            "total_steps": self.total_steps,
            "num_videos": self.pool.num_videos,
            "corpus": self.corpus,
            "identities": record_of_people(
                names[track] for video in range(self.pool.num_videos) for track in self.pool.tracks(video)
            ),
        }
        save_encoder(
            self.folder.encoder,
            trainer.method.backbone,
            backbone_name=settings.backbone_name,
            backbone_settings=to_dict(settings.backbone),
            inputs=InputContract(
                self.store.contract,
                settings.data.frame_size_px,
                settings.views.output_size_px,
                IMAGENET_MEAN,
                IMAGENET_STD,
            ),
            training=training,
        )

    def _corpus(self) -> str:
        """A hash of the crops, the tracks, their identities and their legal starts."""
        names = [self.store.tracks[column].to_pylist() for column in ("track_id", "identity")]
        listed = repr((self.store.contract.digest, names, self.pool.starts_by_track()))
        return hashlib.sha256(listed.encode()).hexdigest()[:16]

    def _say_what_begins(self) -> None:
        pool, plan = self.pool, self.plan
        people = {self.store.identity_number(pool.tracks(video)[0]) for video in range(pool.num_videos)}
        self._say(
            f"{pool.num_videos} videos of {len(people)} people with {pool.num_starts} legal clips "
            f"({pool.num_videos_dropped} videos without one left out); {self.total_steps} steps of "
            f"{plan.clips_per_step} clips, {plan.steps_per_epoch} an epoch, on {self.fabric.device}"
        )
        if advice := precision_advice(self.settings.run, self.fabric.device):
            self._say(advice)

    def _say(self, text: str) -> None:
        if self.fabric.global_rank == 0:
            print(f"pretrain: {text}", file=sys.stderr, flush=True)


def _labels(settings: PretrainSettings, store: TrackStore) -> FrameLabels | None:
    """The labels that the method trains on, from the table data.labels; None if it needs none."""
    columns = settings.method_class.clip_request(settings.method).label_columns
    if not columns:
        return None
    if not settings.data.labels:
        raise SettingsError(
            f"method {settings.method_name!r} trains on labels: set data.labels to a CSV or Parquet table "
            f"with the columns path, frame, {', '.join(columns)}"
        )
    return read_frame_labels(Path(settings.data.labels), columns, store)
