"""TCAE: two codes of a frame, one of the pose and one of the face's action, each with a flow of its own.

Li, Zeng, Shan & Chen, Self-supervised Representation Learning from Videos for Facial Action Unit Detection,
CVPR 2019. TAE (Learning Representations for Facial Actions from Unlabeled Videos, TPAMI 2022) is its journal
extension, of which no code was found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mien.backbones import Backbone
from mien.data.views import pictures_to_views, views_to_pictures
from mien.layers.flow_decoder import FlowDecoder
from mien.layers.flow_warp import merge_flows, warp
from mien.methods._pairs import WarpMethod, WarpSettings
from mien.train.method import METHODS, ClipBatch, StepOutput, Views


@dataclass(frozen=True)
class Codes:
    """The two codes of N pictures."""

    pose_ND: Tensor
    action_ND: Tensor


@dataclass(frozen=True)
class Warped:
    """Pictures in [0, 1] made from a source: with the target's pose, its action, and both; and the flows."""

    pose_changed_NCHW: Tensor
    action_changed_NCHW: Tensor
    both_changed_NCHW: Tensor
    pose_flow_N2hw: Tensor
    action_flow_N2hw: Tensor


@METHODS.register("tcae")
class Tcae(WarpMethod):
    """Backbone, two linear codes, two decoders."""

    @dataclass(frozen=True)
    class Settings(WarpSettings):
        """The paper's weights."""

        reconstruction_weight: float = 10.0
        consistency_weight: float = 1.0
        cycle_weight: float = 1.0
        flow_weight: float = 0.1  # of the mean size of the action flow: faces move less than heads

    settings: Settings

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        super().__init__(backbone, settings)
        D, side_px, width = settings.code_dim, settings.flow_side_px, settings.decoder_width
        self.pose_code = nn.Linear(backbone.feature_dim, D)
        self.action_code = nn.Linear(backbone.feature_dim, D)
        self.pose_decoder = FlowDecoder(2 * D, side_px=side_px, width=width, num_masks=1)
        self.action_decoder = FlowDecoder(2 * D, side_px=side_px, width=width, num_masks=1)

    def encoder_rows(self, clips: int) -> int:
        """Source, target and the three pictures made of them."""
        return 5 * clips

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """Reconstruction, consistency of the codes, cycles, and the size of the action flow."""
        source_NCHW, target_NCHW = self._source_and_target(batch, views, generator)
        source, target = self.encode(source_NCHW), self.encode(target_NCHW)
        picture_NCHW, target_picture_NCHW = views_to_pictures(source_NCHW), views_to_pictures(target_NCHW)
        made = self.change(picture_NCHW, source, target)
        losses_N = _per_picture((made.both_changed_NCHW - target_picture_NCHW).abs())
        terms = {
            "reconstruction": self._band(losses_N),
            **self._consistency_and_cycle(picture_NCHW, source, target, made),
            "action_flow": self._band(_per_picture(made.action_flow_N2hw.abs())),
        }
        logs = {name: term.detach() for name, term in terms.items()}
        return StepOutput(
            self._weighted(terms), logs | self._logs(losses_N, picture_NCHW, target_picture_NCHW)
        )

    def encode(self, views_NCHW: Tensor) -> Codes:
        """Both codes of normalised views."""
        features_ND = self.backbone(views_NCHW)
        return Codes(self.pose_code(features_ND), self.action_code(features_ND))

    def change(self, picture_NCHW: Tensor, source: Codes, target: Codes) -> Warped:
        """The source pictures with the target's pose, with its action, and with both."""
        pose_flow, pose_mask = self.pose_decoder(torch.cat([source.pose_ND, target.pose_ND], dim=1))
        action_flow, action_mask = self.action_decoder(torch.cat([source.action_ND, target.action_ND], dim=1))
        both_flow = merge_flows(pose_flow, action_flow, logit_a_N1HW=pose_mask, logit_b_N1HW=action_mask)
        return Warped(
            pose_changed_NCHW=warp(picture_NCHW, pose_flow),
            action_changed_NCHW=warp(picture_NCHW, action_flow),
            both_changed_NCHW=warp(picture_NCHW, both_flow),
            pose_flow_N2hw=pose_flow,
            action_flow_N2hw=action_flow,
        )

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        weights = self.settings
        return (
            weights.reconstruction_weight * terms["reconstruction"]
            + weights.consistency_weight * terms["consistency"]
            + weights.cycle_weight * terms["cycle"]
            + weights.flow_weight * terms["action_flow"]
        )

    def _consistency_and_cycle(
        self, picture_NCHW: Tensor, source: Codes, target: Codes, made: Warped
    ) -> dict[str, Tensor]:
        """Six mean squares between codes of made pictures and the codes they were made for; two cycles.

        Each term has a band of its own, as in the release.
        """
        all_made = torch.cat([made.pose_changed_NCHW, made.action_changed_NCHW, made.both_changed_NCHW])
        codes, N = self.encode(pictures_to_views(all_made)), len(picture_NCHW)
        wanted_pose = torch.cat([target.pose_ND, source.pose_ND, target.pose_ND])
        wanted_action = torch.cat([source.action_ND, target.action_ND, target.action_ND])
        squares_M = [
            *_per_picture((codes.pose_ND - wanted_pose).square()).chunk(3),
            *_per_picture((codes.action_ND - wanted_action).square()).chunk(3),
        ]
        pose_codes = torch.cat([codes.pose_ND[:N], source.pose_ND], dim=1)
        action_codes = torch.cat([codes.action_ND[N : 2 * N], source.action_ND], dim=1)
        cycles_M = [
            self._cycle(self.pose_decoder, pose_codes, made.pose_changed_NCHW, picture_NCHW),
            self._cycle(self.action_decoder, action_codes, made.action_changed_NCHW, picture_NCHW),
        ]
        return {
            "consistency": torch.stack([self._band(losses_N) for losses_N in squares_M]).sum(),
            "cycle": torch.stack([self._band(losses_N) for losses_N in cycles_M]).sum(),
        }

    def _cycle(self, decoder: nn.Module, codes_ND: Tensor, made_NCHW: Tensor, source_NCHW: Tensor) -> Tensor:
        """(N,) L1 of made pictures warped back against their source; the pixels themselves are constants."""
        flow_back, _ = decoder(codes_ND)
        return _per_picture((warp(made_NCHW.detach(), flow_back) - source_NCHW).abs())


def _per_picture(values: Tensor) -> Tensor:
    """(N,) means over all axes but the first."""
    return values.flatten(1).mean(dim=1)
