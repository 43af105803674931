"""The trials of `mien evaluate`: each system in each mode and share; side by side where there is room."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.commands.side_by_side import Slot
from mien.data.worker_pool import Died, Finished, Report, run_in_processes
from mien.evaluate.evaluation import Contestant, Trial, about_trial, try_system
from mien.evaluate.predictions import About, Predictions, read_predictions, write_predictions
from mien.evaluate.tune import TrunkMode

Features = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Attempt:
    """One system (by its number) in one mode with a share of the labels."""

    system: int
    mode: TrunkMode
    share: float


@dataclass(frozen=True)
class Trials:
    """What is tried, and where what each trial said is kept."""

    trial: Trial
    contestants: Sequence[Contestant]
    features: Features  # of each system by its name, where its features as they are are wanted
    folder: Path

    def attempts(self, shares: Sequence[float]) -> Iterator[Attempt]:
        """In the order of the report; fewer labels in the modes in which they are usually reported."""
        for number, contestant in enumerate(self.contestants):
            for mode in contestant.modes:
                few = mode in (TrunkMode.FROZEN, TrunkMode.ALL)
                for share in shares if few else (max(shares),):
                    yield Attempt(number, mode, share)

    def about(self, attempt: Attempt) -> About:
        """What its predictions say of themselves."""
        contestant = self.contestants[attempt.system]
        return about_trial(self.trial, contestant, attempt.mode, attempt.share, seconds=0)

    def kept(self, attempt: Attempt) -> Predictions | None:
        """The predictions of an earlier run, when that was the very same trial."""
        path = self._path(attempt)
        if not path.exists():
            return None
        predictions = read_predictions(path)
        return predictions if predictions.about.tells_the_same(self.about(attempt)) else None

    def try_and_keep(self, attempt: Attempt) -> Predictions:
        """Fit and test, and write down what was said."""
        contestant = self.contestants[attempt.system]
        predictions = try_system(
            self.trial,
            contestant,
            attempt.mode,
            self.features.get(contestant.name),
            share_of_labels=attempt.share,
        )
        write_predictions(self._path(attempt), predictions)
        return predictions

    def _path(self, attempt: Attempt) -> Path:
        system = self.contestants[attempt.system].name
        name = f"{system} {attempt.mode.value} {100 * attempt.share:g}".replace("/", "_").replace(" ", ".")
        return self.folder / f"{name}.parquet"


def try_side_by_side(
    trials: Trials, attempts: Sequence[Attempt], slots: Sequence[Slot]
) -> Iterator[Finished[Attempt, float] | Died[Attempt]]:
    """Each attempt in one of as many processes as there are slots; its predictions are kept.

    A process reads its pictures itself. It works on the GPU that its slot shows, else on the CPU.
    """
    work = _TryOne(dataclasses.replace(_on_cpu(trials), trial=dataclasses.replace(trials.trial, workers=0)))
    environments = [slot.environment for slot in slots]
    workers = min(len(slots), len(attempts))
    for event in run_in_processes(work, attempts, workers=workers, environments=environments):
        if isinstance(event, (Finished, Died)):
            yield event


@dataclass(frozen=True)
class _TryOne:
    """The work of one process."""

    trials: Trials

    def __call__(self, attempt: Attempt, report: Report, /) -> float:
        backbone = self.trials.contestants[attempt.system].encoder.backbone
        backbone.to("cuda" if torch.cuda.is_available() else "cpu")
        return self.trials.try_and_keep(attempt).about.seconds


def _on_cpu(trials: Trials) -> Trials:
    """Copies to be sent to other processes, which see other devices."""
    copies = [
        dataclasses.replace(
            one,
            encoder=dataclasses.replace(one.encoder, backbone=copy.deepcopy(one.encoder.backbone).cpu()),
        )
        for one in trials.contestants
    ]
    return dataclasses.replace(trials, contestants=copies)
