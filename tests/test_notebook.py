from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def code_cells(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run(notebook, **parameters):
    """The names that it leaves, run as a script with other values in its cell of parameters."""
    names = {"__name__": "notebook"}
    for cell in code_cells(notebook):
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        exec(compile(source, cell["id"], "exec"), names)  # our own file
        if "parameters" in cell["metadata"].get("tags", ()):
            names.update(parameters)
    return names


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells(notebook))


@pytest.mark.slow
def test_the_notebook_from_videos_to_statistics_runs_from_top_to_bottom(face_videos, tmp_path, monkeypatch):
    """On fewer people and steps than it has by itself."""
    monkeypatch.chdir(tmp_path)
    videos = face_videos / "mp4"
    notebook = EXAMPLES / "from_videos_to_statistics.ipynb"
    names = run(notebook, STEPS=4, VIDEOS=videos, STUDY=videos, LABELLED=("rendered", face_videos))
    assert (tmp_path / "from-videos-to-statistics" / "first.html").stat().st_size > 50_000
    assert names["found"].num_frames == 6 * 2 * 40
    unproven = names["found"].metadata["model"]["unproven_units"]
    assert set(names["statistics"]["unit"]) == set(names["found"].columns) - set(unproven)
    assert (names["tests"]["people"] == 6).all()
    assert names["tests"]["p"].between(0, 1).all()


@pytest.mark.slow
def test_the_notebook_from_tables_to_findings_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Twelve files of two people each, with the shipped model."""
    monkeypatch.chdir(tmp_path)
    notebook = EXAMPLES / "from_tables_to_findings.ipynb"
    names = run(notebook)
    assert len(names["people"]) == 24
    assert names["people"]["person"].nunique() == 12
    assert set(names["summary"]["condition"]) == {"baseline", "film"}
    usable = names["summary"].groupby(["person", "condition"])["usable_seconds"].max()
    assert usable.index[usable == 0].tolist() == [("id01003", "film")]  # flat light: `blurred` in all frames
    assert (names["tests"]["people"] == 11).all()
    assert (tmp_path / "from-tables-to-findings" / "findings" / "curves.svg").stat().st_size > 5_000
