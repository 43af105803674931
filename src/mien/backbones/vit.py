"""Vision transformers (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) without the classifier.

State-dict names are timm's, which DINO's and MAE's public encoders follow, so that such weights load.
The feature is the mean of the patch tokens, as in MAE's fine-tuning; the class token only takes part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.backbones.base import BACKBONES, Backbone


@BACKBONES.register("vit")
class VisionTransformer(Backbone):
    """21 665 664 parameters as ViT-S/16, the default."""

    @dataclass(frozen=True)
    class Settings:
        """ViT-S/16; small ones for pictures of 64 px: patch_px = 8, width = 96, depth = 4, heads = 3."""

        patch_px: int = 16  # side of the squares that pictures are cut into
        width: int = 384  # of a token, and of the feature
        depth: int = 12  # blocks
        heads: int = 6  # of the attention; they divide the width
        picture_px: int = 224  # the side that the learnt positions are for; others are interpolated

        def __post_init__(self) -> None:
            if min(self.patch_px, self.width, self.depth, self.heads) < 1 or self.picture_px < self.patch_px:
                raise ValueError("patch_px, width, depth and heads: at least 1; picture_px: at least a patch")
            if self.width % self.heads:
                raise ValueError(f"heads = {self.heads} do not divide width = {self.width}")

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, self.feature_dim = settings.width, settings.width
        self.patch_px = settings.patch_px
        self.side = settings.picture_px // settings.patch_px
        self.patch_embed = _Patches(settings.patch_px, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.blocks = nn.Sequential(*(_Block(width, settings.heads) for _ in range(settings.depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(_initialise)
        for token in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(token, std=0.02)

    def feature_maps(self, images_NCHW: Tensor) -> Tensor:
        """(N, width, H / patch_px, W / patch_px) patch tokens; what does not fill a patch is left out."""
        N, _, H, W = images_NCHW.shape
        if min(H, W) < self.patch_px:
            raise ValueError(f"pictures of {H} x {W} pixels hold no patch of {self.patch_px}")
        patches_NDhw = self.patch_embed(images_NCHW)
        h, w = patches_NDhw.shape[2:]
        patches_NLD = patches_NDhw.flatten(2).transpose(1, 2) + self._positions(h, w)
        first_N1D = (self.cls_token + self.pos_embed[:, :1]).expand(N, -1, -1)
        tokens_NLD = self.norm(self.blocks(torch.cat([first_N1D, patches_NLD], dim=1)))
        maps: Tensor = tokens_NLD[:, 1:].transpose(1, 2).reshape(N, -1, h, w)
        return maps

    def _positions(self, h: int, w: int) -> Tensor:
        """(1, h * w, width) learnt positions, those of the middle for another number of patches."""
        grid = self.pos_embed[:, 1:]
        if (h, w) == (self.side, self.side):
            return grid
        square = grid.transpose(1, 2).reshape(1, -1, self.side, self.side)
        resized = F.interpolate(square, size=(h, w), mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)


class _Patches(nn.Module):
    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, stride=patch_px)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        patches: Tensor = self.proj(images_NCHW)
        return patches


class _Block(nn.Module):
    """Attention, then a perceptron; each before an addition and after a layer-norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))

    def forward(self, tokens_NLD: Tensor) -> Tensor:
        tokens_NLD = tokens_NLD + self.attn(self.norm1(tokens_NLD))
        out: Tensor = tokens_NLD + self.mlp(self.norm2(tokens_NLD))
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_NLD: Tensor) -> Tensor:
        N, L, D = tokens_NLD.shape
        query, key, value = self.qkv(tokens_NLD).view(N, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(N, L, D))
        return out


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
