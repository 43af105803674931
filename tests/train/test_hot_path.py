"""Nothing between the batch's arrival and the log makes the host wait for the device.

Torch's meta device stands in for a GPU: reading a value from it is an error, as is asking which entries are
nonzero, and a copy to it shows whether it was asked to be `non_blocking`.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mien.backbones import build_backbone
from mien.data.views import FaceViews, ViewSettings
from mien.layers.memory_bank import MemoryBank
from mien.train.method import METHODS, ClipBatch
from mien.train.recorder import LogWindow

DEVICE = torch.device("meta")
SMALL = {
    "clp": {"bank_size": 64, "num_candidates": 32},
    "cvc": {"bank_size": 64, "cycle_bank_size": 80},
    "moco": {"bank_size": 64},
    "temporal_ranking": {},
    "simclr": {},
    "simsiam": {},
}
WAITS = {"aten::_linalg_eigh", "aten::linalg_inv_ex", "aten::_linalg_check_errors", "aten::is_nonzero"}


class Waits(TorchDispatchMode):
    """Notes what makes the host wait: copies that block, and operations that check their result there."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        on_device = any(isinstance(value, torch.Tensor) and value.device == DEVICE for value in args)
        if func.name() == "aten::_to_copy" and args[0].device.type == "cpu":
            if torch.device(kwargs.get("device") or "cpu") == DEVICE:
                self.copies += 1
                if not kwargs.get("non_blocking"):
                    self.seen.append("a copy that blocks")
        elif on_device and func.name() in WAITS:
            self.seen.append(func.name())
        return func(*args, **kwargs)


@pytest.fixture
def no_autocast(monkeypatch):
    """The meta device has none."""
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_kwargs: contextlib.nullcontext())


def take_steps(name, *, diagnosing=False, steps=2):
    """What makes the host wait in whole steps of a method on the device."""
    method_class = METHODS.get(name)
    method = method_class(build_backbone("resnet18", width=8), method_class.Settings(**SMALL[name]))
    method.train().to(DEVICE)
    method.diagnosing = diagnosing
    for bank in (part for part in method.modules() if isinstance(part, MemoryBank)):
        bank.filled = bank.size
    request = method_class.clip_request(method.settings)
    frames = [
        torch.zeros(4, n, 36, 36, 3, dtype=torch.uint8) for n in (request.clip_len, request.num_far_frames)
    ]
    host_batch = ClipBatch(*frames, torch.arange(4), torch.arange(4))
    window = LogWindow()
    with Waits() as waits:
        for step in range(steps):
            generator = torch.Generator().manual_seed(step)
            batch = host_batch.to(DEVICE)
            method.before_step()
            views = FaceViews(ViewSettings(output_size_px=32), generator)
            output = method.training_step(batch, views, generator)
            output.loss.backward()
            method.zero_grad()  # torch's fused optimisers do not know the meta device
            method.after_step()
            window.add({"loss": output.loss, **output.logs, "rate": 0.1})
    assert output.loss.device == DEVICE
    assert waits.copies > 2 * steps
    return waits.seen


@pytest.mark.parametrize("name", SMALL)
def test_a_step_never_waits_for_the_device(name, no_autocast):
    assert take_steps(name) == []


def test_eigenvalues_are_asked_for_only_where_a_line_is_written(no_autocast):
    assert take_steps("moco", diagnosing=True) == ["aten::_linalg_eigh"] * 2
