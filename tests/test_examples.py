from __future__ import annotations

import importlib.util
from pathlib import Path

from mien.train.encoder_file import load_encoder

EXAMPLE = Path(__file__).parents[1] / "examples" / "pretrain_by_hand.py"


def test_pretraining_by_hand_takes_sixty_lines_and_gives_an_encoder(disc_store, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("pretrain_by_hand", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FRAME_PX, module.VIEW_PX = 36, 32  # the discs are small
    module.main(disc_store, tmp_path / "encoder.safetensors", 2)
    assert "step 2: loss" in capsys.readouterr().out
    assert load_encoder(tmp_path / "encoder.safetensors").feature_dim == 128
    assert len(EXAMPLE.read_text().splitlines()) <= 60
