"""The shipped action-unit model, from the public face model alone: render, read, train, calibrate, write.

    python -m model.make --face-model ict_facekit.npz --out model-output

A stage whose files lie in --out is not done again. Hours on two cores for rendering, reading and training
together; no labelled picture of a real person is used. With --ship the files go into src/mien/models.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file

from mien import __version__
from mien.datasets.base import LabelledFrames
from mien.detect.au_model import (
    BLENDSHAPE,
    GAZE,
    INTENSITY,
    LEFT,
    LOGIT,
    RIGHT,
    AuModel,
    save_au_model,
)
from mien.detect.calibration import Calibration, choose_curve
from mien.detect.export import Faces, export_model
from mien.detect.face_network import FaceNetwork, SideBranch
from mien.detect.fitting import HeldOut, measured_scores
from mien.evaluate.probe import chosen_thresholds
from mien.faces.align import crop_contract
from mien.faces.contract import InputContract
from mien.faces.mediapipe_finder import MediaPipeFinder
from mien.faces.track import FaceTracking
from mien.faces.tracked import TrackSettings
from mien.facs import action_unit
from mien_render.benchmark_set import SetSettings
from mien_render.face_model import load_face_model
from mien_render.write_set import write_set
from model.reading import (
    FRAME_PX,
    INPUT_PX,
    SIDED,
    STORED_PX,
    UNITS,
    Arrays,
    arkit_shapes,
    read_part,
    targets_of,
)
from model.training import Rows, Training, side_targets, train_pixels, train_points, train_sides

RECIPE = Path("recipes/render-model-faces.toml")
SHIPPED = Path("src/mien/models")
OCCURS_AT = 2.0  # FACS B
PARTS = ("train", "held_out", "shifted")

# Chosen without labels of real people: rank agreement with a landmark model's shapes peaks near this length
# and falls when training goes on, while scores on rendered people still rise.
POINTS = Training(rows=5_000_000, dropout=0.1)
PIXELS = Training(rows=200_000)
SIDES = Training(rows=600_000, batch=256)

LEFT_OUT = {5: "read in rendered people hardly better than chance"}
KNOWN_FOR = (
    "was trained on rendered faces alone, and checked on real ones against landmarks and by eye, never "
    "against FACS coders"
)
UNPROVEN = ("AU14", "AU23", "AU24")  # on real faces they agree neither with landmarks nor with the eye
NOTES = (
    "Real faces (93 videos of 53 people, no labels): within videos it ranks frames like a landmark model's "
    "shapes (Spearman, mean over videos) at .82 AU12, .77 AU10, .71 to .76 AU25 to 27, .62 AU20, .61 AU17, "
    ".59 AU1, .47 AU2, .43 AU43, .36 AU22, .32 AU7, .28 AU4, and below .2 at AU14, AU15, AU23 and AU24; "
    "nothing was there to check AU6 and AU9.",
    "Real faces by eye (one judge, no coder; 30 random frames per unit): of 149 calls 93 were right, and 32 "
    "units were missed. AU10 and AU20 are called in smiles, AU1 and AU2 in closed eyes, AU22 and AU26 in "
    "talking, AU14 in open smiles.",
    "Sides and gaze are of a network of their own. In 130 other rendered people, where the sides differ by "
    ".5 and more, left less right correlates with the truth at .69 AU43, .64 AU2 and AU9, .60 AU10, .59 AU1, "
    ".53 AU6, .52 AU12, .51 AU25; the gaze at .65 in yaw and .34 in pitch. In real faces, within videos, "
    "against the landmark model: .67 yaw, .33 pitch, .30 AU12, .24 AU10, .19 AU2, .13 AU43. The difference "
    "is drawn to 0: a movement of intensity 3 on one side alone reads as a difference of .3 to .9.",
    "The share of frames with a unit is not to be relied on: in talking people AU25 is called in 83 % of the "
    "frames, AU2 in 48 %, AU17 in fewer than 1 %. Compare ranks, or use a baseline.",
)
SHAPE_AGREEMENT = 0.5  # correlation on people held out from which on a shape is read
SHOWN_SIDES = (1, 2, 6, 9, 10, 12, 25, 43)  # left less right correlates with the truth above .3
READ = tuple(unit for unit in UNITS if unit not in LEFT_OUT)


def main() -> None:
    """Every stage that is not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--face-model", type=Path, required=True, help="ICT-FaceKit, packed or its folder")
    parser.add_argument("--out", type=Path, required=True, help="working folder; a begun one goes on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ship", action="store_true", help=f"copy the result into {SHIPPED}")
    arguments = parser.parse_args()
    out: Path = arguments.out
    settings = SetSettings.from_recipe(tomllib.loads(RECIPE.read_text(encoding="utf-8")), where=str(RECIPE))
    number = load_face_model(arguments.face_model).expression_number
    shapes = arkit_shapes(number)[0]

    def read(settings: SetSettings, root: Path) -> tuple[dict[str, Any], ...]:
        """Arrays, targets and facts of each part of a set, which is drawn first where it is missing."""
        write_set(settings, arguments.face_model, root, processes=arguments.workers)
        arrays, targets, facts = {}, {}, {}
        for part in settings.parts:
            arrays[part] = kept(
                out / f"{root.name}-{part}.safetensors",
                lambda part=part: read_part(root, part, workers=arguments.workers),
            )
            targets[part], facts[part] = targets_of(settings, root, part, number)
        return arrays, targets, facts

    arrays, targets, facts = read(settings, out / "faces")
    sides = trained_sides(out, *read(sides_settings(settings), out / "sides")[:2], shapes)
    network = trained_network(out, arrays["train"], targets["train"], shapes, sides)
    model = measured_model(network, arrays, targets, facts, shapes)
    path = out / "au.safetensors"
    save_au_model(path, model)
    seen = rendered_faces(out / "faces" / "held_out")
    agreement = export_model(
        model, path, "onnx", calibration=seen, check=seen, crops_from="rendered people", out=out
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; {agreement}")
    if arguments.ship:
        SHIPPED.mkdir(exist_ok=True)
        for name in ("au.safetensors", "au.onnx", "au.onnx.json"):
            shutil.copyfile(out / name, SHIPPED / name)


def sides_settings(settings: SetSettings) -> SetSettings:
    """The people for the branch of the two sides: larger pictures, and half of what they do on one side."""
    people = {"train": 1000, "held_out": 130}
    return dataclasses.replace(
        settings,
        name="mien-model-sides",
        seed=settings.seed + 1,
        video=dataclasses.replace(settings.video, size_px=192),
        motion=dataclasses.replace(settings.motion, unilateral_share=0.5),
        parts={
            part: dataclasses.replace(settings.parts[part], identities=count)
            for part, count in people.items()
        },
    )


def kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in the file, made first where it is missing."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        save_file({name: np.ascontiguousarray(array) for name, array in make().items()}, beside)
        beside.replace(path)
    return load_file(path)


def trained_sides(
    out: Path, arrays: dict[str, Arrays], targets: dict[str, Arrays], shapes: tuple[str, ...]
) -> SideBranch:
    """The branch of the two sides, trained or read, with the outputs that are shown."""

    def weights() -> Arrays:
        state = train_sides(arrays["train"], targets["train"], shapes, SIDES)[0].state_dict()
        return {name: tensor.numpy() for name, tensor in state.items()}

    state = kept(out / "sides-branch.safetensors", weights)
    branch = SideBranch(len(SIDED))
    branch.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return shown_sides(branch.eval(), arrays["held_out"], targets["held_out"])


@torch.no_grad()
def shown_sides(branch: SideBranch, arrays: Arrays, targets: Arrays) -> SideBranch:
    """The branch without other units, brought to scale on these faces.

    Intensities by least squares, in their mean and their difference; angles to the spread of the true ones,
    since real eyes move further than rendered ones.
    """
    pictures = torch.from_numpy(arrays["frontal"]).split(500)
    raw_N2K = torch.cat([branch.outputs(branch.embedded(branch.features(some))) for some in pictures])
    true_N2K = side_targets(arrays, targets)
    raw, true = (torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]]) / 2 for x in (raw_N2K, true_N2K))
    centred = raw - raw.mean(1, keepdim=True)
    branch.scale_2K[:] = (centred * true).sum(1) / centred.square().sum(1)
    branch.scale_2K[:, -2:] = (true.std(1) / raw.std(1))[:, -2:]
    branch.offset_K[:] = true[0].mean(0) - branch.scale_2K[0] * raw[0].mean(0)
    rows = [SIDED.index(unit) for unit in SHOWN_SIDES] + [-2, -1]
    smaller, state = SideBranch(len(SHOWN_SIDES)), branch.state_dict()
    chosen = {name: state[name][rows] for name in ("head.4.weight", "head.4.bias", "offset_K")}
    smaller.load_state_dict(state | chosen | {"scale_2K": state["scale_2K"][:, rows]})
    return smaller


def trained_network(
    out: Path, arrays: Arrays, targets: Arrays, shapes: tuple[str, ...], sides: SideBranch
) -> FaceNetwork:
    """The branches of pixels and points, trained or read, with that of the sides."""
    network = FaceNetwork(num_units=len(UNITS), num_shapes=len(shapes), num_sided=len(SHOWN_SIDES))
    network.sides = sides
    parts = (("points", "point_head", train_points, POINTS), ("pixels", "pixel_head", train_pixels, PIXELS))
    for name, head_name, train, training in parts:

        def weights(train: Any = train, training: Training = training) -> Arrays:
            branch, head = train(Rows(arrays, targets, shapes), training)
            state = {f"branch.{key}": t for key, t in branch.state_dict().items()}
            state |= {f"head.{key}": t for key, t in head.state_dict().items()}
            return {key: t.numpy() for key, t in state.items()}

        state = {
            key: torch.from_numpy(a) for key, a in kept(out / f"{name}-branch.safetensors", weights).items()
        }
        for prefix, module in (("branch.", getattr(network, name)), ("head.", getattr(network, head_name))):
            module.load_state_dict(
                {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
            )
    return reading(network, READ).eval()


@torch.no_grad()
def reading(network: FaceNetwork, units: tuple[int, ...]) -> FaceNetwork:
    """The network without the outputs of other units."""
    A, S = network.num_units, network.num_shapes
    chosen = [UNITS.index(unit) for unit in units]
    rows = [block * A + at for block in range(3) for at in chosen] + list(range(3 * A, 3 * A + S + 2))
    smaller = FaceNetwork(num_units=len(units), num_shapes=S, num_sided=len(SHOWN_SIDES))
    state = network.state_dict()
    for name in ("pixel_head.5.weight", "pixel_head.5.bias", "point_head.5.weight", "point_head.5.bias"):
        state[name] = state[name][rows]
    smaller.load_state_dict(state)
    return smaller


@torch.no_grad()
def with_levels(network: FaceNetwork, arrays: Arrays, targets: Arrays) -> FaceNetwork:
    """Intensities brought to scale on these faces by least squares: the training loss shrinks them."""
    A = network.num_units
    raw_NK = outputs_of(network, arrays)
    units_NA = targets["units"][arrays["frame"]].max(axis=2)[:, [UNITS.index(unit) for unit in READ]]
    for at in range(A):
        slope, offset = np.polyfit(raw_NK[:, A + at], units_NA[:, at], 1)
        rows = [A + at, 2 * A + at]  # left and right, of which the larger counts
        for last in (network.pixel_head[-1], network.point_head[-1]):
            last.weight[rows] *= slope
            last.bias[rows] = last.bias[rows] * slope + offset / 5
    return network


@torch.no_grad()
def outputs_of(network: FaceNetwork, arrays: Arrays) -> np.ndarray:
    """(N, K) raw outputs on the middle of the stored pixels."""
    edge = (STORED_PX - INPUT_PX) // 2
    found = []
    for first in range(0, len(arrays["pix"]), 500):
        pix = torch.from_numpy(arrays["pix"][first : first + 500, edge:-edge, edge:-edge])
        points = torch.from_numpy(arrays["points"][first : first + 500])
        frontal = torch.from_numpy(arrays["frontal"][first : first + 500])
        found.append(network(pix[..., None].expand(-1, -1, -1, 3), points, frontal).numpy())
    return np.concatenate(found)


def measured_model(
    network: FaceNetwork,
    arrays: dict[str, Arrays],
    targets: dict[str, Arrays],
    facts: dict[str, pd.DataFrame],
    shapes: tuple[str, ...],
) -> AuModel:
    """The model with its card: calibrated on one half of the people held out, measured on the other."""
    columns = [action_unit(unit).column for unit in READ]
    A = len(READ)
    frames = {part: labelled(arrays[part], targets[part]) for part in PARTS[1:]}
    calibrating = targets["held_out"]["identity"][arrays["held_out"]["frame"]] % 2 == 0
    half = {name: array[calibrating] for name, array in arrays["held_out"].items()}
    network = with_levels(network, half, targets["held_out"])
    read = {part: outputs_of(network, arrays[part]) for part in PARTS[1:]}
    curves = tuple(
        choose_curve(
            read["held_out"][calibrating, at],
            frames["held_out"].occurrence_NA[calibrating, at],
            frames["held_out"].subject_N[calibrating],
        )[0]
        for at in range(A)
    )
    calibration = Calibration(curves)
    threshold_A = chosen_thresholds(
        frames["held_out"].occurrence_NA[calibrating], calibration(read["held_out"][calibrating, :A])
    ).astype(np.float32)
    rows = np.flatnonzero(~calibrating)
    scores = scores_on(read["held_out"][rows], frames["held_out"].rows(rows), calibration, threshold_A)
    every = np.arange(len(read["shifted"]))
    shifted = scores_on(read["shifted"], frames["shifted"].rows(every), calibration, threshold_A)
    groups = group_scores(
        read["held_out"][rows],
        frames["held_out"].rows(rows),
        facts["held_out"].iloc[arrays["held_out"]["frame"][rows]],
    )
    true_NS = targets["held_out"]["shapes"][half["frame"]]
    found_NS = read["held_out"][calibrating, 2 * A : 2 * A + len(shapes)]
    agreement_S = [
        np.corrcoef(*pair)[0, 1] if pair[1].std() > 0 else 0
        for pair in zip(found_NS.T, true_NS.T, strict=True)
    ]
    kept_shapes = [
        name if agreement >= SHAPE_AGREEMENT else ""
        for name, agreement in zip(shapes, agreement_S, strict=True)
    ]
    record = {
        "mien_version": __version__,
        "torch_version": torch.__version__,
        "training_data": {
            "name": "rendered",
            "licence": "rendered from ICT-FaceKit (MIT); no picture of a person",
            "num_frames": len(arrays["train"]["pix"]),
            "num_subjects": len(np.unique(targets["train"]["identity"])),
            "num_without_face": 2 * len(targets["train"]["identity"]) - len(arrays["train"]["pix"]),
            "frames_digest": "recipe render-model-faces",
            "units_left_out": {action_unit(unit).column: why for unit, why in LEFT_OUT.items()},
        },
        "settings": {"points_rows": POINTS.rows, "pixels_rows": PIXELS.rows, "sides_rows": SIDES.rows},
        "scores": scores,
        "shifted_roc_auc": shifted["mean"]["roc_auc"],
        "groups_roc_auc": groups,
        "known_for": KNOWN_FOR,
        "unproven": list(UNPROVEN),
        "notes": list(NOTES),
        "adaptations": [],
    }
    return AuModel(
        network="face",
        network_settings={"num_units": A, "num_shapes": len(shapes), "num_sided": len(SHOWN_SIDES)},
        weights={name: halved(tensor.numpy()) for name, tensor in network.state_dict().items()},
        inputs=InputContract(
            crop=crop_contract(MediaPipeFinder()),
            frame_size_px=FRAME_PX,
            input_size_px=INPUT_PX,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        uses_points=True,
        outputs={LOGIT: tuple(columns), INTENSITY: tuple(columns), BLENDSHAPE: tuple(kept_shapes)}
        | side_blocks(),
        units=READ,
        calibration=calibration,
        threshold_A=threshold_A,
        record=record,
        source=str(SHIPPED / "au.safetensors"),
    )


def side_blocks() -> dict[str, tuple[str, ...]]:
    """What the branch of the sides gives."""
    columns = tuple(action_unit(unit).column for unit in SHOWN_SIDES)
    return {LEFT: columns, RIGHT: columns, GAZE: ("yaw", "pitch")}


def halved(array: np.ndarray) -> np.ndarray:
    """Matrices and filters in 16 bits: half the file, and no score changes in its third digit."""
    return array.astype(np.float16) if array.dtype == np.float32 and array.ndim > 1 else array


def labelled(arrays: Arrays, targets: Arrays) -> LabelledFrames:
    """Readings as frames of a labelled set; the two versions of a frame count as two files."""
    frame, version = arrays["frame"], arrays["version"]
    units_NA = targets["units"][frame].max(axis=2)[:, [UNITS.index(unit) for unit in READ]]
    identity = targets["identity"][frame]
    return LabelledFrames(
        action_units=READ,
        path_N=np.array([f"{person}-{v}" for person, v in zip(identity, version, strict=True)]),
        frame_N=frame.astype(np.int64),
        seconds_N=np.full(len(frame), np.nan),
        subject_N=identity.astype(str),
        occurrence_NA=(units_NA >= OCCURS_AT).astype(np.float32),
        intensity_NA=units_NA.astype(np.float32),
    )


def scores_on(
    raw_NK: np.ndarray, frames: LabelledFrames, calibration: Calibration, threshold_A: np.ndarray
) -> dict[str, Any]:
    """As `mien fit` measures them."""
    A = len(READ)
    held = HeldOut(
        rows=np.arange(len(raw_NK)),
        fold_M=np.full(len(raw_NK), "held out"),
        logit_MA=raw_NK[:, :A],
        probability_MA=calibration(raw_NK[:, :A]),
        threshold_MA=np.tile(threshold_A, (len(raw_NK), 1)),
        intensity_MA=np.clip(raw_NK[:, A : 2 * A], 0, 5),
    )
    return measured_scores(held, frames)


def group_scores(raw_NK: np.ndarray, frames: LabelledFrames, facts: pd.DataFrame) -> dict[str, float]:
    """Mean ROC-AUC over the units, of groups of faces."""
    from sklearn.metrics import roc_auc_score

    lit, turned = facts["skin"], facts["yaw_degrees"].abs()
    groups = {
        "all": lit > -1,
        "skin: darkest third": lit <= lit.quantile(1 / 3),
        "skin: lightest third": lit >= lit.quantile(2 / 3),
        "glasses": facts["glasses"],
        "beard": facts["beard"] > 0,
        "age lines: upper third": facts["age_lines"] >= facts["age_lines"].quantile(2 / 3),
        "yaw under 10 degrees": turned < 10,
        "yaw 25 degrees and more": turned >= 25,
        "pitch 12 degrees and more": facts["pitch_degrees"].abs() >= 12,
        "size: smallest third": facts["half_height_cm"] >= facts["half_height_cm"].quantile(2 / 3),
    }
    found = {}
    for name, chosen in groups.items():
        own = chosen.to_numpy()
        aucs = [
            roc_auc_score(frames.occurrence_NA[own, at], raw_NK[own, at])
            for at in range(len(READ))
            if len(np.unique(frames.occurrence_NA[own, at])) == 2
        ]
        found[name] = round(float(np.mean(aucs)), 4)
    return found


def rendered_faces(folder: Path) -> Faces:
    """Some faces as the tracker crops them, to check engines on."""
    tracking = FaceTracking(TrackSettings())
    found = []
    for clip in sorted(folder.rglob("*.mp4"))[:24]:
        for frame in tracking.every_frame(clip):
            found += list(frame.faces)[:1]
    return Faces.of(found[::2])


if __name__ == "__main__":
    sys.exit(main())
