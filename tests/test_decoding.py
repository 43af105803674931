"""Which stream is read, what its frames' times are, and what becomes of frames that cannot be decoded."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mien.decoding import Clock
from mien.video import LostFrame, VideoError, on_grid, probe, read_all_frames, read_frames

HEIGHT, WIDTH = 48, 64
B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:scenecut=0:keyint=50"}


def pictures(count, *, size=(HEIGHT, WIDTH)):
    """Something that moves, so that encoders make pictures of all kinds."""
    ramp = np.tile(np.linspace(0, 255, size[1]).astype(np.uint8)[None, :, None], (size[0], 1, 3))
    return [np.roll(ramp, 3 * k, axis=1) for k in range(count)]


def encode(path, images, *, codec="libx264", rate=25, first=0, options=None, file_format=None, prepare=None):
    """A video at a constant rate, whose first frame is frame `first` of its clock."""
    with av.open(str(path), "w", format=file_format) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options, stream.thread_count = options or {}, 1
        if prepare is not None:
            prepare(stream)
        for number, image in enumerate(images, start=first):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def damage(path, numbers, *, whole=False):
    """Fill the middles of these packets with zeros, or all of them."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        position, size = packets[number]
        first, count = (0, size) if whole else (size // 2, size // 4)
        content[position + first : position + first + count] = bytes(count)
    path.write_bytes(content)


def read_damaged(path):
    frames = []
    with pytest.raises(VideoError, match="damaged"):
        for frame in read_all_frames(path):
            frames.append(frame)
    return frames


# ---- which stream ------------------------------------------------------------------------------------------


def two_streams(path, sizes, *, default=None):
    with av.open(str(path), "w") as out:
        streams = []
        for number, (width, height) in enumerate(sizes):
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = 1 if number == default else 0
            streams.append(stream)
        for stream in streams:
            for image in pictures(3, size=(stream.height, stream.width)):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("sizes", "default", "expected"),
    [
        ([(64, 48), (320, 240)], 1, (320, 240)),  # a preview first, the real one flagged
        ([(320, 240), (64, 48)], 1, (64, 48)),  # the flag comes before the size
        ([(64, 48), (320, 240)], None, (320, 240)),
    ],
)
def test_the_default_stream_is_read_then_the_largest(tmp_path, sizes, default, expected):
    path = two_streams(tmp_path / "two.mkv", sizes, default=default)
    assert next(read_frames(path)).image_HWC.shape[1::-1] == expected
    (left_out,) = set(sizes) - {expected}
    index = sizes.index(left_out)
    assert probe(path).notes == (
        f"video stream {index} (h264, {left_out[0]} x {left_out[1]}) is left out, stream {1 - index} is read",
    )


# ---- which time --------------------------------------------------------------------------------------------


def test_times_of_b_frames_in_an_avi_do_not_run_backwards(tmp_path):
    path = encode(tmp_path / "b.avi", pictures(100), options=B_FRAMES)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
        length = container.duration / av.time_base
    assert (np.diff(stamps) < 0).sum() > 20  # the container keeps the order of decoding alone
    seconds = [frame.seconds for frame in read_frames(path)]
    assert seconds == pytest.approx(np.arange(100) / 25, abs=1e-6)
    assert length == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("codec", "file_format", "options"),
    [("libx264", "h264", {}), ("libx264", "h264", {"bf": "0"}), ("mpeg4", "m4v", {})],
)
def test_a_raw_stream_runs_at_the_rate_of_its_header_and_says_so(tmp_path, codec, file_format, options):
    path = encode(
        tmp_path / "raw", pictures(30), codec=codec, rate=15, file_format=file_format, options=options
    )
    assert [frame.seconds for frame in read_frames(path)] == pytest.approx(np.arange(30) / 15, abs=1e-6)
    info = probe(path)
    assert info.frames_per_second == 15
    assert info.notes == ("times are assumed, a raw stream has none: 15 frames/s, as its header says",)


def test_a_raw_stream_without_a_rate_runs_at_25(tmp_path):
    path = encode(tmp_path / "raw", pictures(5), codec="mjpeg", rate=15, file_format="mjpeg")
    assert [frame.seconds for frame in read_frames(path)] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert probe(path).notes == (
        "times are assumed, a raw stream has none: 25 frames/s, its header says nothing",
    )


def test_an_ordinary_file_needs_no_note(tmp_path):
    assert probe(encode(tmp_path / "plain.mp4", pictures(3))).notes == ()


def test_the_clock_is_the_stamps_where_they_increase():
    clock = Clock(0.04)
    assert [clock.seconds(stamp) for stamp in (5.0, 5.04, 5.3)] == [5.0, 5.04, 5.3]


def test_the_clock_counts_on_where_stamps_fall_back_leap_or_are_missing():
    clock = Clock(0.04)
    found = [clock.seconds(stamp) for stamp in (1.0, None, 0.0, 0.04, 1e9, 1e9 + 0.04, float("nan"))]
    assert found == pytest.approx([1.0, 1.04, 1.08, 1.12, 1.16, 1.20, 1.24])


# ---- lost frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "options", "numbers"),
    [
        ("camera.avi", "mjpeg", {}, [10, 17, 25]),
        ("camera.mkv", "mjpeg", {}, [10, 17, 25]),
        ("all-intra.mp4", "libx264", {"g": "1"}, [10, 17, 25]),
        ("simple.avi", "mpeg4", {}, [10, 17, 25]),
    ],
)
def test_frames_behind_a_lost_one_keep_their_numbers_and_times(tmp_path, name, codec, options, numbers):
    path = encode(tmp_path / name, pictures(30), codec=codec, options=options)
    before = list(read_frames(path))
    damage(path, numbers)
    frames = read_damaged(path)
    assert [frame.source_frame_index for frame in frames] == list(range(30))
    assert [frame.source_frame_index for frame in frames if isinstance(frame, LostFrame)] == numbers
    assert [frame.seconds for frame in frames] == pytest.approx([frame.seconds for frame in before])


@pytest.mark.skipif("libx265" not in av.codecs_available, reason="no HEVC encoder in this PyAV")
def test_frames_that_hevc_leaves_out_with_a_lost_one_are_lost_too(tmp_path):
    options = {"x265-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:open-gop=0"}
    path = encode(tmp_path / "phone.mp4", pictures(30), codec="libx265", options=options)
    before = list(read_frames(path))
    damage(path, [10], whole=True)  # the second group's first: none of the others can be decoded without it
    frames = read_damaged(path)
    assert [frame.source_frame_index for frame in frames] == list(range(30))
    assert [frame.seconds for frame in frames] == pytest.approx([frame.seconds for frame in before])
    lost = {frame.source_frame_index for frame in frames if isinstance(frame, LostFrame)}
    assert 10 in lost
    assert lost <= set(range(10, 20))


def test_a_lost_frame_stands_where_it_is_seen_not_where_it_is_decoded(tmp_path):
    path = encode(tmp_path / "b.mp4", pictures(30), options=B_FRAMES)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    shown_of = [sorted(packet.pts for packet in packets).index(packet.pts) for packet in packets]
    number, shown = next((k, shown) for k, shown in enumerate(shown_of) if k > 12 and shown != k)
    position = packets[number].pos
    content = bytearray(path.read_bytes())
    content[position : position + 20] = bytes(20)
    path.write_bytes(content)
    frames = read_damaged(path)
    assert [frame.source_frame_index for frame in frames] == list(range(30))
    assert shown in [frame.source_frame_index for frame in frames if isinstance(frame, LostFrame)]
    assert np.diff([frame.seconds for frame in frames]) == pytest.approx([0.04] * 29)


def test_lost_frames_serve_no_slot_and_come_in_order(tmp_path):
    path = encode(tmp_path / "camera.avi", pictures(12), codec="mjpeg")
    damage(path, [0, 5, 11])
    seen = []
    with pytest.raises(VideoError, match="9 frames could be read, 3 could not"):
        for slots, frame in on_grid(read_all_frames(path)):
            seen.append((frame.source_frame_index, slots))
    assert [index for index, _ in seen] == list(range(12))
    assert [seen[number][1] for number in (0, 5, 11)] == [(), (), ()]
    assert [slot for _, slots in seen for slot in slots] == list(range(11))  # neighbours stand in
