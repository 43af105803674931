"""Small AU models that are ready to run: untrained, but with everything that a trained one has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mien.backbones import build_backbone
from mien.data.views import IMAGENET_MEAN, IMAGENET_STD
from mien.detect.au_model import AuModel, save_au_model
from mien.detect.calibration import Calibration, Curve
from mien.detect.network import NETWORKS, FittedParts
from mien.evaluate.head import ProbeHead
from mien.faces.align import crop_contract
from mien.faces.contract import CropContract, InputContract
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.train.encoder_file import Encoder

UNITS = (1, 4, 12, 25)
UNPROVEN = ("AU04",)
OUTPUTS = {
    "logit": ("AU01", "AU04", "AU12", "AU25"),
    "intensity": ("AU01", "AU04", "AU12", ""),
    "left": ("AU01", "", "AU12", ""),
    "right": ("AU01", "", "AU12", ""),
    "blendshape": ("jawOpen", "browInnerUp"),
    "gaze": ("yaw", "pitch"),
}


def write_tiny_model(
    folder: Path,
    *,
    contract: CropContract | None = None,
    width: int = 4,
    unproven: tuple[str, ...] = UNPROVEN,
) -> Path:
    """`folder/tiny.safetensors` for MediaPipe's crops (or other ones); see `tiny_model`."""
    path = Path(folder) / "tiny.safetensors"
    contract = contract or crop_contract(MediaPipeFinder())
    save_au_model(path, tiny_model(contract, width=width, unproven=unproven))
    return path


def tiny_model(
    contract: CropContract,
    *,
    units: tuple[int, ...] = UNITS,
    seed: int = 0,
    width: int = 4,
    unproven: tuple[str, ...] = UNPROVEN,
) -> AuModel:
    """The model itself: 36 px frames, 32 px pictures, 32 features; the same seed gives the same model.

    AU25 has no intensity. On the unproven units it is no better than chance, by its record.
    """
    A = len(units)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone("resnet18", width=width)
        backbone(torch.randn(16, 3, 32, 32))  # running statistics move away from their start
        head = ProbeHead(backbone.feature_dim, A)
        head(4 * torch.rand(16, backbone.feature_dim))
        intensity = torch.randn(A, backbone.feature_dim)
        read_out = nn.Linear(backbone.feature_dim, A).requires_grad_(False)
    coded_A = np.array([number != 25 for number in units])
    read_out.weight.copy_(0.5 * intensity * torch.from_numpy(coded_A)[:, None])
    read_out.bias.copy_(torch.from_numpy(coded_A).float())
    inputs = InputContract(contract, 36, 32, IMAGENET_MEAN, IMAGENET_STD)
    parts = FittedParts(
        Encoder(
            backbone.eval().requires_grad_(False), "resnet18", {"width": width}, inputs, {"steps_done": 0}
        ),
        head.eval().requires_grad_(False),
        read_out,
        coded_A,
    )
    return dataclasses.replace(
        parts.model(units, _calibration(A), np.linspace(0.3, 0.6, A)),
        record={
            "mien_version": "0",
            "training_data": {"name": "nothing: an untrained model for tests"},
            "scores": scores([f"AU{unit:02d}" for unit in units], unproven),
        },
        source="a tiny model",
    )


def scores(columns, unproven):
    """Scores of a record; of the unproven units the interval of ROC-AUC includes one half."""
    f1 = {"value": 0.6, "low": 0.5, "high": 0.7}

    def unit(column):
        low = 0.45 if column in unproven else 0.6
        counts = {"num_coded": 900, "num_present": 300, "num_people_showing_it": 30}
        errors = {"calibration_error": 0.01, "calibration_error_before": 0.1, "intensity_icc": 0.5}
        auc = {"value": 0.8, "low": low, "high": 0.9}
        return counts | errors | {"base_rate": 0.3, "f1": f1, "always_on_f1": 0.46, "roc_auc": auc}

    mean = {"f1": f1, "roc_auc": 0.8, "calibration_error": 0.01, "calibration_error_before": 0.1}
    counts = {"num_frames": 900, "num_subjects": 30, "num_folds": 3}
    return counts | {"units": {column: unit(column) for column in columns}, "mean": mean}


class TinyFace(nn.Module):
    """Pixels and points to all the outputs that a model can have."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        num_outputs = sum(map(len, OUTPUTS.values()))
        self.pixels = nn.Sequential(nn.Conv2d(3, width, 3, 4), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(4))
        self.points = nn.Linear(468 * 3, width)
        self.head = nn.Linear(17 * width, num_outputs)

    def forward(self, pixels_NHWC: torch.Tensor, points_NP3: torch.Tensor) -> torch.Tensor:
        """(N, K)."""
        seen = self.pixels(pixels_NHWC.permute(0, 3, 1, 2).float() / 255).flatten(1)
        return self.head(torch.cat([seen, self.points(points_NP3.flatten(1))], dim=1))


NETWORKS["tiny face"] = "tests.detect.tiny_model:TinyFace"


def tiny_face_model(contract: CropContract | None = None) -> AuModel:
    """A model of pixels and points with every block of outputs: AU25 has no intensity, AU04 no sides."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TinyFace(width=4)
    contract = contract or crop_contract(MediaPipeFinder())
    return AuModel(
        network="tiny face",
        network_settings={"width": 4},
        weights={name: tensor.numpy() for name, tensor in network.state_dict().items()},
        inputs=InputContract(contract, 100, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        uses_points=True,
        outputs=OUTPUTS,
        units=UNITS,
        calibration=_calibration(4),
        threshold_A=np.full(4, 0.5, np.float32),
        record={
            "mien_version": "0",
            "training_data": {"name": "nothing: an untrained model for tests"},
            "scores": scores(OUTPUTS["logit"], ()),
        },
        source="a tiny face model",
    )


def _calibration(num_units: int) -> Calibration:
    knots_K2 = np.array([[-2.0, -3.0], [0.0, -0.5], [2.0, 1.0]])
    curves = (Curve("platt", 1.5, -0.5), Curve("temperature", 0.7), Curve("isotonic", 1.0, 0.0, knots_K2))
    return Calibration(tuple(curves[k % 3] for k in range(num_units)))
