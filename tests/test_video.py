"""Frames come with their own times, upright, whatever the container says; what is broken is said."""

from __future__ import annotations

import sys
import weakref
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.video import (
    Frame,
    ImageError,
    VideoError,
    on_grid,
    probe,
    read_frames,
    read_image,
    write_video,
)

HEIGHT, WIDTH = 48, 64


def four_colours():
    """Red and green above, blue and black below: every turn and mirror of it differs."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2, 0] = 255
    image[: HEIGHT // 2, WIDTH // 2 :, 1] = 255
    image[HEIGHT // 2 :, : WIDTH // 2, 2] = 255
    return image


def grey(value):
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


def write(
    path, images, stamps, *, codec="libx264", pixel_format="yuv420p", prepare=None, options=None, **container
):
    """A video whose frames have these time stamps, in milliseconds."""
    with av.open(str(path), "w", **container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        if prepare is not None:
            prepare(stream)
        for image, stamp in zip(images, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def noise(count, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(count)]


def times(path):
    return [frame.seconds for frame in read_frames(path)]


def assert_looks_like(image, expected):
    assert image.shape == expected.shape
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).mean() < 25


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_shown_turned_and_mirrored_as_the_container_says(tmp_path, turn, mirrored):
    path = write(
        tmp_path / "turned.mp4",
        [four_colours()] * 2,
        [0, 40],
        prepare=lambda stream: stream.set_display_rotation(turn, hflip=mirrored),
    )
    expected = np.rot90(four_colours(), turn // 90)
    frame = next(read_frames(path))
    assert_looks_like(frame.image_HWC, expected[:, ::-1] if mirrored else expected)
    assert frame.image_HWC.flags.c_contiguous


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix"),
    [
        ("libx264", "yuv444p", ".mp4"),
        ("libx264", "yuv420p10le", ".mp4"),
        ("libx264", "yuvj420p", ".mp4"),
        ("libx264", "gray", ".mp4"),
        ("mpeg4", "yuv420p", ".avi"),
        ("libvpx-vp9", "yuv420p", ".webm"),
        ("ffv1", "bgr0", ".mkv"),
        ("png", "rgb24", ".mov"),
        ("gif", "rgb8", ".gif"),
    ],
)
def test_pixel_formats_and_containers_all_give_rgb(tmp_path, codec, pixel_format, suffix):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = write(
        tmp_path / f"some{suffix}",
        [four_colours()] * 3,
        [0, 40, 80],
        codec=codec,
        pixel_format=pixel_format,
    )
    frames = list(read_frames(path))
    expected = four_colours()
    if pixel_format == "gray":
        expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert len(frames) == 3
    assert_looks_like(frames[0].image_HWC, expected)


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    def widen(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    path = write(tmp_path / "wide.mkv", [four_colours()], [0], prepare=widen)
    image = next(read_frames(path)).image_HWC
    assert image.shape == (HEIGHT, WIDTH * 3 // 2, 3)


def test_times_are_the_frames_own_where_the_rate_varies(tmp_path):
    stamps = [0, 30, 100, 110, 250, 400]
    path = write(tmp_path / "variable.mkv", noise(6), stamps)
    assert times(path) == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-6)


@pytest.mark.parametrize("first", [0, 1000, 90_000])
def test_times_are_the_file_s_own_from_the_first_frame_on(tmp_path, first):
    path = write(tmp_path / "late.mkv", noise(5), [first + 40 * k for k in range(5)])
    assert times(path) == pytest.approx([first / 1000 + 0.04 * k for k in range(5)], abs=1e-6)


def test_the_grid_begins_with_the_first_frame(tmp_path):
    path = write(tmp_path / "late.mkv", noise(5), [1000 + 40 * k for k in range(5)])
    assert [slots for slots, _ in on_grid(read_frames(path))] == [(k,) for k in range(5)]


def test_stamps_that_start_again_go_on_growing(tmp_path):
    one = write(tmp_path / "one.ts", noise(30), range(0, 1200, 40), options={"bf": "0"})
    other = write(tmp_path / "other.ts", noise(30, seed=1), range(0, 1200, 40), options={"bf": "0"})
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    steps = np.diff(times(both))
    assert len(steps) == 59
    assert steps.min() > 0
    assert steps.max() < 0.1


def test_frames_off_the_grid_are_never_converted(tmp_path):
    path = write(tmp_path / "fast.mkv", noise(8), range(0, 80, 10))
    converted = []
    for slots, frame in on_grid(read_frames(path)):
        if slots:
            assert frame.image_HWC.shape == (HEIGHT, WIDTH, 3)
        converted.append("image_HWC" in vars(frame))
    assert converted == [True, False, False, False, True, False, False, False]


def test_no_more_than_two_frames_are_held_at_a_time(tmp_path):
    alive = []
    most = 0
    path = write(tmp_path / "long.mkv", noise(10) * 12, range(0, 120 * 40, 40))
    for _, frame in on_grid(read_frames(path)):
        assert frame.image_HWC is not None
        alive = [reference for reference in alive if reference() is not None] + [weakref.ref(frame)]
        most = max(most, len(alive))
    assert most <= 2


def slots_of(seconds):
    """The slots that frames of these times serve."""
    return [slots for slots, _ in on_grid(Frame(time, at, four_colours) for at, time in enumerate(seconds))]


def slots_by_search(seconds):
    """For every slot the nearest source frame, straight from the definition."""
    served = [[] for _ in seconds]
    for slot in range(round(seconds[-1] * 25) + 3):
        distances = [abs(slot / 25 - time) for time in seconds]
        nearest = min(range(len(seconds)), key=lambda k: (round(distances[k], 9), k))
        if distances[nearest] <= 0.060:
            served[nearest].append(slot)
    return [tuple(slots) for slots in served]


@pytest.mark.parametrize("rate", [10, 12.5, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94])
def test_each_slot_of_the_grid_takes_the_nearest_frame(rate):
    seconds = [k / rate for k in range(100)]
    got = slots_of(seconds)
    assert got[:-1] == slots_by_search(seconds)[:-1]
    count = sum(map(len, got))
    assert abs(count - 100 / rate * 25) <= 1.01


def test_the_grid_of_a_variable_rate_is_the_nearest_frame_s():
    generator = np.random.default_rng(7)
    for _ in range(50):
        seconds = np.concatenate([[0], np.cumsum(generator.choice([0.005, 0.02, 0.033, 0.08], 40))]).tolist()
        assert slots_of(seconds)[:-1] == slots_by_search(seconds)[:-1]


def test_a_hole_in_the_source_is_a_gap_in_the_grid():
    seconds = [0.0, 0.04, 0.08, 0.48, 0.52]
    assert slots_of(seconds) == [(0,), (1,), (2, 3), (11, 12), (13,)]


def test_a_picture_alone_serves_slot_0():
    assert slots_of([0.0]) == [(0,)]
    assert slots_of([]) == []


def test_an_error_comes_after_the_slots_of_the_last_good_frame():
    def frames():
        yield Frame(0.0, 0, four_colours)
        yield Frame(0.04, 1, four_colours)
        raise VideoError("broken")

    seen = []
    with pytest.raises(VideoError, match="broken"):
        for slots, frame in on_grid(frames()):
            seen.append((slots, frame.source_frame_index))
    assert seen == [((0,), 0), ((1,), 1)]


def _with_audio(path, *, video):
    with av.open(str(path), "w") as out:
        audio = out.add_stream("aac", rate=16000)
        pictures = out.add_stream("libx264", rate=25) if video else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for picture in noise(5):
                out.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            out.mux(pictures.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        out.mux(audio.encode(sound))
        out.mux(audio.encode(None))
    return path


def test_a_file_without_pictures_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"song\.m4a: no video stream in it, only audio"):
        next(read_frames(_with_audio(tmp_path / "song.m4a", video=False)))


def test_sound_beside_the_pictures_does_no_harm(tmp_path):
    assert len(times(_with_audio(tmp_path / "film.mp4", video=True))) == 5


def test_broken_files_say_what_they_are(tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("no video at all\n" * 100)
    whole = write(tmp_path / "whole.mp4", noise(20), range(0, 800, 40))
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError, match="empty file"):
        next(read_frames(empty))
    with pytest.raises(VideoError, match="not a video"):
        next(read_frames(text))
    with pytest.raises(VideoError, match="cut short"):
        probe(headless)
    with pytest.raises(FileNotFoundError, match="missing"):
        next(read_frames(tmp_path / "missing.mp4"))
    with pytest.raises(IsADirectoryError):
        next(read_frames(tmp_path))


def test_a_file_that_breaks_off_gives_what_it_has_and_then_says_so(tmp_path):
    whole = write(
        tmp_path / "whole.mp4", noise(50), range(0, 2000, 40), container_options={"movflags": "+faststart"}
    )
    part = tmp_path / "part.mp4"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    frames = []
    with pytest.raises(VideoError, match=r"part\.mp4: damaged or cut short: \d+ frames could be read"):
        for frame in read_frames(part):
            frames.append(frame)
    assert 20 <= len(frames) <= 35
    assert [frame.source_frame_index for frame in frames] == list(range(len(frames)))


def test_damage_in_the_middle_costs_no_frame_behind_it(tmp_path):
    whole = write(tmp_path / "whole.mp4", noise(50), range(0, 2000, 40), options={"g": "1"})
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    whole.write_bytes(content)
    seconds = []
    with pytest.raises(VideoError, match="damaged"):
        for frame in read_frames(whole):
            seconds.append(frame.seconds)
    assert 44 <= len(seconds) < 50
    assert seconds[-1] == pytest.approx(1.96)


def test_writing_gives_the_pictures_back_and_the_same_bytes_each_time(tmp_path):
    images = [grey(20 * k) for k in range(10)]
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, images, frames_per_second=25)
    frames = list(read_frames(tmp_path / "a.mp4"))
    assert [frame.seconds for frame in frames] == pytest.approx([k / 25 for k in range(10)])
    assert all(
        np.abs(frame.image_HWC.astype(int) - image).max() <= 6
        for frame, image in zip(frames, images, strict=True)
    )
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_with_key_frames_only_no_picture_is_predicted_from_another(tmp_path):
    images = [np.roll(four_colours(), k, axis=1) for k in range(12)]
    for name, key_frames_only in (("all.mp4", True), ("first.mp4", False)):
        write_video(tmp_path / name, images, frames_per_second=25, key_frames_only=key_frames_only)
        with av.open(str(tmp_path / name)) as container:
            keys = [frame.key_frame for frame in container.decode(video=0)]
        assert all(keys) == key_frames_only


def test_a_video_that_fails_half_way_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="picture 1: expected uint8"):
        write_video(tmp_path / "odd.mp4", [grey(0), grey(0)[:-2]], frames_per_second=25)
    with pytest.raises(ValueError, match="no picture"):
        write_video(tmp_path / "none.mp4", [], frames_per_second=25)
    assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_written_with_one_line_more(tmp_path):
    write_video(tmp_path / "odd.mp4", [four_colours()[:-1, :-1]] * 2, frames_per_second=Fraction(30000, 1001))
    assert next(read_frames(tmp_path / "odd.mp4")).image_HWC.shape == (HEIGHT, WIDTH, 3)
    assert probe(tmp_path / "odd.mp4").frames_per_second == pytest.approx(29.97, abs=0.01)


def test_pictures_are_read_upright_and_in_rgb(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), four_colours()[..., ::-1])
    assert np.array_equal(read_image(path), four_colours())


def test_the_orientation_of_a_photograph_is_honoured(tmp_path):
    _, encoded = cv2.imencode(".jpg", four_colours()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"  # orientation 6: turned by a quarter
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + entry + bytes(4)
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    content = encoded.tobytes()
    path = tmp_path / "photograph.jpg"
    path.write_bytes(content[:2] + segment + content[2:])
    assert_looks_like(read_image(path), np.rot90(four_colours(), -1))


def test_what_is_no_picture_is_refused(tmp_path):
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.jpg"
    text.write_text("no picture")
    empty.write_bytes(b"")
    with pytest.raises(ImageError, match=r"text\.jpg: 10 bytes that are no picture"):
        read_image(text)
    with pytest.raises(ImageError, match="an empty file"):
        read_image(empty)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.jpg")


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "AAAAAAAA"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert b"AAAAAAAA" in content
    path.write_bytes(content.replace(b"AAAAAAAA", "Fräulein".encode("latin-1")))
    assert len(list(read_frames(path))) == 3


def test_a_name_that_looks_like_an_address_is_a_file_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "concat:a.mp4"):
        write_video(Path(name), [np.zeros((48, 64, 3), np.uint8)] * 3, frames_per_second=25)
        assert len(list(read_frames(Path(name)))) == 3


def test_a_heic_picture_is_read_and_a_damaged_one_named(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="no pillow-heif: pip install 'mien[heic]'")
    image = np.zeros((48, 96, 3), np.uint8)
    image[:24], image[:, :48, 0] = 200, 90
    path = tmp_path / "a.heic"
    heif.from_bytes("RGB", (96, 48), image.tobytes()).save(path, quality=95)
    read = read_image(path)
    assert read.shape == image.shape
    assert np.abs(read.astype(int) - image).max() <= 8
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ImageError, match=r"a\.heic: a damaged HEIC picture"):
        read_image(path)


def test_without_its_library_a_heic_picture_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x1cftypheic" + bytes(40))
    with pytest.raises(
        ImageError, match=r"a\.heic: a HEIC picture; to read these: pip install 'mien\[heic\]'"
    ):
        read_image(path)
