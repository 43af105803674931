"""The one number type of the renderer's arrays: 32-bit floats."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]


def floats(values: ArrayLike) -> Floats:
    """`values` as an array of 32-bit floats, without a copy where they are one."""
    return np.asarray(values, dtype=np.float32)
