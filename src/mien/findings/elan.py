"""Codings as files of ELAN (.eaf) and Praat (.TextGrid), by pympi-ling; times are a player's milliseconds.

ELAN Annotation Format: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from mien.findings.coding import (
    Coding,
    CodingError,
    Tier,
    coding_of_tool,
    in_milliseconds,
    intensity_of,
    label_of,
    tier_of,
    who_of,
)
from mien.io import replacing


def read_eaf(path: Path) -> Coding:
    """Every tier of an action unit; the video is the first linked file, else named as the .eaf.

    CodingError where it is no such file.
    """
    eaf = _read(path, lambda pympi: pympi.Elan.Eaf(str(path), suppress_version_warning=True))
    media = eaf.media_descriptors[0] if eaf.media_descriptors else {"MEDIA_URL": path.stem}
    name = PureWindowsPath(unquote(media.get("RELATIVE_MEDIA_URL") or media["MEDIA_URL"])).name
    tiers: list[Tier | None] = []
    events = []
    for label in eaf.get_tier_names():
        tiers.append(tier_of(label, name, eaf.tiers[label][2].get("PARTICIPANT") or ""))
        for onset, offset, text, *_ in eaf.get_annotation_data_for_tier(label):
            tier, about = tiers[-1], f"tier {label!r}"
            if tier is not None and (onset is None or offset is None):
                tier, about = None, f"annotations of {label!r} without times"
            events.append((tier, about, (onset or 0) / 1000, (offset or 0) / 1000, intensity_of(text or "")))
    return coding_of_tool(path, tiers, events)


def write_eaf(coding: Coding, path: Path, *, video: Path | None) -> None:
    """The tiers of one video, those without an event too. CodingError for events that ELAN cannot hold."""
    eaf = _pympi().Elan.Eaf(author="mien")
    eaf.remove_tier("default")
    for tier, spans in in_milliseconds(coding).items():
        eaf.add_tier(label_of(tier), part=who_of(tier) or None)
        for onset, offset, letter in spans:
            eaf.add_annotation(label_of(tier), onset, offset, letter or tier[2])
    media = (video or path.with_name(PurePath(coding.inputs[0]).name)).absolute()
    relative = Path(os.path.relpath(media, path.parent.absolute())).as_posix()
    eaf.add_linked_file(media.as_uri(), f"./{relative}", mimetypes.guess_type(media.name)[0] or "video/mp4")
    with replacing(path) as temporary:
        eaf.to_file(str(temporary))


def read_textgrid(path: Path) -> Coding:
    """Every interval tier of an action unit; the video is named as the file. CodingError."""
    codec = "utf-16" if path.read_bytes()[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8-sig"
    grid = _read(path, lambda pympi: pympi.Praat.TextGrid(str(path), codec=codec))
    tiers: list[Tier | None] = []
    events = []
    for each in grid.get_tiers():
        tiers.append(tier_of(each.name, path.stem) if each.tier_type == "IntervalTier" else None)
        for onset, offset, text in ((row[0], *row[-2:]) for row in each.get_intervals(sort=True)):
            if text.strip():
                events.append((tiers[-1], f"tier {each.name!r}", onset, offset, intensity_of(text)))
    return coding_of_tool(path, tiers, events)


def write_textgrid(coding: Coding, path: Path, *, end_seconds: float) -> None:
    """The tiers of one video, as long as the video. CodingError for events that Praat cannot hold."""
    grid = _pympi().Praat.TextGrid(xmax=max(end_seconds, float(coding.events["offset"].max()), 0.001))
    for tier, spans in in_milliseconds(coding).items():
        written = grid.add_tier(label_of(tier))
        for onset, offset, letter in spans:
            written.add_interval(onset / 1000, offset / 1000, letter or tier[2], check=False)
    with replacing(path) as temporary:
        grid.to_file(str(temporary))


def _read(path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        return read(_pympi())
    except (OSError, CodingError):
        raise
    except Exception as error:  # pympi raises bare Exception
        raise CodingError(f"{path}: cannot be read; open it in its own program and save it again") from error


def _pympi() -> Any:
    try:
        import pympi
    except ImportError as error:
        raise CodingError("ELAN and Praat files need pympi-ling: pip install 'mien[coders]'") from error
    return pympi
