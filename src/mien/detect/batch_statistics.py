"""A model's batch-norm statistics taken anew from unlabelled faces (AdaBN, Li et al., arXiv:1603.04779).

A new camera, light or group of people shifts what the layers see; the mean and variance that batch-norm
removes are then those of other faces. Weights, calibration and thresholds stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mien.detect.au_model import AuModel, network_inputs
from mien.detect.export import Faces
from mien.detect.network import unfolded_network

FEWEST = 100
"""Faces, below which statistics are too noisy to replace those of the training."""

_BATCH = 64


@torch.no_grad()
def with_statistics_of(
    model: AuModel, groups: Iterable[Faces], *, device: torch.device | str = "cpu", seed: int = 0
) -> tuple[AuModel, int]:
    """The model with the statistics of these faces, and how many these were.

    Batches mix the groups: means and variances are averages over batches. ValueError for fewer than `FEWEST`
    faces, and for a model without batch-norm.
    """
    network = unfolded_network(model).to(device)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise ValueError(f"{model.source} has no batch-norm layer: there are no statistics to take anew")
    parts = [network_inputs(model, group.crops_NHWC, group.mesh_N468x3) for group in groups if len(group)]
    count = sum(len(part["pixels"]) for part in parts)
    if count < FEWEST:
        raise ValueError(f"{count} faces found; new statistics take {FEWEST}")
    inputs = [np.concatenate([part[name] for part in parts]) for name in parts[0]]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    order = np.random.default_rng(seed).permutation(count)
    for rows in np.array_split(order, -(-count // _BATCH)):  # of nearly equal size
        network(*(torch.from_numpy(values[rows]).to(device) for values in inputs))
    weights = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    return dataclasses.replace(model, weights=weights), count
