"""The evaluation's page: one HTML file that needs no other, with tables, figures and faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jinja2

from mien.evaluate.scoring import Result
from mien.evaluate.table import Table
from mien.io import write_bytes
from mien.visualise.activation_overlay import overlay
from mien.visualise.contact_sheet import picture_url
from mien.visualise.evaluation_figures import (
    confusion_figure,
    f1_against_base_rate,
    feature_map_figure,
    label_share_chart,
)
from mien.visualise.evaluation_summary import Ranking, styles_of
from mien.visualise.evaluation_verdict import Verdict, headline

if TYPE_CHECKING:
    from mien.evaluate.report_pictures import FeatureMap, MappedFace, RegionExamples, ReportPictures


@dataclass(frozen=True)
class Face:
    """A picture inside the page, and the words below it."""

    url: str
    words: str


@dataclass(frozen=True)
class Region:
    """Hits and misses of one region of the face."""

    name: str
    grid: str  # places of the map, "7 x 7"
    hits: tuple[Face, ...]
    misses: tuple[Face, ...]


@dataclass(frozen=True)
class Map:
    """One encoder's map, twice coloured."""

    name: str
    unit_figure: str
    person_figure: str
    by_unit: str
    by_person: str


@dataclass(frozen=True)
class ReportPage:
    """What the page shows; what is empty is left out. `told`: a sentence a system and a comparison."""

    title: str
    scope: str
    verdict: Verdict
    told: tuple[str, ...]
    ranking: Ranking
    identity_figure: str
    tables: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    warning: str = ""
    alarms: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rate_figure: str = ""
    rate_key: tuple[tuple[str, str], ...] = ()  # style and label
    share_figure: str = ""
    share_key: tuple[tuple[str, str], ...] = ()
    confusions: tuple[tuple[str, str], ...] = ()
    map_unit: str = ""
    maps: tuple[Map, ...] = ()
    region_system: str = ""
    regions: tuple[Region, ...] = ()
    strip_system: str = ""
    strip: tuple[tuple[Face, ...], ...] = field(default=())

    first_tables: ClassVar[tuple[str, ...]] = (
        "modes",
        "f1",
        "expressions",
    )  # by name: these come before the figures

    @property
    def coarse(self) -> bool:
        """Whether the activation maps have next to no places."""
        return any(region.grid in ("1 x 1", "2 x 2", "3 x 3") for region in self.regions)


def write_report_page(page: ReportPage, path: Path) -> None:
    """The page at `path`, at once or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("evaluation.html").render(page=page)
    write_bytes(path, html.encode(), temporary_folder=path.parent)


def figures_of(results: Sequence[Result]) -> dict[str, Any]:
    """The page's fields that follow from the scores alone."""
    whole = [r for r in results if r.predictions.about.share_of_labels == 1]
    if results[0].expressions is not None:
        pictures = [
            (r.label, confusion_figure(r.expressions.confusion_CC, r.predictions.outputs))
            for r in whole
            if r.expressions is not None
        ]
        return {"confusions": tuple(pictures)}
    shown, styles = headline(whole), styles_of(results)
    share_figure, share_key = label_share_chart(results, styles)
    return {
        "rate_figure": f1_against_base_rate(shown, styles),
        "rate_key": tuple((styles[r.predictions.about.system], r.label) for r in shown),
        "share_figure": share_figure,
        "share_key": share_key,
    }


def fields_of(pictures: ReportPictures) -> dict[str, Any]:
    """The page's fields that show features and faces."""
    return {
        "maps": tuple(map_of(name, found) for name, found in pictures.maps),
        "map_unit": f"AU{pictures.action_unit}" if pictures.maps else "",
        "region_system": pictures.system,
        "regions": tuple(map(region_of, pictures.regions)),
        "strip_system": pictures.system if pictures.strip else "",
        "strip": tuple(
            tuple(Face(picture_url(face.picture_HWC), face.words) for face in column)
            for column in pictures.strip
        ),
    }


def map_of(name: str, found: FeatureMap) -> Map:
    """One encoder's two pictures."""
    return Map(
        name,
        feature_map_figure(found, coloured_by="action unit"),
        feature_map_figure(found, coloured_by="person"),
        f"{found.silhouette_by_action_unit:.3f}",
        f"{found.silhouette_by_subject:.3f}",
    )


def region_of(examples: RegionExamples) -> Region:
    """Faces with the map drawn over them."""
    hits, misses = (tuple(_mapped_face(face) for face in kind) for kind in (examples.hits, examples.misses))
    faces = [*examples.hits, *examples.misses]
    grid = " x ".join(map(str, faces[0].heat_HW.shape)) if faces else ""
    return Region(examples.region, grid, hits, misses)


def _mapped_face(face: MappedFace) -> Face:
    return Face(picture_url(overlay(face.picture_HWC, face.heat_HW)), ", ".join(face.words))
