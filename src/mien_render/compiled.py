"""Machine code for the loops over vertices, triangles and pixels that whole-array calls do slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])


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
