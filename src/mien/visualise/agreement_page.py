"""The page of two codings' agreement: scores, and a list of disagreements that seeks in the videos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mien.findings.agreement import SCORES, Agreement
from mien.findings.exchange import Video
from mien.io import write_bytes
from mien.visualise.page_parts import printable, template
from mien.visualise.timed_video import page_video

_MOST_ROWS = 2000


def write_agreement_page(
    agreement: Agreement, out: Path, *, names: tuple[str, str], videos: Mapping[str, Video]
) -> Path:
    """Write `out`; returns it. `names`: of the two codings; `videos`, by input, are linked, not embedded.

    A copy NAME.playable.mp4 is written beside the page for a video that browsers do not play. The longest
    2000 disagreements are listed.
    """
    rows = agreement.disagreements.head(_MOST_ROWS)
    links = {}
    for name in rows["input"].unique():
        if name in videos:
            video = page_video(videos[name].path, out.with_name(f"{Path(name).stem}.html"))
            links[name] = video.link, video.first_seconds - videos[name].limits[0]
    html = template("agreement.html").render(
        names=[printable(name) for name in names],
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
