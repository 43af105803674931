"""Pages and drawings of findings: the faces of a study, its curves, two faces, two codings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from mien.detect.statistics import faces_of
from mien.detect.table import Detections
from mien.findings.agreement import SCORES, Agreement
from mien.findings.coding import Coding
from mien.findings.dyads import Dyad
from mien.io import replacing, write_bytes
from mien.video import ImageError, VideoError
from mien.visualise.charts import SYSTEMS
from mien.visualise.detection_page import face_pictures
from mien.visualise.page_parts import picture_url, printable, template, unit_name
from mien.visualise.timed_video import page_video

_FRAMES_LOOKED_AT = 250  # of each face, its first: pictures take no reading of whole videos
_COLUMNS = 4
_MOST_ROWS = 2000


def write_people_page(tables: Sequence[Path], people: pd.DataFrame, out: Path) -> list[tuple[str, str]]:
    """`out`, a page of all faces by person, from the table `people_csv` wrote (file, face, person, seconds).

    Pictures come from the videos where `mien detect` read them. Returns the files without, and why.
    """
    pictures: dict[tuple[str, int], str] = {}
    without: list[tuple[str, str]] = []
    for path in tables:
        for name, media, detections in _files_of(path):
            try:
                pictures |= {(name, face): url for face, url in _pictures(detections, media).items()}
            except (OSError, VideoError, ImageError) as error:
                without.append((name, str(error)))
    faces = [
        row | {"picture": pictures.get((row["file"], row["face"]), ""), "file": printable(row["file"])}
        for row in people.to_dict("records")
    ]
    by_person: dict[str, list[dict[str, Any]]] = {}
    for face in faces:
        by_person.setdefault(printable(face["person"]), []).append(face)
    html = template("people.html").render(
        num_faces=len(faces),
        num_files=people["file"].nunique(),
        people=sorted(by_person.items()),
        csv=out.with_suffix(".csv").name,
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return without


def write_curves(curves: pd.DataFrame, out: Path) -> None:
    """`out`, an SVG: a panel per unit, a line per condition, its 95 % interval over people shaded."""
    units = list(dict.fromkeys(curves["unit"])) if len(curves) else []
    height = max(1, math.ceil(len(units) / _COLUMNS))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mien", "font.size": 8}):
        figure = Figure(figsize=(2.6 * _COLUMNS, 0.6 + 1.8 * height), layout="constrained")
        panels = figure.subplots(height, _COLUMNS, sharex=True, squeeze=False).ravel()
        for axes, unit in zip(panels, units, strict=False):
            _draw(axes, curves[curves["unit"] == unit], unit)
        for axes in panels[len(units) :]:
            axes.set_visible(False)
        if units:
            figure.legend(
                *panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False
            )
            figure.supxlabel("seconds from the start of the condition", fontsize=8)
        with replacing(out) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def write_dyad(dyad: Dyad, out: Path, *, title: str) -> None:
    """`out`, an SVG: the curve with its interval, and the level that 95 % of the surrogates stay below."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    curve = dyad.curve
    axes.fill_between(curve["lag"], curve["low"], curve["high"], alpha=0.25, label="95 % over windows")
    axes.plot(curve["lag"], curve["r"], label="mean over windows")
    axes.axhline(curve["surrogate"].iloc[0], linestyle="--", color="grey", label="95 % of surrogates below")
    axes.axvline(dyad.peak["lag"], linewidth=0.8, color="grey")
    axes.set_xlabel("lag of the second face, s")
    axes.set_ylabel("correlation")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    with replacing(out) as temporary:
        figure.savefig(temporary, format="svg")


def write_agreement_page(agreement: Agreement, out: Path, *, a: Coding, b: Coding) -> Path:
    """Write `out`, scores and a list of disagreements that seeks in the videos of `a`; returns it.

    Videos are linked, not embedded. A copy NAME.playable.mp4 is written beside the page for a video that
    browsers do not play. The longest 2000 disagreements are listed.
    """
    rows = agreement.disagreements.head(_MOST_ROWS)
    links = {}
    for name in rows["input"].unique():
        if name in a.videos:
            video = page_video(a.videos[name], out.with_name(f"{Path(name).stem}.html"))
            links[name] = video.link, video.first_seconds - a.limits[name][0]
    html = template("agreement.html").render(
        names=[printable(str(coding.path)) for coding in (a, b)],
        scores=agreement.scores.to_dict("records"),
        measures=list(SCORES),
        rows=[{**row, "input": printable(row["input"])} for row in rows.to_dict("records")],
        num_rows=len(agreement.disagreements),
        links=[links.get(name, ("", 0.0)) for name in rows["input"]],
        notes=[printable(note) for note in agreement.notes],
        shown=lambda value, form: format(value, form) if math.isfinite(value) else "–",
    )
    write_bytes(out, html.encode(), temporary_folder=out.parent)
    return out


def _draw(axes: Any, curves: pd.DataFrame, unit: str) -> None:
    for number, (condition, rows) in enumerate(curves.groupby("condition", sort=True)):
        colour = SYSTEMS[number % len(SYSTEMS)]
        people = int(rows["people"].max())
        axes.plot(rows["seconds"], rows["mean"], color=colour, lw=1.2, label=f"{condition} ({people} people)")
        axes.fill_between(rows["seconds"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_title(f"{unit} {unit_name(unit) if unit.startswith('AU') else ''}", loc="left", fontsize=8)
    axes.set_ylabel(curves["measure"].iloc[0])
    axes.tick_params(labelbottom=True)  # also above a panel that is not there
    axes.spines[["top", "right"]].set_visible(False)


def _files_of(table: Path) -> Iterator[tuple[str, Path, Detections]]:
    """Every file of a table: its name, where `mien detect` read it, and its rows."""
    detections = Detections.load(table)
    record = table.with_suffix(".json")
    read = json.loads(record.read_text(encoding="utf-8")).get("inputs", []) if record.is_file() else []
    names = detections.inputs
    paths = [Path(one["path"]) for one in read] if len(read) == len(names) else [Path(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        yield name, path, detections.of_input(name)


def _pictures(detections: Detections, media: Path) -> dict[int, str]:
    """A picture of each face as a data URL. OSError, VideoError, ImageError."""
    table = detections.to_pandas()
    first = table[table["success"] == 1].groupby("face_id").head(_FRAMES_LOOKED_AT)
    frame_F = first.drop_duplicates("frame").sort_values("frame")["frame"].to_numpy()
    _, found = face_pictures(media, frame_F, list(faces_of(first)))
    return {face: picture_url(picture) for face, picture in found.items()}
