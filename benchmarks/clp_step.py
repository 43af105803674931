"""What benchmarks of a CLP step share: flags, CLP with a full bank, pictures, waiting for the device."""

from __future__ import annotations

import argparse

import torch

from mien.backbones import build_backbone
from mien.methods.clp import Clp, ClpSettings
from mien.train.method import ClipBatch


def step_parser(description: str) -> argparse.ArgumentParser:
    """Flags for the size of a step; `set_defaults` for what a benchmark wants otherwise."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=64, help="pixels of a view")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--bank", type=int, default=65536)
    parser.add_argument("--bf16", action="store_true", help="autocast the trunk")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """Flags of those that let two or more take turns."""
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds: steadier on a busy machine")
    parser.add_argument("--rounds", type=int, default=9)


def filled_clp(args: argparse.Namespace, device: torch.device) -> Clp:
    """CLP on the device, its bank full of random rows."""
    settings = ClpSettings(bank_size=args.bank, num_candidates=args.bank // 2)
    clp = Clp(build_backbone(args.backbone, width=args.width), settings).train()
    clp.diagnosing = False  # as in all steps but those of a log line
    clp.to(device, memory_format=torch.channels_last)
    rows = torch.nn.functional.normalize(torch.randn(args.bank, settings.embedding_dim), dim=1)
    identity = torch.randint(0, 6000, (args.bank,))
    clp.bank.enqueue(rows.to(device), identity.to(device), 8 * identity.to(device))
    return clp


def random_batch(args: argparse.Namespace) -> ClipBatch:
    """Clips of 9 frames and 2 far ones, an eighth larger than the views, each of somebody else."""
    side = args.side * 8 // 7
    clip, far = (torch.randint(0, 256, (args.clips, n, side, side, 3), dtype=torch.uint8) for n in (9, 2))
    identity_B = torch.arange(args.clips)
    return ClipBatch(clip, far, identity_B, 8 * identity_B)


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
