"""Within-video contrast: a frame is told from other frames of its own video too, where everybody is the same.

SimCLR (Chen et al., ICML 2020) on several frames of each track: among them who it is helps nobody, so that
what changes in a face has to be learnt as well. Our own; docs/evidence.md measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.backbones import Backbone
from mien.layers.mlp import mlp
from mien.losses.precision import full_precision
from mien.losses.unit import unit
from mien.methods._diagnostics import effective_rank
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


@METHODS.register("within_video")
class WithinVideo(Method):
    """Backbone and one head; InfoNCE of two views of each frame, in both directions."""

    @dataclass(frozen=True)
    class Settings:
        """Chosen on one seed among settings that differ less than seeds do (EXPERIMENTS.md)."""

        frames_per_video: int = 4  # L, far apart in the track
        min_gap_frames: int = 17  # they lie at least so many raw frames apart where the track allows
        negatives: Literal["all", "video"] = "all"  # frames of all videos, or the other L - 1 alone
        temperature: float = 0.2
        hidden_dim: int = 256
        embedding_dim: int = 128
        batch_norm_output: bool = False  # BatchNorm1d without affine parameters after the head

        def __post_init__(self) -> None:
            if self.frames_per_video < 2:
                raise ValueError(f"frames_per_video = {self.frames_per_video}: at least 2")

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        widths = (backbone.feature_dim, settings.hidden_dim, settings.embedding_dim)
        self.head = mlp(*widths, batch_norm_output=settings.batch_norm_output)

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """L frames of a track, no clip."""
        return ClipRequest(
            clip_len=0, num_far_frames=settings.frames_per_video, min_gap_frames=settings.min_gap_frames
        )

    def encoder_rows(self, clips: int) -> int:
        """Two views of each of the L frames."""
        return 2 * self.settings.frames_per_video * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """The loss of two independent views of the same frames."""
        both = torch.stack([views.independent(batch.far_BLHWC), views.independent(batch.far_BLHWC)])
        return self._loss(self.backbone(both.flatten(0, 2)))

    @full_precision
    def _loss(self, features_ND: Tensor) -> StepOutput:
        L = self.settings.frames_per_video
        embedding_ND = unit(self.head(features_ND))
        one_BLD, other_BLD = embedding_ND.view(2, -1, L, embedding_ND.shape[1])
        logits_GNN = self._grouped(one_BLD) @ self._grouped(other_BLD).mT / self.settings.temperature
        G, N, _ = logits_GNN.shape
        own_GN = torch.arange(N, device=logits_GNN.device).expand(G, N)
        loss = (F.cross_entropy(logits_GNN.mT, own_GN) + F.cross_entropy(logits_GNN, own_GN)) / 2
        logs = {
            "retrieval_accuracy": (logits_GNN.argmax(dim=2) == own_GN).float().mean(),
            "effective_rank": effective_rank(features_ND, diagnosing=self.diagnosing),
        }
        return StepOutput(loss, logs)

    def _grouped(self, embedding_BLD: Tensor) -> Tensor:
        """(G, N, D): who competes with whom; a group a video, or one group."""
        return embedding_BLD if self.settings.negatives == "video" else embedding_BLD.flatten(0, 1)[None]
