"""Lu et al.: frames of a clip ranked by their distance in time to its first frame.

Lu, Tavabi & Soleymani, Self-supervised Learning for Facial Action Unit Recognition through Temporal
Consistency, BMVC 2020. Their trunk is a ResNet-18 from ImageNet, their optimiser SGD 0.001 on 48 clips; here
trunk and optimiser are the run's. The clip is drawn anew each epoch (theirs once for good).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mien.backbones import Backbone
from mien.layers.mlp import mlp
from mien.losses.temporal_ranking import temporal_ranking
from mien.losses.unit import unit
from mien.train.method import METHODS, ClipBatch, ClipRequest, Method, StepOutput, Views


@METHODS.register("temporal_ranking")
class TemporalRanking(Method):
    """Backbone, one head, a hinge on each pair of neighbouring frames."""

    @dataclass(frozen=True)
    class Settings:
        """The release's values, but for the views: theirs are drawn frame by frame."""

        clip_len: int = 12  # anchor, its neighbour and ten more
        stride: int = 1  # raw frames
        margin: float = 0.03  # of squared distance on the unit sphere
        hidden_dims: tuple[int, ...] = ()  # the release's head is one linear map
        embedding_dim: int = 256
        views_in_clip: Literal["shared", "independent"] = "shared"  # one draw for a clip, or one per frame

        def __post_init__(self) -> None:
            if self.clip_len < 3:
                raise ValueError(f"clip_len = {self.clip_len}: a ranking needs at least 3 frames")

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone)
        self.settings = settings
        self.head = mlp(backbone.feature_dim, *settings.hidden_dims, settings.embedding_dim)

    @classmethod
    def clip_request(cls, settings: Settings) -> ClipRequest:
        """One clip, no far frames."""
        return ClipRequest(clip_len=settings.clip_len, stride=settings.stride, num_far_frames=0)

    def encoder_rows(self, clips: int) -> int:
        """Every clip frame."""
        return clips * self.settings.clip_len

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """The ranking loss of the batch's clips."""
        draw = views.shared if self.settings.views_in_clip == "shared" else views.independent
        frames = draw(batch.clip_BTHWC)
        B, T = frames.shape[:2]
        unit_BTD = unit(self.head(self.backbone(frames.flatten(0, 1)))).view(B, T, -1)
        distance_BT = torch.linalg.vector_norm(unit_BTD[:, 1:] - unit_BTD[:, :1], dim=2).detach()
        loss = temporal_ranking(unit_BTD, margin=self.settings.margin)
        return StepOutput(loss, {"mean_distance_to_anchor": distance_BT.mean()})

    def warnings(self, logs: dict[str, float]) -> list[str]:
        """Says when all frames of a clip have become one point."""
        if logs["mean_distance_to_anchor"] < 1e-3:
            return ["collapsed: the frames of a clip lie on one point; nothing is ranked any more"]
        return []
