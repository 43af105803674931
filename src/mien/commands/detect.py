"""`mien detect`: pictures, videos or a camera -> tables of action units, one row per frame and face."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mien.commands.flags import add_device, add_finder, add_model, add_out, add_set, add_workers
from mien.data.jobs import Died, Progress, Report, Work, run_jobs

if TYPE_CHECKING:
    from mien.data.progress import FileProgress
    from mien.detect.detector import Detector
    from mien.detect.media import Medium
    from mien.detect.quality import QualitySettings
    from mien.detect.recording import Account

    Find: TypeAlias = Callable[[Account, Path], Account]
    Show: TypeAlias = Callable[[Medium, Path], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MEDIA... --out DIR [--model M], and how to read, to write and to show them."""
    add = parser.add_argument
    add("media", nargs="*", type=Path, metavar="MEDIA", help="videos, pictures, folders")
    add_model(parser)
    add_out(parser, of="folder of the tables; the same command continues an interrupted run")
    add("--camera", type=int, metavar="N", help="read camera N (from 0) instead of MEDIA")
    add("--seconds", type=float, default=math.inf, help="how long to read the camera (default: until Ctrl-C)")
    add_device(parser)
    add_workers(parser, of="read one file each")
    formats = ["mien", "openface", "pyfeat"]
    about = "columns of the CSV; the Parquet file always has mien's (default: %(default)s)"
    add("--format", choices=formats, default="mien", help=about)
    about = "subtract each face's own neutral: the median of its first seconds (first:5), or a percentile "
    about += "of the whole file (file:50; file alone is the 10th)"
    add("--baseline", metavar="first:SECONDS|file:PERCENT", help=about)
    add("--smooth", type=float, metavar="SECONDS", help="average over a window of this length")
    add("--faces", choices=["all", "largest"], default="all", help="largest: one face per frame")
    add(
        "--blendshapes",
        action="store_true",
        help="also write ARKit blendshape weights, if the model has them",
    )
    add("--gaze", action="store_true", help="also write gaze angles, if the model has them")
    add("--batch", type=int, default=32, help="faces at a time (default: %(default)s)")
    add("--page", action="store_true", help="also write NAME.html: the video with a time line")
    add("--video", action="store_true", help="also write NAME.annotated.mp4: boxes and bars")
    about = "also write NAME.redacted.mp4: as --video, all faces or all but these blurred, no sound"
    add("--redact", metavar="all|but:ID,ID", help=about)
    about = 'combinations to list in NAME.events.csv beside single units, such as "6+12,1+2+4"'
    add("--events", default="", metavar="COMBINATIONS", help=about)
    add_finder(parser)
    add_set(parser, of="events and quality", example="events.shortest_seconds=0.2 quality.max_yaw_degrees=30")


def run(args: argparse.Namespace) -> int:
    """Detect in everything; 0 where every file was read whole and shown as asked, else 1."""
    from mien.config import build, override
    from mien.findings.events import FindingsSettings, combinations_of, units_of, with_findings

    if (args.camera is None) == (not args.media):
        raise ValueError("expected videos, pictures or folders, or --camera N; not both")
    if args.workers < 1:
        raise ValueError(f"--workers {args.workers}: expected 1 or more")
    settings = build(FindingsSettings, override({}, args.assignments), where="--set")
    combinations = combinations_of(args.events)
    make_detector = _detector_maker(args, settings.quality)
    detector = _detector(make_detector)
    for combination in combinations:  # an error before any work
        units_of(combination, detector.model.columns)
    find = partial(with_findings, combinations=combinations, settings=settings.events)
    if args.camera is None:
        is_well = _detect_media(args, make_detector, find)
    else:
        is_well = _detect_camera(args, detector, find)
    if warning := detector.metadata["model"]["warning"]:
        print(f"warning: {warning}")  # the last line: what the model is not good for
    return 0 if is_well else 1


def _detector_maker(args: argparse.Namespace, quality: QualitySettings) -> Callable[[], Detector]:
    """What each worker makes its detector by."""
    from mien.detect.detector import Detector
    from mien.detect.signals import Baseline, Smoothing

    kind: Literal["centred", "causal"] = "centred" if args.camera is None else "causal"
    return partial(
        Detector,
        args.model,
        engine=args.engine,
        device=args.device,
        batch_size=args.batch,
        baseline=None if args.baseline is None else Baseline.parse(args.baseline),
        smoothing=None if args.smooth is None else Smoothing(args.smooth, kind),
        faces=args.faces,
        blendshapes=args.blendshapes,
        gaze=args.gaze,
        quality=quality,
        face_models=args.finder,
    )


@lru_cache(1)
def _detector(make_detector: Callable[[], Detector]) -> Detector:
    """The detector of this process."""
    return make_detector()


def _detect_camera(args: argparse.Namespace, detector: Detector, find: Find) -> bool:
    from mien.detect.camera import record_camera
    from mien.detect.recording import WHOLE, Account

    stem = args.out / f"camera{args.camera}"
    num_rows = record_camera(detector, args.camera, stem, seconds=args.seconds, csv_format=args.format)
    find(Account(stem.name, WHOLE), stem.with_suffix(".parquet"))
    print(f"{stem}.csv: {num_rows:,} rows")
    return True


def _detect_media(args: argparse.Namespace, make_detector: Callable[[], Detector], find: Find) -> bool:
    """Whether all is well."""
    import pandas as pd

    from mien.data.progress import FileProgress
    from mien.detect.media import list_media
    from mien.detect.recording import num_finished, summary_of
    from mien.io import write_csv

    show = None
    if args.page or args.video or args.redact is not None:
        from mien.visualise.beside_tables import show_medium
        from mien.visualise.redaction import Redaction

        redaction = None if args.redact is None else Redaction.parse(args.redact, args.finder)
        show = partial(show_medium, page=args.page, annotated=args.video, redaction=redaction)
    listing = list_media(args.media, leave_out=args.out)
    media = listing.media
    num_videos = sum(medium.kind == "video" for medium in media)
    num_pictures = sum(len(medium.files) for medium in media if medium.kind == "pictures")
    others = f"; other files left aside: {listing.num_other_files:,}" if listing.num_other_files else ""
    print(f"{num_videos:,} videos, {num_pictures:,} pictures{others}")
    if finished := num_finished(media, _detector(make_detector), args.out, csv_format=args.format):
        print(f"{finished:,} of {len(media):,} tables were finished by an earlier run")
    work = partial(
        _detect_one, make_detector=make_detector, out=args.out, csv_format=args.format, find=find, show=show
    )
    accounts = []
    with FileProgress() as progress:
        progress.begins({medium.name: medium.num_bytes for medium in media})
        for account in _detect_each(work, media, args.workers, progress):
            accounts.append(account)
            progress.has(account.name, num_frames=account.num_frames, troubled=not account.is_well)
    accounts.sort(key=lambda account: account.name)
    problem = ""
    if args.page and len(media) > 1:
        from mien.visualise.beside_tables import show_overview

        problem = show_overview(media, args.out)
    print("\n".join(filter(None, [summary_of(accounts, args.out), problem])))
    write_csv(args.out / "account.csv", pd.DataFrame(map(asdict, accounts)))
    return not problem and all(account.is_well for account in accounts)


def _detect_each(
    work: Work[Medium, Account], media: Sequence[Medium], workers: int, progress: FileProgress
) -> Iterator[Account]:
    """The account of each medium as it ends.

    Several media are read in processes of their own, so that a decoder that crashes costs its file alone.
    """
    from mien.detect.recording import DIED, Account

    if len(media) == 1:
        yield work(media[0], partial(progress.is_at, media[0].name))
        return
    for event in run_jobs(work, media, workers=min(workers, len(media))):
        if isinstance(event, Progress):
            progress.is_at(event.job.name, event.report)
        elif isinstance(event, Died):
            yield Account(event.job.name, DIED, message=f"the process died over it: {event.how}")
        else:
            yield event.result


def _detect_one(
    medium: Medium,
    report: Report,
    *,
    make_detector: Callable[[], Detector],
    out: Path,
    csv_format: str,
    find: Find,
    show: Show | None,
) -> Account:
    """One medium into its tables and what is beside them; a file that cannot be written costs it alone."""
    from mien.detect.recording import NOT_WRITTEN, Account, record_medium
    from mien.io import WriteError

    detector = _detector(make_detector)
    try:
        account = record_medium(medium, detector, out, csv_format=csv_format, report=report)
    except WriteError as error:
        return Account(medium.name, NOT_WRITTEN, message=str(error))
    if not account.num_frames:
        return account
    try:
        account = find(account, out / f"{medium.name}.parquet")
    except WriteError as error:
        return replace(account, not_shown=str(error))
    return account if show is None else replace(account, not_shown=show(medium, out))
