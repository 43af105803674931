"""CLP: contrastive learning of person-independent representations (Li & Shan, TIP 2023, arXiv 2403.03400).

Temporal contrastive learning (TCL) orders the frames of a clip by time; cross-identity reconstruction (CIR)
rebuilds a face's feature from other people's. docs/pretrain.md says which settings are the paper's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mien.backbones import Backbone
from mien.layers.gather import draw_rows, world_size
from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction
from mien.losses.precision import full_precision
from mien.losses.temporal_triplet import WeightForm, temporal_triplet_losses, triplet_weights
from mien.losses.unit import unit
from mien.methods._diagnostics import (
    clp_warnings,
    effective_rank,
    reconstruction_diagnostics,
    undefined_reconstruction,
)
from mien.methods._keys import SMALLEST_BANK, KeyMethod
from mien.train.method import METHODS, ClipBatch, ClipRequest, StepOutput, Views

COLLAPSE_TOLERANCE = 1e-3
STEPS_TO_MIN_FILL = 4
BANK_ROWS_PER_FRAME = 0.68


@dataclass(frozen=True)
class ClpSettings:
    """The paper's values where it states them; docs/pretrain.md marks each."""

    clip_len: int = 9  # J, frames of a clip
    stride: int = 2  # raw frames at 25 fps from one clip frame to the next: 80 ms
    frame_order: Literal["time", "shuffled"] = "time"  # shuffled: a control, of which TCL must learn nothing
    # One draw for a clip's frames; one for each; or one of rotation, flip and crop, and of colours for each.
    views_in_clip: Literal["shared", "independent", "shared_geometry"] = "shared"
    margin: float = 0.03  # m, in Euclidean distance between unit embeddings
    triplet_weights: WeightForm = "inv_sqrt"  # lambda_j
    lambda_start: Literal[2, 1] = 2  # the first j
    reverse: bool = True  # add the loss of the reversed clip
    tcl_weight: float = 1.0  # 0: reconstruction only
    beta: float = 0.1  # weight of reconstruction; 0: temporal contrast only
    frames_per_video: int = 2  # L, frames that are reconstructed
    videos_per_clip: int = 1  # above 1: one video in so many has a clip for TCL, the others frames for CIR
    cir_source: Literal["video", "clip"] = "video"  # L frames far apart in the track, or L of the clip's
    min_gap_frames: int = 17  # far frames lie at least so many raw frames apart where the track allows
    bank_size: int = 65536  # |M|; 0: the paper's share of the corpus (`fit_to_corpus`)
    num_candidates: int = 32768  # |C| of a full bank; the rest are negatives; 0: half
    bank_start: Literal["warm", "empty"] = "warm"  # fill the bank before the first step, or while training
    min_fill: int | None = None  # rows below which there is no reconstruction; None: 4 steps' keys
    tau: float = 0.07  # temperature of InfoNCE
    tau_reconstruction: float | None = None  # temperature of the attention; None: tau
    exclude_same_identity: Literal["none", "candidates", "candidates+negatives"] = "candidates"
    negatives: Literal["bank", "bank+video", "video"] = "bank"  # video: the step's other keys of its video
    mu: float = 0.999  # the momentum encoder keeps this share of itself at each step
    key_batch_norm_rows: int = 32  # keys in a group with batch statistics of its own
    key_flip: Literal["independent", "query"] = "independent"  # query: a key is mirrored when its query is
    hidden_dim: int = 256
    embedding_dim: int = 128
    batch_norm_output: bool = False  # BatchNorm1d without affine parameters after the heads

    def __post_init__(self) -> None:
        far, L, apart = self.cir_source == "video", self.frames_per_video, self.videos_per_clip > 1
        weights = self.tcl_weight, self.beta
        _require(min(weights) >= 0, "tcl_weight and beta: 0 or more")
        _require(max(weights) > 0, "tcl_weight and beta are both 0: nothing to train on")
        _require(self.clip_len >= 3, f"clip_len = {self.clip_len}: a triplet takes at least 3 frames")
        counts = self.stride, L, self.videos_per_clip
        _require(min(counts) >= 1, "stride, frames_per_video and videos_per_clip: at least 1")
        fits = far or self.clip_len >= 2 * L - 1
        _require(fits, f"{L} frames that are not neighbours do not fit a clip of {self.clip_len}")
        _require(
            far or (self.frame_order, self.key_flip, apart) == ("time", "independent", False),
            "cir_source = 'clip' goes with the default frame_order, key_flip and videos_per_clip",
        )
        _require(not apart or min(weights) > 0, "videos_per_clip goes with both tcl_weight and beta")
        _require(
            self.bank_size == 0 or 0 < self.candidates < self.bank_size,
            f"num_candidates = {self.num_candidates}: above 0 and below bank_size = {self.bank_size}",
        )
        _require(self.tau > 0 and (self.tau_reconstruction or self.tau) > 0, "a temperature is above 0")
        _require(0 <= self.mu <= 1, f"mu = {self.mu}: between 0 and 1")

    @property
    def candidates(self) -> int:
        """|C| of a full bank."""
        return self.num_candidates or self.bank_size // 2


@dataclass(frozen=True)
class _Pictures:
    rows_NCHW: Tensor  # through the backbone with gradient: the clips' frames, then the far frames
    num_clip_rows: int
    query_rows_Q: Tensor  # which of the rows are queries
    key_QCHW: Tensor  # other views of the same frames


@METHODS.register("clp")
class Clp(KeyMethod):
    """A backbone trained by L_tcl + beta * L_cir. A loss of weight 0 is not computed and has no head."""

    Settings = ClpSettings

    def __init__(self, backbone: Backbone, settings: ClpSettings) -> None:
        super().__init__(backbone)
        self.settings = settings
        widths = (backbone.feature_dim, settings.hidden_dim, settings.embedding_dim)
        if settings.tcl_weight:
            self.head_tcl = mlp(*widths, batch_norm_output=settings.batch_norm_output)
            weights_P = triplet_weights(
                settings.triplet_weights, clip_len=settings.clip_len, start=settings.lambda_start
            )
            self.triplet_weights_P: Tensor
            self.register_buffer("triplet_weights_P", weights_P.float(), persistent=False)
        if settings.beta:
            _require(settings.bank_size > 0, "bank_size is left open (0): fit_to_corpus fills it in")
            self.head_cir = mlp(*widths, batch_norm_output=settings.batch_norm_output)
            self.momentum = MomentumEncoder(backbone, self.head_cir)
            self.bank = MemoryBank(settings.bank_size, settings.embedding_dim)

    @classmethod
    def clip_request(cls, settings: ClpSettings) -> ClipRequest:
        """A clip and far frames, either left out when its loss is."""
        uses_clip = settings.tcl_weight > 0 or settings.cir_source == "clip"
        uses_far_frames = settings.beta > 0 and settings.cir_source == "video"
        return ClipRequest(
            clip_len=settings.clip_len if uses_clip else 0,
            stride=settings.stride,
            num_far_frames=settings.frames_per_video if uses_far_frames else 0,
            min_gap_frames=settings.min_gap_frames,
        )

    @classmethod
    def fit_to_corpus(cls, settings: ClpSettings, *, num_videos: int) -> ClpSettings:
        """A bank left open (0) holds 0.68 frames for each of the L frames of each video, half candidates.

        That is the paper's ratio, 65 536 rows for 2 frames of 48 000 videos; never below SMALLEST_BANK.
        """
        if settings.bank_size:
            return settings
        size = max(SMALLEST_BANK, round(BANK_ROWS_PER_FRAME * settings.frames_per_video * num_videos))
        return dataclasses.replace(settings, bank_size=size, num_candidates=0)

    def encoder_rows(self, clips: int) -> int:
        """clips * (J + L) with both losses and far frames."""
        request, apart = self.clip_request(self.settings), self.settings.videos_per_clip > 1
        with_clip = math.ceil(clips / self.settings.videos_per_clip)
        with_far_frames = clips - with_clip if apart else clips
        return with_clip * request.clip_len + with_far_frames * request.num_far_frames

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Enqueue the keys of one batch; True when the bank is full or need not be."""
        return self.settings.bank_start == "empty" or super().warm_start(batch, views)

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        if self.settings.beta:
            self.momentum.update(self.backbone, self.head_cir, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """L_tcl + beta * L_cir, the keys kept aside until `after_step`."""
        clip_BTHWC, batch = self._halves(batch)
        pictures = self._pictures(clip_BTHWC, batch, views, generator)
        if self.settings.beta:
            self._keys_of_step = self._encoded(pictures.key_QCHW, batch, generator=generator)
        features_ND: Tensor = self.backbone(pictures.rows_NCHW)
        return self._losses(features_ND, pictures, generator)

    def warnings(self, logs: dict[str, float]) -> list[str]:
        """Plain words about collapse and about reconstruction that reconstructs nothing."""
        return clp_warnings(logs, masks_own_identity=self.settings.exclude_same_identity != "none")

    def _halves(self, batch: ClipBatch) -> tuple[Tensor, ClipBatch]:
        """The clips for TCL and the videos for CIR: the same videos, or others (`videos_per_clip`)."""
        every = self.settings.videos_per_clip
        if every == 1:
            return batch.clip_BTHWC, batch
        number_B = torch.arange(len(batch.identity_B))
        others = number_B[number_B % every > 0].to(batch.identity_B.device, non_blocking=True)
        parts = batch.clip_BTHWC, batch.far_BLHWC, batch.identity_B, batch.video_B
        return batch.clip_BTHWC[::every], ClipBatch(*(part[others] for part in parts))

    @full_precision
    def _losses(self, features_ND: Tensor, pictures: _Pictures, generator: torch.Generator) -> StepOutput:
        loss = features_ND.new_zeros(())
        logs = {"effective_rank": effective_rank(features_ND, diagnosing=self.diagnosing)}
        if self.settings.tcl_weight:
            loss_tcl, tcl_logs = self._tcl(features_ND[: pictures.num_clip_rows])
            loss, logs = loss + self.settings.tcl_weight * loss_tcl, logs | tcl_logs
        if self.settings.beta:
            loss_cir, cir_logs = self._cir(features_ND[pictures.query_rows_Q], generator)
            loss, logs = loss + self.settings.beta * loss_cir, logs | cir_logs
        return StepOutput(loss, logs)

    def _tcl(self, clip_features_ND: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        embeddings_ND = unit(self.head_tcl(clip_features_ND))
        embeddings_BTD = embeddings_ND.view(-1, self.settings.clip_len, self.settings.embedding_dim)
        loss_B = self._triplet_losses(embeddings_BTD)
        distance_B = torch.linalg.vector_norm(embeddings_BTD[:, -1] - embeddings_BTD[:, 0], dim=-1)
        collapsed_B = (loss_B - self._collapse_value()).abs() < COLLAPSE_TOLERANCE
        logs = {
            "loss_tcl": loss_B.mean(),
            "clips_collapsed": collapsed_B.float().mean(),
            "distance_first_last": distance_B.mean(),
        }
        return logs["loss_tcl"], {name: value.detach() for name, value in logs.items()}

    def _triplet_losses(self, embeddings_BTD: Tensor) -> Tensor:
        margin, weights_P = self.settings.margin, self.triplet_weights_P
        loss_B = temporal_triplet_losses(embeddings_BTD, weights_P=weights_P, margin=margin)
        if self.settings.reverse:
            backward_BTD = embeddings_BTD.flip(1)
            loss_B = loss_B + temporal_triplet_losses(backward_BTD, weights_P=weights_P, margin=margin)
        return loss_B

    def _collapse_value(self) -> Tensor:
        """The loss of a clip whose frames all coincide; its gradient is zero."""
        return self.settings.margin * self.triplet_weights_P.sum() * (2 if self.settings.reverse else 1)

    def _cir(self, query_features_ND: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        query_ND = self.head_cir(query_features_ND)
        (keys,) = self._keys_of_step
        if self.bank.filled < self._min_fill(len(keys)):
            # A zero that still reaches every parameter: DDP waits for all of them.
            return 0.0 * query_ND.sum(), undefined_reconstruction(query_ND.device)
        candidates, negatives = self.bank.split(self.settings.candidates, generator=generator)
        own_NC, video_NC = _same_identity(keys, candidates), _same_video(keys, candidates)
        negatives_MD, masked_NM = self._negatives(keys, negatives)
        result = cross_identity_reconstruction(
            query_ND,
            keys.rows_MD,
            candidates.rows_MD,
            negatives_MD,
            temperature=self.settings.tau,
            reconstruction_temperature=self.settings.tau_reconstruction,
            masked_NC=None if self.settings.exclude_same_identity == "none" else own_NC | video_NC,
            masked_NM=masked_NM,
        )
        logs = reconstruction_diagnostics(result, query_ND, candidates.rows_MD, own_NC, video_NC)
        return result.loss, {"loss_cir": result.loss.detach(), **logs}

    def _negatives(self, keys: BankRows, negatives: BankRows) -> tuple[Tensor, Tensor]:
        """The negatives, and which are none of a query: of the step's keys, those of other videos."""
        masked_NM = _same_video(keys, negatives)
        if self.settings.exclude_same_identity == "none":
            masked_NM = torch.zeros_like(masked_NM)
        elif self.settings.exclude_same_identity == "candidates+negatives":
            masked_NM = masked_NM | _same_identity(keys, negatives)
        if self.settings.negatives == "bank":
            return negatives.rows_MD, masked_NM
        others_NN = _same_video(keys, keys).fill_diagonal_(False)
        if self.settings.negatives == "video":
            return keys.rows_MD, ~others_NN
        return torch.cat([negatives.rows_MD, keys.rows_MD]), torch.cat([masked_NM, ~others_NN], dim=1)

    def _min_fill(self, num_keys: int) -> int:
        fill = STEPS_TO_MIN_FILL * num_keys * world_size()
        return min(fill if self.settings.min_fill is None else self.settings.min_fill, self.bank.size)

    def _pictures(
        self, clip_BTHWC: Tensor, batch: ClipBatch, views: Views, generator: torch.Generator
    ) -> _Pictures:
        rows = []
        if clip_BTHWC.shape[1]:
            if self.settings.frame_order == "shuffled":
                order_BT = draw_rows(*clip_BTHWC.shape[:2], generator=generator).argsort(dim=1)
                clip_BTHWC = _frames_at(clip_BTHWC, order_BT)
            rows.append(getattr(views, self.settings.views_in_clip)(clip_BTHWC).flatten(0, 1))
        num_clip_rows = len(rows[0]) if rows else 0
        if not self.settings.beta:
            return _Pictures(rows[0], num_clip_rows, torch.empty(0), rows[0][:0])
        if self.settings.cir_source == "clip":
            L, (B, T) = self.settings.frames_per_video, clip_BTHWC.shape[:2]
            places_BL = _random_places(B, T, frames_per_clip=L, generator=generator)
            query_rows_Q = (torch.arange(B)[:, None] * T + places_BL).flatten()
            key_BLCHW = views.independent(_frames_at(clip_BTHWC, places_BL))
        else:
            if self.settings.key_flip == "query":
                query_BLCHW, key_BLCHW = views.pair_with_one_flip(batch.far_BLHWC)
            else:
                query_BLCHW, key_BLCHW = (views.independent(batch.far_BLHWC) for _ in range(2))
            rows.append(query_BLCHW.flatten(0, 1))
            query_rows_Q = num_clip_rows + torch.arange(len(rows[-1]))
        query_rows_Q = query_rows_Q.to(key_BLCHW.device, non_blocking=True)
        return _Pictures(torch.cat(rows), num_clip_rows, query_rows_Q, key_BLCHW.flatten(0, 1))

    def _keys(
        self, batch: ClipBatch, views: Views, *, generator: torch.Generator | None
    ) -> tuple[BankRows, ...]:
        frames_BLHWC = batch.far_BLHWC
        if self.settings.cir_source == "clip":  # the same places in every clip, from first frame to last
            B, T = batch.clip_BTHWC.shape[:2]
            places_L = torch.linspace(0, T - 1, self.settings.frames_per_video).round().long()
            frames_BLHWC = _frames_at(batch.clip_BTHWC, places_L.expand(B, -1))
        return self._encoded(views.independent(frames_BLHWC).flatten(0, 1), batch, generator=generator)

    def _encoded(
        self, images_QCHW: Tensor, batch: ClipBatch, *, generator: torch.Generator | None
    ) -> tuple[BankRows, ...]:
        L, rows = self.settings.frames_per_video, self.settings.key_batch_norm_rows
        key_QD = unit(self.momentum.keys(images_QCHW, rows_per_group=rows, generator=generator))
        return (BankRows(key_QD, *(who.repeat_interleave(L) for who in (batch.identity_B, batch.video_B))),)


def _random_places(
    num_clips: int, clip_len: int, *, frames_per_clip: int, generator: torch.Generator
) -> Tensor:
    """(B, L) places in each clip, in order, no two neighbours, every such choice equally likely."""
    # Draw from T - L + 1 places without replacement, then open the choice up by one place after each.
    order = draw_rows(num_clips, clip_len - frames_per_clip + 1, generator=generator).argsort(dim=1)
    return order[:, :frames_per_clip].sort(dim=1).values + torch.arange(frames_per_clip)


def _frames_at(clip_BTHWC: Tensor, places_BL: Tensor) -> Tensor:
    places_BL = places_BL.to(clip_BTHWC.device, non_blocking=True)
    return clip_BTHWC[torch.arange(len(places_BL), device=places_BL.device)[:, None], places_BL]


def _same_identity(keys: BankRows, others: BankRows) -> Tensor:
    return keys.identity_M[:, None] == others.identity_M


def _same_video(keys: BankRows, others: BankRows) -> Tensor:
    return keys.video_M[:, None] == others.video_M


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
