"""An AU model's network for OpenVINO, in a process of its own: python -m mien.detect.engines._converting.

OpenVINO 2026.4 damages the memory of a process that has converted a network from torch, or holds NNCF, and
then runs one: glibc finds it sooner or later, wherever that may be. So what converts does not go on to run.
Arguments: the model file, where to write, and for 8 bits (N, H, W, 3) uint8 pictures as .npy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien.detect.au_model import AuModel, load_au_model
from mien.detect.engines.open_vino import imported
from mien.detect.network import PixelNetwork


def main(model: Path, out: Path, pictures: Path | None = None) -> None:
    """The network by OpenVINO's converter, any number of pictures at a time; of 8 bits with pictures."""
    openvino = imported("openvino")
    network = _converted(load_au_model(model), openvino)
    if pictures is not None:
        network = _quantised(network, np.load(pictures, allow_pickle=False))
    openvino.save_model(network, str(out), compress_to_fp16=False)


def _converted(model: AuModel, openvino: Any) -> Any:
    side_px = model.encoder.inputs.input_size_px
    pixels = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    shape = openvino.PartialShape([-1, side_px, side_px, 3])
    with torch.no_grad():
        network = PixelNetwork(model).eval().cpu()
        return openvino.convert_model(network, example_input=pixels, input=[shape])


def _quantised(network: Any, pixels_NHWC: np.ndarray) -> Any:
    """Quantised after training: the ranges of all layers are measured on the pictures."""
    nncf = imported("nncf")
    pictures = nncf.Dataset([pixels_NHWC[row : row + 1] for row in range(len(pixels_NHWC))])
    # Images after ReLU are never negative; MIXED keeps the signed ones signed.
    preset = nncf.QuantizationPreset.MIXED
    return nncf.quantize(network, pictures, preset=preset, subset_size=len(pixels_NHWC))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
    sys.stdout.flush()
    os._exit(0)  # with nothing left to free
