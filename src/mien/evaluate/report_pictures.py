"""Data of the report's pictures: maps of features, activation maps of hits and misses, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from mien.datasets.base import LabelledFrames
from mien.evaluate.evaluation import Evaluation, Features, System
from mien.evaluate.features import centre_views
from mien.evaluate.head import ProbeHead
from mien.evaluate.labelled_faces import LabelledFaces
from mien.evaluate.person_independence import nearest_of_others, silhouette, standardised
from mien.evaluate.probe import TrunkMode, fit_head, predict, targets_of
from mien.train.encoder_file import Encoder

Floats = NDArray[np.floating[Any]]

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
