"""Training of the three branches of the shipped model on arrays of rendered faces.

Beside the units each branch learns the weights of the face model's shapes and the gaze. The pixel branch also
learns where the mesh's points lie, in the crop and without pose: this makes its features geometry rather than
texture, and without it it learned nothing in 0.1 M rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from mien.detect.face_network import PixelBranch, PointBranch, SideBranch, head, outputs_of
from mien.faces.mesh_pose import mean_mesh
from model.reading import INPUT_PX, SIDED, STORED_PX, UNITS, Arrays

EYES = 20.0  # degrees of gaze for an output of 1
COPIES = 3  # of each frontal picture, the first as it is


@dataclass(frozen=True)
class Training:
    """Settings of one branch."""

    rows: int
    batch: int = 192
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    dense_weight: float = 20.0  # of the loss on the mesh's points; pixels alone
    strength: float = 1.0  # of what is done to pixels
    averaging: float = 0.998  # of the weights over the steps
    seed: int = 0


class Rows:
    """Training rows. mirrored_points, mirrored_shapes: the orders of a mirrored face."""

    def __init__(self, arrays: Arrays, targets: Arrays, shape_names: tuple[str, ...]) -> None:
        self.pix, self.points, self.xy = arrays["pix"], arrays["points"], arrays["xy"]
        frame = arrays["frame"]
        self.units, self.shapes, self.gaze = (targets[name][frame] for name in ("units", "shapes", "gaze"))
        clean = {f: row for row, (f, v) in enumerate(zip(frame, arrays["version"], strict=True)) if v == 0}
        self.clean = np.array([clean.get(f, row) for row, f in enumerate(frame)])
        _, person = np.unique(targets["identity"][frame], return_inverse=True)
        sums = np.zeros((person.max() + 1, 468, 3), np.float32)
        np.add.at(sums, person, self.points)
        self.person_means = (sums / np.bincount(person)[:, None, None]).astype(np.float32)
        self.mirrored_points = torch.from_numpy(mirrored_rows())
        self.mirrored_shapes = torch.tensor([shape_names.index(_other_side(name)) for name in shape_names])

    def targets(self, at: np.ndarray) -> list[Tensor]:
        """Units, shapes, gaze."""
        return [torch.from_numpy(array[at]).float() for array in (self.units, self.shapes, self.gaze)]


def train_points(rows: Rows, settings: Training) -> tuple[nn.Module, nn.Module]:
    """Branch and head. Points get other people's shape, small turns, scales and noise."""
    branch = PointBranch()
    read_out = head(branch.num_features, _num_outputs(rows), dropout=settings.dropout)
    template = torch.from_numpy(mean_mesh())

    def loss(random: np.random.Generator, _progress: float) -> Tensor:
        at = random.integers(0, len(rows.pix), settings.batch)
        points = torch.from_numpy(rows.points[at])
        first, second = random.integers(0, len(rows.person_means), (2, settings.batch))
        share = torch.from_numpy(random.uniform(0, 1, settings.batch) * (random.random(settings.batch) < 0.6))
        points = points + share.float()[:, None, None] * torch.from_numpy(
            rows.person_means[first] - rows.person_means[second]
        )
        points = (points + template) @ _small_turns(len(at), 2.5) * (
            1 + 0.02 * torch.randn(len(at), 1, 1)
        ) - template
        points = points + torch.randn_like(points) * _uniform(len(at), 0.002, 0.012)[:, None, None]
        units, shapes, gaze = rows.targets(at)
        mirror = torch.rand(len(at)) < 0.5
        points[mirror] = _mirrored_points(points[mirror], rows)
        _mirror_targets(units, shapes, gaze, mirror, rows)
        with _reduced_precision():
            raw = read_out(branch(points))
        return reading_loss(raw, units, shapes, gaze)

    return _trained(nn.ModuleList([branch, read_out]), loss, settings)


def train_pixels(rows: Rows, settings: Training) -> tuple[nn.Module, nn.Module]:
    """Branch and head. Pixels are moved, lit, filtered, covered, coarsened; gently at first."""
    branch = PixelBranch()
    read_out = head(branch.num_features, _num_outputs(rows), dropout=settings.dropout)
    dense = nn.Linear(branch.num_features, 468 * 5)

    def loss(random: np.random.Generator, progress: float) -> Tensor:
        at = random.integers(0, len(rows.pix), settings.batch)
        strength = settings.strength * (0.3 + 0.7 * min(1.0, progress / 0.4))
        pixels, moved = changed_pixels(torch.from_numpy(rows.pix[at]), strength)
        xy = torch.from_numpy(rows.xy[at]) - moved[:, None, :, 2]
        xy = xy @ torch.linalg.inv(moved[:, :, :2]).transpose(1, 2)
        points = torch.from_numpy(rows.points[rows.clean[at]])
        units, shapes, gaze = rows.targets(at)
        mirror = torch.rand(len(at)) < 0.5
        pixels[mirror] = pixels[mirror].flip(3)
        xy[mirror] = (xy[mirror] * torch.tensor([-1.0, 1.0]))[:, rows.mirrored_points]
        points[mirror] = _mirrored_points(points[mirror], rows)
        _mirror_targets(units, shapes, gaze, mirror, rows)
        with _reduced_precision():
            features = branch(pixels)
            raw, found = read_out(features), dense(features).float()
        geometry = torch.cat([xy.flatten(1), 2 * points.flatten(1)], dim=1)
        wrong = F.smooth_l1_loss(found, geometry, beta=0.02)
        return reading_loss(raw, units, shapes, gaze) + settings.dense_weight * wrong

    return _trained(nn.ModuleList([branch, read_out, dense]), loss, settings)


def train_sides(
    arrays: Arrays, targets: Arrays, shape_names: tuple[str, ...], settings: Training
) -> tuple[nn.Module, nn.Module]:
    """The branch of the two halves. What it reads is fixed, so it is read once of each copy."""
    torch.manual_seed(settings.seed)
    branch, frame = SideBranch(len(SIDED)), arrays["frame"]
    copies = [_features(branch, arrays["frontal"], changed=copy > 0) for copy in range(COPIES)]
    true_N2K = side_targets(arrays, targets)
    shapes_NS = torch.from_numpy(targets["shapes"][frame]).float()
    opposite = [shape_names.index(_other_side(name)) for name in shape_names]
    shapes_N2S = torch.stack([shapes_NS, shapes_NS[:, opposite]], dim=1)
    more = nn.Linear(64, len(SIDED) + len(shape_names))

    def loss(random: np.random.Generator, _progress: float) -> Tensor:
        at = random.integers(0, len(frame), settings.batch)
        seen = branch.embedded(copies[random.integers(COPIES)][at].float())
        units, gaze = branch.outputs(seen).split([len(SIDED), 2], dim=2)
        present, shapes = more(seen).split([len(SIDED), len(shape_names)], dim=2)
        true, true_gaze = true_N2K[at].split([len(SIDED), 2], dim=2)
        return (
            F.binary_cross_entropy_with_logits(present, (2.5 * true - 0.5).clamp(0, 1))
            + 3 * F.smooth_l1_loss(units, true, beta=0.1)
            + 3 * F.smooth_l1_loss(units[:, 0] - units[:, 1], true[:, 0] - true[:, 1], beta=0.1)
            + F.smooth_l1_loss(gaze, true_gaze, beta=0.1)
            + F.smooth_l1_loss(shapes, shapes_N2S[at], beta=0.1)
        )

    return _trained(nn.ModuleList([branch, more]), loss, settings)


def side_targets(arrays: Arrays, targets: Arrays) -> Tensor:
    """(N, 2, U + 2), left and right: intensity / 5, gaze / 20 degrees outwards and up."""
    frame = arrays["frame"]
    units_N2U = targets["units"][frame][:, [UNITS.index(unit) for unit in SIDED]].transpose(0, 2, 1) / 5
    gaze_N22 = targets["gaze"][frame][:, None] / EYES * [[1, -1], [-1, -1]]
    return torch.from_numpy(np.concatenate([units_N2U, gaze_N22], axis=2)).float()


@torch.no_grad()
def _features(branch: SideBranch, frontal_NHW: np.ndarray, *, changed: bool) -> Tensor:
    """(N, 2, D) in 16 bits, of the pictures as they are or changed."""
    found = []
    for some in torch.from_numpy(frontal_NHW).split(256):
        seen = (
            changed_pixels(some, 1.0, size=some.shape[1:], zoom=1.0, moves=0.5)[0][:, 0] if changed else some
        )
        found.append(branch.features(seen).half())
    return torch.cat(found)


def reading_loss(raw_NO: Tensor, units_NA2: Tensor, shapes_NS: Tensor, gaze_N2: Tensor) -> Tensor:
    """Cross-entropy of presence (its target: 0 at intensity 1, 1 at intensity 3) and three regressions."""
    A, S = units_NA2.shape[1], shapes_NS.shape[1]
    logit, sides, shapes, gaze = raw_NO.float().split([A, 2 * A, S, 2], dim=1)
    present = ((units_NA2.amax(2) - 1) / 2).clamp(0, 1)
    return (
        F.binary_cross_entropy_with_logits(logit, present)
        + 3 * F.smooth_l1_loss(sides, units_NA2.transpose(1, 2).flatten(1) / 5, beta=0.1)
        + 3 * F.smooth_l1_loss(shapes, shapes_NS, beta=0.1)
        + 0.3 * F.smooth_l1_loss(gaze, gaze_N2 / EYES, beta=0.1)
    )


def changed_pixels(
    stored_NHW: Tensor,
    strength: float,
    *,
    size: tuple[int, int] = (INPUT_PX, INPUT_PX),
    zoom: float = INPUT_PX / STORED_PX,
    moves: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(N, 1, *size), 0 to 255, from stored pictures, and the affine map (N, 2, 3) that was taken."""
    n = len(stored_NHW)
    x = stored_NHW.float()[:, None] / 255
    turn = _uniform(n, -6, 6) * math.pi / 180 * strength * moves
    scale = _uniform(n, 1 - 0.1 * moves, 1 + 0.1 * moves) * zoom
    moved = torch.zeros(n, 2, 3)
    moved[:, 0, 0], moved[:, 0, 1] = scale * torch.cos(turn), -scale * torch.sin(turn)
    moved[:, 1, 0], moved[:, 1, 1] = scale * torch.sin(turn), scale * torch.cos(turn)
    moved[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.14 * moves
    grid = F.affine_grid(moved, [n, 1, *size], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = _filtered(x, torch.rand(n) < 0.25 * strength)
    x = _lit(x, strength)
    x = _covered(x, torch.rand(n) < 0.22 * strength)
    coarse = torch.rand(n) < 0.3 * strength
    if coarse.any():
        side = int(torch.randint(18, 44, (1,)))
        small = F.interpolate(x[coarse], size=[side * px // 64 for px in size], mode="area")
        x[coarse] = F.interpolate(small, size=size, mode="bilinear", align_corners=False)
    blurred = (torch.rand(n) < 0.4 * strength)[:, None, None, None]
    x = torch.where(blurred, _blurred(x, _uniform(n, 0.3, 1.6)), x)
    x = x + torch.randn_like(x) * _uniform(n, 0, 0.015 * strength)[:, None, None, None]
    return (x * 255).clamp(0, 255), moved


def _filtered(x: Tensor, chosen: Tensor) -> Tensor:
    """Mixed with a random 3 x 3 filter of itself, contrast kept (RandConv, Xu et al., ICLR 2021)."""
    m = int(chosen.sum())
    if m:
        part = x[chosen]
        padded = F.pad(part.view(1, m, *x.shape[2:]), (1, 1, 1, 1), mode="replicate")
        other = F.conv2d(padded, torch.randn(m, 1, 3, 3) / 3, groups=m).view_as(part)
        other = (other - other.mean((2, 3), keepdim=True)) / (other.std((2, 3), keepdim=True) + 1e-3)
        other = other * part.std((2, 3), keepdim=True) + part.mean((2, 3), keepdim=True)
        share = _uniform(m, 0, 0.7)[:, None, None, None]
        x[chosen] = (1 - share) * part + share * other
    return x


def _lit(x: Tensor, strength: float) -> Tensor:
    """Another gamma, a smooth field of light, faint large blotches."""
    n, height, width = len(x), *x.shape[2:]
    c = (torch.randn(n, 4) * 0.22 * strength)[:, :, None, None]
    down, across = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    field = 1 + c[:, 0] * down + c[:, 1] * across + c[:, 2] * down * across + c[:, 3] * across**2
    gamma = torch.exp(_uniform(n, -0.6, 0.6) * strength)[:, None, None, None]
    x = x.clamp(1e-3, 1) ** gamma * field[:, None].clamp(0.2, 2.5)
    blotches = torch.randn(n, 1, 5, 5) * 0.06 * strength
    return x * (1 + F.interpolate(blotches, size=(height, width), mode="bilinear", align_corners=False))


def _covered(x: Tensor, chosen: Tensor) -> Tensor:
    """A grey rectangle or ellipse in front of the face."""
    m = int(chosen.sum())
    if m:
        height, width = x.shape[2:]
        down, across = torch.meshgrid(torch.arange(height * 1.0), torch.arange(width * 1.0), indexing="ij")
        centre_x = _uniform(m, 0, width)[:, None, None]
        centre_y = _uniform(m, height / 8, height * 1.1)[:, None, None]
        half_x, half_y = _uniform(m, 4, 14)[:, None, None], _uniform(m, 4, 14)[:, None, None]
        u, v = (across - centre_x) / half_x, (down - centre_y) / half_y
        square = (torch.rand(m) < 0.5)[:, None, None]
        hidden = torch.where(square, torch.maximum(u.abs(), v.abs()) < 1, u**2 + v**2 < 1).float()[:, None]
        x[chosen] = x[chosen] * (1 - hidden) + hidden * torch.rand(m, 1, 1, 1)
    return x


def _blurred(x: Tensor, sigma_N: Tensor) -> Tensor:
    n, reach = len(x), torch.arange(-4, 5).float()
    kernel = torch.exp(-(reach**2) / (2 * sigma_N[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    y = F.pad(x.view(1, n, *x.shape[2:]), (4, 4, 0, 0), mode="replicate")
    y = F.conv2d(y, kernel.view(n, 1, 1, 9), groups=n)
    return F.conv2d(F.pad(y, (0, 0, 4, 4), mode="replicate"), kernel.view(n, 1, 9, 1), groups=n).view_as(x)


def mirrored_rows() -> np.ndarray:
    """For every row of the mesh the row opposite."""
    opposite = mean_mesh() * np.float32([-1, 1, 1])
    nearest: np.ndarray = np.square(opposite[:, None] - mean_mesh()).sum(axis=2).argmin(axis=1)
    return nearest


def _trained(
    modules: nn.ModuleList, loss_of: Callable[[np.random.Generator, float], Tensor], settings: Training
) -> tuple[nn.Module, nn.Module]:
    """Branch and head with averaged weights, in eval mode."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    for module in modules.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    averaged = copy.deepcopy(modules)
    matrices = [p for p in modules.parameters() if p.ndim > 1]
    vectors = [p for p in modules.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    )
    steps = settings.rows // settings.batch
    bar = tqdm(range(1, steps + 1), unit_scale=settings.batch, unit=" rows")
    for step in bar:
        rate = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate * min(1.0, step / 150)
        loss = loss_of(random, step / steps)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 2.0)
        optimiser.step()
        _average(averaged, modules, min(settings.averaging, step / (step + 20)))
        if step % 50 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.4f}")
    averaged.eval().requires_grad_(False)
    return averaged[0], averaged[1]


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, share: float) -> None:
    for kept, new in zip(averaged.state_dict().values(), module.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - share)
        else:
            kept.copy_(new)


def _reduced_precision() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def _num_outputs(rows: Rows) -> int:
    return outputs_of(rows.units.shape[1], rows.shapes.shape[1])


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count) * (high - low) + low


def _small_turns(count: int, degrees: float) -> Tensor:
    """(N, 3, 3): rotations to first order."""
    x, y, z = (torch.randn(count, 3) * degrees * math.pi / 180).unbind(1)
    zero = torch.zeros(count)
    rows = [torch.stack(row, 1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.eye(3) + torch.stack(rows, 1)


def _mirrored_points(points: Tensor, rows: Rows) -> Tensor:
    return (points * torch.tensor([-1.0, 1.0, 1.0]))[:, rows.mirrored_points]


def _mirror_targets(units: Tensor, shapes: Tensor, gaze: Tensor, mirror: Tensor, rows: Rows) -> None:
    units[mirror] = units[mirror].flip(2)
    shapes[mirror] = shapes[mirror][:, rows.mirrored_shapes]
    gaze[mirror, 0] = -gaze[mirror, 0]


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name
