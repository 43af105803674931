"""An AU model's network in PyTorch: made of fitted parts, built from a file, run as the engine `torch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.detect.au_model import INTENSITY, LOGIT, AuModel, Images, Meshes, network_inputs
from mien.detect.calibration import Calibration
from mien.evaluate.head import ProbeHead
from mien.facs import action_unit
from mien.train.encoder_file import Encoder, build_encoder, pick_device
from mien.train.tensor_file import TensorFileError

ENCODER = "encoder"
"""The network of a fitted model: an encoder, and affine maps of its features."""

FACE = "face"
"""The network of the shipped model."""

NETWORKS = {FACE: "mien.detect.face_network:FaceNetwork"}
"""Other networks by name. Each class is called with a model's `network_settings`, has its `weights` as state
dict, and maps pixels (N, H, W, 3) uint8 and, where the model uses them, points (N, 468, 3) to (N, K)."""


@dataclass(frozen=True, eq=False)
class FittedParts:
    """What a fitted model's network consists of. intensity: 0 to 5, of the units that coded_A names."""

    encoder: Encoder
    head: ProbeHead
    intensity: nn.Linear | None = None
    coded_A: NDArray[np.bool_] | None = None

    def model(
        self, units: tuple[int, ...], calibration: Calibration, threshold_A: NDArray[np.floating[Any]]
    ) -> AuModel:
        """The model, its record still empty. Its network has the weights as they are now."""
        encoder, columns = self.encoder, tuple(action_unit(number).column for number in units)
        modules: dict[str, nn.Module] = {"backbone": encoder.backbone, "head": self.head}
        outputs = {LOGIT: columns}
        if self.intensity is not None and self.coded_A is not None:
            modules["intensity"] = self.intensity
            coded = zip(columns, self.coded_A, strict=True)
            outputs[INTENSITY] = tuple(name if is_coded else "" for name, is_coded in coded)
        backbone = {"name": encoder.backbone_name, **encoder.backbone_settings}
        return AuModel(
            network=ENCODER,
            network_settings={"backbone": backbone, "training": dict(encoder.training)},
            weights=weights_of(nn.ModuleDict(modules)),
            inputs=encoder.inputs,
            uses_points=False,
            outputs=outputs,
            units=units,
            calibration=calibration,
            threshold_A=threshold_A.astype(np.float32),
            record={},
            source="a model being fitted",
        )


def fitted_parts(model: AuModel) -> FittedParts:
    """Encoder and heads of a fitted model, on the CPU. ValueError for a model with another network.

    TensorFileError where its weights do not fit together.
    """
    if model.network != ENCODER:
        raise ValueError(
            f"{model.source} cannot be adapted to labels: its network ({model.network!r}) reads face meshes, "
            "which labelled crops lack. Give a model that `mien fit` wrote, or adapt without labels: "
            "`mien adapt --unlabelled`"
        )
    weights = _tensors(model)
    record = {**model.network_settings, **model.inputs.to_record()}
    try:
        encoder = build_encoder(
            record, _under(weights, "backbone."), training=record["training"], source=model.source
        )
        head = ProbeHead(encoder.feature_dim, len(model.units))
        head.load_state_dict(_under(weights, "head."))
        intensity = None
        if model.coded is not None:
            intensity = linear(encoder.feature_dim, len(model.units), _under(weights, "intensity."))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TensorFileError(f"{model.source}: its parts do not fit together: {error}") from error
    return FittedParts(encoder, head.eval().requires_grad_(False), intensity, model.coded)


def build_network(model: AuModel) -> nn.Module:
    """The network with the model's weights, in eval mode, on the CPU.

    TensorFileError where they do not fit. Shapes are compared on torch's meta device first, so no record
    makes a network larger than its file.
    """
    if model.network == ENCODER:
        parts = fitted_parts(model)
        return AuNetwork(parts.encoder, _folded(parts)).eval()
    if model.network not in NETWORKS:
        raise TensorFileError(f"{model.source}: this mien knows no network {model.network!r}")
    module, _, name = NETWORKS[model.network].partition(":")
    network_class = getattr(import_module(module), name)
    weights = _tensors(model)
    try:
        with torch.device("meta"):
            wanted = network_class(**model.network_settings).state_dict()
        if {key: t.shape for key, t in wanted.items()} != {key: t.shape for key, t in weights.items()}:
            raise ValueError(f"weights of other names or shapes than those of network {model.network!r}")
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and overwritten at once
            network: nn.Module = network_class(**model.network_settings)
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TensorFileError(f"{model.source}: its parts do not fit together: {error}") from error
    return network.eval().requires_grad_(False)


def unfolded_network(model: AuModel) -> nn.Module:
    """The network as it was trained, its batch-norms as layers; `weights_of` has the model's names."""
    if model.network != ENCODER:
        return build_network(model)
    parts = fitted_parts(model)
    return AuNetwork(parts.encoder, ReadOuts(parts)).eval()


def weights_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """A model's `weights`, as the network has them now."""
    state = network.state_dict()
    return {name.removeprefix("read_out."): t.cpu().numpy().copy() for name, t in state.items()}


class AuNetwork(nn.Module):
    """(N, H, W, 3) uint8 pictures of the input size to (N, K): A logits, then A intensities if there are any.

    Normalisation, encoder and read-outs in one network, so that every engine runs the same thing.
    """

    mean_C11: Tensor
    inverse_std_C11: Tensor

    def __init__(self, encoder: Encoder, read_out: nn.Module) -> None:
        super().__init__()
        self.backbone, self.read_out = encoder.backbone, read_out
        mean_C11, std_C11 = (
            255.0 * torch.tensor(of)[:, None, None] for of in (encoder.inputs.mean, encoder.inputs.std)
        )
        self.register_buffer("mean_C11", mean_C11, persistent=False)
        self.register_buffer("inverse_std_C11", 1.0 / std_C11, persistent=False)

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """(N, K) float32."""
        images_NCHW = pixels_NHWC.permute(0, 3, 1, 2).float()
        features_ND = self.backbone((images_NCHW - self.mean_C11) * self.inverse_std_C11).float()
        outputs_NK: Tensor = self.read_out(features_ND)
        return outputs_NK


class ReadOuts(nn.Module):
    """(N, D) features to (N, K), by the head and the intensities side by side."""

    def __init__(self, parts: FittedParts) -> None:
        super().__init__()
        self.head, self.intensity = parts.head, parts.intensity

    def forward(self, features_ND: Tensor) -> Tensor:
        """(N, K)."""
        logits_NA = self.head(features_ND)
        return (
            logits_NA
            if self.intensity is None
            else torch.cat([logits_NA, self.intensity(features_ND)], dim=1)
        )


def linear(num_features: int, num_outputs: int, state: Mapping[str, Tensor]) -> nn.Linear:
    """A layer with these weights, for inference; RuntimeError where they are others than its own."""
    layer = nn.Linear(num_features, num_outputs, device="meta")  # where initial weights draw no numbers
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False)


def _folded(parts: FittedParts) -> nn.Linear:
    """`ReadOuts` as one affine map: the head's batch-norm is constant when it runs."""
    weight_KD, constant_K = parts.head.as_affine()
    if parts.intensity is not None:
        weight_KD = torch.cat([weight_KD, parts.intensity.weight])
        constant_K = torch.cat([constant_K, parts.intensity.bias])
    K, D = weight_KD.shape
    return linear(D, K, {"weight": weight_KD, "bias": constant_K})


class TorchEngine:
    """PyTorch. `threads` sets torch's number, for the whole process."""

    name = "torch"

    def __init__(self, model: AuModel, *, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = model
        self._device = pick_device(device)
        self.device = self._device.type
        network = build_network(model).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, crops_NHWC: Images, mesh_N468x3: Meshes | None = None) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        inputs = network_inputs(self._model, crops_NHWC, mesh_N468x3).values()
        outputs: NDArray[np.float32] = (
            self._network(*(torch.from_numpy(values).to(self._device) for values in inputs)).cpu().numpy()
        )
        return outputs


def _tensors(model: AuModel) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in model.weights.items()}


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
