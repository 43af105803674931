"""Codings as files of ELAN (.eaf) and Praat (.TextGrid), by pympi-ling; times are a player's milliseconds.

ELAN Annotation Format: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from mien.findings.coding import (
    Coding,
    CodingError,
    Spans,
    coding_of_tool,
    label_of,
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
    tiers = [(name, eaf.tiers[label][2].get("PARTICIPANT") or "", label) for label in eaf.get_tier_names()]
    events = []
    for tier in tiers:
        for *times, text in (each[:3] for each in eaf.get_annotation_data_for_tier(tier[2])):
            onset, offset = (np.nan if time is None else time / 1000 for time in times)
            events.append((*tier, onset, offset, text or ""))
    return coding_of_tool(path, tiers, events)


def write_eaf(tiers: Spans, path: Path, *, video: Path) -> None:
    """The tiers of one video (`in_milliseconds`), those without an event too."""
    eaf = _pympi().Elan.Eaf(author="mien")
    eaf.remove_tier("default")
    for tier, spans in tiers.items():
        eaf.add_tier(label_of(tier), part=who_of(tier) or None)
        for onset, offset, letter in spans:
            eaf.add_annotation(label_of(tier), onset, offset, letter or tier[2])
    media = video.absolute()
    relative = Path(os.path.relpath(media, path.parent.absolute())).as_posix()
    eaf.add_linked_file(media.as_uri(), f"./{relative}", mimetypes.guess_type(media.name)[0] or "video/mp4")
    with replacing(path) as temporary:
        eaf.to_file(str(temporary))


def read_textgrid(path: Path) -> Coding:
    """Every interval tier of an action unit; the video is named as the file. CodingError."""
    codec = "utf-16" if path.read_bytes()[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8-sig"
    grid = _read(path, lambda pympi: pympi.Praat.TextGrid(str(path), codec=codec))
    tiers = [(path.stem, "", each.name) for each in grid.get_tiers() if each.tier_type == "IntervalTier"]
    events = []
    for each in grid.get_tiers():
        for row in each.get_intervals(sort=True):  # a point: its time and text
            if row[-1].strip():
                events.append((path.stem, "", each.name, row[0], *row[-2:]))
    return coding_of_tool(path, tiers, events)


def write_textgrid(tiers: Spans, path: Path, *, seconds: float) -> None:
    """The tiers of one video (`in_milliseconds`), as long as the video."""
    grid = _pympi().Praat.TextGrid(xmax=max(seconds, 0.001))
    for tier, spans in tiers.items():
        written = grid.add_tier(label_of(tier))
        for onset, offset, letter in spans:
            written.add_interval(onset / 1000, offset / 1000, letter or tier[2], check=False)
    with replacing(path) as temporary:
        grid.to_file(str(temporary))


def _read(path: Path, read: Callable[[Any], Any]) -> Any:
    pympi = _pympi()
    try:
        return read(pympi)
    except OSError:
        raise
    except Exception as error:  # pympi raises bare Exception
        raise CodingError(f"{path}: cannot be read; open it in its own program and save it again") from error


def _pympi() -> Any:
    try:
        import pympi
    except ImportError as error:
        raise CodingError("ELAN and Praat files need pympi-ling: pip install 'mien[coders]'") from error
    return pympi
