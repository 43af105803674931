"""One of several processes that train together, for test_several_processes.py: RANK WORLD RENDEZVOUS OUT.

For each case it takes its share of the clips of each step, in rank order, trains by SGD and writes its banks,
its weights and its losses to OUT, all in float64: in float32 rounding alone grows to the size of the losses
within 20 steps of these small networks. A lone process of the case `clp` passes the rows of each of two
imagined devices by themselves, so that their batch statistics are those of two devices.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mien.backbones import build_backbone
from mien.data.views import FaceViews, ViewSettings
from mien.layers.batch_norm import share_batch_statistics
from mien.layers.memory_bank import MemoryBank
from mien.train.method import METHODS, ClipBatch

SIDE, NUM_CLIPS, NUM_STEPS = 32, 8, 10
CASES = {  # method, its settings, batch statistics over all devices
    "clp": (
        "clp",
        {
            "bank_size": 40,
            "num_candidates": 20,
            "hidden_dim": 8,
            "embedding_dim": 8,
            "clip_len": 3,
            "min_fill": 16,
            "mu": 0.9,
            "key_batch_norm_rows": 4,  # four groups, on one process and on four
        },
        False,
    ),
    "clp, shared": (
        "clp",
        {"bank_size": 64, "num_candidates": 32, "clip_len": 3, "mu": 0.9, "key_batch_norm_rows": 4},
        True,
    ),
    "clp, frames of the clip": (
        "clp",
        {
            "bank_size": 64,
            "num_candidates": 32,
            "clip_len": 5,
            "cir_source": "clip",
            "mu": 0.9,
            "key_batch_norm_rows": 4,
        },
        True,
    ),
    "moco, shared": ("moco", {"bank_size": 60, "mu": 0.9, "key_batch_norm_rows": 2}, True),
    "cvc, shared": (
        "cvc",
        {
            "bank_size": 32,
            "cycle_bank_size": 40,
            "mu": 0.9,
            "key_batch_norm_rows": 2,
            "temperature": 0.5,
            "temperature_of_cycle": 0.5,
        },
        True,
    ),
    "simsiam, shared": ("simsiam", {"projection_dim": 16, "prediction_hidden_dim": 8}, True),
}


class StepModule(torch.nn.Module):
    """What DistributedDataParallel wraps: its forward is a step."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def forward(self, batch, views, generator):
        return self.method.training_step(batch, views, generator).loss


class DoubleViews:
    """Views in float64, drawn and made in float32."""

    def __init__(self, views):
        self.views = views

    def shared(self, frames_BTHWC):
        return self.views.shared(frames_BTHWC).double()

    def independent(self, frames_BTHWC):
        return self.views.independent(frames_BTHWC).double()


class OnTwoDevices(torch.nn.Module):
    """A backbone that passes the clip rows and the far rows of each half of the clips by themselves."""

    def __init__(self, backbone, settings):
        super().__init__()
        self.backbone = backbone
        self.rows_of_clip = settings.clip_len, settings.frames_per_video

    def forward(self, rows_NCHW):
        J, L = self.rows_of_clip
        B = len(rows_NCHW) // (J + L)
        clip_rows, far_rows = torch.arange(B * J).chunk(2), torch.arange(B * J, B * (J + L)).chunk(2)
        features = rows_NCHW.new_empty(len(rows_NCHW), self.backbone.feature_dim)
        for device in range(2):
            rows = torch.cat([clip_rows[device], far_rows[device]])
            features = features.index_copy(0, rows, self.backbone(rows_NCHW[rows]))
        return features


def batch_of(step, clips, request):
    generator = torch.Generator().manual_seed(step)
    pictures = [
        torch.randint(0, 256, (NUM_CLIPS, n, SIDE + 4, SIDE + 4, 3), dtype=torch.uint8, generator=generator)
        for n in (request.clip_len, request.num_far_frames)
    ]
    number_B = torch.arange(NUM_CLIPS)[clips]
    return ClipBatch(
        *(frames[clips] for frames in pictures), identity_B=number_B // 2, video_B=100 * step + number_B
    )


def train(case, rank, world):
    name, values, shared = CASES[case]
    torch.manual_seed(0)
    method_class = METHODS.get(name)
    settings = method_class.Settings(**values)
    method = method_class(build_backbone("resnet18", width=8), settings).train().double()
    if shared:
        share_batch_statistics(method, device_type="cpu")
    elif world == 1:
        method.backbone = OnTwoDevices(method.backbone, settings)
    forward = StepModule(method)
    if world > 1:
        forward = DistributedDataParallel(forward, broadcast_buffers=False)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.001)
    share = NUM_CLIPS // world
    clips = slice(rank * share, (rank + 1) * share)
    banks = {name: part for name, part in method.named_modules() if isinstance(part, MemoryBank)}
    states, losses = [], []
    for step in range(NUM_STEPS):
        generator = torch.Generator().manual_seed(1000 * step)  # shared, as the loop's is
        views = DoubleViews(FaceViews(ViewSettings(output_size_px=SIDE), generator))
        method.before_step()
        loss = forward(batch_of(step, clips, method.clip_request(settings)), views, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step()
        state = {
            f"{name}.{key}": value for name, bank in banks.items() for key, value in bank.state_dict().items()
        }
        states.append({name: value.clone() for name, value in state.items()})
        losses.append(loss.item())
    weights = {
        name.replace("backbone.backbone", "backbone"): value.detach()
        for name, value in method.named_parameters()
    }
    return {"banks": states, "weights": weights, "losses": losses}


def main(rank, world, *, rendezvous, out):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=240),
        )
    torch.save({case: train(case, rank, world) for case in CASES}, out)


if __name__ == "__main__":
    rank, world, rendezvous, out = sys.argv[1:]
    main(int(rank), int(world), rendezvous=rendezvous, out=out)
