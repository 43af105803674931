"""The model in the package, on shipped clips of people that it was not trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mien import Detector
from mien.datasets.rendered import shipped_clips
from mien.detect.au_model import load_au_model, shipped_model
from mien.detect.engines import open_engine
from mien.detect.network import build_network
from mien.faces.track import FaceTracking
from mien.faces.tracked import TrackSettings
from mien.video import read_frames

PEOPLE = 12


@pytest.fixture(scope="module")
def read():
    """Detections of one clip each of some people, and the labels of the same frames."""
    part = shipped_clips() / "main"
    labels = pd.read_parquet(part / "labels.parquet")
    labels["path"] = labels["path"].astype(str)
    paths = sorted(path for path in labels["path"].unique() if "/v0000/" in path)[:PEOPLE]
    detector = Detector(faces="largest", gaze=True)
    found = [detector.detect(part / path).to_pandas().assign(path=path) for path in paths]
    both = pd.concat(found).merge(labels, on=["path", "frame"], suffixes=("", "_true"))
    return detector, both[both["success"] == 1]


def test_its_units_are_read_far_above_chance_in_people_it_has_not_seen(read):
    detector, both = read
    aucs = [
        roc_auc_score(both[f"{name}_true"], both[name])
        for name in detector.model.columns
        if both[f"{name}_true"].nunique() == 2
    ]
    assert len(aucs) >= 15
    assert np.mean(aucs) > 0.75
    assert np.quantile(aucs, 0.25) > 0.65


def test_sides_and_gaze_follow_the_truth_in_people_it_has_not_seen(read):
    detector, both = read
    assert np.corrcoef(both["gaze_yaw"], both["gaze_yaw_degrees"])[0, 1] > 0.4
    found, true = (
        np.concatenate([both[left] - both[right] for left, right in names])
        for names in zip(
            *(
                [
                    (f"{column}_intensity_left", f"{column}_intensity_right"),
                    (f"{column}_left", f"{column}_right"),
                ]
                for column in detector.model.block("left")
            ),
            strict=True,
        )
    )
    differ = np.abs(true) >= 1
    assert differ.sum() >= 100
    assert np.corrcoef(found[differ], true[differ])[0, 1] > 0.4


def test_a_mirrored_picture_has_mirrored_sides():
    network = build_network(load_au_model(shipped_model()))
    pictures_NHW = torch.randint(0, 256, (3, 72, 80), generator=torch.Generator().manual_seed(0))
    plain, mirrored = (
        network.sides(network.sides.features(some)) for some in (pictures_NHW, pictures_NHW.flip(2))
    )
    left, right, yaw, pitch = plain.split([(plain.shape[1] - 2) // 2] * 2 + [1, 1], dim=1)
    torch.testing.assert_close(mirrored, torch.cat([right, left, -yaw, pitch], dim=1))


def test_the_exported_network_is_that_of_the_weights():
    model = load_au_model(shipped_model())
    clip = next(iter(sorted((shipped_clips() / "shifted").rglob("*.mp4"))))
    faces = [face for frame in FaceTracking(TrackSettings()).every_frame(clip) for face in frame.faces][:12]
    crops = np.stack([face.crop_HWC for face in faces])
    meshes = np.stack([face.mesh_468x3 for face in faces])
    ours, theirs = (
        model.read(open_engine(name, model, model_path=shipped_model())(crops, meshes))
        for name in ("torch", "onnx")
    )
    assert np.abs(ours.probability_NA - theirs.probability_NA).max() < 0.01
    assert np.abs(ours.sides_NS - theirs.sides_NS).max() < 0.01
    assert np.abs(ours.gaze_NG - theirs.gaze_NG).max() < 0.1


def test_a_grey_picture_and_one_of_half_the_size_read_much_the_same():
    import cv2

    detector = Detector(faces="largest")
    clip = sorted((shipped_clips() / "main").rglob("*.mp4"))[0]
    frames = [frame.image_HWC for frame in read_frames(clip)][::4]
    whole = probabilities(detector, frames)
    for change in (
        lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        lambda image: cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    ):
        assert np.abs(probabilities(detector, [change(image) for image in frames]) - whole).mean() < 0.1


def probabilities(detector, frames):
    table = detector.layout.table(list(detector.stream(frames))).to_pandas()
    return table[list(detector.model.columns)].to_numpy()


def test_small_faces_of_pictures_are_read_and_marked_as_small(tmp_path):
    import cv2

    clip = sorted((shipped_clips() / "main").rglob("*.mp4"))[4]
    frame = next(iter(read_frames(clip))).image_HWC
    small = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "small.png"), small[..., ::-1])
    found = Detector().detect(tmp_path / "small.png").to_pandas()
    assert found["success"].tolist() == [1]
    assert 24 <= (found["box_bottom"] - found["box_top"])[0] < 48
    assert found["reason"].tolist() == ["small"]
