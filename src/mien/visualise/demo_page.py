"""The page of the demo: what was drawn, what was learnt, and whether an untrained net knows as much."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from mien.data.accounts import Account, add_up
from mien.data.atomic import write_bytes
from mien.evaluate.read_outs import ReadOut
from mien.facs import action_unit
from mien.visualise.contact_sheet import jpeg
from mien.visualise.svg_plots import Curve, DotRow, Level, dot_plot, intensity_strip, line_chart

WORTH_A_WORD = 0.02
"""Differences of mean ROC-AUC below this are within what another seed changes."""

_CHARTS = (
    ("loss_tcl", "Temporal contrast: loss", "lower is better; collapsed means that time is not told at all"),
    ("loss_cir", "Cross-identity reconstruction: loss", "guessing is log(1 + negatives)"),
    ("distance_first_last", "Distance of first and last frame of a clip", "0 would be collapse"),
    ("clips_collapsed", "Share of collapsed clips", "should be near 0"),
    ("attention_support", "Share of the candidates that reconstruct a face", "1: all alike; near 0: one"),
    ("retrieval_accuracy", "Own key found among the negatives", "share of queries"),
    ("attention_on_own_identity", "Attention on the own identity, before masking", "small is wanted"),
    ("effective_rank", "Effective rank of the features", "1: all on a line"),
)

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Neighbours:
    """A face and those of other people whose features are nearest; labels are what each shows."""

    query: Pictures
    query_label: str
    near: Sequence[Pictures]
    near_labels: Sequence[str]


@dataclass(frozen=True)
class Sample:
    """One drawn video: some of its pictures and its intensities, a row an action unit."""

    pictures: Sequence[Pictures]
    intensities: Sequence[tuple[str, Sequence[float]]]


@dataclass(frozen=True)
class DemoPage:
    """What the page tells. The first read-out is the trained encoder's, the second the untrained one's."""

    action_units: Sequence[int]
    base_rate_A: NDArray[np.floating[Any]]
    read_outs: Sequence[ReadOut]
    chance_agreement: float
    num_readout_people: int
    log: Sequence[Mapping[str, Any]]
    collapse_loss: float
    accounts: Mapping[str, Sequence[Account]]
    samples: Sequence[Sample]
    neighbours: Sequence[Neighbours]
    facts: Sequence[tuple[str, str]]
    seconds_by_stage: Mapping[str, float]


def write_demo_page(page: DemoPage, out: Path) -> Path:
    """Write `out`/index.html, which needs no other file and no network; its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mien.visualise"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("demo.html").render(
        page=page,
        verdict=verdict(page.read_outs),
        dots=_dots(page),
        charts=[chart for chart in (_chart(page, *about) for about in _CHARTS) if chart],
        warnings=_warnings(page.log),
        totals={name: add_up(accounts) for name, accounts in page.accounts.items()},
        strip=lambda sample: intensity_strip(sample.intensities, greatest=5.0),
        picture=picture_url,
        total_seconds=sum(page.seconds_by_stage.values()),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "index.html", html.encode(), temporary_folder=out)
    return out / "index.html"


def verdict(read_outs: Sequence[ReadOut]) -> str:
    """One sentence on trained against untrained and floor, whichever way it went."""
    trained, untrained, *floors = read_outs
    gain = trained.mean_auc - untrained.mean_auc
    better = int(np.sum(trained.auc_A > untrained.auc_A))
    told = f"mean ROC-AUC {trained.mean_auc:.3f} against {untrained.mean_auc:.3f}"
    count = f"{better} of {len(trained.auc_A)} action units are read better"
    if gain > WORTH_A_WORD:
        words = f"Pretraining helped: {told}; {count}."
    elif gain < -WORTH_A_WORD:
        words = f"Pretraining did not help, it hurt: {told}; {count}."
    else:
        words = f"Pretraining changed nothing worth a word: {told}; {count}."
    for floor in floors:
        side = "above" if trained.mean_auc > floor.mean_auc else "not above"
        words += f" The trained encoder is {side} the floor “{floor.name}” ({floor.mean_auc:.3f})."
    return words


def picture_url(picture_HWC: Pictures) -> str:
    """The picture inside a URL, as JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture_HWC)).decode()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _dots(page: DemoPage) -> str:
    rows = [
        DotRow(
            f"AU{number} {action_unit(number).name}",
            [read_out.auc_A[place] for read_out in page.read_outs],
            f"{page.base_rate_A[place]:.0%}",
        )
        for place, number in enumerate(page.action_units)
    ]
    rows.append(DotRow("mean", [read_out.mean_auc for read_out in page.read_outs]))
    lowest = min(min(row.values) for row in rows)
    low = 0.5 if not lowest < 0.5 else float(np.floor(lowest * 20) / 20)
    return dot_plot(rows, [read_out.name for read_out in page.read_outs], low=low, high=1.0, middle=0.5)


def _chart(page: DemoPage, name: str, title: str, note: str) -> str:
    lines = [line for line in page.log if line.get(name) is not None]
    if not lines:
        return ""
    steps, values = [line["step"] for line in lines], [line[name] for line in lines]
    levels = [Level("all frames alike", page.collapse_loss)] if name == "loss_tcl" else []
    return line_chart(title, [Curve(name, steps, values)], levels=levels, note=note)


def _warnings(log: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Each warning of the run with the first and the last step at which it stood in the log."""
    steps: dict[str, list[int]] = {}
    for line in log:
        for text in line.get("warnings", ()):
            steps.setdefault(text, []).append(line["step"])
    return [(text, at[0], at[-1]) for text, at in steps.items()]
