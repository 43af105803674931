"""What `mien adapt` does: the faces of a labelled set through the model, and its record of the change."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import __version__
from mien.detect.adapting import Adapted, adapt
from mien.detect.au_model import AuModel, load_au_model, save_au_model
from mien.evaluate.features import cached_features
from mien.evaluate.labelled_faces import (
    FacesRequest,
    LabelledFaces,
    labelled_faces,
    labelled_set,
    told_counts,
)
from mien.evaluate.protocols import frame_list_digest
from mien.train.encoder_file import pick_device


@dataclass(frozen=True)
class AdaptRequest:
    """The command line, checked."""

    model: Path
    faces: FacesRequest
    out: Path
    licence: str
    device: str


def adapt_model(request: AdaptRequest) -> Adapted:
    """Everything; the adapted model as it was written."""
    model = load_au_model(request.model, device=pick_device(request.device))
    request.out.parent.mkdir(parents=True, exist_ok=True)  # what stands in its way is told before the work
    labelled = labelled_set(request.faces)
    frames = labelled.frames()
    told_counts(labelled, frames)
    data, _ = labelled_faces(request.faces, frames, [model.encoder])
    adapted = adapt(model, logits_of(model, data, workers=request.faces.workers), data.frames)
    record = dict(model.record)
    record["adaptations"] = [*record.get("adaptations", []), _provenance(request, model, adapted, data)]
    kept = dataclasses.replace(adapted.model, record=record, source=str(request.out))
    save_au_model(request.out, kept)
    return dataclasses.replace(adapted, model=kept)


@torch.inference_mode()
def logits_of(model: AuModel, data: LabelledFaces, *, workers: int = 0) -> NDArray[np.float32]:
    """(N, A) of a model for the faces of a store."""
    features_ND = cached_features(model.encoder.backbone, model.encoder.inputs, data.faces, workers=workers)
    logits_NA: NDArray[np.float32] = model.head.cpu()(torch.from_numpy(features_ND)).numpy()
    return logits_NA


def _provenance(
    request: AdaptRequest, model: AuModel, adapted: Adapted, data: LabelledFaces
) -> dict[str, Any]:
    return {
        "from": {"file": request.model.name, "digest": model.digest},
        "data": request.faces.dataset,
        "licence": request.licence,
        "num_frames": data.frames.num_frames,
        "num_subjects": len(np.unique(data.frames.subject_N)),
        "frames_digest": frame_list_digest(data.frames),
        "recalibrated": {name: _rounded(change) for name, change in adapted.changes.items()},
        "left_alone": dict(adapted.left_alone),
        "left_out": adapted.left_out,
        "mien_version": __version__,
    }


def _rounded(change: Any) -> dict[str, Any]:
    values = dataclasses.asdict(change)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
