"""A table of results as plain data, and as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

MEASURED, PUBLISHED, FLOOR = "measured", "published", "floor"


@dataclass(frozen=True)
class Cell:
    """The printed text, and a hint with more.

    strong: a mean. faint: a score that is not surely above the floor of its column.
    """

    text: str
    hint: str = ""
    strong: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    kind: str
    cells: tuple[Cell, ...]
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A title, what to know about it, and rows of as many cells as there are columns."""

    name: str  # of the LaTeX label
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"{self.title}, {row.label}: {len(row.cells)} cells, {len(self.columns)} columns"
                )


_LATEX = str.maketrans(
    {sign: "\\" + sign for sign in "&%_#"}
    | {"→": r"$\to$", "²": r"\textsuperscript{2}", "†": r"\textdagger{}", "<": r"\textless{}"}
    | {"“": "``", "”": "''"}
)


def as_markdown(table: Table) -> str:
    """A heading, a pipe table and the note."""
    lines = [f"## {table.title}", "", _pipe(["", *table.columns])]
    lines.append(_pipe(["---", *("---:" for _ in table.columns)]))
    lines += [_pipe([_label(row), *(cell.text for cell in row.cells)]) for row in table.rows]
    return "\n".join([*lines, "", table.note, ""])


def as_latex(table: Table) -> str:
    """A table environment with booktabs rules; a rule before the published rows."""
    columns = "l" + "r" * len(table.columns)
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_latex_row(["", *table.columns]), r"\midrule"]
    kinds = [row.kind for row in table.rows]
    for number, row in enumerate(table.rows):
        if row.kind == PUBLISHED and PUBLISHED not in kinds[:number]:
            lines.append(r"\midrule")
        lines.append(_latex_row([_label(row), *(cell.text for cell in row.cells)]))
    caption = f"{table.title}. {table.note}".translate(_LATEX)
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", rf"\label{{tab:{table.name}}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the columns of the first one; ValueError without any."""
    if not rows:
        raise ValueError("no rows to write")
    text: str = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", na_rep="nan")
    return text


def _label(row: Row) -> str:
    return f"{row.label} (published)" if row.kind == PUBLISHED else row.label


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"
