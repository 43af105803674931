"""What features contain besides scores: identity, pose and light in numbers; maps, faces and neighbours.

The numbers are measured on the same frames for every encoder. Read-outs of action units, pose and light are
tested on people who were not in their training rows. Identity is read from other videos of the same people.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.manifold import TSNE
from sklearn.metrics import r2_score, silhouette_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mien.datasets.base import LabelledFrames
from mien.evaluate.evaluation import Evaluation, Features, System
from mien.evaluate.features import centre_views
from mien.evaluate.head import ProbeHead
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.metrics import mean_defined
from mien.evaluate.predictions import Predictions
from mien.evaluate.probe import TrunkMode, fit_head, predict, targets_of
from mien.evaluate.readout import identity_named
from mien.train.encoder_file import Encoder

Floats = NDArray[np.floating[Any]]

MAX_FRAMES = 3000
NUM_QUERIES = 300
POSE_PENALTY = 100.0
BRIGHTNESS_PX = 32

NUM_SUBJECTS = 10
FRAMES_PER_SUBJECT = 30
PCA_DIMENSIONS = 50
PERPLEXITY = 30.0
NUM_MAPS = 4  # systems whose features are drawn side by side
MIN_FRAMES_OF_A_MAP = 10
FACE_PX = 128
PICTURES_OF_A_KIND = 4

REGIONS: dict[str, tuple[int, ...]] = {
    "brows": (1, 2, 4),
    "eyes and cheeks": (5, 6, 7, 43, 45),
    "nose and mouth": (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28),
}


def people_in_features(
    data: LabelledFaces, features: Features, results: Sequence[Predictions]
) -> dict[str, dict[str, float]]:
    """`person_independence` of every system whose frozen features were probed for action units."""
    rows = sample_of(data.frames)
    frames, pictures = data.frames.rows(rows), data.faces.read(rows, size_px=BRIGHTNESS_PX)
    return {
        result.about.system: person_independence(
            features[result.about.system][rows],
            frames,
            pose_N3=data.pose_N3[rows],
            brightness_N=pictures.mean(axis=(1, 2, 3)),
            action_unit_auc=result.average("roc_auc"),
        )
        for result in results
        if result.about.mode == "frozen" and result.about.share_of_labels == 1 and result.action_units
    }


def person_independence(
    features_ND: Floats,
    frames: LabelledFrames,
    *,
    pose_N3: Floats,
    brightness_N: Floats,
    action_unit_auc: float,
) -> dict[str, float]:
    """Numbers of at most 3 000 frames (see `sample_of`), NaN where undefined (one video per person).

    identity_accuracy: share of frames whose person a linear read-out names from that person's other videos.
    identity_retrieval: share of frames whose nearest frame of another video shows the same person.
    silhouette_by_*: -1 to 1, of the standardised features; by action unit the mean over them.
    r2_*: of ridge regression across people; 1 is read exactly, 0 or less is not read.
    index: action units less identity, (2 AUC - 1) - (accuracy - chance) / (1 - chance), each from 0 (chance)
    to 1 (all). An untrained encoder lies near what its pixels give; +1 would be every action unit and nobody,
    -1 everybody and no action unit.
    """
    subject_N, video_N = frames.subject_N, frames.videos()
    by_au, by_subject = _silhouettes(features_ND, frames.occurrence_NA, subject_N)
    accuracy, chance = _identity(features_ND, subject_N, video_N)
    return {
        "action_unit_auc": action_unit_auc,
        "identity_accuracy": accuracy,
        "identity_chance": chance,
        "identity_retrieval": _retrieval(features_ND, subject_N, video_N),
        "silhouette_by_action_unit": by_au,
        "silhouette_by_subject": by_subject,
        "r2_yaw": _r2_across_people(features_ND, pose_N3[:, 0], subject_N),
        "r2_pitch": _r2_across_people(features_ND, pose_N3[:, 1], subject_N),
        "r2_brightness": _r2_across_people(features_ND, brightness_N, subject_N),
        "num_frames": len(subject_N),
        "num_subjects": len(np.unique(subject_N)),
        "index": 2 * action_unit_auc - 1 - (accuracy - chance) / (1 - chance),
    }


def sample_of(frames: LabelledFrames, *, num_frames: int = MAX_FRAMES, seed: int = 0) -> NDArray[np.int64]:
    """Sorted rows, as evenly over videos as they go, the same for every encoder."""
    order = np.random.default_rng(seed).permutation(frames.num_frames)
    nth = pd.Series(order).groupby(frames.videos()[order]).cumcount().to_numpy()
    chosen: NDArray[np.int64] = np.sort(order[np.argsort(nth, kind="stable")[:num_frames]])
    return chosen


def silhouette(rows_ND: Floats, group_N: NDArray[Any]) -> float:
    """NaN unless there are two groups or more, and fewer than rows."""
    defined = 1 < len(np.unique(group_N)) < len(group_N)
    return float(silhouette_score(rows_ND, group_N)) if defined else float("nan")


def _identity(features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any]) -> tuple[float, float]:
    """Accuracy and chance among the people with two videos or more."""
    pairs = np.unique(np.stack([subject_N, video_N], axis=1), axis=0)
    subjects, videos = np.unique(pairs[:, 0], return_counts=True)
    several = subjects[videos > 1]
    if len(several) < 2:
        return float("nan"), float("nan")
    return float(identity_named(features_ND, subject_N, video_N)[0].mean()), 1 / len(several)


def _retrieval(features_ND: Floats, subject_N: NDArray[Any], video_N: NDArray[Any]) -> float:
    """Of frames whose person has another video: is the nearest frame of all other videos that person's?"""
    rows_ND = standardised(features_ND)
    hits = []
    for query in _queries(len(rows_ND)):
        elsewhere = video_N != video_N[query]
        if not (subject_N[elsewhere] == subject_N[query]).any():
            continue
        likeness_N = np.where(elsewhere, rows_ND @ rows_ND[query], -np.inf)
        hits.append(float(subject_N[likeness_N.argmax()] == subject_N[query]))
    return mean_defined(hits)


def _silhouettes(features_ND: Floats, occurrence_NA: Floats, subject_N: NDArray[Any]) -> tuple[float, float]:
    rows_ND, coded_NA = standardised(features_ND), ~np.isnan(occurrence_NA)
    columns = zip(occurrence_NA.T, coded_NA.T, strict=True)
    by_au = [silhouette(rows_ND[coded_N], labels_N[coded_N]) for labels_N, coded_N in columns]
    return mean_defined(by_au), silhouette(rows_ND, subject_N)


def _r2_across_people(features_ND: Floats, values_N: Floats, subject_N: NDArray[Any]) -> float:
    """NaN with fewer than three people, or values that do not vary."""
    num_people = len(np.unique(subject_N))
    if num_people < 3 or not np.isfinite(values_N).all() or np.ptp(values_N) == 0:
        return float("nan")
    model = make_pipeline(StandardScaler(), Ridge(POSE_PENALTY))
    folds = GroupKFold(min(5, num_people))
    predicted_N = cross_val_predict(model, features_ND, values_N, groups=subject_N, cv=folds)
    return float(r2_score(values_N, predicted_N))


def _queries(num_rows: int) -> NDArray[np.int64]:
    """Rows that are asked for their neighbours, spread evenly."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, num_rows - 1, NUM_QUERIES).astype(np.int64))
    return rows


def standardised(features_ND: Floats) -> Floats:
    """Each column with mean 0 and standard deviation 1 (a constant column: 0), then each row of length 1."""
    spread_D = features_ND.std(axis=0)
    centred_ND = (features_ND - features_ND.mean(axis=0)) / np.where(spread_D > 1e-9, spread_D, 1.0)
    length_N1 = np.linalg.norm(centred_ND, axis=1, keepdims=True)
    rows_ND: Floats = centred_ND / np.maximum(length_N1, 1e-12)
    return rows_ND


def nearest_of_others(
    features_ND: Floats,
    subject_N: NDArray[Any],
    *,
    num_neighbours: int,
    queries: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """(Q, K) rows most alike by cosine of the standardised features, never of the query's own subject.

    Each of the K is of another subject than the K - 1 before it where the set allows, so that one look-alike
    does not fill the list. ValueError when there are fewer than K + 1 subjects.
    """
    if len(np.unique(subject_N)) <= num_neighbours:
        raise ValueError(f"too few people for {num_neighbours} neighbours of other people")
    rows_ND = standardised(features_ND)
    asked = np.arange(len(rows_ND)) if queries is None else queries
    return np.stack([_nearest(rows_ND, subject_N, int(row), num_neighbours) for row in asked])


def _nearest(rows_ND: Floats, subject_N: NDArray[Any], row: int, num_neighbours: int) -> NDArray[np.int64]:
    order_N = np.argsort(-(rows_ND @ rows_ND[row]), kind="stable")
    order_N = order_N[subject_N[order_N] != subject_N[row]]
    _, first = np.unique(subject_N[order_N], return_index=True)
    nearest: NDArray[np.int64] = order_N[np.sort(first)[:num_neighbours]]
    return nearest


class FeatureMap(NamedTuple):
    """Points of M frames. The silhouettes are of the features, not of the map; NaN if undefined."""

    point_M2: Floats
    present_M: Floats  # 1, 0, NaN: the action unit
    subject_M: NDArray[np.str_]
    silhouette_by_action_unit: float
    silhouette_by_subject: float


def frames_to_map(frames: LabelledFrames, column: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Sorted rows: 15 frames with and 15 without the action unit of each of ten people who have both.

    Fewer where there are fewer; the same rows for every encoder.
    """
    generator = np.random.default_rng(seed)
    labels_N = frames.occurrence_NA[:, column]
    subjects = [s for s in np.unique(frames.subject_N) if {0, 1} <= set(labels_N[frames.subject_N == s])]
    chosen: list[NDArray[np.int64]] = []
    for subject in generator.permutation(subjects)[:NUM_SUBJECTS]:
        for kind in (0, 1):
            rows = np.flatnonzero((frames.subject_N == subject) & (labels_N == kind))
            chosen.append(generator.permutation(rows)[: FRAMES_PER_SUBJECT // 2])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def column_to_show(frames: LabelledFrames) -> int:
    """AU12 as in the paper; without it the action unit that is nearest to half of the frames."""
    if 12 in frames.action_units:
        return frames.action_units.index(12)
    rate_A = np.nanmean(frames.occurrence_NA, axis=0)
    return int(np.abs(rate_A - 0.5).argmin())


def feature_map(features_MD: Floats, present_M: Floats, subject_M: NDArray[np.str_]) -> FeatureMap:
    """Standardised features, PCA to 50, t-SNE from the principal axes with a fixed seed."""
    rows_MD = standardised(features_MD)
    dimensions = min(PCA_DIMENSIONS, *rows_MD.shape)
    reduced = PCA(dimensions, random_state=0).fit_transform(rows_MD)
    perplexity = min(PERPLEXITY, (len(rows_MD) - 1) / 3)
    points_M2 = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return FeatureMap(
        points_M2,
        present_M,
        subject_M,
        silhouette(rows_MD, present_M),
        silhouette(rows_MD, subject_M),
    )


class ShownFace(NamedTuple):
    """A face (uint8 RGB) and the words below it.

    heat_HW: evidence for one region's action units, 0 to 1, a coarse map; None without one.
    """

    picture_HWC: NDArray[np.uint8]
    words: str
    heat_HW: Floats | None = None


class RegionExamples(NamedTuple):
    """Faces of one region of action units: all recognised correctly, and something recognised wrongly."""

    region: str
    hits: list[ShownFace]
    misses: list[ShownFace]


class ReportPictures(NamedTuple):
    """Maps of the features of several systems, and faces of one of them; empty where it could not be made.

    strip: one column per frame of one video, in the order of time; below each face the nearest frames of
    other people.
    """

    action_unit: int
    maps: list[tuple[str, FeatureMap]]
    system: str
    regions: list[RegionExamples]
    strip: list[list[ShownFace]]


def report_pictures(
    evaluation: Evaluation, systems: Sequence[System], features: Features
) -> ReportPictures | None:
    """The first system's faces; None for expressions."""
    data, first, frames = evaluation.data, systems[0], evaluation.data.frames
    if not frames.action_units:
        return None
    column, features_ND = column_to_show(frames), features[first.name]
    rows = frames_to_map(frames, column)
    shown = [one.name for one in systems if one.modes != (TrunkMode.ALL,)][:NUM_MAPS]
    maps = [
        (name, feature_map(features[name][rows], frames.occurrence_NA[rows, column], frames.subject_N[rows]))
        for name in (shown if len(rows) >= MIN_FRAMES_OF_A_MAP else ())
    ]
    num_neighbours = min(3, len(np.unique(frames.subject_N)) - 1)
    strip = neighbour_strip(features_ND, frames, num_neighbours=num_neighbours) if num_neighbours else ()
    return ReportPictures(
        frames.action_units[column],
        maps,
        first.name,
        _regions(evaluation, first, features_ND),
        [[_shown(data, int(row)) for row in rows] for rows in strip],
    )


def _regions(evaluation: Evaluation, system: System, features_ND: Floats) -> list[RegionExamples]:
    """Hits and misses among the tested rows of the first fold, by a head fitted for it."""
    fold, frames, encoder = evaluation.folds[0], evaluation.data.frames, system.encoder
    features, targets = torch.from_numpy(features_ND), targets_of(frames)
    head = fit_head(features, targets, fold.train, evaluation.settings)
    probability_MA, examples = predict(features, head, targets, fold.test), []
    head = head.to(encoder.device)
    for region, members in REGIONS.items():
        columns = [c for c, number in enumerate(frames.action_units) if number in members]
        if columns:
            labels_MA = frames.occurrence_NA[fold.test][:, columns]
            kinds = _hits_and_misses(labels_MA, probability_MA[:, columns], frames.subject_N[fold.test])
            hits, misses = (
                [_mapped(encoder, head, evaluation.data, row, columns) for row in fold.test[chosen]]
                for chosen in kinds
            )
            examples.append(RegionExamples(region, hits, misses))
    return examples


def _shown(data: LabelledFaces, row: int) -> ShownFace:
    picture = data.faces.read(np.array([row]), size_px=FACE_PX)[0]
    present = np.flatnonzero(data.frames.occurrence_NA[row] == 1)
    words = " ".join(f"AU{data.frames.action_units[column]}" for column in present) or "no AU"
    return ShownFace(picture, f"{data.frames.subject_N[row]}: {words}")


def neighbour_strip(
    features_ND: Floats, frames: LabelledFrames, *, num_queries: int = 8, num_neighbours: int = 3
) -> NDArray[np.int64]:
    """(Q, 1 + K) rows: frames spread over the liveliest video, each with its neighbours.

    ValueError for too few people.
    """
    videos = frames.videos()
    names, sizes = np.unique(videos, return_counts=True)
    lively = [_changes(frames.occurrence_NA[videos == name]) for name in names]
    enough = sizes >= min(num_queries, int(sizes.max()))
    video = names[int(np.where(enough, lively, -1.0).argmax())]
    rows = np.flatnonzero(videos == video)
    rows = rows[np.argsort(frames.seconds_N[rows] * 1e6 + frames.frame_N[rows], kind="stable")]
    queries = rows[np.unique(np.linspace(0, len(rows) - 1, num_queries).astype(int))]
    near = nearest_of_others(features_ND, frames.subject_N, num_neighbours=num_neighbours, queries=queries)
    return np.column_stack([queries, near])


def _hits_and_misses(
    labels_MA: Floats, probability_MA: Floats, subject_M: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The surest frames with something present and all right, and the surest wrong ones; of many people."""
    margin_MA = (2 * labels_MA - 1) * (2 * probability_MA - 1)
    worst_M = np.where(np.isnan(margin_MA), np.inf, margin_MA).min(axis=1)
    something_M = (labels_MA == 1).any(axis=1)

    def surest(chosen_M: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.flatnonzero(chosen_M & something_M)
        rows = rows[np.argsort(-np.abs(worst_M[rows]), kind="stable")]
        _, first = np.unique(subject_M[rows], return_index=True)
        return rows[np.sort(first)[:PICTURES_OF_A_KIND]]

    return surest(worst_M > 0), surest(worst_M < 0)


@torch.inference_mode()
def _mapped(
    encoder: Encoder, head: ProbeHead, data: LabelledFaces, row: int, columns: Sequence[int]
) -> ShownFace:
    frames, inputs = data.frames, encoder.inputs
    picture = data.faces.read(np.array([row]), size_px=inputs.frame_size_px)
    maps_NDHW = encoder.backbone.feature_maps(
        centre_views(torch.from_numpy(picture).to(encoder.device), inputs)
    )
    probability_A = 1 / (1 + np.exp(-head(maps_NDHW.mean(dim=(2, 3)))[0].cpu().numpy()))
    maps_NAHW, _ = activation_maps(maps_NDHW, head)
    heat = region_map(maps_NAHW[:, columns])[0].float().cpu().numpy()
    first = (inputs.frame_size_px - inputs.input_size_px) // 2
    cut = slice(first, first + inputs.input_size_px)
    units, labels_A = frames.action_units, frames.occurrence_NA[row]
    words = [_verdict(units[c], labels_A[c], probability_A[c]) for c in columns]
    return ShownFace(picture[0, cut, cut], ", ".join(filter(None, words)), heat)


def _verdict(number: int, label: float, probability: float) -> str:
    """ "" for an action unit rightly absent or not coded."""
    if np.isnan(label) or (label == 0 and probability <= 0.5):
        return ""
    kind = "false alarm" if label == 0 else "hit" if probability > 0.5 else "missed"
    return f"AU{number} {kind} ({probability:.2f})"


def _changes(occurrence_TA: Floats) -> float:
    """Action units that are both present and absent in these frames."""
    return float((np.nan_to_num(occurrence_TA).std(axis=0) > 0.2).sum())


def activation_maps(maps_NDHW: Tensor, head: ProbeHead, *, tolerance: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Maps (N, A, H, W) and constants (A,): the mean of a map plus its constant is the logit.

    Exact, without gradients. With feature maps V_D(x, y), their mean over the places as feature, batch-norm
    (gamma, b, mu, v), weights w:

        M_a(x, y) = sum_d w_ad gamma_d / sqrt(v_d + eps) V_d(x, y)
        const_a   = sum_d w_ad (b_d - gamma_d mu_d / sqrt(v_d + eps))
        mean over (x, y) of M_a + const_a = logit_a

    (class activation maps of Zhou et al., CVPR 2016, carried through batch-norm). The head must be in
    evaluation mode. AssertionError if the maps do not add up to the logits within `tolerance`.
    """
    if head.training:
        raise ValueError("activation maps need the head in evaluation mode: call head.eval() first")
    weight_AD, constant_A = head.as_affine()
    maps_NAHW = torch.einsum("ad,ndhw->nahw", weight_AD, maps_NDHW)
    logits_NA = head(maps_NDHW.mean(dim=(2, 3)))
    error = (maps_NAHW.mean(dim=(2, 3)) + constant_A - logits_NA).abs().max().item()
    assert error <= tolerance * (1 + logits_NA.abs().max().item()), f"maps miss the logits by {error}"
    return maps_NAHW, constant_A


def region_map(maps_NAHW: Tensor) -> Tensor:
    """(N, H, W) in [0, 1]: the largest of the action units' maps, negative parts cut."""
    highest_NHW = maps_NAHW.amax(dim=1).clamp(min=0)
    return highest_NHW / highest_NHW.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
