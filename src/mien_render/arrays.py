"""The renderer's arrays, of 32-bit floats, and machine code for loops that whole-array calls do slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

F = TypeVar("F", bound=Callable[..., object])
Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]


def floats(values: ArrayLike) -> Floats:
    """`values` as an array of 32-bit floats, without a copy where they are one."""
    return np.asarray(values, dtype=np.float32)


class CompilerMissingError(OSError):
    """Rendering needs numba, which is not installed."""


def compiled(function: F) -> F:
    """`function` as machine code, compiled at its first call and kept on disk where there is a place.

    CompilerMissingError, saying what to install, where numba is not there. No fast-math: the same numbers on
    every run.
    """
    try:
        import numba
    except ModuleNotFoundError as error:
        raise CompilerMissingError("rendering needs numba: pip install 'mien[render]'") from error
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast(F, numba.njit(nogil=True)(function))
