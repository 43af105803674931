"""What a network trained with the labels reads of each action unit of the rendered benchmark.

    python benchmarks/render_supervised.py --part OUT/main --store STORE [--epochs 8] [--width 16]

A slim ResNet-18 from scratch on 64 px crops of all folds but one; tested on the people of that one. A
unit that it cannot read either is rare in the set or is drawn wrongly.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from render_floors import _auc, _crops
from torch import Tensor, nn

from mien.backbones import build_backbone
from mien.data.store import TrackStore
from mien.datasets.rendered import Rendered
from mien.facs import ACTION_UNITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--fold", default="fold0")
    args = parser.parse_args()
    torch.manual_seed(0)
    frames = Rendered(args.part).frames()
    crops, rows = _crops(TrackStore.open(args.store), frames, every=1)
    coded = frames.rows(rows)
    assert coded.split_N is not None
    train = coded.split_N != args.fold
    network = _fit(crops[train], coded.occurrence_NA[train], epochs=args.epochs, width=args.width)
    score_NA = _predict(network, crops[~train])
    print(f"{train.sum()} crops to train on, {(~train).sum()} of other people to test on")
    for at, number in enumerate(coded.action_units):
        auc = _auc(coded.occurrence_NA[~train, at], score_NA[:, at])
        print(f"{ACTION_UNITS[number].column} {coded.occurrence_NA[~train, at].mean():.3f} {auc:.3f}")


def _fit(crops: np.ndarray, occurrence_NA: np.ndarray, *, epochs: int, width: int) -> nn.Module:
    backbone = build_backbone("resnet18", width=width)
    network = nn.Sequential(backbone, nn.Linear(backbone.feature_dim, occurrence_NA.shape[1]))
    rate = occurrence_NA.mean(axis=0).clip(0.01, 0.99)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(np.sqrt((1 - rate) / rate)))
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    random = np.random.default_rng(0)
    steps = epochs * (len(crops) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    target_NA = torch.tensor(occurrence_NA)
    for _ in range(epochs):
        order = random.permutation(len(crops))
        for start in range(0, len(order) - 63, 64):
            chosen = order[start : start + 64]
            logits = network(_views(crops[chosen], random))
            optimiser.zero_grad()
            loss(logits, target_NA[chosen]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _views(crops: np.ndarray, random: np.random.Generator) -> Tensor:
    """Mirrored half of the time, moved by up to 3 px, brighter or darker."""
    if random.uniform() < 0.5:
        crops = crops[:, :, ::-1]
    down, along = random.integers(-3, 4, 2)
    return _tensor(np.roll(crops, (down, along), axis=(1, 2))) * float(random.uniform(0.8, 1.25))


def _tensor(crops: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 128 - 1


def _predict(network: nn.Module, crops: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        parts = [network(_tensor(crops[at : at + 256])) for at in range(0, len(crops), 256)]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
