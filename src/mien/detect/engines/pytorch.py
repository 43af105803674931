"""PyTorch itself: always there, on any device, and what every other engine is held against."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mien.detect.au_model import AuModel
from mien.detect.engines.base import ENGINES
from mien.detect.network import PixelNetwork, input_pixels


@ENGINES.register("torch")
class TorchEngine:
    """Runs where the model's weights lie. `threads` sets torch's own number, for the whole process."""

    name: ClassVar[str] = "torch"

    def __init__(self, model: AuModel, *, model_path: Path, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._inputs = model.encoder.inputs
        self._device = model.encoder.device
        network = PixelNetwork(model).eval().to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, crops_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K) raw outputs."""
        pixels = torch.from_numpy(input_pixels(crops_NHWC, self._inputs)).to(self._device)
        outputs: NDArray[np.float32] = self._network(pixels).cpu().numpy()
        return outputs
