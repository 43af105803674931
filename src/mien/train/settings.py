"""The resolved sections of a pretraining recipe, one dataclass per section."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mien.backbones import BACKBONES
from mien.config import Settings, SettingsError, build, to_dict
from mien.data.loader import DataSettings
from mien.data.views import ViewSettings
from mien.registry import nearest
from mien.train.engine import RunSettings
from mien.train.method import METHODS, Method
from mien.train.optimiser import OptimiserSettings

T = TypeVar("T")
SECTIONS = ("method", "backbone", "views", "data", "optimiser", "run")


@dataclass(frozen=True)
class PretrainSettings:
    """A recipe with all defaults. `method` and `backbone` have the `Settings` types of their classes."""

    method_name: str
    method: Any
    backbone_name: str
    backbone: Any
    weights: str  # a file of public weights for the backbone; "": random
    views: ViewSettings
    data: DataSettings
    optimiser: OptimiserSettings
    run: RunSettings

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any], *, where: str) -> PretrainSettings:
        """SettingsError naming `where`, the section and the key, and the nearest right key or name."""
        _require_sections(recipe, where=where)
        method_name, method = _named(recipe, "method", where=where)
        backbone_name, backbone = _named(recipe, "backbone", where=where)
        weights = backbone.pop("weights", "")
        settings = cls(
            method_name,
            build(METHODS.get(method_name).Settings, method, where=f"{where} [method]"),
            backbone_name,
            build(BACKBONES.get(backbone_name).Settings, backbone, where=f"{where} [backbone]"),
            str(weights),
            _section(ViewSettings, recipe, "views", where=where),
            _section(DataSettings, recipe, "data", where=where),
            _section(OptimiserSettings, recipe, "optimiser", where=where),
            _section(RunSettings, recipe, "run", where=where),
        )
        settings._require_fit(where=where)
        return settings

    @property
    def method_class(self) -> type[Method]:
        """The registered method."""
        return METHODS.get(self.method_name)

    def fit_to_corpus(self, *, num_videos: int) -> PretrainSettings:
        """With the method's settings that depend on the corpus filled in."""
        return dataclasses.replace(
            self, method=self.method_class.fit_to_corpus(self.method, num_videos=num_videos)
        )

    def to_recipe(self) -> Settings:
        """The nested dictionary that `from_recipe` turns back into these settings."""
        return {
            "method": {"name": self.method_name, **to_dict(self.method)},
            "backbone": {"name": self.backbone_name, "weights": self.weights, **to_dict(self.backbone)},
            **{section: to_dict(getattr(self, section)) for section in SECTIONS[2:]},
        }

    def _require_fit(self, *, where: str) -> None:
        """SettingsError if sections contradict each other."""
        try:
            self.views.require_fits(self.data.frame_size_px)
        except ValueError as error:
            raise SettingsError(f"{where}: {error}") from error
        if self.data.clips_per_step % self.run.processes:
            nodes = f" x run.nodes = {self.run.nodes}" if self.run.nodes > 1 else ""
            raise SettingsError(
                f"{where}: data.clips_per_step = {self.data.clips_per_step} does not divide among "
                f"run.devices = {self.run.devices}{nodes}"
            )


def _require_sections(recipe: Mapping[str, Any], *, where: str) -> None:
    for section, values in recipe.items():
        if section not in SECTIONS:
            raise SettingsError(f"{where}: unknown section {section!r}{nearest(section, SECTIONS)}")
        if not isinstance(values, Mapping):
            raise SettingsError(f"{where}: {section} = {values!r} is outside of the sections")


def _named(recipe: Mapping[str, Any], section: str, *, where: str) -> tuple[str, Settings]:
    values = dict(recipe.get(section, {}))
    if "name" not in values:
        raise SettingsError(f"{where} [{section}]: name is missing")
    return str(values.pop("name")), values


def _section(cls: type[T], recipe: Mapping[str, Any], section: str, *, where: str) -> T:
    return build(cls, recipe.get(section, {}), where=f"{where} [{section}]")
