"""Colours come out as they are meant: the right matrix where no tag says, HDR in the tones of SDR."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mien.video import probe, read_frames

PQ, HLG, BT709 = 16, 18, 1


def write_yuv(path, planes, *, pixel_format, transfer=2, primaries=2, matrix=2, codec="ffv1"):
    """One lossless picture of these (H, W) planes, tagged so."""
    height, width = planes[0].shape
    picture = av.VideoFrame(width, height, pixel_format)
    for plane, values in zip(picture.planes, planes, strict=True):
        size = values.itemsize
        rows = np.zeros((plane.height, plane.line_size // size), values.dtype)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        for tagged in (context, picture):
            tagged.color_trc, tagged.color_primaries, tagged.colorspace = transfer, primaries, matrix
            tagged.color_range = 1
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def limited_yuv(rgb, kr, kb):
    """The 8-bit Y, Cb, Cr of a colour in [0, 1], from the definition (ITU-R BT.601 and BT.709)."""
    red, green, blue = rgb
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    return [round(16 + 219 * luma), round(128 + 224 * cb), round(128 + 224 * cr)]


@pytest.mark.parametrize(
    ("size", "tag", "kr", "kb"),
    [
        ((1280, 720), 2, 0.2126, 0.0722),
        ((720, 1280), 2, 0.2126, 0.0722),  # upright
        ((1280, 720), 5, 0.299, 0.114),  # tagged BT.601
        ((640, 480), 2, 0.299, 0.114),
        ((640, 480), 1, 0.2126, 0.0722),  # tagged BT.709
    ],
)
def test_untagged_high_definition_is_bt_709_and_below_is_bt_601(tmp_path, size, tag, kr, kb):
    skin = (0.80, 0.55, 0.45)
    planes = [np.full(size[::-1], value, np.uint8) for value in limited_yuv(skin, kr, kb)]
    path = write_yuv(tmp_path / "skin.mkv", planes, pixel_format="yuv444p", matrix=tag)
    colour = next(read_frames(path)).image_HWC[100, 100]
    assert colour == pytest.approx([255 * part for part in skin], abs=3)


def pq_signal(nits):
    """ITU-R BT.2100, table 4: display light to signal."""
    power = (np.asarray(nits, float) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_signal(nits):
    """ITU-R BT.2100, table 5: grey display light of a 1000-nit display to signal."""
    scene = (np.asarray(nits, float) / 1000) ** (1 / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def grey_of(path):
    return next(read_frames(path)).image_HWC[0, :, 1].astype(int)


def write_grey(path, signal_W, transfer):
    luma = np.tile(np.round(64 + 876 * np.asarray(signal_W)).astype("<u2"), (16, 1))
    neutral = np.full_like(luma, 512)
    return write_yuv(
        path, [luma, neutral, neutral], pixel_format="yuv444p10le", transfer=transfer, primaries=9, matrix=9
    )


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, pq_signal), (HLG, hlg_signal)])
def test_tones_of_hdr_are_those_of_the_same_light_in_sdr(tmp_path, transfer, signal):
    sdr = np.linspace(0.05, 0.9, 32)  # of BT.1886, its white at 203 nits
    path = write_grey(tmp_path / "hdr.mkv", signal(203 * sdr**2.4), transfer)
    assert grey_of(path) == pytest.approx(255 * sdr, abs=2)


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, 0.38), (HLG, 0.38)])
def test_a_grey_card_of_hdr_is_a_grey_card(tmp_path, transfer, signal):
    """ITU-R BT.2408, table 1: 18 % grey is 38 % of the signal in PQ and HLG; 41 % in SDR (BT.709)."""
    grey = grey_of(write_grey(tmp_path / "card.mkv", [signal] * 32, transfer))
    assert grey / 255 == pytest.approx(0.41, abs=0.03)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_brighter_light_of_hdr_is_never_darker(tmp_path, transfer):
    grey = grey_of(write_grey(tmp_path / "ramp.mkv", np.linspace(0, 1, 64), transfer))
    assert (np.diff(grey) >= 0).all()
    assert grey[0] == 0
    assert grey[-1] > 235


def test_hdr_is_noted_and_sdr_in_ten_bits_is_not(tmp_path):
    for transfer, notes in (
        (PQ, ("HDR (PQ): its tones are mapped to SDR",)),
        (HLG, ("HDR (HLG): its tones are mapped to SDR",)),
        (BT709, ()),
    ):
        assert probe(write_grey(tmp_path / f"{transfer}.mkv", [0.5] * 32, transfer)).notes == notes
