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

from mien.detect.au_model import INTENSITY, LOGIT, AuModel, Images, Meshes, OutputBlock, network_inputs
from mien.detect.calibration import Calibration
from mien.evaluate.head import ProbeHead
from mien.facs import action_unit
from mien.train.encoder_file import Encoder, build_encoder, pick_device
from mien.train.tensor_file import TensorFileError

ENCODER = "encoder"
"""The network of a fitted model: an encoder, and affine maps of its features."""

NETWORKS = {"face": "mien.detect.face_network:FaceNetwork"}
"""Other networks by name. Each class is called with a model's `network_settings`, has its `weights` as state
dict, and maps pixels (N, H, W, 3) uint8 and, where the model uses them, points (N, 468, 3) to (N, K)."""


@dataclass(frozen=True, eq=False)
class IntensityHead:
    """Intensities, 0 to 5, as an affine map of the features; a unit that was never coded has none.

    weight_AD, bias_A: zeros where coded_A is false.
    """

    weight_AD: Tensor
    bias_A: Tensor
    coded_A: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FittedParts:
    """What a fitted model's network consists of."""

    encoder: Encoder
    head: ProbeHead
    intensity: IntensityHead | None

    def model(
        self, units: tuple[int, ...], calibration: Calibration, threshold_A: NDArray[np.floating[Any]]
    ) -> AuModel:
        """The model, its record still empty. Its network has the weights as they are now."""
        encoder, columns = self.encoder, tuple(action_unit(number).column for number in units)
        weights = {f"backbone.{name}": t for name, t in encoder.backbone.state_dict().items()}
        weights |= {f"head.{name}": t for name, t in self.head.state_dict().items()}
        outputs = [OutputBlock(LOGIT, columns)]
        if self.intensity is not None:
            coded = zip(columns, self.intensity.coded_A, strict=True)
            outputs.append(
                OutputBlock(INTENSITY, tuple(name if is_coded else "" for name, is_coded in coded))
            )
            weights["intensity.weight"] = self.intensity.weight_AD.float()
            weights["intensity.bias"] = self.intensity.bias_A.float()
        backbone = {"name": encoder.backbone_name, **encoder.backbone_settings}
        return AuModel(
            network=ENCODER,
            network_settings={"backbone": backbone, "training": dict(encoder.training)},
            weights={name: t.detach().cpu().numpy().copy() for name, t in weights.items()},
            inputs=encoder.inputs,
            uses_points=False,
            outputs=tuple(outputs),
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
            f"{model.source} has no encoder to take features from: its network is {model.network!r}. "
            "`mien adapt --unlabelled` adapts any model"
        )
    weights = {name: torch.from_numpy(array.copy()) for name, array in model.weights.items()}
    record = {**model.network_settings, **model.inputs.to_record()}
    try:
        encoder = build_encoder(
            record, _under(weights, "backbone."), training=record["training"], source=model.source
        )
        head = ProbeHead(encoder.feature_dim, len(model.units))
        head.load_state_dict(_under(weights, "head."))
        intensity = None
        coded_A = model.coded
        if coded_A is not None:
            intensity = IntensityHead(weights["intensity.weight"], weights["intensity.bias"], coded_A)
            if intensity.weight_AD.shape != (len(model.units), encoder.feature_dim):
                raise ValueError(f"intensities of shape {tuple(intensity.weight_AD.shape)}")
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise TensorFileError(f"{model.source}: its parts do not fit together: {error}") from error
    return FittedParts(encoder, head.eval().requires_grad_(False), intensity)


def build_network(model: AuModel) -> nn.Module:
    """The network with the model's weights, in eval mode, on the CPU.

    TensorFileError where they do not fit. Shapes are compared on torch's meta device first, so no record
    makes a network larger than its file.
    """
    if model.network == ENCODER:
        return AuNetwork(fitted_parts(model)).eval()
    if model.network not in NETWORKS:
        raise TensorFileError(f"{model.source}: this mien knows no network {model.network!r}")
    module, _, name = NETWORKS[model.network].partition(":")
    network_class = getattr(import_module(module), name)
    weights = {name: torch.from_numpy(array.copy()) for name, array in model.weights.items()}
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
    """The network as it was trained: its state dict is the model's weights, its batch-norms are layers."""
    return _Unfolded(fitted_parts(model)).eval() if model.network == ENCODER else build_network(model)


class _Unfolded(nn.Module):
    """The outputs of `AuNetwork`, from an encoder and its heads one after the other."""

    mean_3: Tensor
    std_3: Tensor

    def __init__(self, parts: FittedParts) -> None:
        super().__init__()
        self.backbone, self.head = parts.encoder.backbone, parts.head
        if parts.intensity is not None:
            self.intensity = nn.Linear(*parts.intensity.weight_AD.shape[::-1])
            self.intensity.load_state_dict(
                {"weight": parts.intensity.weight_AD, "bias": parts.intensity.bias_A}
            )
        inputs = parts.encoder.inputs
        self.register_buffer("mean_3", 255.0 * torch.tensor(inputs.mean), persistent=False)
        self.register_buffer("std_3", 255.0 * torch.tensor(inputs.std), persistent=False)

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """(N, K) float32."""
        images_NHWC = (pixels_NHWC.float() - self.mean_3) / self.std_3
        features_ND = self.backbone(images_NHWC.permute(0, 3, 1, 2))
        outputs = [self.head(features_ND)]
        if hasattr(self, "intensity"):
            outputs.append(self.intensity(features_ND))
        return torch.cat(outputs, dim=1)


class AuNetwork(nn.Module):
    """(N, H, W, 3) uint8 pictures of the input size to (N, K): A logits, then A intensities if there are any.

    Normalisation, encoder and read-outs in one network, so that every engine runs the same thing. The head's
    batch-norm and linear layer, and the intensity read-out, are one affine map of the features.
    """

    mean_C11: Tensor
    inverse_std_C11: Tensor

    def __init__(self, parts: FittedParts) -> None:
        super().__init__()
        self.backbone = parts.encoder.backbone
        with torch.inference_mode(False):
            weights, constants = (list(part) for part in zip(parts.head.as_affine(), strict=True))
            if parts.intensity is not None:
                weights.append(parts.intensity.weight_AD.to(weights[0]))
                constants.append(parts.intensity.bias_A.to(weights[0]))
            self.weight_KD = nn.Parameter(torch.cat(weights), requires_grad=False)
            self.constant_K = nn.Parameter(torch.cat(constants), requires_grad=False)
        inputs = parts.encoder.inputs
        self.register_buffer("mean_C11", 255.0 * torch.tensor(inputs.mean)[:, None, None])
        self.register_buffer("inverse_std_C11", 1.0 / (255.0 * torch.tensor(inputs.std)[:, None, None]))

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """(N, K) float32."""
        images_NCHW = pixels_NHWC.permute(0, 3, 1, 2).float()
        features_ND = self.backbone((images_NCHW - self.mean_C11) * self.inverse_std_C11).float()
        return nn.functional.linear(features_ND, self.weight_KD, self.constant_K)


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


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
