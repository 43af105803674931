"""Triangles to pixels with OpenCV 5: three attributes a vertex, the nearest surface wins."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.render.arrays import Floats

FAR_CM = 400.0
NEAR_CM = 5.0


class RasteriserMissingError(OSError):
    """The installed OpenCV draws no triangles."""


def require_rasteriser() -> None:
    """RasteriserMissingError, saying what to install, where OpenCV is older than 5."""
    if not hasattr(cv2, "triangleRasterize"):
        raise RasteriserMissingError(
            f"OpenCV {cv2.__version__} has no triangle rasteriser; rendering needs "
            "opencv-python-headless >= 5 (pip install 'mien[render]')"
        )


def rasterise(
    camera_N3: Floats,
    triangles_T3: NDArray[np.int32],
    attributes_N3: Floats,
    *,
    size_px: int,
    field_of_view_radians: float,
) -> tuple[Floats, Floats]:
    """Attributes (size, size, 3) and depth in cm (size, size) of triangles in camera coordinates.

    The camera looks along -z from the origin, y up. Only triangles that wind counter-clockwise as seen are
    drawn. Where nothing is, the attributes are 0 and the depth is FAR_CM.
    """
    drawn = np.zeros((size_px, size_px, 3), dtype=np.float32)
    depth = np.full((size_px, size_px), FAR_CM, dtype=np.float32)
    return cv2.triangleRasterize(
        camera_N3,
        triangles_T3,
        attributes_N3,
        drawn,
        depth,
        np.eye(4, dtype=np.float32),
        field_of_view_radians,
        NEAR_CM,
        FAR_CM,
        _settings(),
    )


def draw_flat(
    corner_uv_N2: Floats, triangles_T3: NDArray[np.int32], attributes_N3: Floats, *, size_px: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Attributes over the unit square of UVs (row 0 is v = 1) and where there are any, both windings."""
    plane = np.empty((len(corner_uv_N2), 3), dtype=np.float32)
    plane[:, :2] = (corner_uv_N2 * 2 - 1) * 10
    plane[:, 2] = -10
    settings = _settings()
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    drawn = np.zeros((size_px, size_px, 3), dtype=np.float32)
    depth = np.full((size_px, size_px), FAR_CM, dtype=np.float32)
    drawn, depth = cv2.triangleRasterize(
        plane,
        triangles_T3,
        attributes_N3,
        drawn,
        depth,
        np.eye(4, dtype=np.float32),
        np.pi / 2,
        NEAR_CM,
        FAR_CM,
        settings,
    )
    return drawn, depth < FAR_CM - 1


def _settings() -> cv2.TriangleRasterizeSettings:
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_CW)
    return settings
