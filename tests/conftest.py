"""What several rooms' tests share: a tiny store of moving discs and an untrained encoder for it."""

from __future__ import annotations

import os
import shutil
import signal

# Before torch's first convolution. On CPUs with AVX2 and no AVX-512, oneDNN's backward pass of strided 1 x 1
# convolutions of 2 to 6 channels writes outside of its memory (torch 2.13). mien has none; a
# test's own tiny network may.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")
# pytest-xdist starts one process per core: more threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is compared bit for bit is a CPU's: a GPU adds in orders of its own.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from hypothesis import HealthCheck, settings

from mien import cli
from mien.data.store import TrackStore
from mien.data.store_layout import (
    FRAMES,
    INDEX,
    INDEX_DTYPE,
    MANIFEST,
    MANIFEST_SCHEMA,
    StoreHeader,
    crops_path,
)
from mien.data.store_writer import JpegTar
from mien.faces.contract import CropContract
from tests.shipped import few_people
from tests.tiny_encoder import write_encoder

settings.register_profile("no_clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_clock")

DISC_CONTRACT = CropContract(
    "discs", "", "discs", "", ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)), 0.2, 64
)


@pytest.fixture
def python_answers_interrupts():
    """A shell's background jobs start with SIGINT ignored; what is tested here is Python's own answer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def disc_store(tmp_path_factory):
    """12 videos of 6 "people" (colours), 40 frames each: a disc that grows, or shrinks, steadily."""
    path = tmp_path_factory.mktemp("discs") / "store"
    StoreHeader(DISC_CONTRACT, {"min_run_frames": 17}).write(path)
    rows, index, seconds = [], [], []
    for video in range(12):
        name = f"id{video % 6}/video{video}/00001"
        crops = path / crops_path(name)
        crops.parent.mkdir(parents=True, exist_ok=True)
        with JpegTar(crops) as tar:
            for slot, frame in enumerate(_disc_frames(video)):
                jpeg = simplejpeg.encode_jpeg(frame, quality=90, colorspace="RGB")
                index.append((slot, slot, *tar.add(f"{slot:04d}.jpg", jpeg)))
                seconds.append(slot / 25)
        rows.append(_manifest_row(video, name))
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), path / MANIFEST)
    pq.write_table(pa.table({"seconds": seconds}), path / FRAMES)  # the one column that is read here
    np.save(path / INDEX, np.array(index, INDEX_DTYPE))
    return TrackStore.open(path).path


@pytest.fixture(scope="session")
def disc_encoder(tmp_path_factory):
    """An untrained encoder for the discs: 36 px frames, 32 px pictures, 32 features."""
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder.safetensors", DISC_CONTRACT)


@pytest.fixture(scope="session")
def face_videos(tmp_path_factory):
    """Six people of the shipped clips, two clips each, with labels: a part in the layout of `mien render`."""
    return few_people(tmp_path_factory.mktemp("faces") / "main", 6)


@pytest.fixture(scope="session")
def face_store(face_videos, tmp_path_factory):
    """The store of `face_videos`, their faces found by the installed models."""
    store = tmp_path_factory.mktemp("faces") / "store"
    assert cli.main(["prepare", str(face_videos), "--out", str(store), "--workers", "0"]) == 0
    return store


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium that Playwright drives; skips where one of the two is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=program,
            args=[
                *(["--no-sandbox"] if as_root else []),
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield browser
        browser.close()


def _disc_frames(video):
    rng = np.random.default_rng(video % 6)
    background, colour = rng.integers(0, 256, (2, 3))
    y, x = np.mgrid[:64, :64] - 31.5
    radii = np.linspace(4, 30, 40)
    for radius in radii if video % 3 else radii[::-1]:
        inside = (x**2 + y**2 < radius**2)[:, :, None]
        yield np.where(inside, colour, background).astype(np.uint8)


def _manifest_row(video, name):
    return {
        "track": video,
        "track_id": f"{name}#0",
        "identity": f"id{video % 6}",
        "identity_number": video % 6,
        "video": name,
        "video_number": video,
        "source_path": f"{name}.mp4",
        "frames_per_second": 25.0,
        "first_row": 40 * video,
        "num_frames": 40,
        "runs": [{"start": 0, "length": 40}],
        "num_short_runs": 0,
        "num_frames_in_short_runs": 0,
        "first_seconds": 0.0,
        "last_seconds": 39 / 25,
        "crops": crops_path(name),
    }
