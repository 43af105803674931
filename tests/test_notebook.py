from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "from_videos_to_statistics.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells())


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(face_videos, tmp_path, monkeypatch):
    """As a script, on fewer people and steps than it stands there with."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    for cell in code_cells():
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        exec(compile(source, cell["id"], "exec"), names)  # our own file
        if "parameters" in cell["metadata"].get("tags", ()):
            names.update(STEPS=4, VIDEOS=face_videos / "mp4", STUDY=face_videos / "mp4")
            names.update(LABELLED=("rendered", face_videos))
    assert (tmp_path / "from-videos-to-statistics" / "first.html").stat().st_size > 50_000
    assert names["found"].num_frames == 6 * 2 * 40
    unproven = names["found"].metadata["model"]["unproven_units"]
    assert set(names["statistics"]["unit"]) == set(names["found"].columns) - set(unproven)
    assert (names["tests"]["people"] == 6).all()
    assert names["tests"]["p"].between(0, 1).all()
