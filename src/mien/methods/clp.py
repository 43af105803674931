"""CLP: contrastive learning of person-independent representations (Li & Shan, TIP 2023, arXiv 2403.03400).

Temporal contrastive learning (TCL) orders the frames of a clip by time; cross-identity reconstruction (CIR)
rebuilds a face's feature from other people's. docs/pretrain.md says which settings are the paper's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mien.backbones import Backbone
from mien.layers.gather import draw_rows, gather_rows, world_size
from mien.layers.memory_bank import BankRows, MemoryBank
from mien.layers.mlp import mlp
from mien.layers.momentum import MomentumEncoder
from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction
from mien.losses.precision import full_precision
from mien.losses.temporal_triplet import WeightForm, temporal_triplet_losses, triplet_weights
from mien.losses.unit import unit
from mien.methods._clp_warnings import clp_warnings
from mien.methods._diagnostics import effective_rank, reconstruction_diagnostics, undefined_reconstruction
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views

COLLAPSE_TOLERANCE = 1e-3
STEPS_TO_MIN_FILL = 4
BANK_ROWS_PER_FRAME = 0.68
SMALLEST_BANK = 512


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
        _require(self.tcl_weight >= 0 and self.beta >= 0, "tcl_weight and beta: 0 or more")
        _require(self.tcl_weight + self.beta > 0, "tcl_weight and beta are both 0: nothing to train on")
        _require(self.clip_len >= 3, f"clip_len = {self.clip_len}: a triplet takes at least 3 frames")
        _require(
            self.frame_order == "time" or self.cir_source == "video",
            'frame_order = "shuffled" goes with cir_source = "video"',
        )
        _require(self.stride >= 1, f"stride = {self.stride}: at least 1")
        _require(self.frames_per_video >= 1, f"frames_per_video = {self.frames_per_video}: at least 1")
        _require(
            self.cir_source == "video" or 2 * self.frames_per_video - 1 <= self.clip_len,
            f"{self.frames_per_video} frames that are not neighbours do not fit a clip of {self.clip_len}",
        )
        _require(
            self.bank_size == 0 or 0 < self.candidates < self.bank_size,
            f"num_candidates = {self.num_candidates}: above 0 and below bank_size = {self.bank_size}",
        )
        _require(self.tau > 0 and (self.tau_reconstruction or self.tau) > 0, "a temperature is above 0")
        _require(0 <= self.mu <= 1, f"mu = {self.mu}: between 0 and 1")
        _require(
            self.key_flip == "independent" or self.cir_source == "video",
            'key_flip = "query" goes with cir_source = "video"',
        )

    @property
    def candidates(self) -> int:
        """|C| of a full bank."""
        return self.num_candidates or self.bank_size // 2

    @property
    def uses_clip(self) -> bool:
        """Whether the frames of a clip pass the backbone."""
        return self.tcl_weight > 0 or self.cir_source == "clip"

    @property
    def uses_far_frames(self) -> bool:
        """Whether frames of the whole track pass the backbone."""
        return self.beta > 0 and self.cir_source == "video"


@dataclass(frozen=True)
class _Pictures:
    rows_NCHW: Tensor  # through the backbone with gradient: the clips' frames, then the far frames
    num_clip_rows: int
    query_rows_Q: Tensor  # which of the rows are queries
    key_QCHW: Tensor  # other views of the same frames


@METHODS.register("clp")
class Clp(Method):
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
        self._keys_of_step: BankRows | None = None

    @classmethod
    def clip_request(cls, settings: ClpSettings) -> ClipRequest:
        """A clip and far frames, either left out when its loss is."""
        return ClipRequest(
            clip_len=settings.clip_len if settings.uses_clip else 0,
            stride=settings.stride,
            num_far_frames=settings.frames_per_video if settings.uses_far_frames else 0,
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
        request = self.clip_request(self.settings)
        return clips * (request.clip_len + request.num_far_frames)

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Enqueue the keys of one batch; True when the bank is full or need not be."""
        if not self.settings.beta or self.settings.bank_start == "empty":
            return True
        if self.bank.filled < self.bank.size:
            frames_BLHWC = batch.far_BLHWC
            if self.settings.cir_source == "clip":
                frames_BLHWC = _frames_at(batch, _spread_places(batch, self.settings.frames_per_video))
            key_QCHW = views.independent(frames_BLHWC).flatten(0, 1)
            self._enqueue(self._bank_rows(self._keys(key_QCHW, generator=None), batch))
        return self.bank.filled == self.bank.size

    def before_step(self) -> None:
        """Let the momentum encoder follow."""
        if self.settings.beta:
            self.momentum.update(self.backbone, self.head_cir, mu=self.settings.mu)

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """L_tcl + beta * L_cir, the keys kept aside until `after_step`."""
        pictures = self._pictures(batch, views, generator)
        if self.settings.beta:
            self._keys_of_step = self._bank_rows(self._keys(pictures.key_QCHW, generator=generator), batch)
        features_ND: Tensor = self.backbone(pictures.rows_NCHW)
        return self._losses(features_ND, pictures, generator)

    def after_step(self) -> None:
        """Put the step's keys into the bank, after backward: autograd still reads the bank until then."""
        if self._keys_of_step is not None:
            self._enqueue(self._keys_of_step)
        self._keys_of_step = None

    def warnings(self, logs: dict[str, float]) -> list[str]:
        """Plain words about collapse and about reconstruction that reconstructs nothing."""
        return clp_warnings(logs, masks_own_identity=self.settings.exclude_same_identity != "none")

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
        keys = self._keys_of_step
        assert keys is not None, "training_step sets the keys"
        if self.bank.filled < self._min_fill(len(keys)):
            # A zero that still reaches every parameter: DDP waits for all of them.
            return 0.0 * query_ND.sum(), undefined_reconstruction(query_ND.device)
        candidates, negatives = self.bank.split(self.settings.candidates, generator=generator)
        masked_NC, masked_NM = self._masks(keys, candidates, negatives)
        negatives_MD = negatives.rows_MD
        if self.settings.negatives != "bank":
            negatives_MD, masked_NM = self._with_own_video(keys, negatives_MD, masked_NM)
        result = cross_identity_reconstruction(
            query_ND,
            keys.rows_MD,
            candidates.rows_MD,
            negatives_MD,
            temperature=self.settings.tau,
            reconstruction_temperature=self.settings.tau_reconstruction,
            masked_NC=masked_NC,
            masked_NM=masked_NM,
        )
        own_NC, video_NC = _same_identity(keys, candidates), _same_video(keys, candidates)
        logs = reconstruction_diagnostics(result, query_ND, candidates.rows_MD, own_NC, video_NC)
        return result.loss, {"loss_cir": result.loss.detach(), **logs}

    def _masks(
        self, keys: BankRows, candidates: BankRows, negatives: BankRows
    ) -> tuple[Tensor | None, Tensor | None]:
        """What each query may not be rebuilt from, and what is no negative of it."""
        if self.settings.exclude_same_identity == "none":
            return None, None
        masked_NC = _same_identity(keys, candidates) | _same_video(keys, candidates)
        masked_NM = _same_video(keys, negatives)
        if self.settings.exclude_same_identity == "candidates+negatives":
            masked_NM = masked_NM | _same_identity(keys, negatives)
        return masked_NC, masked_NM

    def _with_own_video(
        self, keys: BankRows, negatives_MD: Tensor, masked_NM: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The step's keys after the negatives, of which each query sees the others of its own video."""
        others_NN = _same_video(keys, keys).fill_diagonal_(False)
        if masked_NM is None:
            masked_NM = others_NN.new_zeros(len(keys), len(negatives_MD))
        if self.settings.negatives == "video":
            negatives_MD, masked_NM = negatives_MD[:0], masked_NM[:, :0]
        return torch.cat([negatives_MD, keys.rows_MD]), torch.cat([masked_NM, ~others_NN], dim=1)

    def _min_fill(self, num_keys: int) -> int:
        fill = STEPS_TO_MIN_FILL * num_keys * world_size()
        return min(fill if self.settings.min_fill is None else self.settings.min_fill, self.bank.size)

    def _pictures(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> _Pictures:
        draw = getattr(views, self.settings.views_in_clip)
        rows = [draw(self._clips(batch, generator)).flatten(0, 1)] if self.settings.uses_clip else []
        num_clip_rows = len(rows[0]) if rows else 0
        if not self.settings.beta:
            return _Pictures(rows[0], num_clip_rows, torch.empty(0), rows[0][:0])
        if self.settings.cir_source == "video":
            if self.settings.key_flip == "query":
                query_BLCHW, key_BLCHW = views.pair_with_one_flip(batch.far_BLHWC)
            else:
                query_BLCHW, key_BLCHW = (views.independent(batch.far_BLHWC) for _ in range(2))
            rows.append(query_BLCHW.flatten(0, 1))
            query_rows_Q = num_clip_rows + torch.arange(len(rows[-1]))
        else:
            places_BL = _random_places(batch, self.settings.frames_per_video, generator=generator)
            first_rows_B1 = torch.arange(len(places_BL))[:, None] * self.settings.clip_len
            query_rows_Q = (first_rows_B1 + places_BL).flatten()
            key_BLCHW = views.independent(_frames_at(batch, places_BL))
        query_rows_Q = query_rows_Q.to(key_BLCHW.device, non_blocking=True)
        return _Pictures(torch.cat(rows), num_clip_rows, query_rows_Q, key_BLCHW.flatten(0, 1))

    def _clips(self, batch: ClipBatch, generator: torch.Generator) -> Tensor:
        if self.settings.frame_order == "time":
            return batch.clip_BTHWC
        return _frames_at(batch, draw_rows(*batch.clip_BTHWC.shape[:2], generator=generator).argsort(dim=1))

    def _keys(self, images_QCHW: Tensor, *, generator: torch.Generator | None) -> Tensor:
        """(Q, D) unit rows of the momentum encoder, without gradient."""
        rows = self.settings.key_batch_norm_rows
        return unit(self.momentum.keys(images_QCHW, rows_per_group=rows, generator=generator))

    def _bank_rows(self, key_ND: Tensor, batch: ClipBatch) -> BankRows:
        L = self.settings.frames_per_video
        return BankRows(key_ND, batch.identity_B.repeat_interleave(L), batch.video_B.repeat_interleave(L))

    def _enqueue(self, rows: BankRows) -> None:
        self.bank.enqueue(gather_rows(rows.rows_MD), gather_rows(rows.identity_M), gather_rows(rows.video_M))


def _random_places(batch: ClipBatch, frames_per_clip: int, *, generator: torch.Generator) -> Tensor:
    """(B, L) places in each clip, in order, no two neighbours, every such choice equally likely."""
    B, T = batch.clip_BTHWC.shape[:2]
    # Draw from T - L + 1 places without replacement, then open the choice up by one place after each.
    order = draw_rows(B, T - frames_per_clip + 1, generator=generator).argsort(dim=1)
    return order[:, :frames_per_clip].sort(dim=1).values + torch.arange(frames_per_clip)


def _spread_places(batch: ClipBatch, frames_per_clip: int) -> Tensor:
    """(B, L) the same places in every clip, from the first frame to the last."""
    B, T = batch.clip_BTHWC.shape[:2]
    return torch.linspace(0, T - 1, frames_per_clip).round().long().expand(B, -1)


def _frames_at(batch: ClipBatch, places_BL: Tensor) -> Tensor:
    places_BL = places_BL.to(batch.clip_BTHWC.device, non_blocking=True)
    clips_B1 = torch.arange(len(places_BL), device=places_BL.device)[:, None]
    return batch.clip_BTHWC[clips_B1, places_BL]


def _same_identity(keys: BankRows, others: BankRows) -> Tensor:
    return keys.identity_M[:, None] == others.identity_M


def _same_video(keys: BankRows, others: BankRows) -> Tensor:
    return keys.video_M[:, None] == others.video_M


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
