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
def report(faces):
    out = faces / "report"
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--encoder", f"ours={faces / 'a.safetensors'}", "--untrained", "--supervised"]
    arguments += ["--shares", "50", "100", "--out", str(out), *QUICK]
    status = main(["evaluate", *arguments])
    assert status == 0
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
    ):
        assert words in html
    for words in (
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
    assert (
        (report / "scores.csv")
        .read_text()
        .startswith("system,mode,share_of_labels,output,score,value,low,high")
    )


def test_compare_recomputes_the_scores_from_the_predictions(report, capsys):
    names = ("ours.frozen.100", "untrained.frozen.100")
    files = [str(report / "predictions" / f"{name}.parquet") for name in names]
    assert main(["compare", *files, "--out", str(report / "again")]) == 0
    printed = capsys.readouterr().out
    assert "untrained (frozen) → ours (frozen)" in printed
    first, again = ((folder / "scores.csv").read_text().splitlines() for folder in (report, report / "again"))
    assert set(again) <= set(first)


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
    capsys.readouterr()
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


def test_a_second_run_finds_the_faces_prepared(faces, report, capsys, monkeypatch):
    arguments = [
        "evaluate",
        "--dataset",
        "rendered",
        "--root",
        str(faces / "main"),
        "--store",
        str(faces / "store"),
    ]
    arguments += [
        "--encoder",
        str(faces / "a.safetensors"),
        "--out",
        str(faces / "r2"),
        "--modes",
        "frozen",
        *QUICK,
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "00001: " not in printed
    assert "kept from" not in printed
    read = []
    monkeypatch.setattr(
        evaluation, "read_predictions", lambda path: read.append(path) or read_predictions(path)
    )
    assert main(arguments) == 0
    assert "a (frozen): " in (again := capsys.readouterr().out)
    assert "kept from an earlier run" in again
    assert sorted(read) == sorted((faces / "r2" / "predictions").iterdir())  # each once
    assert main([*arguments, "--set", "seed=1"]) == 1
    assert "settings.seed: 0 there, 1 now" in capsys.readouterr().err
    assert "not run: affine+stats, stats" in (faces / "r2" / "report.html").read_text()


def test_faces_cropped_otherwise_are_refused_before_any_work(faces, report, capsys):
    contract = dataclasses.replace(crop_contract_of_finder(), margin=0.3)
    other = _save(faces / "b.safetensors", contract)
    arguments = [
        "evaluate",
        "--dataset",
        "rendered",
        "--root",
        str(faces / "main"),
        "--store",
        str(faces / "store"),
    ]
    assert main([*arguments, "--encoder", str(other), "--out", str(faces / "r3"), *QUICK]) == 1
    assert "margin: 0.3" in capsys.readouterr().err
    assert not (faces / "r3").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--dataset": "rendred"}, "unknown data set 'rendred'; did you mean 'rendered'"),
        ({"--root": "nowhere"}, "labels.parquet: no such file"),
        ({"--encoder": "none.safetensors"}, "none.safetensors"),
        ({"--protocol": "bp4d-3fold"}, "has no part for"),
        ({"--occurs-at": "2"}, "--occurs-at is for the data set `table`"),
        ({"--set": "epoch=3"}, "unknown key 'epoch'"),
        ({"--shares": "0"}, "--shares 0: above 0 and at most 100 percent"),
    ],
)
def test_a_wrong_argument_says_what_was_expected(faces, report, capsys, changes, message):
    arguments = {
        "--dataset": "rendered",
        "--root": str(faces / "main"),
        "--store": str(faces / "store"),
        "--encoder": str(faces / "a.safetensors"),
        "--out": str(faces / "r4"),
    } | changes
    assert main(["evaluate", *(word for pair in arguments.items() for word in pair), "--workers", "0"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "fit"])
def test_a_protocol_that_does_not_fit_is_refused_before_any_face_is_looked_for(faces, tmp_path, capsys, verb):
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(tmp_path / "store")]
    arguments += ["--encoder", str(faces / "a.safetensors"), "--out", str(tmp_path / "x.safetensors")]
    assert main([verb, *arguments, "--protocol", "bp4d-3fold"]) == 1
    assert "has no part for" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_other_files_are_not_compared(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 1
    assert "no .parquet file there" in capsys.readouterr().err


def _public_resnet18():
    """A state dict in the layout of torchvision's and timm's resnet18, written down from its description."""
    generator = torch.Generator().manual_seed(3)

    def convolution(out, into, side):
        return torch.randn(out, into, side, side, generator=generator) * (2 / (out * side**2)) ** 0.5

    def norm(name, width):
        zero, one = torch.zeros(width), torch.ones(width)
        numbers = {"weight": one, "bias": zero, "running_mean": zero, "running_var": one}
        return {f"{name}.{key}": value.clone() for key, value in numbers.items()} | {
            f"{name}.num_batches_tracked": torch.tensor(7)
        }

    state = {"conv1.weight": convolution(64, 3, 7)} | norm("bn1", 64)
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            state[f"{name}.conv1.weight"] = convolution(width, before, 3)
            state[f"{name}.conv2.weight"] = convolution(width, width, 3)
            state |= norm(f"{name}.bn1", width) | norm(f"{name}.bn2", width)
            if before != width:
                state[f"{name}.downsample.0.weight"] = convolution(width, before, 1)
                state |= norm(f"{name}.downsample.1", width)
            before = width
    return state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_public_weights_are_where_supervised_training_begins(faces, report, tmp_path):
    weights = _public_resnet18()
    torch.save(weights, tmp_path / "resnet18-public.pth")
    out = tmp_path / "report"
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--encoder", str(faces / "a.safetensors"), "--modes", "frozen", "--out", str(out)]
    arguments += ["--imagenet", str(tmp_path / "resnet18-public.pth"), "--supervised-backbone", "resnet18"]
    still = ["--set", "trunk_learning_rate=0", "--set", "batch_size=16"]
    assert main(["evaluate", *arguments, *QUICK, *still]) == 0
    found = read_predictions(out / "predictions" / "supervised.resnet18,.ImageNet.start.all.100.parquet")
    assert (
        found.about.encoder_sha256
        == hashlib.sha256((tmp_path / "resnet18-public.pth").read_bytes()).hexdigest()
    )
    assert found.about.settings["inputs"]["backbone"] == "resnet18"
    assert "width" not in found.about.settings["inputs"]
    assert "supervised resnet18, ImageNet start (fine-tuned)" in (out / "report.md").read_text()


def test_the_trunk_of_public_weights_is_theirs_number_for_number(faces, tmp_path):
    torch.save(_public_resnet18(), tmp_path / "w.pth")
    like = dataclasses.replace(load_encoder(faces / "a.safetensors"), backbone_settings={})
    start = newly_initialised(like, name="x", modes=(TrunkMode.ALL,), weights=tmp_path / "w.pth")
    trunk = start.encoder.backbone.state_dict()
    kept = {name: value for name, value in _public_resnet18().items() if not name.startswith("fc.")}
    assert set(trunk) == set(kept)
    assert all(torch.equal(trunk[name], value) for name, value in kept.items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: state.pop("layer3.0.downsample.1.bias"),
            "1 weights are missing, 'layer3.0.downsample.1.b",
        ),
        (
            lambda state: state.update({"layer1.0.conv3.weight": torch.zeros(1)}),
            "'layer1.0.conv3.weight'; did",
        ),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), r"has shape (64, 1, 7, 7)"),
    ],
)
def test_public_weights_that_do_not_fit_are_refused_before_any_work(faces, capsys, tmp_path, spoil, message):
    state = _public_resnet18()
    spoil(state)
    torch.save(state, tmp_path / "odd.pth")
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--encoder", str(faces / "a.safetensors"), "--out", str(tmp_path / "r"), *QUICK]
    arguments += ["--imagenet", str(tmp_path / "odd.pth"), "--supervised-backbone", "resnet18"]
    assert main(["evaluate", *arguments]) == 1
    said = capsys.readouterr()
    assert f"{tmp_path / 'odd.pth'}: " in said.err
    assert message in said.err
    assert "coded frames" not in said.out


def test_supervised_weights_of_another_width_are_refused(faces, report, capsys, tmp_path):
    torch.save(_public_resnet18(), tmp_path / "w.pth")
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--encoder", str(faces / "a.safetensors"), "--out", str(tmp_path / "r"), *QUICK]
    assert main(["evaluate", *arguments, "--imagenet", str(tmp_path / "w.pth")]) == 1
    assert "this backbone's is (4, 3, 7, 7)" in capsys.readouterr().err
