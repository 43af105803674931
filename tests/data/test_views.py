from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

from mien.data import views
from mien.data.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FaceViews,
    ViewDraw,
    ViewSettings,
    apply_views,
    blur,
    evaluation_views,
    gaussian_kernels,
    pictures_to_views,
    views_to_pictures,
)

SETTINGS = ViewSettings(output_size_px=56)
FRAME_PX = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_frames(num_frames, seed=0):
    """Random colours without sharp edges, so that two ways of interpolating agree closely."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (num_frames, 8, 8, 3), dtype=np.uint8)
    return np.stack(
        [cv2.resize(frame, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_CUBIC) for frame in small]
    )


def as_colours(view_CHW):
    """A normalised view back as (h, w, 3) in [0, 1]."""
    return view_CHW.permute(1, 2, 0).numpy() * np.array(IMAGENET_STD) + np.array(IMAGENET_MEAN)


def with_row(**changes):
    return dataclasses.replace(ViewDraw.identity(1), **changes)


def test_an_all_equal_clip_stays_all_equal():
    frames = torch.from_numpy(smooth_frames(3))[:, None].expand(-1, 9, -1, -1, -1)
    views = FaceViews(SETTINGS, generator()).shared(frames)
    assert views.shape == (3, 9, 3, 56, 56)
    assert torch.equal(views, views[:, :1].expand_as(views))


def test_views_drawn_apart_differ():
    frames = torch.from_numpy(smooth_frames(1))[None].expand(4, 5, -1, -1, -1)
    views = FaceViews(SETTINGS, generator())
    shared, query, key = views.shared(frames), views.independent(frames), views.independent(frames)
    assert query.shape == (4, 5, 3, 56, 56)
    apart = [(shared[0], shared[row]) for row in (1, 2, 3)]  # rows of a batch
    apart += [(query[0, 0], query[0, i]) for i in range(1, 5)]  # frames of a row
    apart += [(query, key)]  # two views of the same frames
    assert not any(torch.allclose(one, other, atol=0.05) for one, other in apart)


def unnormalised(views_BTCHW):
    """Colours as (B, T, 3, h, w) in [0, 1]."""
    return views_to_pictures(views_BTCHW.flatten(0, 1)).view(views_BTCHW.shape)


def test_shared_geometry_frees_the_colours_of_a_clip_alone():
    frames = torch.from_numpy(smooth_frames(2))[:, None].expand(-1, 5, -1, -1, -1)
    native = {"smallest_crop_area": 0.5}
    grey = {"saturation": 0, "hue": 0, "contrast": 0, "colour_probability": 1}  # brightness alone is left
    dark = frames // 2 + 10  # so that nothing is clamped
    settings = dataclasses.replace(SETTINGS, **native, **grey)
    views = unnormalised(FaceViews(settings, generator()).shared_geometry(dark))
    factor_BT = views.mean(dim=(2, 3, 4)) / views[:, :1].mean(dim=(2, 3, 4))
    torch.testing.assert_close(views, views[:, :1] * factor_BT[:, :, None, None, None], atol=1e-3, rtol=0)
    assert (factor_BT[:, 1:] - 1).abs().min() > 0.005
    assert not torch.allclose(views[0, 0] / views[0, 0].mean(), views[1, 0] / views[1, 0].mean(), atol=0.05)


def test_shared_geometry_without_colours_is_a_shared_view():
    frames = torch.from_numpy(smooth_frames(3))[:, None].expand(-1, 4, -1, -1, -1)
    views = FaceViews(dataclasses.replace(SETTINGS, colour_probability=0), generator()).shared_geometry(
        frames
    )
    torch.testing.assert_close(views, views[:, :1].expand_as(views))
    assert not torch.allclose(views[0, 0], views[1, 0], atol=0.05)


def test_a_pair_with_one_flip_differs_in_everything_else():
    frames = torch.from_numpy(smooth_frames(1))[None].expand(1, 16, -1, -1, -1)
    flips_alone = dataclasses.replace(
        SETTINGS, rotation_degrees=0, colour_probability=0, output_size_px=FRAME_PX
    )
    one, other = FaceViews(flips_alone, generator()).pair_with_one_flip(frames)
    torch.testing.assert_close(one, other)
    assert not torch.equal(one, one[:, :1].expand_as(one))  # some are mirrored and some are not
    one, other = FaceViews(SETTINGS, generator()).pair_with_one_flip(frames)
    assert all(not torch.allclose(one[0, i], other[0, i], atol=0.05) for i in range(16))


def test_the_same_generator_gives_the_same_views():
    frames = torch.from_numpy(smooth_frames(2))[None]
    first, again = (FaceViews(SETTINGS, generator(3)).shared(frames) for _ in range(2))
    assert torch.equal(first, again)


def test_the_identity_draw_is_the_normalised_centre_crop():
    frames = torch.from_numpy(smooth_frames(4))
    views = apply_views(frames[:, None], ViewDraw.identity(4), output_size_px=56)[:, 0]
    centre = (frames[:, 4:60, 4:60].double() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(views.double(), centre.permute(0, 3, 1, 2), atol=1e-4)
    assert torch.allclose(evaluation_views(frames, output_size_px=56), views, atol=1e-4)


def test_zero_strength_gives_the_identity_draw():
    still = ViewSettings(
        output_size_px=FRAME_PX, rotation_degrees=0, flip_probability=0, colour_probability=0
    )
    frames = torch.from_numpy(smooth_frames(2))
    views = FaceViews(still, generator()).independent(frames[None])[0]
    assert torch.allclose(views, evaluation_views(frames, output_size_px=FRAME_PX), atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("degrees", "shift_x", "shift_y"), [(0, 3, -2), (10, 0, 0), (-7.5, 1.25, 3.5)])
def test_rotation_flip_and_crop_match_warp_affine(degrees, shift_x, shift_y, flip):
    frame = smooth_frames(1)[0]
    draw = with_row(
        angle_N=torch.tensor([math.radians(degrees)]),
        flip_N=torch.tensor([flip]),
        shift_N2=torch.tensor([[shift_x, shift_y]]),
    )
    view = as_colours(apply_views(torch.from_numpy(frame)[None, None], draw, output_size_px=56)[0, 0])
    # By cv2 in three steps: turn counter-clockwise as seen about the crop's centre, cut, mirror.
    centre = ((FRAME_PX - 1) / 2 + shift_x, (FRAME_PX - 1) / 2 + shift_y)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    matrix[:, 2] += 27.5 - np.array(centre)
    turned = cv2.warpAffine(
        frame.astype(np.float32) / 255,
        matrix,
        (56, 56),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    expected = turned[:, ::-1] if flip else turned
    assert np.abs(view - expected).max() < 0.02  # cv2 rounds coordinates to 1/32 pixel


def colour_by_pixel(image_HWC, brightness, contrast, saturation, hue_turns):
    """Brightness, contrast, saturation, hue one after the other, in loops, clamped once at the end."""
    grey_of = lambda pixel: 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]  # noqa: E731
    height, width, _ = image_HWC.shape
    mean_grey = sum(grey_of(brightness * image_HWC[y, x]) for y in range(height) for x in range(width)) / (
        height * width
    )
    result = np.empty_like(image_HWC)
    for y in range(height):
        for x in range(width):
            pixel = brightness * image_HWC[y, x]
            pixel = contrast * pixel + (1 - contrast) * mean_grey
            pixel = saturation * pixel + (1 - saturation) * grey_of(pixel)
            i = 0.595716 * pixel[0] - 0.274453 * pixel[1] - 0.321263 * pixel[2]
            q = 0.211456 * pixel[0] - 0.522591 * pixel[1] + 0.311135 * pixel[2]
            turned = (i + 1j * q) * np.exp(2j * np.pi * hue_turns)
            luma = grey_of(pixel)
            result[y, x] = [
                luma + 0.9563 * turned.real + 0.6210 * turned.imag,
                luma - 0.2721 * turned.real - 0.6474 * turned.imag,
                luma - 1.1070 * turned.real + 1.7046 * turned.imag,
            ]
    return result.clip(0, 1)


@pytest.mark.parametrize(
    "factors",
    [(1.4, 1, 1, 0), (1, 0.6, 1, 0), (1, 1, 1.4, 0), (1, 1, 0, 0), (1, 1, 1, 0.1), (0.8, 1.3, 0.7, -0.07)],
)
def test_the_colour_matrix_matches_a_per_pixel_oracle(factors):
    frame = smooth_frames(1)[0][:16, :16]
    names = ("brightness_N", "contrast_N", "saturation_N", "hue_N")
    draw = with_row(**{name: torch.tensor([float(x)]) for name, x in zip(names, factors, strict=True)})
    view = as_colours(apply_views(torch.from_numpy(frame.copy())[None, None], draw, output_size_px=16)[0, 0])
    assert np.abs(view - colour_by_pixel(frame / 255.0, *factors)).max() < 2e-3


def test_draws_stay_in_their_ranges_and_fill_them():
    draw = ViewDraw.random(4000, settings=ViewSettings(), frame_size_px=256, generator=generator())
    assert 0.99 < draw.angle_N.abs().max() / math.radians(10) <= 1
    assert 15.8 < draw.shift_N2.abs().max() <= 16
    assert abs(draw.flip_N.float().mean() - 0.5) < 0.05
    for factor in (draw.brightness_N, draw.contrast_N, draw.saturation_N):
        assert 0.6 <= factor.min() < 0.62
        assert 1.38 < factor.max() <= 1.4
    assert 0.099 < draw.hue_N.abs().max() <= 0.1
    assert abs((draw.brightness_N == 1).float().mean() - 0.2) < 0.04


def test_views_are_channels_last_in_memory():
    frames = torch.from_numpy(smooth_frames(2))[None]
    views = FaceViews(SETTINGS, generator()).shared(frames).flatten(0, 1)
    assert views.is_contiguous(memory_format=torch.channels_last)


def test_settings_say_what_does_not_fit():
    with pytest.raises(ValueError, match="the difference must be even"):
        ViewSettings(output_size_px=63).require_fits(72)
    with pytest.raises(ValueError, match="not negative"):
        ViewSettings(output_size_px=80).require_fits(72)
    with pytest.raises(ValueError, match=r"flip_probability = 1\.5"):
        ViewSettings(flip_probability=1.5)


def test_views_turn_into_pictures_and_back():
    views = evaluation_views(torch.from_numpy(smooth_frames(2)), output_size_px=56)
    pictures = views_to_pictures(views)
    frames = torch.from_numpy(smooth_frames(2))[:, 4:60, 4:60].permute(0, 3, 1, 2) / 255.0
    torch.testing.assert_close(pictures, frames)
    torch.testing.assert_close(pictures_to_views(pictures), views, atol=1e-5, rtol=0)


NATIVE = ViewSettings(
    output_size_px=56, smallest_crop_area=0.2, grey_probability=0.5, blur_probability=0.5, rotation_degrees=0
)


def test_native_views_leave_the_other_draws_as_they_are():
    plain = ViewDraw.random(50, settings=SETTINGS, frame_size_px=FRAME_PX, generator=generator())
    settings = dataclasses.replace(SETTINGS, blur_probability=0.5)
    blurred = ViewDraw.random(50, settings=settings, frame_size_px=FRAME_PX, generator=generator())
    assert torch.equal(plain.shift_N2, blurred.shift_N2)
    assert torch.equal(plain.hue_N, blurred.hue_N)
    assert 0 < (blurred.blur_px_N > 0).float().mean() < 1


def test_random_crops_stay_inside_the_frame_and_cover_the_stated_area():
    draw = ViewDraw.random(2000, settings=NATIVE, frame_size_px=FRAME_PX, generator=generator())
    side_N2 = draw.scale_N2 * 56 / FRAME_PX
    assert (draw.shift_N2.abs() + side_N2 * FRAME_PX / 2 <= FRAME_PX / 2 + 1e-4).all()
    area_N = side_N2.prod(dim=1)
    assert 0.2 <= area_N.min() < 0.21
    assert area_N.max() > 0.97
    assert abs(area_N.mean() - 0.59) < 0.03


def test_a_random_crop_is_the_resized_part_of_the_frame():
    frame = torch.from_numpy(smooth_frames(1))[:, None]
    half = with_row(scale_N2=torch.full((1, 2), 0.5 * FRAME_PX / 56), shift_N2=torch.tensor([[16.0, -16.0]]))
    view = as_colours(apply_views(frame, half, output_size_px=56)[0, 0])
    part = frame[0, 0, :32, 32:].numpy()  # to the right and up
    expected = cv2.resize(part, (56, 56), interpolation=cv2.INTER_LINEAR) / 255
    assert np.abs(view - expected)[2:-2, 2:-2].max() < 0.02


def test_grey_views_have_equal_colours():
    settings = dataclasses.replace(NATIVE, grey_probability=1.0, blur_probability=0.0)
    views = FaceViews(settings, generator()).shared(torch.from_numpy(smooth_frames(4))[:, None])
    colours = np.stack([as_colours(view) for view in views[:, 0]])
    assert np.ptp(colours, axis=3).max() < 1e-4


def test_autocast_around_views_changes_no_bit_of_them():
    frames = torch.randint(0, 256, (2, 3, 40, 40, 3), dtype=torch.uint8)
    settings = ViewSettings(output_size_px=32)
    plain = FaceViews(settings, torch.Generator().manual_seed(0)).shared(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = FaceViews(settings, torch.Generator().manual_seed(0)).shared(frames)
    assert torch.equal(plain, under_autocast)


def test_views_made_first_under_inference_mode_can_be_trained_on_afterwards():
    views._mean_and_std.cache_clear()
    with torch.inference_mode():
        views.evaluation_views(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), output_size_px=8)
    pictures = torch.zeros(1, 3, 8, 8, requires_grad=True)
    views.pictures_to_views(pictures).sum().backward()
    assert pictures.grad is not None


def test_light_from_another_side_grows_along_its_slope_and_leaves_the_centre():
    grey = torch.full((1, 1, FRAME_PX, FRAME_PX, 3), 60, dtype=torch.uint8)
    view = as_colours(
        apply_views(grey, with_row(slope_N2=torch.tensor([[0.5, -0.25]])), output_size_px=56)[0, 0]
    )
    place = (np.arange(56) + 0.5) / 28 - 1
    expected = 60 / 255 * np.exp(0.5 * place[None, :] - 0.25 * place[:, None])
    np.testing.assert_allclose(view, np.repeat(expected[..., None], 3, axis=2), atol=1e-5)


def test_slopes_are_drawn_up_to_the_setting_and_the_other_draws_stay():
    plain = ViewDraw.random(500, settings=SETTINGS, frame_size_px=FRAME_PX, generator=generator())
    settings = dataclasses.replace(SETTINGS, relight=0.7)
    lit = ViewDraw.random(500, settings=settings, frame_size_px=FRAME_PX, generator=generator())
    assert 0.65 < lit.slope_N2.abs().max() <= 0.7
    assert lit.blur_px_N is None
    assert torch.equal(plain.shift_N2, lit.shift_N2)
    assert torch.equal(plain.saturation_N, lit.saturation_N)


def test_blur_equals_opencv_with_the_same_kernel():
    views = torch.rand(2, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    blurred = blur(views, torch.tensor([1.5, 0.7]))
    for row, deviation in enumerate((1.5, 0.7)):
        expected = cv2.GaussianBlur(
            views[row, 0].permute(1, 2, 0).numpy(), (11, 11), deviation, borderType=cv2.BORDER_REFLECT_101
        )
        np.testing.assert_allclose(blurred[row, 0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_no_deviation_leaves_a_row_as_it_is():
    views = torch.rand(2, 3, 3, 32, 32)
    blurred = blur(views, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(blurred[0], views[0])
    assert (blurred[1] - views[1]).abs().max() > 0.01


def test_one_colour_stays_one_colour():
    views = torch.full((1, 2, 3, 40, 40), 0.3)
    torch.testing.assert_close(blur(views, torch.tensor([2.0])), views)


def test_frames_of_a_row_share_its_deviation():
    frame = torch.rand(1, 1, 3, 32, 32)
    blurred = blur(frame.expand(1, 4, 3, 32, 32), torch.tensor([1.0]))
    torch.testing.assert_close(blurred, blurred[:, :1].expand_as(blurred))


def test_kernels_sum_to_one():
    kernels = gaussian_kernels(torch.tensor([0.0, 0.5, 2.0]), reach_px=4)
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(3))
    assert kernels[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
