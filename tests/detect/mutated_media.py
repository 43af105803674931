"""Small videos and pictures, each damaged in a way that follows from its number."""

from __future__ import annotations

import av
import cv2
import numpy as np

from mien.video import write_video
from tests.detect.beside_video import write_beside, write_points

NUM_FRAMES = 12
FACES = [[0], [0, 1], []] * 4


def write_seeds(folder):
    """One good file of each kind."""
    mp4 = write_beside(folder / "seed.mp4", FACES)
    images = _pictures_of(mp4)
    write_video(folder / "seed.mov", images, frames_per_second=30)
    for name, codec, options in (
        ("seed.avi", "mpeg4", {}),
        ("seed.mkv", "libx264", {"bf": "2"}),
        ("seed.webm", "libvpx", {"deadline": "good", "cpu-used": "8"}),
        ("seed.ts", "mpeg2video", {}),
        ("seed.gif", "gif", {}),
    ):
        _encode(folder / name, codec, images, options)
    for name in ("seed.png", "seed.jpg", "seed.webp", "seed.bmp"):
        assert cv2.imwrite(str(folder / name), images[0])
    return sorted(path for path in folder.iterdir() if path.name.startswith("seed") and path.suffix != ".csv")


def write_mutated(folder, seeds, count):
    """`count` files `000.mp4`, `001.avi` ..., and the points of faces beside the videos."""
    folder.mkdir()
    for number in range(count):
        seed = seeds[number % len(seeds)]
        path = folder / f"{number:03d}{seed.suffix}"
        path.write_bytes(mutated(seed.read_bytes(), np.random.default_rng(number)))
        write_points(path, FACES)
    return folder


def mutated(content, generator):
    """The content with bits flipped, a part overwritten, cut out, repeated or missing at the end."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        start = int(generator.integers(0, max(1, len(data) - 1)))
        length = int(generator.integers(1, max(2, len(data) // 4)))
        kind = generator.integers(0, 6)
        if kind == 0:
            for at in generator.integers(0, max(1, len(data)), 12):
                if at < len(data):
                    data[at] ^= 1 << int(generator.integers(0, 8))
        elif kind == 1:
            data[start : start + length] = generator.bytes(length)
        elif kind == 2:
            del data[start : start + length]
        elif kind == 3:
            data[start:start] = data[start : start + length]
        elif kind == 4:
            del data[start:]
        else:  # the header, where sizes and counts stand
            at = int(generator.integers(0, min(200, max(1, len(data)))))
            data[at : at + 4] = generator.bytes(4)
    return bytes(data)


def _pictures_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _encode(path, codec, images, options):
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:  # the same bytes each time
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
