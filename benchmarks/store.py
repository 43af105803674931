"""Which format should crops lie in? Bytes a frame, random clips and single frames a second, compared.

    python benchmarks/store.py VIDEO_OR_FOLDER... [--frames 4000] [--seconds 4]

Faces of the videos given are found and cropped once, the same crops are written in every format, and then
the formats take turns at reading: a random clip (9 frames, stride 2) and a random frame, decoded to RGB,
on one core, page cache warm. A second table compares JPEG qualities. docs/file-formats.md has the results.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from mien.data.sources import list_sources
from mien.data.store_writer import JpegSettings, JpegTar

CLIP_LEN, STRIDE = 9, 2
SPAN = (CLIP_LEN - 1) * STRIDE + 1

Read = Callable[[int, list[int]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=4000, help="crops to compare with")
    parser.add_argument("--seconds", type=float, default=4.0, help="of reading, a format and kind of read")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracks = face_tracks(args.videos, num_frames=args.frames)
    print(f"{sum(map(len, tracks))} crops of 256 px in {len(tracks)} runs\n")
    with tempfile.TemporaryDirectory() as folder:
        compare_formats(tracks, Path(folder), seconds=args.seconds)
    compare_qualities(tracks)


def face_tracks(videos: list[Path], *, num_frames: int) -> list[np.ndarray]:
    """Runs of uncompressed crops, (n, 256, 256, 3) each, n >= 17; the largest face of each frame."""
    from mien.faces.track import FaceTracking

    tracking = FaceTracking()
    tracks: list[np.ndarray] = []
    for source in list_sources(videos).sources:
        run: list[np.ndarray] = []
        for looked in tracking(source.path):
            if looked.faces:
                run.append(looked.faces[0].crop_HWC)
            if len(run) == 100:
                break
        if len(run) >= SPAN:
            tracks.append(np.stack(run))
        if sum(map(len, tracks)) >= num_frames:
            break
    return tracks


def compare_formats(tracks: list[np.ndarray], folder: Path, *, seconds: float) -> None:
    formats = {
        "raw .npy a track, mapped": write_npy,
        "tar of JPEGs, pread by offset": write_tar,
        "LMDB of JPEGs": write_lmdb,
        "Parquet of JPEGs, 1 row a page group": write_parquet,
        "mp4 a track (H.264, GOP 12)": write_mp4,
        "mp4 a track (H.264, all intra)": write_mp4_intra,
    }
    readers: dict[str, tuple[float, Read]] = {}
    num_frames = sum(map(len, tracks))
    for number, (name, write) in enumerate(formats.items()):
        place = folder / str(number)
        place.mkdir()
        read = write(tracks, place)
        readers[name] = (folder_bytes(place) / num_frames, read)
    rates = {name: {"clip": [0, 0.0], "frame": [0, 0.0]} for name in formats}
    rng = np.random.default_rng(0)
    rounds = 4
    for _ in range(rounds):  # in turns, so that a busy neighbour slows all of them
        for name, (_, read) in readers.items():
            for kind, count in (("clip", CLIP_LEN), ("frame", 1)):
                add_reads(rates[name][kind], read, tracks, rng, count=count, seconds=seconds / rounds)
    print("| format | kB a frame | clips/s | single frames/s |\n| --- | ---: | ---: | ---: |")
    for name, (size, _) in readers.items():
        clips, frames = (reads / spent for reads, spent in (rates[name]["clip"], rates[name]["frame"]))
        print(f"| {name} | {size / 1000:.1f} | {clips:,.0f} | {frames:,.0f} |")


def add_reads(
    tally: list, read: Read, tracks: list[np.ndarray], rng: np.random.Generator, *, count: int, seconds: float
) -> None:
    """Random reads for that long; number and time are added to the tally."""
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        track = int(rng.integers(len(tracks)))
        span = (count - 1) * STRIDE + 1
        start = int(rng.integers(len(tracks[track]) - span + 1))
        frames = read(track, list(range(start, start + span, STRIDE)))
        assert frames.shape == (count, 256, 256, 3)
        tally[0] += 1
    tally[1] += spent


def encode(crop_HWC: np.ndarray) -> bytes:
    jpeg = JpegSettings()
    return simplejpeg.encode_jpeg(crop_HWC, jpeg.quality, "RGB", jpeg.subsampling)


def decode(jpegs: list[bytes]) -> np.ndarray:
    frames = np.empty((len(jpegs), 256, 256, 3), np.uint8)
    for frame, jpeg in zip(frames, jpegs, strict=True):
        simplejpeg.decode_jpeg(jpeg, "RGB", buffer=frame)
    return frames


def write_npy(tracks: list[np.ndarray], folder: Path) -> Read:
    for number, track in enumerate(tracks):
        np.save(folder / f"{number}.npy", track)
    mapped = [np.load(folder / f"{number}.npy", mmap_mode="r") for number in range(len(tracks))]
    return lambda track, positions: np.ascontiguousarray(mapped[track][positions])


def write_tar(tracks: list[np.ndarray], folder: Path) -> Read:
    places = []
    for number, track in enumerate(tracks):
        with JpegTar(folder / f"{number}.tar") as tar:
            places.append([tar.add(f"000/{i:07d}.jpg", encode(crop)) for i, crop in enumerate(track)])
    handles = [os.open(folder / f"{number}.tar", os.O_RDONLY) for number in range(len(tracks))]

    def read(track: int, positions: list[int]) -> np.ndarray:
        chosen = (places[track][position] for position in positions)
        return decode([os.pread(handles[track], size, offset) for offset, size in chosen])

    return read


def write_lmdb(tracks: list[np.ndarray], folder: Path) -> Read:
    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 36)
    with environment.begin(write=True) as transaction:
        for number, track in enumerate(tracks):
            for position, crop in enumerate(track):
                transaction.put(f"{number}/{position:07d}".encode(), encode(crop))
    environment.close()
    shutil.copyfile(folder / "lmdb/data.mdb", folder / "data.mdb")
    shutil.rmtree(folder / "lmdb")
    reader = lmdb.open(str(folder / "data.mdb"), subdir=False, readonly=True, lock=False)

    def read(track: int, positions: list[int]) -> np.ndarray:
        with reader.begin() as transaction:
            return decode([transaction.get(f"{track}/{position:07d}".encode()) for position in positions])

    return read


def write_parquet(tracks: list[np.ndarray], folder: Path) -> Read:
    """One file a track and one row group a frame: the finest grain that Parquet reads at random."""
    for number, track in enumerate(tracks):
        table = pa.table({"jpeg": pa.array([encode(crop) for crop in track], pa.binary())})
        pq.write_table(
            table, folder / f"{number}.parquet", row_group_size=1, compression="none", use_dictionary=False
        )
    files = [pq.ParquetFile(folder / f"{n}.parquet", memory_map=True) for n in range(len(tracks))]

    def read(track: int, positions: list[int]) -> np.ndarray:
        return decode(files[track].read_row_groups(positions, use_threads=False)["jpeg"].to_pylist())

    return read


def write_mp4(tracks: list[np.ndarray], folder: Path, *, gop: int = 12, crf: int = 18) -> Read:
    for number, track in enumerate(tracks):
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 256
            stream.pix_fmt = "yuv420p"
            stream.gop_size = gop
            stream.thread_count = 1
            stream.options = {"crf": str(crf), "bf": "0"}
            for crop in track:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(crop, format="rgb24")))
            container.mux(stream.encode(None))
    content = [(folder / f"{number}.mp4").read_bytes() for number in range(len(tracks))]

    def read(track: int, positions: list[int]) -> np.ndarray:
        wanted, found = set(positions), []
        with av.open(io.BytesIO(content[track])) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            container.seek(int(positions[0] / 25 / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if round(frame.time * 25) in wanted:
                    found.append(frame.to_ndarray(format="rgb24"))
                if len(found) == len(positions):
                    return np.stack(found)
        raise AssertionError(f"frames {positions} not found")

    return read


def write_mp4_intra(tracks: list[np.ndarray], folder: Path) -> Read:
    return write_mp4(tracks, folder, gop=1)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def compare_qualities(tracks: list[np.ndarray]) -> None:
    """Size, fidelity and speed of JPEG settings over a sample of the crops."""
    crops = np.concatenate([track[::10] for track in tracks])[:400]
    print("\n| quality | chroma | kB a frame | PSNR, dB | PSNR of the luminance, dB | encode/s | decode/s |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for quality in (80, 85, 90, 95):
        for subsampling in ("420", "444"):
            began = time.perf_counter()
            jpegs = [simplejpeg.encode_jpeg(crop, quality, "RGB", subsampling) for crop in crops]
            encoded = time.perf_counter()
            decoded = decode(jpegs)
            ended = time.perf_counter()
            print(
                f"| {quality} | {subsampling} | {np.mean([len(jpeg) for jpeg in jpegs]) / 1000:.1f} "
                f"| {psnr(crops, decoded):.1f} | {psnr(luminance(crops), luminance(decoded)):.1f} "
                f"| {len(crops) / (encoded - began):,.0f} | {len(crops) / (ended - encoded):,.0f} |"
            )


def luminance(frames_NHWC: np.ndarray) -> np.ndarray:
    return frames_NHWC @ np.array([0.299, 0.587, 0.114], np.float32)


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    """Mean over the frames, in dB."""
    squared = (left.astype(np.float32) - right.astype(np.float32)) ** 2
    return float(np.mean(10 * np.log10(255**2 / squared.reshape(len(left), -1).mean(axis=1))))


if __name__ == "__main__":
    main()
