"""One of several CLP processes, for test_clp_two_processes.py: RANK WORLD RENDEZVOUS OUT CLIPS STEPS.

Each process takes its share of the clips of each step, in rank order, trains by SGD and writes its bank, its
weights and its losses to OUT.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mien.backbones import build_backbone
from mien.methods.clp import Clp, ClpSettings
from mien.train.method import ClipBatch

SIDE = 32


class StepModule(torch.nn.Module):
    """What DistributedDataParallel wraps: its forward is a step."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, batch, generator):
        return self.method.training_step(batch, PlainViews(), generator).loss


class PlainViews:
    def shared(self, frames_BTHWC):
        return frames_BTHWC.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0

    independent = shared


def batch_of(step, clips, settings):
    generator = torch.Generator().manual_seed(step)
    sizes = settings.clip_len, settings.frames_per_video
    pictures = [
        torch.randint(0, 256, (16, n, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)[clips]
        for n in sizes
    ]
    number_B = torch.arange(16)[clips]
    return ClipBatch(*pictures, identity_B=number_B // 2, video_B=100 * step + number_B)


def main(rank, world, *, rendezvous, out, num_clips, steps):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=60),
        )
    torch.manual_seed(0)
    # A momentum encoder that stands still: the keys then do not depend on whose batch statistics trained.
    sizes = {"bank_size": 40, "num_candidates": 20, "hidden_dim": 8, "embedding_dim": 8, "clip_len": 3}
    settings = ClpSettings(**sizes, min_fill=16, mu=1.0)
    method = Clp(build_backbone("resnet18", width=4), settings).train()
    forward = StepModule(method)
    if world > 1:
        forward = DistributedDataParallel(forward, broadcast_buffers=False)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    share = num_clips // world
    clips = slice(rank * share, (rank + 1) * share)
    banks, losses = [], []
    for step in range(steps):
        generator = torch.Generator().manual_seed(1000 * step + rank)
        method.before_step()
        loss = forward(batch_of(step, clips, settings), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step()
        banks.append({name: value.clone() for name, value in method.bank.state_dict().items()})
        losses.append(loss.item())
    weights = {name: value.detach() for name, value in method.named_parameters()}
    torch.save({"banks": banks, "weights": weights, "losses": losses}, out)


if __name__ == "__main__":
    rank, world, rendezvous, out, num_clips, steps = sys.argv[1:]
    main(int(rank), int(world), rendezvous=rendezvous, out=out, num_clips=int(num_clips), steps=int(steps))
