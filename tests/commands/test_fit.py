"""The verbs around a model on a few rendered faces: fit writes a file, card prints what it is."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from mien.backbones import build_backbone
from mien.cli import main
from mien.detect import fitting
from mien.detect.au_model import load_au_model, shipped_model
from mien.detect.card import units_above_chance, unproven_units, warning_of
from mien.detect.network import fitted_parts
from mien.faces.contract import InputContract
from mien.train.encoder_file import load_encoder, record_of_people, save_encoder
from tests.shipped import crop_contract_of_finder, few_people

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
QUICK = ["--set", "min_steps=4", "--set", "epochs=1", "--workers", "0"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    few_people(folder / "main", 6, num_frames=20)
    torch.manual_seed(0)
    save_encoder(
        folder / "encoder.safetensors",
        build_backbone("resnet18", width=4),
        backbone_name="resnet18",
        backbone_settings={"width": 4},
        inputs=InputContract(crop_contract_of_finder(), 36, 32, *IMAGENET),
        training={"settings": {}},
    )
    return folder


def fit(folder, out, *more, force=("--force",)):
    arguments = ["--dataset", "rendered", "--root", str(folder / "main"), "--store", str(folder / "store")]
    arguments += ["--encoder", str(folder / "encoder.safetensors"), "--out", str(folder / out), *QUICK]
    return main(["fit", *arguments, *force, *more])


@pytest.fixture(scope="module")
def model_path(faces):
    assert fit(faces, "model.safetensors", "--licence", "CC0 <b>1.0</b>") == 0
    return faces / "model.safetensors"


def test_the_file_says_what_it_was_fitted_on_and_how_it_scores(model_path):
    record = load_au_model(model_path).record
    assert record["training_data"]["name"] == "rendered"
    assert record["training_data"]["num_frames"] == 240
    assert record["training_data"]["num_subjects"] == 6
    assert record["training_data"]["licence"] == "CC0 <b>1.0</b>"
    assert re.fullmatch("[0-9a-f]{16}", record["protocol"]["digest"])
    assert record["encoder"]["file"] == "encoder.safetensors"
    assert record["settings"]["seed"] == 0
    model = load_au_model(model_path)
    assert tuple(record["scores"]["units"]) == model.columns
    assert model.coded is not None


def test_protocol_and_frame_list_are_those_of_evaluate(model_path, faces):
    from mien.evaluate.predictions import read_predictions

    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--encoder", str(faces / "encoder.safetensors"), "--modes", "frozen", *QUICK]
    assert main(["evaluate", *arguments, "--out", str(faces / "report")]) == 0
    about = read_predictions(faces / "report" / "predictions" / "encoder.frozen.100.parquet").about
    record = load_au_model(model_path).record
    assert about.protocol_digest == record["protocol"]["digest"]
    assert about.frames_digest == record["training_data"]["frames_digest"]


def test_fitting_again_gives_the_same_bytes(model_path, faces):
    assert fit(faces, "again.safetensors", "--licence", "CC0 <b>1.0</b>") == 0
    assert (faces / "again.safetensors").read_bytes() == model_path.read_bytes()


def test_a_killed_fit_goes_on_behind_its_last_fold_to_the_same_bytes(model_path, faces, monkeypatch, capsys):
    out = faces / "killed.safetensors"
    folds, real = [], fitting._held_out

    def killed_in_the_second(material, fold, **more):
        folds.append(fold)
        if len(folds) == 2:
            raise KeyboardInterrupt
        return real(material, fold, **more)

    monkeypatch.setattr(fitting, "_held_out", killed_in_the_second)
    assert fit(faces, out.name, "--licence", "CC0 <b>1.0</b>") == 130
    assert not out.exists()
    assert fit(faces, out.name, "--licence", "another") == 1
    assert "training_data.licence: 'CC0 <b>1.0</b>' there, 'another' now" in capsys.readouterr().err
    monkeypatch.setattr("mien.detect.fitting._all_features", lambda *_: pytest.fail("embedded again"))
    assert fit(faces, out.name, "--licence", "CC0 <b>1.0</b>") == 0
    assert [fold.name for fold in folds] == ["fold0", "fold1", "fold1", "fold2"]
    assert out.read_bytes() == model_path.read_bytes()
    assert not out.with_suffix(".fit").exists()


def test_a_finished_fit_says_so_and_other_settings_are_refused(model_path, faces, capsys):
    before = model_path.read_bytes()
    assert fit(faces, model_path.name, "--licence", "CC0 <b>1.0</b>") == 0
    assert "was finished by an earlier run" in capsys.readouterr().out
    assert fit(faces, model_path.name, "--licence", "CC0 <b>1.0</b>", "--set", "seed=7") == 1
    assert "settings.seed: 0 there, 7 now" in capsys.readouterr().err
    assert model_path.read_bytes() == before


def test_a_model_without_a_unit_above_chance_is_written_only_by_force(faces, monkeypatch, capsys):
    monkeypatch.setattr("mien.detect.fitting.units_above_chance", lambda _record: [])
    assert fit(faces, "poor.safetensors", force=()) == 1
    assert "no action unit is above chance" in capsys.readouterr().err
    assert not (faces / "poor.safetensors").exists()
    assert fit(faces, "poor.safetensors") == 0


def test_presence_is_left_blank_unless_interval_and_f1_are_above_chance_and_the_warning_names_the_units():
    def unit(low, f1=0.6):
        auc = {"value": 0.7, "low": low, "high": 0.9}
        return {"roc_auc": auc, "f1": {"value": f1}, "always_on_f1": 0.5}

    units = {"AU01": unit(0.51), "AU02": unit(0.5), "AU04": unit(None), "AU05": unit(0.6, f1=0.5)}
    record = {"training_data": {"name": "disfa"}, "scores": {"units": units}}
    columns = ("AU01", "AU02", "AU04", "AU05", "AU06")  # AU06 was never measured
    assert units_above_chance(record) == ["AU01", "AU05"]
    assert unproven_units(record, columns) == ["AU02", "AU04", "AU05", "AU06"]
    named = "AU02, AU04, AU05, AU06 better than chance, so their presence is left blank."
    assert warning_of(record, columns) == f"This model was not shown to read {named}"
    assert warning_of(record, ("AU01",)) == ""
    assert unproven_units({}, columns) == list(columns)
    rendered = record | {"training_data": {"name": "rendered"}}
    toy = "This model was fitted on rendered faces, not on people, and is untested on real ones"
    assert warning_of(rendered, ("AU01",)) == f"{toy}."
    assert warning_of(rendered, columns) == f"{toy}; it was not shown to read {named}"


@pytest.mark.parametrize("mode", ["stats", "affine+stats", "all"])
def test_the_encoder_may_be_tuned(faces, mode, model_path):
    assert fit(faces, f"{mode}.safetensors", "--modes", mode) == 0
    tuned, frozen = (load_au_model(faces / f"{mode}.safetensors"), load_au_model(model_path))
    assert tuned.record["encoder"]["mode"] == mode
    states = [fitted_parts(one).encoder.backbone.state_dict() for one in (tuned, frozen)]
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert "bn1.running_mean" in moved
    assert ("bn1.weight" in moved) == (mode != "stats")
    assert ("conv1.weight" in moved) == (mode == "all")


def test_the_card_prints_everything_and_the_page_stands_alone(model_path, tmp_path, capsys):
    assert main(["card", str(model_path), "--html", str(tmp_path / "card.html")]) == 0
    text, html = capsys.readouterr().out, (tmp_path / "card.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", html)
    record = load_au_model(model_path).record
    for words in (
        "rendered: 240 faces of 6 people",
        record["protocol"]["digest"],
        "ROC-AUC",
        "AU12",
        "seed 0",
    ):
        assert words in text.replace("\n", " ")
        assert words in html
    assert "CC0 <b>1.0</b>" in text
    assert "CC0 &lt;b&gt;1.0&lt;/b&gt;" in html
    assert "<b>1.0" not in html


def test_a_licence_that_is_not_given_is_said_to_be_missing(faces, tmp_path, capsys):
    from mien.detect.card import LICENCE_NOT_STATED, card_of
    from tests.detect.tiny_model import tiny_model

    text = str(card_of(dataclasses.replace(tiny_model(crop_contract_of_finder()), record={})))
    assert LICENCE_NOT_STATED in str(card_of(tiny_model(crop_contract_of_finder())))
    assert "Nothing was measured." in text
    warning = text.splitlines()[3]
    assert warning.startswith("This model was not shown to read any action unit better than chance")


def test_the_record_is_json_any_reader_can_read(model_path):
    with safe_open(model_path, framework="np") as file:
        text = file.metadata()["mien"]
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert record["card"]["scores"]["units"]["AU12"]["num_coded"] == 240


def test_a_table_of_ones_own_is_fitted_too(faces, capsys):
    labels = pd.read_parquet(faces / "main" / "labels.parquet").rename(columns={"identity": "subject"})
    own = labels[["subject", "frame"]].assign(path=[f"main/{path}" for path in labels["path"]])
    own = own.assign(AU12=labels["AU12_left"], AU25=labels["AU25_left"])
    own.to_csv(faces / "own.csv", index=False)
    arguments = ["--dataset", "table", "--root", str(faces / "own.csv"), "--occurs-at", "2"]
    arguments += [
        "--encoder",
        str(faces / "encoder.safetensors"),
        "--out",
        str(faces / "own.safetensors"),
        *QUICK,
    ]
    assert main(["fit", *arguments, "--force"]) == 0
    assert (faces / "own.faces" / "manifest.parquet").exists()
    model = load_au_model(faces / "own.safetensors")
    assert model.record["training_data"]["num_frames"] == 240
    assert np.isfinite(model.threshold_A).all()


def test_a_wrong_name_is_refused_before_any_work(faces, capsys):
    assert fit(faces, "model.pth") == 1
    assert "model.pth: expected a name that ends in .safetensors" in capsys.readouterr().err


def test_a_fitted_model_is_exported_by_the_faces_of_its_store(model_path, faces, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    arguments = [
        str(model_path),
        "--engine",
        "onnx",
        "--calibrate",
        str(faces / "store"),
        "--crops",
        "40",
    ]
    assert main(["export", *arguments, "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    endings = (".safetensors", ".onnx", ".onnx.json")
    assert names == {f"model{ending}" for ending in endings}
    assert "presence agrees in 100.00% (24 crops)" in capsys.readouterr().out
    assert main(["export", *arguments[:2], "onyx", *arguments[3:]]) == 1
    assert "cannot export to 'onyx'; did you mean 'onnx'?" in capsys.readouterr().err


def test_an_adapted_model_says_where_it_comes_from_and_what_it_left_alone(
    model_path, faces, tmp_path, capsys
):
    arguments = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store")]
    arguments += ["--workers", "0", "--out", str(tmp_path / "ours.safetensors")]
    assert main(["adapt", str(model_path), *arguments]) == 0
    told = capsys.readouterr().out
    before, after = load_au_model(model_path), load_au_model(tmp_path / "ours.safetensors")
    assert after.network_digest == before.network_digest
    (adaptation,) = after.record["adaptations"]
    assert adaptation["from"] == {"file": "model.safetensors", "digest": before.digest}
    assert set(adaptation["recalibrated"]) | set(adaptation["left_alone"]) == set(after.columns)
    for name, why in adaptation["left_alone"].items():
        assert f"{name}: left alone: {why}" in told
    assert main(["card", str(tmp_path / "ours.safetensors")]) == 0
    card = capsys.readouterr().out.replace("\n", " ")
    assert "The scores are those of the model before it was adapted" in card
    assert before.digest in card


def test_the_shipped_model_is_no_start_for_labels_and_says_what_is(faces, tmp_path, capsys):
    labelled = [
        "--dataset",
        "rendered",
        "--root",
        str(faces / "main"),
        "--out",
        str(tmp_path / "m.safetensors"),
    ]
    assert main(["adapt", *labelled]) == 1
    said = capsys.readouterr().err
    assert "cannot be adapted to labels" in said
    assert "Give a model that `mien fit` wrote" in said
    assert main(["fit", *labelled, "--encoder", str(shipped_model())]) == 1
    assert (
        "holds a mien AU model; expected a mien encoder, as `mien pretrain` writes it"
        in capsys.readouterr().err
    )


def test_an_encoder_that_knows_the_tested_people_is_told_of(faces, tmp_path, capsys):
    encoder = load_encoder(faces / "encoder.safetensors")
    people = pd.read_parquet(faces / "main" / "labels.parquet")["identity"].unique()
    save_encoder(
        tmp_path / "knows.safetensors",
        encoder.backbone,
        backbone_name="resnet18",
        backbone_settings={"width": 4},
        inputs=encoder.inputs,
        training={"settings": {}, "identities": record_of_people([*people[:2], "somebody else"])},
    )
    words = "2 of 6 people in the test have names of people that the encoder was pretrained on"
    common = ["--dataset", "rendered", "--root", str(faces / "main"), "--store", str(faces / "store"), *QUICK]
    common += ["--encoder", str(tmp_path / "knows.safetensors")]
    assert main(["fit", *common, "--force", "--out", str(tmp_path / "model.safetensors")]) == 0
    assert words in capsys.readouterr().out
    assert main(["card", str(tmp_path / "model.safetensors")]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", *common, "--modes", "frozen", "--out", str(tmp_path / "report")]) == 0
    assert f"warning: knows: {words}" in capsys.readouterr().out
    assert words in (tmp_path / "report/report.html").read_text()


def test_a_place_where_no_model_can_be_written_is_told_before_the_work(tmp_path, monkeypatch, capsys):
    def work(*_arguments, **_more):
        raise AssertionError("the work began")

    (tmp_path / "file").write_text("")
    monkeypatch.setattr("mien.train.encoder_file.load_encoder", lambda _path, **_more: None)
    monkeypatch.setattr("mien.evaluate.labelled_faces.labelled_set", work)
    where = ["--root", str(tmp_path), "--encoder", "e", "--out", str(tmp_path / "file/m.safetensors")]
    assert main(["fit", "--dataset", "rendered", *where]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
