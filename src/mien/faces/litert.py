"""One LiteRT model with one input, on one thread."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


class LiteRtModel:
    """A picture in, the model's answers out; copies nothing but the answers, which are small."""

    def __init__(self, path: Path) -> None:
        with _ungreeted():
            self._interpreter = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def run(self, image_HWC: NDArray[np.uint8], *, low: float, high: float) -> list[NDArray[Any]]:
        """The outputs, without the axis of the batch of one, for 0 .. 255 spread over `low` .. `high`."""
        self._fill(image_HWC, low, high)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]

    def _fill(self, image_HWC: NDArray[np.uint8], low: float, high: float) -> None:
        view = self._input()[0]  # the model's own memory, which nobody may hold on to while it runs
        np.multiply(image_HWC, np.float32((high - low) / 255), out=view)
        if low:
            view += np.float32(low)


@contextmanager
def _ungreeted() -> Iterator[None]:
    """Hide LiteRT's greeting: its C++ code prints it to stderr, and no setting turns it off.

    Lines that begin with INFO are dropped; other output to stderr is printed afterwards.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not line.startswith(b"INFO: "):
                    os.write(2, line)
