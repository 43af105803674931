"""From linear light to a camera's 8-bit picture: background, exposure, blur, tone, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien_render.arrays import Floats, floats
from mien_render.nuisance import Nuisance
from mien_render.shading import HeadPicture

_TONES = np.power(np.arange(4097, dtype=np.float32) / 4096, np.float32(1 / 2.2)) * np.float32(255)


class Sensor:
    """The camera of one clip: its background and its noise are drawn once, then moved."""

    def __init__(self, nuisance: Nuisance, *, size_px: int) -> None:
        self._nuisance, self._size_px = nuisance, size_px
        random = np.random.default_rng(nuisance.picture_seed)
        self._background = draw_background(random, nuisance.background, size_px=size_px + 32)
        self._noise = random.standard_normal((size_px + 64, size_px + 64, 3)).astype(np.float32)
        self._noise += 0.5 * cv2.GaussianBlur(self._noise, (0, 0), 1.0)
        self._offsets_T2 = random.integers(0, 64, (len(nuisance.exposure_T), 2))

    def expose(self, head: HeadPicture, frame: int, *, motion_px: tuple[float, float]) -> NDArray[np.uint8]:
        """The picture (S, S, 3), RGB; `motion_px` is how far the head moves to the next frame."""
        size = self._size_px
        shift = np.clip(self._nuisance.centre_T2_cm[frame] * 0.8 + 16, 0, 31).astype(int)
        behind = self._background[shift[1] : shift[1] + size, shift[0] : shift[0] + size]
        colour = head.colour_SS3 + behind * (1 - head.coverage_SS[..., None])
        colour = _streak(colour, motion_px, self._nuisance.shutter)
        if self._nuisance.defocus_px > 0.2:
            colour = cv2.GaussianBlur(colour, (0, 0), self._nuisance.defocus_px)
        toned = develop(colour, exposure=float(self._nuisance.exposure_T[frame]))
        down, along = self._offsets_T2[frame]
        toned += self._noise[down : down + size, along : along + size] * np.float32(
            255 * self._nuisance.noise
        )
        picture: NDArray[np.uint8] = np.clip(toned + np.float32(0.5), 0, 255).astype(np.uint8)
        return picture


def develop(colour: Floats, *, exposure: float = 1.0) -> Floats:
    """Linear light -> tones 0 to 255: a soft shoulder, then the power 1 / 2.2."""
    exposed = colour * np.float32(0.8 * exposure)
    exposed /= 1 + np.float32(0.3) * exposed
    return floats(_TONES[np.clip(exposed * 4096, 0, 4096).astype(np.int32)])


def draw_background(random: np.random.Generator, kind: str, *, size_px: int) -> Floats:
    """A background (size, size, 3) of linear light: plain, gradient, noise or blurred shapes."""
    base = random.uniform(0.02, 0.7) * random.uniform(0.6, 1.2, 3)
    picture = np.zeros((size_px, size_px, 3), dtype=np.float32) + base.astype(np.float32)
    if kind == "gradient":
        angle, other = random.uniform(0, 2 * np.pi), random.uniform(0.02, 0.7, 3)
        down, along = np.mgrid[0 : 1 : size_px * 1j, 0 : 1 : size_px * 1j] - 0.5
        share = np.clip(0.5 + along * np.cos(angle) + down * np.sin(angle), 0, 1)[..., None]
        picture = picture * (1 - share) + other * share
    elif kind == "noise":
        for cells in (3, 6, 14):
            grey = random.uniform(0.4, 1.6, (cells, cells, 1))
            grid = (grey * random.uniform(0.8, 1.2, (cells, cells, 3))).astype(np.float32)
            picture = picture * np.clip(
                cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC), 0.1, 2
            )
    elif kind == "shapes":
        picture = _shapes(random, picture.astype(np.float32))
    elif kind == "stripes":
        angle, period = random.uniform(0, np.pi), random.uniform(6, 30)
        down, along = np.mgrid[0:size_px, 0:size_px]
        wave = np.sin((along * np.cos(angle) + down * np.sin(angle)) * 2 * np.pi / period)
        picture = picture * (1 + 0.5 * wave[..., None])
    elif kind != "plain":
        raise ValueError(f"background {kind!r}; known: gradient, noise, plain, shapes, stripes")
    return picture.astype(np.float32)


def _shapes(random: np.random.Generator, picture: Floats) -> Floats:
    size = picture.shape[0]
    for _ in range(random.integers(5, 14)):
        colour = tuple(float(value) for value in random.uniform(0.02, 0.8, 3))
        a, b = (tuple(int(value) for value in random.integers(0, size, 2)) for _ in range(2))
        if random.uniform() < 0.5:
            cv2.rectangle(picture, a, b, colour, -1)
        else:
            cv2.circle(picture, a, int(random.uniform(0.05, 0.3) * size), colour, -1)
    return cv2.GaussianBlur(picture, (0, 0), float(random.uniform(0.01, 0.05) * size))  # type: ignore[no-any-return]


def _streak(colour: Floats, motion_px: tuple[float, float], shutter: float) -> Floats:
    along, down = motion_px[0] * shutter, motion_px[1] * shutter
    length = float(np.hypot(along, down))
    if length < 0.7:
        return colour
    reach = int(np.ceil(min(length, 15) / 2)) + 1
    side = 2 * reach + 1
    kernel = np.zeros((side, side), dtype=np.float32)
    for at in np.linspace(-0.5, 0.5, 4 * side):
        column = round(reach + at * min(length, 15) * along / length)
        row = round(round(reach + at * min(length, 15) * down / length))
        kernel[row, column] += 1
    return cv2.filter2D(colour, -1, kernel / kernel.sum())  # type: ignore[no-any-return]
