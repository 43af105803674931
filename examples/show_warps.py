"""What a generative method has learnt, as a picture: pairs of faces, the warps between them and their flows.

    python examples/show_warps.py RUN STORE warps.png

RUN: a folder that `mien pretrain` wrote by fabnet or tcae. A row a pair: source, target, what was made of
the source (fabnet: one picture; tcae: with the target's pose, its action, both), the flow of each. The hue of
a flow is its direction, the strength its distance.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mien.backbones import build_backbone
from mien.config import load_recipe, to_dict
from mien.data.clips import far_positions
from mien.data.store import TrackStore
from mien.data.views import evaluation_views, views_to_pictures
from mien.methods.fabnet import FabNet
from mien.methods.tcae import Tcae
from mien.train.run_folder import RunFolder, read_checkpoint
from mien.train.settings import PretrainSettings

NUM_PAIRS = 12
FULL_COLOUR_PX = 6.0  # a flow this long is drawn at full strength


def main(run: Path, store_path: Path, out: Path) -> None:
    settings = PretrainSettings.from_recipe(load_recipe(run / "settings.toml"), where=str(run))
    backbone = build_backbone(settings.backbone_name, **to_dict(settings.backbone))
    method = settings.method_class(backbone, settings.method)
    method.load_state_dict(read_checkpoint(RunFolder(run).checkpoints()[-1]).method)
    source, target = pairs(TrackStore.open(store_path), settings)
    with torch.inference_mode():
        pictures, flows = made_by(method.eval(), source, target)
    before = [views_to_pictures(views) for views in (source, target)]
    columns = [as_pixels(images) for images in [*before, *pictures]] + [flow_colours(flow) for flow in flows]
    rows = [np.concatenate(row, axis=1) for row in zip(*columns, strict=True)]
    cv2.imwrite(str(out), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    error = (pictures[-1] - before[1]).abs().mean() / (before[0] - before[1]).abs().mean()
    print(f"{out}: {len(rows)} pairs; the last picture's error is {error:.2f} of the unmoved source's")


def pairs(store: TrackStore, settings: PretrainSettings) -> tuple[Tensor, Tensor]:
    """Two far-apart frames of tracks spread over the store."""
    rng = np.random.default_rng(0)
    tracks = np.linspace(0, store.num_tracks - 1, NUM_PAIRS).astype(int)
    frames = []
    for track in tracks:
        chosen = far_positions(store.slots(track), num_frames=2, min_gap_frames=25, rng=rng)
        frames.append(store.read_frames(track, chosen.tolist(), size_px=settings.data.frame_size_px))
    both = torch.from_numpy(np.concatenate(frames))
    views = evaluation_views(both, output_size_px=settings.views.output_size_px)
    return views[0::2], views[1::2]


def made_by(method: torch.nn.Module, source: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    if isinstance(method, FabNet):
        picture, flow = method.reconstruct(source, target)
        return [picture], [flow]
    if isinstance(method, Tcae):
        made = method.change(views_to_pictures(source), method.encode(source), method.encode(target))
        pictures = [made.pose_changed_NCHW, made.action_changed_NCHW, made.both_changed_NCHW]
        return pictures, [made.pose_flow_N2hw, made.action_flow_N2hw]
    raise ValueError(f"{type(method).__name__} warps nothing; expected a run of fabnet or tcae")


def as_pixels(pictures_NCHW: Tensor) -> np.ndarray:
    return (pictures_NCHW.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def flow_colours(flow_N2HW: Tensor) -> np.ndarray:
    """(N, H, W, 3) uint8: hue by direction, saturation by length in pixels, white where nothing moves."""
    x, y = flow_N2HW.float().unbind(dim=1)
    length_px = torch.hypot(x, y) * flow_N2HW.shape[-1] / 2
    hue = (torch.atan2(y, x) / (2 * torch.pi)) % 1.0 * 179
    strength = (length_px / FULL_COLOUR_PX).clamp(0, 1) * 255
    hsv = torch.stack([hue, strength, torch.full_like(hue, 255)], dim=3).byte().numpy()
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_HSV2RGB) for picture in hsv])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
