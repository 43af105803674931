"""What the demo's page tells, gathered from what the stages left behind."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.commands.demo_folder import DemoFolder
from mien.data.accounts import Account
from mien.datasets.drawn import OCCURS_AT, Drawn
from mien.evaluate.matching import LabelledFaces
from mien.evaluate.metrics import base_rates
from mien.evaluate.person_independence import nearest_of_others
from mien.evaluate.read_outs import ReadOut, chance_agreement
from mien.losses.temporal_triplet import triplet_weights
from mien.video import read_frames
from mien.visualise.demo_page import DemoPage, Neighbours, Sample, read_log

NUM_QUERIES, NUM_NEAR = 8, 6
NUM_SAMPLES, PICTURES_PER_SAMPLE = 3, 6

Floats = NDArray[np.floating[Any]]


def demo_page(
    folder: DemoFolder,
    faces: LabelledFaces,
    pictures: NDArray[np.uint8],
    *,
    nearest_by_ND: Floats,
    read_outs: Sequence[ReadOut],
    accounts: Mapping[str, Sequence[Account]],
    seconds_by_stage: Mapping[str, float],
) -> DemoPage:
    """The page of a finished demo; `nearest_by_ND` and the first of `read_outs` are the trained encoder's."""
    settings = tomllib.loads((folder.run / "settings.toml").read_text(encoding="utf-8"))
    return DemoPage(
        action_units=faces.action_units,
        base_rate_A=base_rates(faces.occurrence_NA),
        read_outs=read_outs,
        chance_agreement=chance_agreement(faces),
        num_readout_people=len(np.unique(faces.subject_N)),
        log=read_log(folder.run / "log.jsonl"),
        collapse_loss=_collapse_loss(settings["method"]),
        accounts=accounts,
        samples=_samples(folder),
        neighbours=_neighbours(nearest_by_ND, faces, pictures),
        facts=_facts(settings, accounts),
        seconds_by_stage=seconds_by_stage,
    )


def _collapse_loss(method: Mapping[str, Any]) -> float:
    """Temporal contrast's loss when all frames of a clip coincide: every hinge at the margin."""
    form, clip_len, start = method["triplet_weights"], method["clip_len"], method["lambda_start"]
    weights_P = triplet_weights(form, clip_len=clip_len, start=start)
    return float(method["margin"] * weights_P.sum()) * (2 if method["reverse"] else 1)


def _samples(folder: DemoFolder) -> list[Sample]:
    """The first video of some people, with the action units that move in it."""
    frames = Drawn(folder.drawn_readout).frames()
    assert frames.intensity_NA is not None
    videos = np.unique(frames.path_N)
    samples = []
    for video in videos[:: max(1, len(videos) // NUM_SAMPLES)][:NUM_SAMPLES]:
        rows = np.flatnonzero(frames.path_N == video)
        step = max(1, len(rows) // PICTURES_PER_SAMPLE)
        shown = islice(read_frames(folder.drawn_readout / str(video)), 0, None, step)
        intensities = [
            (f"AU{number}", frames.intensity_NA[rows, column].tolist())
            for column, number in enumerate(frames.action_units)
        ]
        samples.append(Sample([frame.image_HWC for frame in shown][:PICTURES_PER_SAMPLE], intensities))
    return samples


def _neighbours(features_ND: Floats, faces: LabelledFaces, pictures: NDArray[np.uint8]) -> list[Neighbours]:
    """Queries are faces that show something, each of another person, drawn by a fixed seed: not picked."""
    rows_Q = _queries(faces)
    wanted = min(NUM_NEAR, len(np.unique(faces.subject_N)) - 1)
    near_QK = nearest_of_others(features_ND, faces.subject_N, num_neighbours=wanted, queries=rows_Q)
    return [
        Neighbours(
            pictures[row],
            _label(faces, row),
            [pictures[other] for other in near_K],
            [_label(faces, other) for other in near_K],
        )
        for row, near_K in zip(rows_Q, near_QK, strict=True)
    ]


def _queries(faces: LabelledFaces) -> NDArray[np.int64]:
    generator = np.random.default_rng(0)
    rows: list[int] = []
    seen: set[str] = set()
    for row in generator.permutation(np.flatnonzero((faces.occurrence_NA == 1).any(axis=1))):
        if faces.subject_N[row] not in seen and len(rows) < NUM_QUERIES:
            rows.append(row)
            seen.add(faces.subject_N[row])
    return np.array(rows, dtype=np.int64)


def _label(faces: LabelledFaces, row: int) -> str:
    shown = [str(faces.action_units[place]) for place in np.flatnonzero(faces.occurrence_NA[row] == 1)]
    return "AU " + " + ".join(shown) if shown else "nothing"


def _facts(settings: Mapping[str, Any], accounts: Mapping[str, Sequence[Account]]) -> list[tuple[str, str]]:
    method, data, run = settings["method"], settings["data"], settings["run"]
    people = len({account.identity for account in accounts["pretraining"]})
    return [
        ("people, videos", f"{people}, {len(accounts['pretraining'])}"),
        ("backbone", f"{settings['backbone']['name']}, width {settings['backbone'].get('width', 64)}"),
        ("input", f"{settings['views']['output_size_px']} px"),
        ("steps of clips", f"{run['steps']} of {data['clips_per_step']}"),
        ("clip", f"{method['clip_len']} frames, stride {method['stride']}"),
        ("margin", f"{method['margin']:g} (paper: 0.03)"),
        ("beta", f"{method['beta']:g} (paper: 0.1)"),
        (
            "optimiser",
            f"{settings['optimiser']['name']}, {settings['optimiser']['rate_per_64_clips']:g} per 64 clips",
        ),
        ("batch-norm on the heads' output", "yes (paper: no)" if method["batch_norm_output"] else "no"),
        ("seed", str(run["seed"])),
        ("present means intensity", f"{OCCURS_AT:g} or more of 5"),
    ]
