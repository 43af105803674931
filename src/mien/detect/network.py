"""An encoder and its read-outs as one network with one output, so that every engine runs the same thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from mien.detect.au_model import AuModel
    from mien.train.encoder_file import InputContract

Images = NDArray[np.uint8]


class AuNetwork(nn.Module):
    """(N, 3, H, W) normalised pictures to (N, K): A logits, then A intensities where the model has them.

    The head's batch-norm and linear layer, and the intensity read-out, are one affine map of the features.
    """

    def __init__(self, model: AuModel) -> None:
        super().__init__()
        self.backbone = model.encoder.backbone
        with torch.inference_mode(False):
            weights, constants = (list(part) for part in zip(model.head.as_affine(), strict=True))
            if model.intensity is not None:
                weights.append(model.intensity.weight_AD.to(weights[0]))
                constants.append(model.intensity.bias_A.to(weights[0]))
            self.weight_KD = nn.Parameter(torch.cat(weights), requires_grad=False)
            self.constant_K = nn.Parameter(torch.cat(constants), requires_grad=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """(N, K) float32."""
        features_ND = self.backbone(images_NCHW).float()
        return nn.functional.linear(features_ND, self.weight_KD, self.constant_K)


class PixelNetwork(nn.Module):
    """(N, H, W, 3) uint8 pictures of the input size to (N, K): the normalisation and an `AuNetwork`."""

    mean_C11: Tensor
    inverse_std_C11: Tensor

    def __init__(self, model: AuModel) -> None:
        super().__init__()
        self.network = AuNetwork(model)
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (model.encoder.inputs.mean, model.encoder.inputs.std)
        )
        self.register_buffer("mean_C11", 255.0 * mean)
        self.register_buffer("inverse_std_C11", 1.0 / (255.0 * std))

    def forward(self, pixels_NHWC: Tensor) -> Tensor:
        """(N, K) float32."""
        images_NCHW = pixels_NHWC.permute(0, 3, 1, 2).float()
        outputs_NK: Tensor = self.network((images_NCHW - self.mean_C11) * self.inverse_std_C11)
        return outputs_NK


def input_pixels(crops_NHWC: Images, inputs: InputContract) -> Images:
    """(N, input_size_px, input_size_px, 3): face crops resized as the store reads them, cut in the middle.

    ValueError unless the crops are (N, crop_size_px, crop_size_px, 3) uint8.
    """
    side_px = inputs.crop.crop_size_px
    if crops_NHWC.ndim != 4 or crops_NHWC.shape[1:] != (side_px, side_px, 3) or crops_NHWC.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 face crops of N x {side_px} x {side_px} x 3, "
            f"got {crops_NHWC.dtype} {' x '.join(map(str, crops_NHWC.shape))}"
        )
    frame_px = inputs.frame_size_px
    if frame_px != side_px:
        resized = [
            cv2.resize(crop, (frame_px, frame_px), interpolation=cv2.INTER_AREA) for crop in crops_NHWC
        ]
        crops_NHWC = np.stack(resized) if resized else np.empty((0, frame_px, frame_px, 3), np.uint8)
    first = (frame_px - inputs.input_size_px) // 2
    last = first + inputs.input_size_px
    return np.ascontiguousarray(crops_NHWC[:, first:last, first:last])
