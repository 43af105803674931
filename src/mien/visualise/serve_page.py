"""The page of `mien serve`, and what it may do."""

from __future__ import annotations

from collections.abc import Sequence

from mien.visualise.detection_data import Unit
from mien.visualise.page_parts import hash_of, part, printable, template


def serve_page(*, model: str, facts: str, units: Sequence[Unit], suffixes: Sequence[str], max_mb: int) -> str:
    """The page as HTML; `facts` is a line on the model."""
    return template("serve.html").render(
        model=printable(model),
        facts=printable(facts),
        units=units,
        data=[
            {
                "column": unit.column,
                "threshold": unit.threshold,
            }
            for unit in units
        ],
        accept=",".join(sorted(suffixes)),
        max_mb=max_mb,
        script=part("serve.js"),
        style=part("serve.css"),
    )


def serve_policy() -> str:
    """Its content security policy: its own script, this server, the camera; nothing else."""
    return (
        f"default-src 'none'; script-src '{hash_of(part('serve.js'))}'; "
        f"style-src '{hash_of(part('serve.css'))}'; img-src 'self' data:; media-src 'self' blob:; "
        "connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
