"""An OpenVINO network to 8 bits, in a process of its own: python -m mien.detect.engines._quantising.

NNCF 3.4 and OpenVINO 2026.4 in one process damage its memory, seen as aborts later on, wherever that may be.
Arguments: the network, its (N, H, W, 3) uint8 calibration pictures as .npy, and where to write.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np


def main(network: Path, pictures: Path, out: Path) -> None:
    """Quantised after training: the ranges of all layers are measured on the pictures."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    nncf, openvino = (importlib.import_module(name) for name in ("nncf", "openvino"))
    pixels_NHWC = np.load(pictures, allow_pickle=False)
    dataset = nncf.Dataset([pixels_NHWC[row : row + 1] for row in range(len(pixels_NHWC))])
    # Images after ReLU are never negative; MIXED keeps the signed ones signed.
    preset = nncf.QuantizationPreset.MIXED
    model = openvino.Core().read_model(network)
    small = nncf.quantize(model, dataset, preset=preset, subset_size=len(pixels_NHWC))
    openvino.save_model(small, str(out), compress_to_fp16=False)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
    sys.stdout.flush()
    os._exit(0)  # with nothing left to free
