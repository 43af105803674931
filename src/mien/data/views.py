"""Random views of face crops: one affine map and one colour matrix per row, on the frames' device.

Rotation, flip and crop are one affine map; brightness, contrast, saturation and hue are one 3x4 colour
matrix. Both are drawn once per clip and applied to all its frames, or once per frame. The ranges are those of
Li & Shan, TIP 2023 where stated (rotation 10 degrees) and of MoCo v2 (arXiv 2003.04297) for the colours.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.layers.gather import rank, world_size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Colour = tuple[float, float, float]  # red, green, blue


class Normalisation(NamedTuple):
    """Channel mean and standard deviation of colours in [0, 1]."""

    mean: Colour
    std: Colour


IMAGENET = Normalisation(IMAGENET_MEAN, IMAGENET_STD)
GREY_WEIGHTS = (0.299, 0.587, 0.114)

REACH_DEVIATIONS = 2.5  # half the width of the blur's kernel
LARGEST_PX = 2.0  # deviation of the blur, of a 224-pixel view


@dataclass(frozen=True)
class ViewSettings:
    """The ranges of random views."""

    output_size_px: int = 224  # the crop's side, cut at scale 1 from frames of data.frame_size_px
    rotation_degrees: float = 10.0  # angle ~ U(-x, x)
    flip_probability: float = 0.5
    brightness: float = 0.4  # factor ~ U(1 - x, 1 + x), likewise contrast and saturation
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # turns ~ U(-x, x)
    colour_probability: float = 0.8
    # Not used by CLP, but by other methods; off unless a recipe turns it on.
    smallest_crop_area: float = 0.0  # above 0: a crop of this share of the frame up to all of it, resized
    grey_probability: float = 0.0
    blur_probability: float = 0.0  # Gaussian, deviation ~ U(0.1, 2.0) pixels of a 224-pixel view
    # Our addition: light from another side. Brightness times exp(a x + b y), x and y from -1 to 1 over the
    # view, a and b ~ U(-relight, relight), because slow changes of light reveal the order of frames.
    relight: float = 0.0

    def __post_init__(self) -> None:
        if self.output_size_px < 8:
            raise ValueError(f"output_size_px = {self.output_size_px}: at least 8 pixels")
        shares = ("brightness", "contrast", "saturation", "smallest_crop_area")
        for name, value in vars(self).items():
            if (name in shares or name.endswith("_probability")) and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} = {value}: between 0 and 1")
        if not 0.0 <= self.hue <= 0.5:
            raise ValueError(f"hue = {self.hue}: between 0 and 0.5 turns")
        if self.relight < 0.0:
            raise ValueError(f"relight = {self.relight}: 0 or more")

    @property
    def any_native(self) -> bool:
        """Whether any view that CLP does not use is on."""
        return max(self.smallest_crop_area, self.grey_probability, self.blur_probability, self.relight) > 0.0

    def require_fits(self, frame_size_px: int) -> None:
        """ValueError unless the centre crop lies on whole pixels inside frames of that size."""
        margin_px = frame_size_px - self.output_size_px
        if margin_px < 0 or margin_px % 2:
            raise ValueError(
                f"views.output_size_px = {self.output_size_px} does not fit data.frame_size_px = "
                f"{frame_size_px}: the difference must be even and not negative"
            )


@dataclass(frozen=True)
class ViewDraw:
    """The parameters of N views; the identity draw is zeros, False and ones."""

    angle_N: Tensor  # radians, counter-clockwise as seen
    flip_N: Tensor  # bool
    shift_N2: Tensor  # x, y of the crop's centre from the frame's centre, in frame pixels
    brightness_N: Tensor
    contrast_N: Tensor
    saturation_N: Tensor
    hue_N: Tensor  # turns
    scale_N2: Tensor | None = None  # x, y side of the crop in output sides; None: 1
    blur_px_N: Tensor | None = None  # deviation in pixels of the view; None: no blur
    slope_N2: Tensor | None = None  # of the logarithm of the light along x and y, half a side; None: none

    @classmethod
    def identity(cls, num_rows: int) -> ViewDraw:
        """Views that are the centre crop, uncoloured."""
        zeros, ones = torch.zeros(num_rows), torch.ones(num_rows)
        return cls(zeros, zeros.bool(), torch.zeros(num_rows, 2), ones, ones, ones, zeros)

    @classmethod
    def random(
        cls, num_rows: int, *, settings: ViewSettings, frame_size_px: int, generator: torch.Generator
    ) -> ViewDraw:
        """Ten uniform numbers per row from `generator` (on the CPU), ten more for views that CLP lacks."""
        unit = torch.rand(10, num_rows, generator=generator)
        signed = 2.0 * unit - 1.0
        coloured = (unit[0] < settings.colour_probability).float()
        draw = cls(
            angle_N=signed[1] * math.radians(settings.rotation_degrees),
            flip_N=unit[2] < settings.flip_probability,
            shift_N2=signed[3:5].T * (frame_size_px - settings.output_size_px) / 2.0,
            brightness_N=1.0 + coloured * settings.brightness * signed[5],
            contrast_N=1.0 + coloured * settings.contrast * signed[6],
            saturation_N=1.0 + coloured * settings.saturation * signed[7],
            hue_N=coloured * settings.hue * signed[8],
        )
        return draw._natively(settings, frame_size_px, generator) if settings.any_native else draw

    def rows(self, rows: slice) -> ViewDraw:
        """The parameters of some of the views."""
        given = {name: value[rows] for name, value in vars(self).items() if value is not None}
        return dataclasses.replace(self, **given)

    def with_first_geometry_of(self, num_frames: int) -> ViewDraw:
        """Every view with the rotation, flip and crop of the first of its `num_frames` neighbours."""
        names = ("angle_N", "flip_N", "shift_N2", "scale_N2")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        first = {name: value[::num_frames].repeat_interleave(num_frames, 0) for name, value in given.items()}
        return dataclasses.replace(self, **first)

    def _natively(self, settings: ViewSettings, frame_size_px: int, generator: torch.Generator) -> ViewDraw:
        unit = torch.rand(10, len(self.angle_N), generator=generator)
        blur_px_N = torch.where(unit[1] < settings.blur_probability, 0.1 + 1.9 * unit[2], 0.0)
        draw = dataclasses.replace(
            self,
            saturation_N=torch.where(unit[0] < settings.grey_probability, 0.0, self.saturation_N),
            blur_px_N=blur_px_N * (settings.output_size_px / 224) if settings.blur_probability else None,
            slope_N2=(2.0 * unit[7:9].T - 1.0) * settings.relight if settings.relight else None,
        )
        if not settings.smallest_crop_area:
            return draw
        side_N2 = _crop_sides(unit[3:5], smallest_area=settings.smallest_crop_area)
        return dataclasses.replace(
            draw,
            scale_N2=side_N2 * (frame_size_px / settings.output_size_px),
            shift_N2=(2.0 * unit[5:7].T - 1.0) * (1.0 - side_N2) * frame_size_px / 2.0,
        )


class FaceViews:
    """Views of uint8 frames, all drawn from one step's generator; implements `mien.train.method.Views`.

    The generator's state is the same in all processes of a run. The rows of all processes are drawn and each
    takes its own, so a row's view does not depend on the number of processes.
    """

    def __init__(
        self,
        settings: ViewSettings,
        generator: torch.Generator,
        *,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        self.settings = settings
        self.generator = generator
        self.normalisation = normalisation

    def shared(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; one draw of all parameters for the T frames of a row.

        Autocast is off inside: coordinates in bfloat16 would be off by most of a pixel.
        """
        return self._views(frames_BTHWC, self._draw(*frames_BTHWC.shape[:3:2]))

    def independent(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; every frame with a draw of its own."""
        B, T, H = frames_BTHWC.shape[:3]
        return self._frame_by_frame(frames_BTHWC, self._draw(B * T, H))

    def shared_geometry(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; rotation, flip and crop once for a row, the rest for every frame."""
        B, T, H = frames_BTHWC.shape[:3]
        return self._frame_by_frame(frames_BTHWC, self._draw(B * T, H).with_first_geometry_of(T))

    def pair_with_one_flip(self, frames_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Two independent views of every frame, both mirrored or neither."""
        B, T, H = frames_BTHWC.shape[:3]
        one, other = (self._draw(B * T, H) for _ in range(2))
        other = dataclasses.replace(other, flip_N=one.flip_N)
        return self._frame_by_frame(frames_BTHWC, one), self._frame_by_frame(frames_BTHWC, other)

    def _frame_by_frame(self, frames_BTHWC: Tensor, draw: ViewDraw) -> Tensor:
        views = self._views(frames_BTHWC.flatten(0, 1)[:, None], draw)
        return views.view(*frames_BTHWC.shape[:2], *views.shape[2:])

    def _views(self, frames_BTHWC: Tensor, draw: ViewDraw) -> Tensor:
        device = frames_BTHWC.device.type
        with torch.autocast("cpu", enabled=False), torch.autocast(device, enabled=False):
            views = apply_views(
                frames_BTHWC,
                draw,
                output_size_px=self.settings.output_size_px,
                normalisation=self.normalisation,
            )
            return views if draw.blur_px_N is None else blur(views, draw.blur_px_N)

    def _draw(self, num_rows: int, frame_size_px: int) -> ViewDraw:
        of_all = ViewDraw.random(
            num_rows * world_size(),
            settings=self.settings,
            frame_size_px=frame_size_px,
            generator=self.generator,
        )
        return of_all.rows(slice(rank() * num_rows, (rank() + 1) * num_rows))


def apply_views(
    frames_BTHWC: Tensor, draw: ViewDraw, *, output_size_px: int, normalisation: Normalisation = IMAGENET
) -> Tensor:
    """(B, T, 3, h, w) float32, normalised views of uint8 frames, row b by the b-th drawn parameters.

    The memory of each frame is channels-last, which convolutions prefer.
    """
    B, T, H, W, C = frames_BTHWC.shape
    side = output_size_px
    maps = _pack(draw, frame_size_px=H, output_size_px=side).to(frames_BTHWC.device, non_blocking=True)
    planes = frames_BTHWC.permute(0, 1, 4, 2, 3).reshape(B, T * C, H, W).float().div_(255.0)
    grid = F.affine_grid(maps[:, :6].view(B, 2, 3), [B, T * C, side, side], align_corners=False)
    warped = F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)
    if draw.slope_N2 is not None:
        warped = warped * _light(draw.slope_N2.to(warped.device, non_blocking=True), side)
    pixels_BPC = warped.view(B, T, C, side, side).permute(0, 1, 3, 4, 2).reshape(B, T * side * side, C)
    coloured_BPC = _colour(pixels_BPC, maps[:, 6:15].view(B, 3, 3), maps[:, 15]).clamp_(0.0, 1.0)
    return _normalise(coloured_BPC, normalisation).view(B, T, side, side, C).permute(0, 1, 4, 2, 3)


def evaluation_views(
    frames_NHWC: Tensor, *, output_size_px: int, normalisation: Normalisation = IMAGENET
) -> Tensor:
    """(N, 3, h, w) float32: the centre crop, normalised; exactly the identity draw's pixels."""
    first = (frames_NHWC.shape[1] - output_size_px) // 2
    last = first + output_size_px
    pixels = frames_NHWC[:, first:last, first:last].float().div_(255.0)
    return _normalise(pixels, normalisation).permute(0, 3, 1, 2)


def views_to_pictures(views_NCHW: Tensor) -> Tensor:
    """(N, 3, h, w) colours in [0, 1] of ImageNet-normalised views."""
    mean, std = _mean_and_std(views_NCHW.device, IMAGENET)
    return views_NCHW.float() * std[:, None, None] + mean[:, None, None]


def pictures_to_views(pictures_NCHW: Tensor) -> Tensor:
    """(N, 3, h, w) ImageNet-normalised views of colours in [0, 1]; undoes `views_to_pictures`."""
    mean, std = _mean_and_std(pictures_NCHW.device, IMAGENET)
    return (pictures_NCHW - mean[:, None, None]) / std[:, None, None]


def affine_matrices(draw: ViewDraw, *, frame_size_px: int, output_size_px: int) -> Tensor:
    """(N, 2, 3) maps for `affine_grid` (align_corners=False): from a view's pixel to its frame's.

    A pixel of the view, measured from its centre, is mirrored, turned and moved to the frame.
    """
    cos_N, sin_N = torch.cos(draw.angle_N), torch.sin(draw.angle_N)
    mirror_N = torch.where(draw.flip_N, -1.0, 1.0)
    linear = torch.stack([mirror_N * cos_N, -sin_N, mirror_N * sin_N, cos_N], dim=1).view(-1, 2, 2)
    if draw.scale_N2 is not None:
        linear = linear * draw.scale_N2[:, None, :]
    shift = 2.0 * draw.shift_N2 / frame_size_px
    return torch.cat([linear * (output_size_px / frame_size_px), shift[:, :, None]], dim=2)


def colour_matrices(draw: ViewDraw) -> tuple[Tensor, Tensor]:
    """(N, 3, 3) matrix and (N,) grey share: colour' = matrix @ colour + share * mean grey of the view.

    In this order: brightness scales, contrast moves away from the view's mean grey, saturation away from the
    pixel's own grey, hue turns the colours about the grey axis. Clamping to [0, 1] is left to the end, so the
    four are linear and the last two leave the mean grey as it is.
    """
    grey = torch.tensor(GREY_WEIGHTS).expand(3, 3)
    saturation = draw.saturation_N[:, None, None]
    saturate_N33 = saturation * torch.eye(3) + (1.0 - saturation) * grey
    scale_N = draw.brightness_N * draw.contrast_N
    matrix_N33 = _hue_matrices(draw.hue_N) @ saturate_N33 * scale_N[:, None, None]
    return matrix_N33, (1.0 - draw.contrast_N) * draw.brightness_N


def _crop_sides(unit_2N: Tensor, *, smallest_area: float) -> Tensor:
    """(N, 2) width and height of crops in frame sides: area ~ U(x, 1), aspect log-uniform in 3/4 to 4/3."""
    area_N = smallest_area + (1.0 - smallest_area) * unit_2N[0]
    aspect_N = torch.exp((2.0 * unit_2N[1] - 1.0) * math.log(4.0 / 3.0))
    return torch.stack([(area_N * aspect_N).sqrt(), (area_N / aspect_N).sqrt()], dim=1).clamp_max(1.0)


def _pack(draw: ViewDraw, *, frame_size_px: int, output_size_px: int) -> Tensor:
    """(N, 16): affine map, colour matrix and grey share in one tensor, for one copy to the device."""
    affine_N23 = affine_matrices(draw, frame_size_px=frame_size_px, output_size_px=output_size_px)
    matrix_N33, grey_share_N = colour_matrices(draw)
    return torch.cat([affine_N23.flatten(1), matrix_N33.flatten(1), grey_share_N[:, None]], dim=1)


def _light(slope_B2: Tensor, side: int) -> Tensor:
    """(B, 1, side, side) factors of a light that grows along the slopes; 1 in the centre."""
    place_S = (torch.arange(side, device=slope_B2.device) + 0.5) * (2.0 / side) - 1.0
    along_x_BS, along_y_BS = slope_B2[:, :1] * place_S, slope_B2[:, 1:] * place_S
    return torch.exp(along_x_BS[:, None, None, :] + along_y_BS[:, None, :, None])


def _colour(pixels_BPC: Tensor, matrix_B33: Tensor, grey_share_B: Tensor) -> Tensor:
    red, green, blue = pixels_BPC.mean(dim=1).unbind(dim=1)
    mean_grey_B = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
    offset_B11 = (grey_share_B * mean_grey_B)[:, None, None]
    return torch.baddbmm(offset_B11, pixels_BPC, matrix_B33.transpose(1, 2))


def _hue_matrices(turns_N: Tensor) -> Tensor:
    """(N, 3, 3) rotations of the chroma plane of YIQ; they leave greys as they are."""
    to_yiq = torch.tensor([GREY_WEIGHTS, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
    angle = 2.0 * math.pi * turns_N
    cos, sin, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    from_yiq: Tensor = torch.linalg.inv(to_yiq)
    return from_yiq @ turn @ to_yiq


@functools.cache
def _mean_and_std(device: torch.device, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # cached tensors made in inference mode would be unusable in training
        return torch.tensor(normalisation.mean, device=device), torch.tensor(normalisation.std, device=device)


def _normalise(colours: Tensor, normalisation: Normalisation) -> Tensor:
    """Colours in [0, 1] on the last axis, minus the mean, divided by the standard deviation."""
    mean, std = _mean_and_std(colours.device, normalisation)
    return (colours - mean) / std


def blur(views_BTCHW: Tensor, deviation_px_B: Tensor) -> Tensor:
    """The views, row b blurred by its standard deviation, the same for its T frames; 0: unchanged.

    Edges are reflected, so a view of one colour stays so.
    """
    B, T, C, H, W = views_BTCHW.shape
    reach_px = max(1, math.ceil(REACH_DEVIATIONS * LARGEST_PX * H / 224))
    kernel_BK = gaussian_kernels(deviation_px_B, reach_px=reach_px).to(views_BTCHW)
    planes = views_BTCHW.transpose(0, 1).reshape(T, B * C, H, W)
    for shape, pad in (((1, -1), (reach_px, reach_px, 0, 0)), ((-1, 1), (0, 0, reach_px, reach_px))):
        weights = kernel_BK.repeat_interleave(C, dim=0).view(B * C, 1, *shape)
        planes = F.conv2d(F.pad(planes, pad, mode="reflect"), weights, groups=B * C)
    return planes.view(T, B, C, H, W).transpose(0, 1)


def gaussian_kernels(deviation_px_B: Tensor, *, reach_px: int) -> Tensor:
    """(B, 2 reach + 1) rows that sum to 1; a single one in the middle if the deviation is 0."""
    distance_K = torch.arange(-reach_px, reach_px + 1, device=deviation_px_B.device)
    scaled_BK = distance_K / deviation_px_B.clamp_min(1e-3)[:, None]
    return torch.softmax(-0.5 * scaled_BK.square(), dim=1)
