"""The paper's Tables I-VI as data, with the repairs of each printed cell (paper_tables/SOURCE.md)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

TABLES = {
    "bp4d": "table1_bp4d",
    "disfa": "table2_disfa",
    "gft": "table3_gft",
    "rafdb": "table5_rafdb",
    "affectnet": "table6_affectnet",
}
"""The file that holds a set's table."""

_GROUPS = {
    "supervised": "supervised, as published",
    "supervised_baseline": "supervised ResNet-34",
    "ssl_contrastive": "general self-supervised",
    "ssl_au": "self-supervised for faces",
    "ours": "CLP",
    "ablation": "ablation",
}


@dataclass(frozen=True)
class PaperRow:
    """One printed row: percent by column (`AU12`, `Happy`), NaN where the paper has none."""

    method: str
    group: str
    copied: bool  # the asterisk: taken over from the method's own article
    values: dict[str, float]
    average: float
    repair: str


def paper_rows(dataset: str) -> list[PaperRow]:
    """The rows of that set's table in the printed order; empty for a set that the paper does not have."""
    if dataset not in TABLES:
        return []
    return [_row(cells) for cells in read_paper_table(TABLES[dataset])]


def read_paper_table(name: str) -> list[dict[str, str]]:
    """The cells of `paper_tables/NAME.csv`, among them table4_ablation and extra_sequence_length."""
    path = resources.files("mien.evaluate") / "paper_tables" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _row(cells: dict[str, str]) -> PaperRow:
    fixed = ("method", "group", "reported_in_original", "average", "ocr_note")
    return PaperRow(
        method=cells["method"],
        group=_GROUPS[cells["group"]],
        copied=cells["reported_in_original"] == "true",
        values={column: _number(cell) for column, cell in cells.items() if column not in fixed},
        average=_number(cells["average"]),
        repair=cells["ocr_note"],
    )


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")
