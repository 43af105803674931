"""`mien detect`: pictures, videos or a camera -> tables of action units, one row per frame and face."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mien.commands.flags import add_device, add_finder, add_model, add_set, add_workers

if TYPE_CHECKING:
    from mien.detect.detector import Detector
    from mien.detect.media import MediaListing, Medium
    from mien.detect.quality import QualitySettings
    from mien.detect.recording import Account
    from mien.detect.run import DetectWork
    from mien.findings.events import EventSettings
    from mien.visualise.redaction import Redaction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MEDIA... --out DIR [--model M], and how to read, to write and to show them."""
    parser.add_argument("media", nargs="*", type=Path, metavar="MEDIA", help="videos, pictures, folders")
    add_model(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="for NAME.csv and NAME.parquet; the same command started again goes on where it stopped",
    )
    parser.add_argument("--camera", type=int, metavar="N", help="number of a camera, in place of MEDIA")
    parser.add_argument("--seconds", type=float, help="how long to read the camera (default: until Ctrl-C)")
    add_device(parser)
    add_workers(parser, of="read a file each")
    parser.add_argument(
        "--format",
        choices=["mien", "openface", "pyfeat"],
        default="mien",
        help="the CSV's columns; the Parquet file always has mien's own (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline",
        metavar="first:SECONDS|file:PERCENT",
        help="subtract each face's own neutral: the median of its first seconds (first:5), or a percentile "
        "of the whole file (file:50; file alone is the 10th)",
    )
    parser.add_argument("--smooth", type=float, metavar="SECONDS", help="average over this time, centred")
    parser.add_argument(
        "--faces", choices=["all", "largest"], default="all", help="largest: one face per frame"
    )
    parser.add_argument("--blendshapes", action="store_true", help="also the model's ARKit shape weights")
    parser.add_argument("--gaze", action="store_true", help="also where the eyes look, in degrees")
    parser.add_argument("--batch", type=int, default=32, help="faces at a time (default: %(default)s)")
    parser.add_argument("--page", action="store_true", help="also NAME.html: the video with its timeline")
    parser.add_argument("--video", action="store_true", help="also NAME.annotated.mp4: boxes and bars")
    parser.add_argument(
        "--redact",
        metavar="all|but:ID,ID",
        help="also NAME.redacted.mp4: as --video, without sound, all faces blurred, or all but those",
    )
    parser.add_argument(
        "--events",
        default="",
        metavar="COMBINATIONS",
        help='in NAME.events.csv, which has every unit\'s events, also these combinations, as "6+12,1+2+4"',
    )
    add_finder(parser)
    add_set(parser, of="events and quality", example="events.shortest_seconds=0.2 quality.max_yaw_degrees=30")


def run(args: argparse.Namespace) -> int:
    """Detect in everything; 0 where every file was read whole and shown as asked, else 1."""
    from mien.config import build, override
    from mien.detect.camera import record_camera
    from mien.detect.media import list_media
    from mien.detect.recording import WHOLE, Account
    from mien.detect.run import DetectWork
    from mien.findings.beside import FindingsSettings, with_findings
    from mien.findings.events import combinations_of

    if (args.camera is None) == (not args.media):
        raise ValueError("expected videos, pictures or folders, or --camera N; not both")
    if args.workers < 1:
        raise ValueError(f"--workers {args.workers}: expected 1 or more")
    settings = build(FindingsSettings, override({}, args.assignments), where="--set")
    combinations = combinations_of(args.events)
    make_detector = _detector_maker(args, settings.quality)
    if args.camera is not None:
        stem = args.out / f"camera{args.camera}"
        detector = make_detector()
        _require_units(combinations, detector)
        num_rows = record_camera(detector, args.camera, stem, seconds=args.seconds, csv_format=args.format)
        account = Account(stem.name, WHOLE)
        with_findings(
            account, stem.with_suffix(".parquet"), combinations=combinations, settings=settings.events
        )
        print(f"{stem}.csv: {num_rows:,} rows")
        _warn(detector)
        return 0
    finish = partial(
        _finished,
        combinations=combinations,
        settings=settings.events,
        page=args.page,
        annotated=args.video,
        redaction=None if args.redact is None else _redaction(args),
    )
    work = DetectWork(make_detector, args.out, args.format, finish)
    listing = list_media(args.media, leave_out=args.out)
    _require_units(combinations, work.detector)
    return _detect_media(work, listing, args)


def _finished(
    account: Account,
    medium: Medium,
    out: Path,
    *,
    combinations: Sequence[str],
    settings: EventSettings,
    page: bool,
    annotated: bool,
    redaction: Redaction | None,
) -> Account:
    """The account with what was found in the table, and whether it could be shown."""
    from mien.findings.beside import with_findings
    from mien.io import WriteError

    table = out / f"{medium.name}.parquet"
    try:
        account = with_findings(account, table, combinations=combinations, settings=settings)
    except WriteError as error:
        return replace(account, not_shown=str(error))
    if page or annotated or redaction is not None:
        from mien.visualise.beside_tables import show_medium

        shown = show_medium(medium, out, page=page, annotated=annotated, redaction=redaction)
        account = replace(account, not_shown=shown)
    return account


def _redaction(args: argparse.Namespace) -> Redaction:
    from mien.visualise.redaction import Redaction

    return Redaction.parse(args.redact, args.finder)


def _warn(detector: Detector) -> None:
    """The last line: what the model is not good for."""
    if warning := detector.metadata["model"]["warning"]:
        print(f"warning: {warning}")


def _require_units(combinations: Sequence[str], detector: Detector) -> None:
    """ValueError, before any work, where the model lacks a unit of a combination."""
    from mien.findings.events import units_of

    for combination in combinations:
        units_of(combination, detector.model.columns)


def _detector_maker(args: argparse.Namespace, quality: QualitySettings) -> Callable[[], Detector]:
    """What each worker makes its detector by."""
    from mien.detect.detector import Detector
    from mien.detect.signals import Baseline, Smoothing

    return partial(
        Detector,
        args.model,
        engine=args.engine,
        device=args.device,
        batch_size=args.batch,
        baseline=None if args.baseline is None else Baseline.parse(args.baseline),
        smoothing=None
        if args.smooth is None
        else Smoothing(args.smooth, "centred" if args.camera is None else "causal"),
        faces=args.faces,
        blendshapes=args.blendshapes,
        gaze=args.gaze,
        quality=quality,
        face_models=args.finder,
    )


def _detect_media(work: DetectWork, listing: MediaListing, args: argparse.Namespace) -> int:
    from mien.data.progress import FileProgress
    from mien.detect.recording import num_finished
    from mien.detect.run import detect_each, summary_of, write_accounts

    media = listing.media
    num_videos = sum(medium.kind == "video" for medium in media)
    num_pictures = sum(len(medium.files) for medium in media if medium.kind == "pictures")
    others = f"; other files left aside: {listing.num_other_files:,}" if listing.num_other_files else ""
    print(f"{num_videos:,} videos, {num_pictures:,} pictures{others}")
    finished = num_finished(media, work.detector, args.out, csv_format=args.format)
    if finished:
        print(f"{finished:,} of {len(media):,} tables were finished by an earlier run")
    accounts = []
    with FileProgress() as progress:
        progress.begins({medium.name: medium.num_bytes for medium in media})
        for account in detect_each(
            work, media, workers=args.workers, report=lambda medium, at: progress.is_at(medium.name, at)
        ):
            accounts.append(account)
            progress.has(account.name, num_frames=account.num_frames, troubled=not account.is_well)
    accounts.sort(key=lambda account: account.name)
    problem = ""
    if args.page and len(media) > 1:
        from mien.visualise.beside_tables import show_overview

        problem = show_overview(media, args.out)
    print(summary_of(accounts, args.out))
    if problem:
        print(problem)
    write_accounts(args.out / "account.csv", accounts)
    _warn(work.detector)
    return 0 if not problem and all(account.is_well for account in accounts) else 1
