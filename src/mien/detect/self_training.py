"""The shipped network taught by itself on unlabelled faces (self-training, Xie et al., arXiv:1911.04252).

The model reads each face as it is. Its branch of pixels, which transfers worse from rendered faces to real
ones than the mesh does, then learns to read the same from the picture changed: moved, turned, lit otherwise,
coarser, noisy. Other branches, batch-norm statistics, calibration and thresholds stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import trange

from mien.detect.adapting import inputs_of_groups, with_adaptation
from mien.detect.au_model import AuModel
from mien.detect.export import Faces
from mien.detect.face_network import FaceNetwork, grey_of
from mien.detect.network import build_network, weights_of

STEPS, BATCH = 100, 64
_RATE, _WARM_UP_STEPS, _LARGEST_GRADIENT = 2e-4, 20, 5.0
_AVERAGING = 0.99  # of the weights over the steps


def taught_by_itself(
    model: AuModel,
    groups: Iterable[Faces],
    *,
    device: torch.device | str = "cpu",
    steps: int = STEPS,
    seed: int = 0,
) -> AuModel:
    """The model after self-training on these faces, each group as often as any other.

    ValueError for fewer than 100 faces.
    """
    parts = inputs_of_groups(model, groups, what="self-training takes at least")
    network = build_network(model).to(device)
    assert isinstance(network, FaceNetwork)
    pixels, points = (np.concatenate([part[name] for part in parts]) for name in ("pixels", "points"))
    ends = np.cumsum([len(part["pixels"]) for part in parts])
    members = np.split(np.arange(len(pixels)), ends[:-1])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        teach(network, torch.from_numpy(pixels), torch.from_numpy(points), members, steps=steps, seed=seed)
    record = with_adaptation(model, {"num_unlabelled_faces": len(pixels), "self_training_steps": steps})
    return dataclasses.replace(model, weights=weights_of(network), record=record)


def teach(
    network: FaceNetwork,
    pixels_NHWC: Tensor,
    points_N468x3: Tensor,
    members: Sequence[NDArray[np.int64]],
    *,
    steps: int,
    seed: int,
) -> None:
    """Changes the network's branch of pixels and its head, in place. members: the rows of each group."""
    random = np.random.default_rng(seed)
    device = next(network.parameters()).device
    rows = [part.to(device) for part in torch.split(pixels_NHWC, 256)]
    meshes = [part.to(device) for part in torch.split(points_N468x3, 256)]
    with torch.no_grad():
        grey_N1HW = torch.cat([grey_of(part) for part in rows])
        target_NO = torch.cat([network.raw(*pair) for pair in zip(rows, meshes, strict=True)])
    scale_O = target_NO.std(dim=0) + 1e-3
    student = nn.Sequential(copy.deepcopy(network.pixels), copy.deepcopy(network.pixel_head))
    for module in student.modules():  # batch-norm keeps its statistics, dropout drops
        module.train(isinstance(module, nn.Dropout))
    weights = list(student.requires_grad_(True).parameters())
    mean = AveragedModel(student, avg_fn=_running_mean)
    optimiser = torch.optim.AdamW(weights, lr=_RATE, weight_decay=0.0)
    schedule = LambdaLR(optimiser, lambda step: _share_of_rate(step, steps))
    for _step in trange(steps, desc="self-training", disable=None):
        at = torch.tensor(
            [random.choice(members[group]) for group in random.integers(0, len(members), BATCH)]
        )
        read_BO = student(changed(grey_N1HW[at].cpu()).to(device))
        wrong = F.smooth_l1_loss(read_BO / scale_O, target_NO[at] / scale_O)
        optimiser.zero_grad()
        wrong.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, _LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        mean.update_parameters(student)
    for taught, averaged in zip((network.pixels, network.pixel_head), mean.module.children(), strict=True):
        taught.load_state_dict(averaged.state_dict())


def changed(grey_N1HW: Tensor) -> Tensor:
    """Grey pictures (0 to 255) as another camera, another light and a tracker's jitter would give them."""
    n, side = len(grey_N1HW), grey_N1HW.shape[-1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape) * (high - low) + low

    turn, size = uniform(-0.06, 0.06, n), uniform(0.92, 1.08, n)
    moved = torch.zeros(n, 2, 3)
    moved[:, 0, 0], moved[:, 0, 1] = size * torch.cos(turn), -size * torch.sin(turn)
    moved[:, 1, 0], moved[:, 1, 1] = size * torch.sin(turn), size * torch.cos(turn)
    moved[:, :, 2] = uniform(-0.05, 0.05, n, 2)
    grid = F.affine_grid(moved, [n, 1, side, side], align_corners=False)
    x = F.grid_sample(grey_N1HW / 255, grid, padding_mode="border", align_corners=False)
    across = torch.linspace(-1, 1, side)
    slope = torch.randn(n, 2, 1, 1) * 0.15
    light = 1 + slope[:, :1] * across + slope[:, 1:] * across[:, None]
    x = x.clamp(1e-3, 1) ** uniform(-0.36, 0.36, n, 1, 1, 1).exp() * light.clamp(0.3, 2)
    coarse_N, small = uniform(0, 1, n) < 0.25, int(uniform(0.3, 0.7, 1) * side)
    shrunk = F.interpolate(x[coarse_N], size=small, mode="area")
    x[coarse_N] = F.interpolate(shrunk, size=side, mode="bilinear", align_corners=False)
    noise = torch.randn(x.shape) * uniform(0, 0.01, n, 1, 1, 1)
    return ((x + noise) * 255).clamp(0, 255)


def _share_of_rate(step: int, steps: int) -> float:
    """Rising over the first steps, times a cosine to zero."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _running_mean(mean: Tensor, weights: Tensor, num_steps: Tensor | int) -> Tensor:
    """Of all steps at first, then an exponential one."""
    return mean.lerp(weights, 1 - min(_AVERAGING, int(num_steps) / (int(num_steps) + 1)))
