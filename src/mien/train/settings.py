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
        for section, values in recipe.items():
            if section not in SECTIONS:
                raise SettingsError(f"{where}: unknown section {section!r}{nearest(section, SECTIONS)}")
            if not isinstance(values, Mapping):
                raise SettingsError(f"{where}: {section} = {values!r} is outside of the sections")
        sections = {section: dict(recipe.get(section, {})) for section in SECTIONS}
        names = {}
        for section in ("method", "backbone"):
            if "name" not in sections[section]:
                raise SettingsError(f"{where} [{section}]: name is missing")
            names[section] = str(sections[section].pop("name"))
        weights = str(sections["backbone"].pop("weights", ""))

        def built(cls: type[T], section: str) -> T:
            return build(cls, sections[section], where=f"{where} [{section}]")

        parts: tuple[Any, ...] = (
            names["method"],
            built(METHODS.get(names["method"]).Settings, "method"),
            names["backbone"],
            built(BACKBONES.get(names["backbone"]).Settings, "backbone"),
            weights,
            built(ViewSettings, "views"),
            built(DataSettings, "data"),
            built(OptimiserSettings, "optimiser"),
            built(RunSettings, "run"),
        )
        try:
            return cls(*parts)
        except ValueError as error:
            raise SettingsError(f"{where}: {error}") from error

    def __post_init__(self) -> None:
        self.views.require_fits(self.data.frame_size_px)
        if self.data.clips_per_step % self.run.processes:
            raise ValueError(
                f"data.clips_per_step = {self.data.clips_per_step} does not divide among run.devices = "
                f"{self.run.devices} x run.nodes = {self.run.nodes}"
            )

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
