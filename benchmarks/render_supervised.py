"""What a network trained with the labels reads of each action unit of the rendered benchmark.

    python benchmarks/render_supervised.py --part OUT/main --pictures pictures.npz [--folds fold0 fold1]

A slim ResNet-18 from scratch on the pictures of render_pictures.py, of all folds but one; tested on the
people of that one; once for each of `--folds`. A unit that it cannot read is rare in the set or is drawn
wrongly.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from render_floors import _aucs, auc_and_error
from render_pictures import read_pictures
from torch import Tensor, nn

from mien.backbones import build_backbone
from mien.facs import ACTION_UNITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--folds", nargs="+", default=["fold0"])
    args = parser.parse_args()
    pictures, coded = read_pictures(args.pictures, args.part)
    assert coded.split_N is not None
    score_NA = np.full(coded.occurrence_NA.shape, np.nan)
    for fold in args.folds:
        train, started = coded.split_N != fold, time.process_time()
        torch.manual_seed(0)
        network = _fit(pictures[train], coded.occurrence_NA[train], epochs=args.epochs, width=args.width)
        score_NA[~train] = _predict(network, pictures[~train])
        spent = time.process_time() - started
        print(
            f"{fold}: {train.sum()} pictures to train on, {(~train).sum()} to test on; {spent:.0f} s of CPU"
        )
        print(
            f"  mean AUC {np.nanmean(_aucs(coded.occurrence_NA[~train], score_NA[~train])):.3f}", flush=True
        )
    for at, number in enumerate(coded.action_units):
        auc = auc_and_error(coded.occurrence_NA[:, at], score_NA[:, at], coded)
        print(f"{ACTION_UNITS[number].column} {auc}")
    print(f"mean {np.nanmean(_aucs(coded.occurrence_NA, score_NA)):.3f}")


def _fit(pictures: np.ndarray, occurrence_NA: np.ndarray, *, epochs: int, width: int) -> nn.Module:
    backbone = build_backbone("resnet18", width=width)
    network = nn.Sequential(backbone, nn.Linear(backbone.feature_dim, occurrence_NA.shape[1]))
    rate = occurrence_NA.mean(axis=0).clip(0.01, 0.99)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(np.sqrt((1 - rate) / rate)))
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    random = np.random.default_rng(0)
    steps = epochs * (len(pictures) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    target_NA = torch.tensor(occurrence_NA)
    for _ in range(epochs):
        order = random.permutation(len(pictures))
        for start in range(0, len(order) - 63, 64):
            chosen = order[start : start + 64]
            logits = network(_views(pictures[chosen], random))
            optimiser.zero_grad()
            loss(logits, target_NA[chosen]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _views(pictures: np.ndarray, random: np.random.Generator) -> Tensor:
    """Mirrored half of the time, moved by up to 3 px, brighter or darker."""
    if random.uniform() < 0.5:
        pictures = pictures[:, :, ::-1]
    down, along = random.integers(-3, 4, 2)
    return _tensor(np.roll(pictures, (down, along), axis=(1, 2))) * float(random.uniform(0.8, 1.25))


def _tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 128 - 1


def _predict(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        parts = [network(_tensor(pictures[at : at + 256])) for at in range(0, len(pictures), 256)]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
