"""CLP by hand: a store of face tracks in, an encoder file out; no command line, no registry, one loop.

    python examples/pretrain_by_hand.py STORE encoder.safetensors 200

What `mien pretrain` adds: recipes, resume, workers, several devices, logs. docs/pretrain.md describes them.
"""

import itertools
import sys
from pathlib import Path

import torch

from mien.backbones.resnet import ResNet18, ResNetSettings
from mien.data.clips import ClipPool
from mien.data.loader import ClipDataset, DataSettings, EpochPlan, clip_loader
from mien.data.store import TrackStore
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD, FaceViews, ViewSettings
from mien.faces.contract import InputContract
from mien.methods.clp import Clp, ClpSettings
from mien.train.encoder_file import save_encoder
from mien.train.method import ClipBatch

FRAME_PX, VIEW_PX, CLIPS, SEED = 72, 64, 8, 0


def main(store_path: Path, encoder_path: Path, num_steps: int) -> None:
    torch.manual_seed(SEED)
    store = TrackStore.open(store_path)
    settings = ClpSettings(bank_size=512, num_candidates=256, batch_norm_output=True)
    pool = ClipPool(store, Clp.clip_request(settings))
    data = DataSettings(clips_per_step=CLIPS, frame_size_px=FRAME_PX, workers=0)
    plan = EpochPlan(pool.num_videos, clips_per_video=CLIPS, clips_per_step=CLIPS, seed=SEED)
    dataset = ClipDataset(store, pool, frame_size_px=FRAME_PX, seed=SEED)
    loader = clip_loader(dataset, plan, steps=None, settings=data)
    batches = (ClipBatch(*clips) for clips in loader)
    generator = torch.Generator().manual_seed(SEED)
    views = FaceViews(ViewSettings(output_size_px=VIEW_PX), generator)

    method = Clp(ResNet18(ResNetSettings(width=16)), settings).train()
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    while not method.warm_start(next(batches), views):
        pass
    for step, batch in enumerate(itertools.islice(batches, num_steps), start=1):
        method.before_step()  # the momentum encoder follows
        output = method.training_step(batch, views, generator)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        method.after_step()  # the step's keys enter the bank
        if step % 10 == 0 or step == num_steps:
            print(f"step {step}: loss {output.loss:.4f}, temporal {output.logs['loss_tcl']:.4f}")

    inputs = InputContract(store.contract, FRAME_PX, VIEW_PX, IMAGENET_MEAN, IMAGENET_STD)
    built_by = {"backbone_name": "resnet18", "backbone_settings": {"width": 16}}
    save_encoder(encoder_path, method.backbone, inputs=inputs, training={"steps": num_steps}, **built_by)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
