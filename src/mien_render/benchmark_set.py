"""A named set of rendered clips: what is in it, who is in which fold, and the seeds; no drawing here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mien.config import Settings, SettingsError, build, to_dict
from mien_render.clip import VideoSettings
from mien_render.motion import MotionSettings
from mien_render.nuisance import NuisanceSettings
from mien_render.person import PeopleSettings


@dataclass(frozen=True)
class PartSettings:
    """One part of a set, such as the main one or the shifted test set; a folder of its own."""

    identities: int
    first_identity: int = 0  # people are numbered over the whole set: another number is another person
    clips: int = 4  # of each identity
    folds: int = 5  # identity number i is in fold i % folds; 1 makes the whole part one fold
    people: PeopleSettings = field(default_factory=PeopleSettings)
    nuisance: NuisanceSettings = field(default_factory=NuisanceSettings)

    def __post_init__(self) -> None:
        if min(self.identities, self.clips, self.folds) < 1 or self.first_identity < 0:
            raise ValueError("a part has at least one identity, one clip each and one fold")


@dataclass(frozen=True)
class ClipPlan:
    """Which clip: its part, person, number, fold and seed."""

    part: str
    identity: int
    clip: int
    fold: str
    seed: tuple[int, ...]

    @property
    def identity_name(self) -> str:
        """As the folder is called: `id00042`."""
        return f"id{self.identity:05d}"

    @property
    def path(self) -> str:
        """Of the video, relative to its part: VoxCeleb2's identity/video/utterance under `mp4`."""
        return f"mp4/{self.identity_name}/v{self.clip:04d}/00001.mp4"


@dataclass(frozen=True)
class SetSettings:
    """A whole set."""

    name: str
    seed: int
    parts: Mapping[str, PartSettings]
    video: VideoSettings = field(default_factory=VideoSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)

    def __post_init__(self) -> None:
        numbered: dict[int, str] = {}
        for name, part in self.parts.items():
            for identity in range(part.first_identity, part.first_identity + part.identities):
                if identity in numbered:
                    raise ValueError(f"person {identity} is in the parts {numbered[identity]} and {name}")
                numbered[identity] = name

    @classmethod
    def from_recipe(cls, recipe: Settings, *, where: str) -> SetSettings:
        """From a recipe's sections; a part's `people` and `nuisance` go over the set's. SettingsError."""
        sections = build(_Sections, recipe, where=where)
        if not sections.parts:
            raise SettingsError(f"{where}: no part; expected at least [parts.main] with identities = ...")
        parts = {name: _part(name, sections, where=where) for name in sections.parts}
        return cls(sections.set.name, sections.set.seed, parts, sections.video, sections.motion)

    def plans(self) -> Iterator[ClipPlan]:
        """Every clip, the clips of one person after each other."""
        for name, part in self.parts.items():
            for identity in range(part.first_identity, part.first_identity + part.identities):
                fold = f"fold{identity % part.folds}" if part.folds > 1 else name
                for clip in range(part.clips):
                    yield ClipPlan(name, identity, clip, fold, (self.seed, identity, clip))

    def person_seed(self, identity: int) -> tuple[int, ...]:
        """The seed of a person's looks."""
        return (self.seed, identity)

    def to_dict(self) -> Settings:
        """JSON types only."""
        plain = to_dict(replace(self, parts={}))
        plain["parts"] = {name: to_dict(part) for name, part in self.parts.items()}
        if not self.video.key_frames_only:  # sets begun before there was the setting keep their digest
            del plain["video"]["key_frames_only"]
        return plain

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over all settings."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Head:
    name: str
    seed: int = 0


@dataclass(frozen=True)
class _Sections:
    set: _Head
    video: VideoSettings = field(default_factory=VideoSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)
    people: Settings = field(default_factory=dict)
    nuisance: Settings = field(default_factory=dict)
    parts: dict[str, Settings] = field(default_factory=dict)


def _part(name: str, sections: _Sections, *, where: str) -> PartSettings:
    values = sections.parts[name]
    merged = {
        **values,
        "people": {**sections.people, **values.get("people", {})},
        "nuisance": {**sections.nuisance, **values.get("nuisance", {})},
    }
    return build(PartSettings, merged, where=f"{where} [parts.{name}]")
