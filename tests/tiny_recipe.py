"""The recipe of runs that take seconds: a slim ResNet-18, pictures of 32 px, one thread, no loader worker."""

from __future__ import annotations

from mien.config import override, to_toml

TINY = {
    "backbone": {"name": "resnet18", "width": 4},
    "views": {"output_size_px": 32},
    "data": {"frame_size_px": 36, "clips_per_step": 4, "workers": 0},
    "optimiser": {"name": "adam"},
    "run": {"threads": 1, "accelerator": "cpu", "tensorboard": False},
}


def write_recipe(path, method, *changes):
    """Write it to `path`; `changes` such as "run.steps=4" or "method.bank_size=32"."""
    path.write_text(to_toml(override({"method": {"name": method}, **TINY}, changes)))
    return path
