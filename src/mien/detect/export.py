"""An AU model's network as a file for ONNX Runtime, kept only where it agrees with torch.

The file takes pixels (and points, for a model that uses them) of any number of faces at a time. For
`onnx-int8`, ONNX Runtime's static quantisation takes the ranges of activations from the calibration faces,
and weights have a scale per channel.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from mien import __version__
from mien.data.sources import SourceError
from mien.data.store import TrackStore
from mien.detect.au_model import AuModel, Images, Meshes, Readings, network_inputs
from mien.detect.engines import (
    EXPORTED_SUFFIX,
    KIND,
    EngineError,
    exported_file,
    import_onnx,
    open_engine,
    receipt_path,
    sha256_of,
)
from mien.detect.network import build_network
from mien.evaluate.embed import sort_by_kind
from mien.faces.track import FaceTracking
from mien.faces.tracked import TrackedFace
from mien.io import replacing, write_bytes
from mien.registry import nearest

FEWEST = 8
_EVERY = 12  # of a video's faces: neighbours look the same
_BATCH = 32
_LARGE = 8192  # values of a matrix; smaller ones stay as they are


@dataclass(frozen=True, eq=False)
class Faces:
    """(N, S, S, 3) crops, and, for models that use them, the meshes of the same faces."""

    crops_NHWC: Images
    mesh_N468x3: Meshes | None = None

    @classmethod
    def of(cls, faces: Sequence[TrackedFace]) -> Faces:
        """Of a tracker."""
        if not faces:
            return cls(np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 468, 3), np.float32))
        return cls(np.stack([face.crop_HWC for face in faces]), np.stack([face.mesh_468x3 for face in faces]))

    @classmethod
    def joined(cls, parts: Sequence[Faces]) -> Faces:
        """Several after one another; without meshes where one part has none."""
        meshes = [part.mesh_N468x3 for part in parts if part.mesh_N468x3 is not None]
        crops_NHWC = np.concatenate([part.crops_NHWC for part in parts])
        return cls(crops_NHWC, np.concatenate(meshes) if len(meshes) == len(parts) else None)

    def rows(self, chosen: slice) -> Faces:
        """Of these rows."""
        return Faces(self.crops_NHWC[chosen], None if self.mesh_N468x3 is None else self.mesh_N468x3[chosen])

    def __len__(self) -> int:
        return len(self.crops_NHWC)


@dataclass(frozen=True)
class Agreement:
    """Two engines on the same crops: differences of probabilities, and how often presence agrees."""

    num_crops: int
    max_difference: float
    mean_difference: float
    presence_agreement: float  # share of faces and units on the same side of the threshold

    def __str__(self) -> str:
        return (
            f"probabilities differ from torch's by {self.mean_difference:.2g} on average and "
            f"{self.max_difference:.2g} at most; presence agrees in {self.presence_agreement:.2%} "
            f"({self.num_crops} crops)"
        )

    def is_within(self, tolerance: Mapping[str, float | None]) -> bool:
        """Whether an engine that agrees so far with torch may be kept; NaN is not."""
        largest = tolerance["max_difference"]
        return (
            self.mean_difference <= (tolerance["mean_difference"] or 0.0)
            and self.presence_agreement >= (tolerance["presence_agreement"] or 0.0)
            and (largest is None or self.max_difference <= largest)
        )


TOLERANCES: dict[str, dict[str, float | None]] = {  # of an `Agreement`; None: reported, not limited
    "onnx": {"mean_difference": 1e-4, "presence_agreement": 0.999, "max_difference": 0.01},
    "onnx-int8": {"mean_difference": 0.03, "presence_agreement": 0.95, "max_difference": None},
}


def export_model(
    model: AuModel,
    model_path: Path,
    engine: str,
    *,
    calibration: Faces,
    check: Faces,
    crops_from: str,
    out: Path,
) -> Agreement:
    """Write `engine`'s file and receipt into `out`, beside a copy of the model where that is another folder.

    The file is written elsewhere and moved when it agrees with torch on `check`; EngineError saying by
    how much it does not. crops_from: the origin of the crops, for the receipt.
    """
    if engine not in EXPORTED_SUFFIX:
        raise EngineError(f"cannot export to {engine!r}{nearest(engine, EXPORTED_SUFFIX)}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as name:
        beside = Path(name) / model_path.name
        file = exported_file(beside, engine)
        _write_network(model, engine, file, calibration)
        receipt = {
            "kind": KIND,
            "engine": engine,
            "network_digest": model.network_digest,
            "model_digest": model.digest,
            "files": {file.name: sha256_of(file)},
            "tolerance": TOLERANCES[engine],
            "crops": crops_from,
            "num_calibration_crops": len(calibration),
            "versions": {"mien": __version__}
            | {package: metadata.version(package) for package in ("torch", "onnx", "onnxruntime")},
        }
        receipt_path(beside, engine).write_text(json.dumps(receipt))
        agreement = measure_agreement(model, beside, engine, check)
        if not agreement.is_within(TOLERANCES[engine]):
            allowed = ", ".join(f"{name} {value}" for name, value in TOLERANCES[engine].items())
            raise EngineError(f"{model_path} on {engine} was not kept: {agreement}; allowed: {allowed}")
        _keep(engine, beside, model_path, receipt | {"agreement": dataclasses.asdict(agreement)}, out=out)
    return agreement


def measure_agreement(model: AuModel, model_path: Path, engine: str, faces: Faces) -> Agreement:
    """An exported engine compared with torch on these faces; ValueError without any."""
    if not len(faces):
        raise ValueError("no crops to compare the engines on")
    batches = [faces.rows(slice(first, first + _BATCH)) for first in range(0, len(faces), _BATCH)]

    def readings(name: str) -> Readings:
        run = open_engine(name, model, model_path=model_path)
        return model.read(np.concatenate([run(some.crops_NHWC, some.mesh_N468x3) for some in batches]))

    ours, theirs = readings("torch"), readings(engine)
    difference_NA = np.abs(ours.probability_NA - theirs.probability_NA)
    same_NA = model.present(ours.probability_NA) == model.present(theirs.probability_NA)
    largest, mean = float(difference_NA.max()), float(difference_NA.mean())
    return Agreement(len(faces), largest, mean, float(same_NA.mean()))


def _write_network(model: AuModel, engine: str, file: Path, calibration: Faces) -> None:
    """The network by torch's exporter, any number of faces at a time; quantised for `onnx-int8`."""
    for module in ("onnx", "onnxscript", "onnxruntime"):
        import_onnx(module)
    whole = file.with_name("float32.onnx")
    any_number = torch.export.Dim("rows")
    inputs = network_inputs(model, calibration.crops_NHWC, calibration.mesh_N468x3)
    torch.onnx.export(
        build_network(model),
        tuple(torch.from_numpy(values[:2]) for values in inputs.values()),
        whole,
        input_names=list(inputs),
        output_names=["outputs"],
        dynamic_shapes=tuple({0: any_number} for _ in inputs),
        external_data=False,
        verbose=False,
    )
    if engine == "onnx":
        if any(array.dtype == np.float16 for array in model.weights.values()):
            _store_in_halves(whole)
        whole.replace(file)
        return
    quantization = import_onnx("onnxruntime.quantization")
    prepared = file.with_name("prepared.onnx")
    quantization.quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    rows = range(len(calibration))
    faces = ({name: values[row, None] for name, values in inputs.items()} for row in rows)
    quantization.quantize_static(
        str(prepared),
        str(file),
        SimpleNamespace(get_next=lambda: next(faces, None)),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # AVX2 without VNNI adds products of 8 bits in 16, which overflow; 7 bits do not
    )


def _store_in_halves(file: Path) -> None:
    """Store matrices in 16 bits, as the model's file does; ONNX Runtime widens them again."""
    onnx = import_onnx("onnx")
    whole = onnx.load(str(file))
    casts = []
    for stored in whole.graph.initializer:
        values, name = onnx.numpy_helper.to_array(stored), stored.name
        if values.dtype == np.float32 and values.ndim > 1 and values.size >= _LARGE:
            stored.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_16"], [name], to=onnx.TensorProto.FLOAT))
    for node in casts:
        whole.graph.node.insert(0, node)
    onnx.save(whole, str(file))


def gather_faces(
    sources: Sequence[Path], model: AuModel, *, num_faces: int, finder: Path | None = None, seed: int = 0
) -> tuple[Faces, Faces]:
    """About `num_faces` of stores and media, half to calibrate an engine on and half to check it on.

    No track and no file is in both halves, where there are two or more. SourceError where there are fewer
    than `FEWEST`, and errors as of `faces_by_group`.
    """
    groups = [group for group in faces_by_group(sources, model, num_faces, finder) if len(group)]
    if sum(map(len, groups)) < FEWEST:
        raise SourceError(f"too few faces in {', '.join(map(str, sources))}: it takes {FEWEST}")
    if len(groups) == 1:
        middle = len(groups[0]) // 2
        return groups[0].rows(slice(middle)), groups[0].rows(slice(middle, None))
    order = np.random.default_rng(seed).permutation(len(groups))
    first, second = (Faces.joined([groups[k] for k in order[start::2]]) for start in (0, 1))
    return first, second


def faces_by_group(
    sources: Sequence[Path], model: AuModel, num_faces: int, finder: Path | None
) -> Iterator[Faces]:
    """About `num_faces` faces of stores and media, those of one track or one file at a time.

    SourceError for a store where the model uses meshes, which no store has. ContractMismatchError where faces
    are cropped differently from the model's.
    """
    stores, pictures, videos = sort_by_kind(sources)
    for path in stores:
        if model.uses_points:
            raise SourceError(f"{path}: a store has no face meshes, which {model.source} uses: give videos")
        yield from _of_store(path, model, num_faces)
    if not videos and not pictures:
        return
    tracking = FaceTracking(models=finder)
    model.contract.require_same(tracking.contract, ours=model.source, theirs="faces found now")
    share = max(4, -(-num_faces // (len(pictures) + len(videos))))
    for video in videos:
        found = (face for looked in tracking(video.path) for face in looked.faces)
        yield Faces.of(list(islice(found, 0, share * _EVERY, _EVERY)))
    for picture in pictures:
        yield Faces.of(tracking.picture(picture.path).faces)


def _of_store(path: Path, model: AuModel, num_faces: int) -> Iterator[Faces]:
    store = TrackStore.open(path)
    model.contract.require_same(store.contract, ours=model.source, theirs=str(path))
    tracks = np.unique(np.linspace(0, store.num_tracks - 1, min(store.num_tracks, num_faces)).astype(int))
    share = -(-num_faces // max(1, len(tracks)))
    for track in tracks.tolist():
        length = store.num_frames(track)
        positions = np.unique(np.linspace(0, length - 1, min(length, share)).astype(int))
        yield Faces(store.read_frames(track, positions.tolist()))


def _keep(engine: str, beside: Path, model_path: Path, receipt: dict[str, Any], *, out: Path) -> None:
    """Move the file into `out`. The old receipt is removed first and the new one written last, so a process
    killed in between leaves files that are refused, not an export of another model.
    """
    copy = out / model_path.name
    receipt_path(copy, engine).unlink(missing_ok=True)
    exported_file(beside, engine).replace(exported_file(copy, engine))
    if not copy.exists() or not copy.samefile(model_path):
        with replacing(copy, temporary_folder=beside.parent) as temporary:
            shutil.copyfile(model_path, temporary)
    content = json.dumps(receipt, indent=2).encode()
    write_bytes(receipt_path(copy, engine), content, temporary_folder=beside.parent)
