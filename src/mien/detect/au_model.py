"""The AU model: network weights, calibration, thresholds and the facts of its card, as one safetensors file.

All of it is NumPy and JSON; PyTorch is needed only by what builds the network (`mien.detect.network`).
Reading a file executes no code. Its record holds a hash of everything in the file, which detects damage.

The network's outputs are (N, K), in blocks that the record lists by name, each with a name for every column,
"" for a column that means nothing:

- `logit`: of each unit, before calibration; always there and first
- `intensity`, `left`, `right`: 0 to 5, of the whole face and of its halves, the subject's left and right
- `blendshape`: 0 to 1, weights of ARKit-named shapes
- `gaze`: degrees

The shipped model lies in `mien/models/` as `au.safetensors`, with `au.onnx` and its receipt `au.onnx.json`
beside it: what `mien export` writes for a model of that name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.config import SettingsError, build
from mien.detect.calibration import Calibration, Curve
from mien.faces.contract import CropContract, InputContract
from mien.faces.mesh_pose import frontal_pictures, normalised_mesh
from mien.facs import action_unit
from mien.train.tensor_file import TensorFileError, read_arrays, write_arrays

Images = NDArray[np.uint8]
Meshes = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

KIND = "mien AU model"
FORMAT = 2
MODELS = Path(__file__).parents[1] / "models"

BLOCKS = LOGIT, INTENSITY, LEFT, RIGHT, BLENDSHAPE, GAZE = (
    "logit",
    "intensity",
    "left",
    "right",
    "blendshape",
    "gaze",
)
_RANGES = {INTENSITY: (0.0, 5.0), LEFT: (0.0, 5.0), RIGHT: (0.0, 5.0), BLENDSHAPE: (0.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Readings:
    """What a model reads in N faces. intensity_NA: 0 to 5, NaN for units without; None: a model without.

    sides_NS, blendshape_NB, gaze_NG: in the order of the model's `side_columns` and of its blocks' columns;
    no columns for a model without.
    """

    probability_NA: NDArray[np.float32]
    intensity_NA: NDArray[np.float32] | None
    sides_NS: NDArray[np.float32]
    blendshape_NB: NDArray[np.float32]
    gaze_NG: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AuModel:
    """From aligned face crops to action units: present where the probability is above the threshold.

    network, network_settings, weights: what `mien.detect.network` builds the network from. uses_points:
    whether it takes the face's mesh beside the pixels. outputs: the columns of each block, in the network's
    order. units: FACS numbers, the order of every A axis. record: the card's facts, JSON. source: its file.
    """

    network: str
    network_settings: Mapping[str, Any]
    weights: Arrays
    inputs: InputContract
    uses_points: bool
    outputs: Mapping[str, tuple[str, ...]]
    units: tuple[int, ...]
    calibration: Calibration
    threshold_A: NDArray[np.float32]
    record: Mapping[str, Any]
    source: str

    def __post_init__(self) -> None:
        A, columns = len(self.units), self.columns  # known units, or an error
        if not A or len(set(self.units)) < A:
            raise ValueError(f"{self.source}: action units {self.units}; expected one or more, each once")
        if self.threshold_A.shape != (A,) or len(self.calibration.curves) != A:
            raise ValueError(
                f"{self.source}: expected one threshold and one calibration for each of {A} units"
            )
        if next(iter(self.outputs.items()), None) != (LOGIT, columns):
            raise ValueError(f"{self.source}: expected outputs that begin with the logits of its {A} units")
        if not self.outputs.keys() <= set(BLOCKS):
            raise ValueError(f"{self.source}: outputs {', '.join(self.outputs)}; known: {', '.join(BLOCKS)}")
        for name in (INTENSITY, LEFT, RIGHT):
            if odd := set(self.block(name)) - {*columns, ""}:
                raise ValueError(f"{self.source}: {name} of {min(odd)}, which is none of its units")

    @property
    def contract(self) -> CropContract:
        """How its faces are cropped."""
        return self.inputs.crop

    @property
    def columns(self) -> tuple[str, ...]:
        """("AU01", ...), in the order of the units."""
        return tuple(action_unit(number).column for number in self.units)

    @property
    def coded(self) -> NDArray[np.bool_] | None:
        """(A,): which units have an intensity; None: a model without intensities."""
        columns = self.block(INTENSITY)
        return np.array([name in columns for name in self.columns]) if columns else None

    @property
    def side_columns(self) -> tuple[str, ...]:
        """("AU12_intensity_left", "AU12_intensity_right", ...), unit by unit, for units that have sides."""
        return tuple(
            f"{name}_intensity_{side}"
            for name in self.columns
            for side in (LEFT, RIGHT)
            if name in self.block(side)
        )

    def block(self, name: str) -> tuple[str, ...]:
        """The columns of a block of outputs; () for a model without it."""
        return self.outputs.get(name, ())

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over all that is in its file."""
        return content_sha256(*_content(self))[:16]

    @cached_property
    def network_digest(self) -> str:
        """The same over what an exported network holds: without calibration, thresholds and card."""
        arrays, record = _content(self)
        weights = {name: a for name, a in arrays.items() if name.startswith(_WEIGHTS)}
        kept = ("network", "network_settings", "uses_points", "outputs", *self.inputs.to_record())
        return content_sha256(weights, {name: record[name] for name in kept})[:16]

    def read(self, outputs_NK: NDArray[np.float32]) -> Readings:
        """Probabilities, intensities and the rest from an engine's raw outputs."""
        N, K = len(outputs_NK), sum(map(len, self.outputs.values()))
        if outputs_NK.shape != (N, K):
            raise ValueError(f"{self.source}: outputs of shape {outputs_NK.shape}; expected (N, {K})")
        values: dict[tuple[str, str], NDArray[np.float32]] = {}
        names = ((block, name) for block, columns in self.outputs.items() for name in columns)
        for (block, name), found_N in zip(names, outputs_NK.T, strict=True):
            values[block, name] = np.clip(found_N, *_RANGES[block]) if block in _RANGES else found_N

        def joined(block: str, names: Iterable[str]) -> NDArray[np.float32]:
            found = [values.get((block, name), np.full(N, np.nan, np.float32)) for name in names if name]
            return np.column_stack([np.zeros((N, 0), np.float32), *found])

        sides = [joined(name.rpartition("_")[2], [name.partition("_")[0]]) for name in self.side_columns]
        return Readings(
            self.calibration(outputs_NK[:, : len(self.units)]),
            joined(INTENSITY, self.columns) if self.block(INTENSITY) else None,
            np.concatenate([np.zeros((N, 0), np.float32), *sides], axis=1),
            joined(BLENDSHAPE, self.block(BLENDSHAPE)),
            joined(GAZE, self.block(GAZE)),
        )

    def present(self, probability_NA: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N, A): above the unit's threshold."""
        above_NA: NDArray[np.bool_] = probability_NA > self.threshold_A
        return above_NA


def shipped_model() -> Path:
    """The model in this package. ValueError in a package without one."""
    path = MODELS / "au.safetensors"
    if not path.is_file():
        raise ValueError("this copy of mien ships no action-unit model: give one, as `mien fit` writes it")
    return path


def network_inputs(model: AuModel, crops_NHWC: Images, mesh_N468x3: Meshes | None) -> dict[str, NDArray[Any]]:
    """The network's inputs by name: `pixels`, and where used `points` (N, 468, 3) and `frontal` (N, 72, 80).

    ValueError for crops of another shape, and where a model that uses points gets no mesh.
    """
    inputs: dict[str, NDArray[Any]] = {"pixels": input_pixels(crops_NHWC, model.inputs)}
    if model.uses_points:
        if mesh_N468x3 is None:
            raise ValueError(f"{model.source} uses the points of the face's mesh: give them beside the crops")
        inputs["points"] = normalised_mesh(mesh_N468x3)
        if "num_sided" in model.network_settings:
            inputs["frontal"] = frontal_pictures(crops_NHWC, mesh_N468x3, model.contract)
    return inputs


def input_pixels(crops_NHWC: Images, inputs: InputContract) -> Images:
    """(N, input_size_px, input_size_px, 3): face crops resized as the store reads them, cut in the middle.

    ValueError unless the crops are (N, crop_size_px, crop_size_px, 3) uint8.
    """
    side_px = inputs.crop.crop_size_px
    if crops_NHWC.ndim != 4 or crops_NHWC.shape[1:] != (side_px, side_px, 3) or crops_NHWC.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 face crops of N x {side_px} x {side_px} x 3, "
            f"got {crops_NHWC.dtype} {' x '.join(map(str, crops_NHWC.shape))}"
        )
    frame_px = inputs.frame_size_px
    if frame_px != side_px:
        resized_NHWC = np.empty((len(crops_NHWC), frame_px, frame_px, 3), np.uint8)
        for crop_HWC, resized_HWC in zip(crops_NHWC, resized_NHWC, strict=True):
            cv2.resize(crop_HWC, (frame_px, frame_px), dst=resized_HWC, interpolation=cv2.INTER_AREA)
        crops_NHWC = resized_NHWC
    first = (frame_px - inputs.input_size_px) // 2
    last = first + inputs.input_size_px
    return np.ascontiguousarray(crops_NHWC[:, first:last, first:last])


def save_au_model(path: Path | str, model: AuModel) -> None:
    """Write the file, at once or not at all; WriteError when the disk is full or refuses."""
    arrays, record = _content(model)
    sha256 = content_sha256(arrays, record)
    write_arrays(Path(path), arrays, record | {"content_sha256": sha256}, kind=KIND)


def load_au_model(path: Path | str) -> AuModel:
    """The model in a file; no code in the file is executed.

    TensorFileError if the file is no AU model or is damaged, OSError if it cannot be read.
    """
    path = Path(path)
    arrays, plain = read_arrays(path, kind=KIND)
    if plain.get("format") != FORMAT:
        raise TensorFileError(
            f"{path} has format {plain.get('format')!r}; this mien reads {FORMAT} (it was written by mien "
            f"{plain.get('mien_version', 'unknown')})"
        )
    expected = plain.pop("content_sha256", None)
    if expected != content_sha256(arrays, plain):
        raise TensorFileError(
            f"{path} is damaged: its content does not match its hash; fetch or fit it again"
        )
    try:
        record = build(_Record, plain, where=f"{path}: record")
    except SettingsError as error:
        raise TensorFileError(str(error)) from error
    try:
        return _assembled(arrays, record, str(path))
    except (KeyError, ValueError) as error:
        raise TensorFileError(f"{path}: its parts do not fit together: {error}") from error


def content_sha256(arrays: Arrays, record: Mapping[str, Any]) -> str:
    """Over names, types, shapes and bytes of the arrays and the record as sorted JSON."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {arrays[name].shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


_WEIGHTS = "network/"


@dataclass(frozen=True)
class _Record:
    """The file's JSON record."""

    format: int
    mien_version: str
    network: str
    network_settings: dict[str, Any]
    crop_contract: dict[str, Any]
    frame_size_px: int
    input_size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    uses_points: bool
    outputs: tuple[tuple[str, tuple[str, ...]], ...]  # name and columns of each block
    units: tuple[int, ...]
    calibration: tuple[str, ...]  # kinds of the curves
    card: dict[str, Any]


def _content(model: AuModel) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and record, as JSON returns it."""
    curves = model.calibration.curves
    arrays = {f"{_WEIGHTS}{name}": array for name, array in model.weights.items()}
    arrays["threshold"] = model.threshold_A.astype(np.float32)
    arrays["calibration/lines"] = np.array([[curve.scale, curve.bias] for curve in curves], np.float64)
    for column, curve in zip(model.columns, curves, strict=True):
        if len(curve.knots_K2):
            arrays[f"calibration/knots/{column}"] = curve.knots_K2.astype(np.float64)
    record = _Record(
        format=FORMAT,
        mien_version=str(model.record.get("mien_version", __version__)),
        network=model.network,
        network_settings=dict(model.network_settings),
        uses_points=model.uses_points,
        outputs=tuple(model.outputs.items()),
        units=model.units,
        calibration=tuple(curve.kind for curve in curves),
        card=dict(model.record),
        **model.inputs.to_record(),
    )
    return arrays, json.loads(json.dumps(asdict(record)))


def _assembled(arrays: Arrays, record: _Record, source: str) -> AuModel:
    lines_A2 = arrays["calibration/lines"].tolist()
    curves = []
    for number, kind, (scale, bias) in zip(record.units, record.calibration, lines_A2, strict=True):
        knots_K2 = arrays.get(f"calibration/knots/AU{number:02d}", np.zeros((0, 2)))
        curves.append(Curve(kind, scale, bias, knots_K2))
    return AuModel(
        network=record.network,
        network_settings=record.network_settings,
        weights={name.removeprefix(_WEIGHTS): a for name, a in arrays.items() if name.startswith(_WEIGHTS)},
        inputs=InputContract.from_record(vars(record)),
        uses_points=record.uses_points,
        outputs=dict(record.outputs),
        units=record.units,
        calibration=Calibration(tuple(curves)),
        threshold_A=arrays["threshold"].astype(np.float32),
        record=record.card,
        source=source,
    )
