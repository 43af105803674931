"""The crop contract: how a face was found and cut out, as one value written wherever crops or weights go."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.config import differences, to_dict


class ContractMismatchError(ValueError):
    """Crops were made one way and are about to be used as if made another."""


@dataclass(frozen=True)
class CropContract:
    """Detector, landmark model, template, size, margin and colour of a face crop.

    The template says where the five points (left eye, right eye, nose tip, left and right mouth corner, as
    seen in the picture) come to lie, in fractions of the crop's side, before the margin is added.
    """

    detector: str
    detector_sha256: str
    landmarker: str
    landmarker_sha256: str
    template_points_5x2: tuple[tuple[float, float], ...]
    margin: float  # fraction of the template's side added on every side
    crop_size_px: int = 256
    colour: str = "RGB"
    version: int = 1

    def __post_init__(self) -> None:
        points = tuple((float(x), float(y)) for x, y in self.template_points_5x2)
        if len(points) != 5:
            raise ValueError(f"a template has 5 points, not {len(points)}")
        object.__setattr__(self, "template_points_5x2", points)

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CropContract:
        """The contract that `to_dict` wrote; ContractMismatchError if its fields are others than ours."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            odd = ", ".join(sorted(set(values) ^ known))
            raise ContractMismatchError(f"not a crop contract of this version of mien: fields {odd}")
        return cls(**values)

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over the sorted fields."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def require_same(self, other: CropContract, *, ours: str, theirs: str) -> None:
        """ContractMismatchError listing every field that differs; `ours` and `theirs` name the two files."""
        lines = differences(self.to_dict(), other.to_dict(), ours=f"in {ours}", theirs=f"in {theirs}")
        if lines:
            raise ContractMismatchError(
                f"{ours} and {theirs} were cropped differently:{lines}\n"
                "Prepare both with the same settings; features of differently cropped faces do not compare."
            )


@dataclass(frozen=True)
class InputContract:
    """What a network saw in training: crops, resized, cut in the middle, normalised."""

    crop: CropContract
    frame_size_px: int  # a crop is resized to this side
    input_size_px: int  # then this side is cut from its centre
    mean: tuple[float, float, float]  # of colours in [0, 1]
    std: tuple[float, float, float]

    def to_record(self) -> dict[str, Any]:
        """As an encoder's or an AU model's file keeps it; JSON."""
        plain = dataclasses.asdict(self)
        del plain["crop"]
        return {"crop_contract": self.crop.to_dict(), **plain}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> InputContract:
        """The contract of such a file. ContractMismatchError, or ValueError for sizes that cannot be."""
        frame_size_px, input_size_px = record["frame_size_px"], record["input_size_px"]
        if not 8 <= input_size_px <= frame_size_px <= 4096:
            raise ValueError(f"pictures of {input_size_px} px from {frame_size_px} px")
        crop = CropContract.from_dict(record["crop_contract"])
        return cls(crop, frame_size_px, input_size_px, tuple(record["mean"]), tuple(record["std"]))
