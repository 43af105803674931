"""What `mien evaluate` does, stage by stage: labels, faces, systems, measurements, report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.commands.labelled_faces import (
    labelled_faces,
    labelled_set,
    protocol_of,
    require_protocol,
    say,
    tested_people,
    told_counts,
)
from mien.commands.side_by_side import Slot
from mien.commands.trying import Attempt, Features, Trials, try_side_by_side
from mien.data.atomic import write_bytes
from mien.data.worker_pool import Died
from mien.datasets.base import LabelledFrames
from mien.evaluate.evaluation import (
    Contestant,
    Trial,
    contestant_from_file,
    features_of,
    from_public_weights,
    newly_initialised,
    of_architecture,
)
from mien.evaluate.matching import LabelledFaces
from mien.evaluate.person_independence import PersonIndependence, person_independence, sample_of
from mien.evaluate.predictions import Predictions
from mien.evaluate.probe import ProbeSettings, fit_head, predict, targets_of
from mien.evaluate.report_pictures import (
    Reading,
    column_to_show,
    feature_map,
    frames_to_map,
    neighbour_strip,
    region_examples,
)
from mien.evaluate.same_pictures import same_pictures
from mien.evaluate.scoring import Result, label_of
from mien.evaluate.tune import TrunkMode
from mien.train.encoder_file import Encoder
from mien.train.pretrained_people import warning_of_people
from mien.visualise.evaluation_report import ReportParts, write_report
from mien.visualise.report_page import ReportPage, map_of, region_of, strip_of

_MAPS = 4  # systems whose features are drawn side by side
_BRIGHTNESS_PX = 32


@dataclass(frozen=True)
class EvaluateRequest:
    """The command line, checked."""

    dataset: str
    root: Path
    store: Path
    encoders: tuple[str, ...]  # FILE or NAME=FILE
    out: Path
    modes: tuple[str, ...]
    shares: tuple[float, ...]
    protocol: str | None
    num_folds: int
    untrained: bool
    supervised: bool
    supervised_backbone: str | None
    imagenet: Path | None
    occurs_at: float | None
    workers: int
    device: str
    models: Path | None
    settings: ProbeSettings
    slots: tuple[Slot, ...] = (Slot(),)  # room for a trial each


def evaluate(request: EvaluateRequest) -> ReportPage:
    """Everything; what is finished is told as it comes."""
    contestants = _contestants(request)
    labelled = labelled_set(request)
    frames = labelled.frames()
    counts = told_counts(labelled, frames)
    require_protocol(request, frames)
    data, without_face = labelled_faces(request, frames, [contestant.encoder for contestant in contestants])
    protocol = protocol_of(request, data.frames)
    say(f"protocol {protocol.name}, hash {protocol.digest}: {protocol.source}")
    folds = protocol.folds(data.frames.subject_N)
    trial = Trial(request.dataset, data, protocol, folds, request.settings, workers=request.workers)
    embedded = [one for one in contestants if one is contestants[0] or one.modes != (TrunkMode.ALL,)]
    features = {one.name: _features(one, trial) for one in embedded}
    results = list(_results(request, trial, contestants, features))
    same = same_pictures(data).in_words()
    if same:
        say(f"warning: {same}")
    known = list(_known_people(contestants, tested_people(data.frames, folds)))
    parts = ReportParts(
        alarms=(*known, *((same,) if same else ())),
        persons=_persons(trial, features, results),
        facts=_facts(request, frames, data, without_face),
        counts=tuple(counts),
        pictures=_pictures(trial, contestants, features),
    )
    page = write_report(results, parts, request.out)
    _keep_numbers(request.out, parts)
    return page


def _contestants(request: EvaluateRequest) -> list[Contestant]:
    modes = tuple(TrunkMode(mode) for mode in request.modes)
    found = []
    for given in request.encoders:
        name, _, path = given.rpartition("=")
        file = Path(path)
        found.append(contestant_from_file(file, name=name or file.stem, modes=modes, device=request.device))
    like = found[0].encoder
    if request.untrained:
        found.append(newly_initialised(like, name="untrained", modes=modes))
    found += _supervised(request, like)
    names = [contestant.name for contestant in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two systems have one name ({', '.join(names)}); write --encoder NAME=FILE")
    return found


def _known_people(contestants: list[Contestant], tested: set[str]) -> Iterator[str]:
    """A warning for each encoder that was pretrained on people it is tested on."""
    for contestant in contestants:
        words = warning_of_people(contestant.encoder.training, tested)
        if words:
            say(f"warning: {contestant.name}: {words}")
            yield f"{contestant.name}: {words}"


def _supervised(request: EvaluateRequest, like: Encoder) -> list[Contestant]:
    """Systems that are trained end to end on the labels of the training people."""
    named = "supervised"
    if request.supervised_backbone is not None:
        like, named = (
            of_architecture(like, request.supervised_backbone),
            f"supervised {request.supervised_backbone}",
        )
    modes = (TrunkMode.ALL,)
    found = [newly_initialised(like, name=named, modes=modes)] if request.supervised else []
    if request.imagenet is not None:
        name = f"{named}, ImageNet start"
        found.append(from_public_weights(like, request.imagenet, name=name, modes=modes))
    return found


def _features(contestant: Contestant, trial: Trial) -> NDArray[np.float32]:
    say(f"{contestant.name}: features of {trial.data.frames.num_frames:,} faces")
    return features_of(contestant, trial.data, workers=trial.workers)


def _results(
    request: EvaluateRequest, trial: Trial, contestants: list[Contestant], features: Features
) -> Iterator[Result]:
    trials = Trials(trial, contestants, features, request.out / "predictions")
    attempts = list(trials.attempts(request.shares))
    kept = _kept(trials, attempts)
    fresh = [attempt for attempt in attempts if attempt not in kept]
    if len(request.slots) > 1 and len(fresh) > 1:
        _side_by_side(trials, fresh, request.slots)
        kept |= _kept(trials, fresh)
    for attempt in attempts:  # also what a process that died has left
        predictions = kept.get(attempt) or trials.try_and_keep(attempt)
        told = f"in {predictions.about.seconds:.0f} s" if attempt in fresh else "kept from an earlier run"
        result = Result.of(predictions)
        say(f"{label_of(predictions.about)}: {_score(result)} {told}")
        yield result


def _kept(trials: Trials, attempts: Sequence[Attempt]) -> dict[Attempt, Predictions]:
    found = {attempt: trials.kept(attempt) for attempt in attempts}
    return {attempt: predictions for attempt, predictions in found.items() if predictions is not None}


def _side_by_side(trials: Trials, attempts: list[Attempt], slots: Sequence[Slot]) -> None:
    for event in try_side_by_side(trials, attempts, slots):
        label = label_of(trials.about(event.job))
        if isinstance(event, Died):
            say(f"{label}: its process died ({event.how}); it is tried again when the others are done")
        else:
            say(f"{label}: done in {event.result:.0f} s")


def _score(result: Result) -> str:
    if result.expressions is not None:
        name, mean = "class accuracy", result.expressions.mean
    else:
        name, mean = "F1", result.occurrence_scores.f1_mean
    return f"mean {name} {100 * mean.value:.1f} % ({100 * mean.low:.1f} to {100 * mean.high:.1f})"


def _persons(trial: Trial, features: Features, results: list[Result]) -> list[tuple[str, PersonIndependence]]:
    """For every system whose frozen features were probed for action units."""
    rows = sample_of(trial.data.frames)
    frames = trial.data.frames.rows(rows)
    pictures = trial.data.faces.read(rows, size_px=_BRIGHTNESS_PX)
    found = []
    for result in results:
        about = result.predictions.about
        if about.mode == "frozen" and about.share_of_labels == 1 and result.occurrences is not None:
            numbers = person_independence(
                features[about.system][rows],
                frames,
                pose_N3=trial.data.pose_N3[rows],
                brightness_N=pictures.mean(axis=(1, 2, 3)),
                action_unit_auc=result.occurrences.roc_auc_mean,
            )
            found.append((about.system, numbers))
    return found


def _pictures(trial: Trial, contestants: list[Contestant], features: Features) -> dict[str, Any]:
    """The page's maps, activation maps and neighbours; empty for expressions."""
    if not trial.data.frames.action_units:
        return {}
    first = contestants[0]
    pictures = _maps(trial, contestants, features)
    pictures |= {"region_system": first.name, "regions": _regions(trial, first, features[first.name])}
    frames = trial.data.frames
    num_neighbours = min(3, len(np.unique(frames.subject_N)) - 1)
    if num_neighbours:
        strip = neighbour_strip(features[first.name], frames, num_neighbours=num_neighbours)
        pictures |= {"strip_system": first.name, "strip": strip_of(strip, trial.data)}
    return pictures


def _maps(trial: Trial, contestants: list[Contestant], features: Features) -> dict[str, Any]:
    frames = trial.data.frames
    column = column_to_show(frames)
    rows = frames_to_map(frames, column)
    if len(rows) < 10:
        return {}
    labels, subjects = frames.occurrence_NA[rows, column], frames.subject_N[rows]
    shown = [one for one in contestants if one.modes != (TrunkMode.ALL,)][:_MAPS]
    maps = tuple(map_of(one.name, feature_map(features[one.name][rows], labels, subjects)) for one in shown)
    return {"maps": maps, "map_unit": f"AU{frames.action_units[column]}"}


def _regions(trial: Trial, contestant: Contestant, features_ND: NDArray[np.float32]) -> tuple[Any, ...]:
    """Of the first fold, with the head that was fitted for it."""
    fold, targets = trial.folds[0], targets_of(trial.data.frames)
    features = torch.from_numpy(features_ND)
    head = fit_head(features, targets, fold.train, trial.settings)
    probability = predict(features, head, targets, fold.test)
    reading = Reading(contestant.encoder, head.to(contestant.encoder.device), trial.data)
    return tuple(region_of(one) for one in region_examples(reading, fold.test, probability))


def _facts(
    request: EvaluateRequest, frames: LabelledFrames, data: LabelledFaces, without_face: dict[str, int]
) -> tuple[tuple[str, str], ...]:
    reasons = ", ".join(f"{why.replace('_', ' ')} {count:,}" for why, count in without_face.items())
    used = f"{data.frames.num_frames:,} of {frames.num_frames:,} coded frames have a face"
    return (("faces", used + (f" (without: {reasons})" if reasons else "")), ("store", str(request.store)))


def _keep_numbers(out: Path, parts: ReportParts) -> None:
    """What the predictions do not hold, for `mien compare`."""
    kept = {
        "persons": {name: numbers.to_dict() for name, numbers in parts.persons},
        "facts": parts.facts,
        "counts": parts.counts,
    }
    write_bytes(out / "measures.json", json.dumps(kept, indent=2).encode(), temporary_folder=out)
