from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from mien.datasets.rendered import shipped_clips
from mien.train.encoder_file import load_encoder
from tests.detect.tiny_model import write_tiny_model

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = EXAMPLES / "pretrain_by_hand.py"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pretraining_by_hand_takes_sixty_lines_and_gives_an_encoder(disc_store, tmp_path, capsys):
    module = load(EXAMPLE)
    module.FRAME_PX, module.VIEW_PX = 36, 32  # the discs are small
    module.main(disc_store, tmp_path / "encoder.safetensors", 2)
    assert "step 2: loss" in capsys.readouterr().out
    assert load_encoder(tmp_path / "encoder.safetensors").feature_dim == 128
    assert len(EXAMPLE.read_text().splitlines()) <= 60


@pytest.mark.slow
def test_a_video_gives_its_table_page_and_annotated_copy_and_the_tables_their_statistics(tmp_path, capsys):
    video = next((shipped_clips() / "main").rglob("*.mp4"))
    model, out = write_tiny_model(tmp_path), tmp_path / "out"
    load(EXAMPLES / "detect_video.py").main(video, model, out)
    assert "face 0: 40 frames; present: AU01" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"00001.csv", "00001.json", "00001.html", "00001.annotated.mp4"}
    load(EXAMPLES / "statistics_of_tables.py").main(out / "00001.csv", tmp_path / "statistics.csv")
    assert "40 frames in 1 files, 100.0% with a face" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "statistics.csv")["unit"].tolist() == ["AU01", "AU12", "AU25"]  # not AU04
