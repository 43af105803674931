"""Decoded pictures as RGB arrays, as they are meant to be seen: upright, with square pixels, HDR as SDR."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import NDArray

HDR_NAMES = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
"""The transfer functions whose tones are mapped to SDR."""

_AS_STORED = (1.0, 0.0, 0.0, 1.0)
_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
_WHITE_NITS = 203.0  # graphics white in HDR, ITU-R BT.2408
_HLG_PEAK_NITS = 1000.0
_KNEE = 0.8  # of white: brighter tones are compressed
_LEVELS = 4096
_BT2020_TO_BT709 = np.array(  # linear light, ITU-R BT.2087 inverted
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_BT2020_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)


class RgbConverter:
    """Pictures of one stream to (H, W, 3) uint8 arrays; keeps the scaler between pictures."""

    def __init__(self, stream: Any) -> None:
        self._reformatter = VideoReformatter()
        ratio = stream.sample_aspect_ratio
        self._pixel_aspect = float(ratio) if ratio and 0.2 <= ratio <= 5 else 1.0
        self._rotation: int | None = None
        self._matrix = _AS_STORED

    def __call__(self, picture: Any) -> NDArray[np.uint8]:
        """The picture, which is not kept."""
        if picture.rotation != self._rotation:
            # Asking a picture for its side data ties it into a circle of references, so that only the garbage
            # collector frees its pixels: ask once, and again only where the rotation changes.
            self._rotation, self._matrix = picture.rotation, _display_matrix(picture)
        if picture.color_trc in HDR_NAMES:
            image_HWC = _as_sdr(
                self._scaled(picture, "rgb48le"),
                transfer=picture.color_trc,
                is_wide_gamut=picture.color_primaries == ColorPrimaries.BT2020,
            )
        else:
            image_HWC = self._scaled(picture, "rgb24")
        return _oriented(image_HWC, self._matrix)

    def _scaled(self, picture: Any, pixel_format: str) -> NDArray[Any]:
        width = max(1, round(picture.width * self._pixel_aspect))
        matrix = Colorspace.ITU709 if _is_untagged_hd(picture) else None
        rgb = self._reformatter.reformat(
            picture, width=width, format=pixel_format, src_colorspace=matrix, threads=1
        )
        plane = rgb.planes[0]
        dtype = np.dtype("<u2" if pixel_format == "rgb48le" else "u1")
        rows = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
        return rows[: rgb.height, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)


def _is_untagged_hd(picture: Any) -> bool:
    """Whether the picture's YUV is BT.709 by convention: high definition without a tag.

    FFmpeg's scaler takes all that is untagged for BT.601, as is right below 1280 px by 720.
    """
    sides = sorted((picture.width, picture.height))
    is_yuv = len(picture.format.components) >= 3 and not picture.format.is_rgb
    return is_yuv and picture.colorspace == _UNTAGGED and (sides[1] >= 1280 or sides[0] >= 720)


def _as_sdr(rgb_HWC: NDArray[np.uint16], *, transfer: int, is_wide_gamut: bool) -> NDArray[np.uint8]:
    """An HDR picture of 16 bits for an SDR display (BT.709, ITU-R BT.1886), with HDR white as its white.

    Light up to 80 % of white stays as it is; what is brighter is compressed into the rest.
    """
    light_HWC = np.take(_light_of_levels(transfer), rgb_HWC >> 4)
    if transfer == ColorTrc.ARIB_STD_B67:  # to what a display of 1000 nits shows, BT.2100 table 5
        luminance_HW = cv2.transform(light_HWC, _BT2020_LUMINANCE)
        light_HWC *= (_HLG_PEAK_NITS / _WHITE_NITS * cv2.pow(luminance_HW, 0.2))[..., None]
    if is_wide_gamut:
        light_HWC = np.maximum(cv2.transform(light_HWC, _BT2020_TO_BT709), 0.0)
    above_HWC = np.maximum(light_HWC - _KNEE, 0.0)
    light_HWC = np.minimum(light_HWC, _KNEE) + (1 - _KNEE) * above_HWC / (above_HWC + 1 - _KNEE)
    sdr_HWC: NDArray[np.uint8] = np.rint(255 * cv2.pow(light_HWC, 1 / 2.4)).astype(np.uint8)
    return sdr_HWC


@cache
def _light_of_levels(transfer: int) -> NDArray[np.float32]:
    """(4096,) linear light of each signal level, ITU-R BT.2100: of the scene for HLG, over white for PQ."""
    signal = np.linspace(0.0, 1.0, _LEVELS)
    if transfer == ColorTrc.SMPTE2084:
        power = signal ** (1 / (2523 / 32))
        ratio = np.maximum(power - 3424 / 4096, 0.0) / (2413 / 128 - 2392 / 128 * power)
        return (10_000 / _WHITE_NITS * ratio ** (1 / (2610 / 16384))).astype(np.float32)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


def _oriented(image_HWC: NDArray[np.uint8], matrix: tuple[float, ...]) -> NDArray[np.uint8]:
    """The picture turned and mirrored by a display matrix, in quarters of a turn."""
    a, b, c, d = matrix
    if matrix == _AS_STORED:
        return image_HWC
    transposed = abs(c) > abs(a)
    shown = image_HWC.transpose(1, 0, 2) if transposed else image_HWC
    x_sign, y_sign = (c, b) if transposed else (a, d)
    return np.ascontiguousarray(shown[:: -1 if y_sign < 0 else 1, :: -1 if x_sign < 0 else 1])


def _display_matrix(picture: Any) -> tuple[float, float, float, float]:
    """(a, b, c, d) of x' = a x + c y, y' = b x + d y."""
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV stumbles over kinds of side data it does not know; then mirroring is lost
        turn = math.radians(picture.rotation)
        return (math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn))
    if matrix is None:
        return _AS_STORED
    a, b, _, c, d = np.frombuffer(memoryview(matrix), "<i4")[:5].tolist()
    return (a, b, c, d)
