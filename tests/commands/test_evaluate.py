"""The whole verb on a few rendered faces: a report that stands alone, predictions that repeat it."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest
import torch

from mien.backbones import build_backbone
from mien.cli import main
from mien.evaluate import evaluation
from mien.evaluate.evaluation import newly_initialised
from mien.evaluate.predictions import read_predictions
from mien.evaluate.probe import TrunkMode
from mien.faces.contract import CropContract, InputContract
from mien.train.encoder_file import load_encoder, save_encoder
from tests.shipped import crop_contract_of_finder, few_people

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
QUICK = ["--set", "min_steps=4", "--set", "epochs=1", "--workers", "0"]


def _save(path, contract: CropContract):
    settings = {"width": 4, "stem_stride": 4}
    torch.manual_seed(0)
    inputs = InputContract(contract, 36, 32, *IMAGENET)
    save_encoder(
        path,
        build_backbone("resnet18", **settings),
        backbone_name="resnet18",
        backbone_settings=settings,
        inputs=inputs,
        training={},
    )
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    few_people(folder / "main", 6, num_frames=10)
    _save(folder / "a.safetensors", crop_contract_of_finder())
    return folder


@pytest.fixture(scope="module")
def evaluate(faces):
    """The verb on these faces, with one encoder unless another is given."""

    def run(*more, verb="evaluate", **changes):
        given = {"dataset": "rendered", "root": faces / "main", "store": faces / "store"}
        given |= {"encoder": faces / "a.safetensors"} | changes
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return main([verb, *words, *QUICK, *map(str, more)])

    return run


@pytest.fixture(scope="module")
def report(faces, evaluate):
    out = faces / "report"
    more = ["--untrained", "--supervised", "--shares", "50", "100"]
    assert evaluate(*more, encoder=f"ours={faces / 'a.safetensors'}", out=out) == 0
    return out


def test_every_system_mode_and_share_leaves_its_predictions(report):
    names = sorted(path.stem for path in (report / "predictions").iterdir())
    modes = ["affine+stats.100", "frozen.100", "frozen.50", "stats.100"]
    expected = [f"{system}.{mode}" for system in ("ours", "untrained") for mode in modes]
    assert names == sorted([*expected, "supervised.all.100", "supervised.all.50"])
    frozen = read_predictions(report / "predictions" / "ours.frozen.100.parquet")
    assert len(frozen.path_N) == 120
    assert not np.isnan(frozen.threshold_NA).any()
    assert frozen.predicted_intensity_NA is not None
    assert np.isfinite(frozen.average("icc"))


def test_the_page_needs_no_other_file_and_is_complete(report):
    html = (report / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    for words in (
        "These faces are rendered",
        "F1 by action unit",
        "Person-independence",
        "Features of ten people",
        "Where ours looks",
        "nearest frames of other people",
        "With fewer labelled people",
        "supervised",
    ):
        assert words in html
    assert html.count("<img") > 20


def test_the_texts_hold_the_same_tables(report):
    assert "## F1 by action unit" in (report / "report.md").read_text()
    assert r"\begin{tabular}" in (report / "tables.tex").read_text()
    columns = "system,mode,share_of_labels,output,score,value,low,high"
    assert (report / "scores.csv").read_text().startswith(columns)


def _tables_of(markdown):
    """Cells as printed, by table, row and column."""
    cells, title, columns = {}, "", []
    for line in markdown.splitlines():
        if line.startswith("## "):
            title, columns = line[3:], []
        elif line.startswith("|"):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            if not columns:
                columns = row
            elif not row[0].startswith("---"):
                cells |= {
                    (title, row[0], name): cell for name, cell in zip(columns[1:], row[1:], strict=True)
                }
    return cells


def test_compare_prints_every_number_of_the_report_again_to_the_last_digit(report, capsys):
    assert main(["compare", str(report / "predictions"), "--out", str(report / "every")]) == 0
    assert "untrained (frozen) → " in capsys.readouterr().out
    said, again = (_tables_of((folder / "report.md").read_text()) for folder in (report, report / "every"))
    from_predictions = {key: cell for key, cell in said.items() if not key[0].startswith("Person-indep")}
    shared = {key for key in from_predictions if key in again}
    assert all(from_predictions[key] == again[key] for key in shared)
    left = {key[:2] for key in from_predictions if key not in again}
    assert {table for table, _ in left} <= {"Differences of F1, points"}  # pairs that only the report tests
    titles = {table for table, _, _ in shared}
    assert {"F1 by action unit, %", "Means over action units, %", "ROC-AUC by action unit, %"} <= titles
    assert "Mean F1 by trained part of the encoder, %" in titles
    assert any(table.startswith("Differences") for table in titles)
    assert len(shared) > 300
    first, again = ((folder / "scores.csv").read_text().splitlines() for folder in (report, report / "every"))
    assert sorted(again) == sorted(first)


def test_a_second_run_finds_the_faces_prepared(faces, report, evaluate, capsys, monkeypatch):
    arguments = ("--modes", "frozen", "--out", faces / "r2")
    assert evaluate(*arguments) == 0
    printed = capsys.readouterr().out
    assert "00001: " not in printed
    assert "kept from" not in printed
    read = []
    monkeypatch.setattr(
        evaluation, "read_predictions", lambda path: read.append(path) or read_predictions(path)
    )
    assert evaluate(*arguments) == 0
    assert "a (frozen): " in (again := capsys.readouterr().out)
    assert "kept from an earlier run" in again
    assert sorted(read) == sorted((faces / "r2" / "predictions").iterdir())  # each once
    assert evaluate(*arguments, "--set", "seed=1") == 1
    assert "settings.seed: 0 there, 1 now" in capsys.readouterr().err
    assert "not run: affine+stats, stats" in (faces / "r2" / "report.html").read_text()


def test_faces_cropped_otherwise_are_refused_before_any_work(faces, report, evaluate, capsys):
    contract = dataclasses.replace(crop_contract_of_finder(), margin=0.3)
    other = _save(faces / "b.safetensors", contract)
    assert evaluate(encoder=other, out=faces / "r3") == 1
    assert "margin: 0.3" in capsys.readouterr().err
    assert not (faces / "r3").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "rendred"}, "unknown data set 'rendred'; did you mean 'rendered'"),
        ({"root": "nowhere"}, "labels.parquet: no such file"),
        ({"encoder": "none.safetensors"}, "none.safetensors"),
        ({"protocol": "bp4d-3fold"}, "has no part for"),
        ({"occurs-at": "2"}, "--occurs-at is for the data set `table`"),
        ({"set": "epoch=3"}, "unknown key 'epoch'"),
        ({"shares": "0"}, "--shares 0: above 0 and at most 100 percent"),
    ],
)
def test_a_wrong_argument_says_what_was_expected(report, evaluate, capsys, changes, message):
    assert evaluate(**{"out": report.parent / "r4"} | changes) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "fit"])
def test_a_protocol_that_does_not_fit_is_refused_before_any_face_is_looked_for(
    evaluate, tmp_path, capsys, verb
):
    changes = {"store": tmp_path / "store", "out": tmp_path / "x.safetensors", "protocol": "bp4d-3fold"}
    assert evaluate(verb=verb, **changes) == 1
    assert "has no part for" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_other_files_are_not_compared(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 1
    assert "no .parquet file there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """A file in the layout of torchvision's and timm's resnet18, with its weights."""
    torch.manual_seed(3)
    state = build_backbone("resnet18").state_dict()
    path = tmp_path_factory.mktemp("public") / "resnet18-public.pth"
    torch.save(state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    return path, state


def test_public_weights_are_where_supervised_training_begins(faces, report, evaluate, public, tmp_path):
    weights, state = public
    arguments = ["--modes", "frozen", "--imagenet", weights, "--supervised-backbone", "resnet18"]
    still = ["--set", "trunk_learning_rate=0", "--set", "batch_size=16"]
    assert evaluate(*arguments, *still, out=tmp_path / "r") == 0
    found = read_predictions(tmp_path / "r/predictions/supervised.resnet18,.ImageNet.start.all.100.parquet")
    assert found.about.encoder_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found.about.settings["inputs"]["backbone"] == "resnet18"
    assert "width" not in found.about.settings["inputs"]
    assert "supervised resnet18, ImageNet start (fine-tuned)" in (tmp_path / "r/report.md").read_text()
    like = dataclasses.replace(load_encoder(faces / "a.safetensors"), backbone_settings={})
    start = newly_initialised(like, name="x", modes=(TrunkMode.ALL,), weights=weights)
    trunk = start.encoder.backbone.state_dict()
    assert set(trunk) == set(state)
    assert all(torch.equal(trunk[name], value) for name, value in state.items())


def test_public_weights_of_another_width_are_refused_before_any_work(evaluate, public, capsys, tmp_path):
    assert evaluate("--imagenet", public[0], out=tmp_path / "r") == 1
    said = capsys.readouterr()
    assert f"{public[0]} is of another network: size mismatch for conv1.weight" in said.err
    assert "current model is torch.Size([4, 3, 7, 7])" in said.err
    assert len(said.err.splitlines()) == 1
    assert "coded frames" not in said.out
