"""`mien demo`: prepare, pretrain and evaluate on the shipped clips, in minutes and without any data."""

from __future__ import annotations

import argparse
import importlib
import shlex
import time
from pathlib import Path

from mien.commands import flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--out FOLDER [--workers N] [--set section.key=value ...]."""
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="default: %(default)s")
    flags.add_workers(parser)
    flags.add_set(parser, of="the recipe clp-demo", example="run.steps=100")


def run(args: argparse.Namespace) -> int:
    """Run the three commands, each printed as one would type it; the first exit status that is not 0."""
    from mien.datasets.rendered import shipped_clips

    clips, out = shipped_clips(), args.out
    store, encoder, report = out / "store", out / "run" / "encoder.safetensors", out / "evaluation"
    prepare = [clips / "pretraining", "--out", store, "--workers", args.workers]
    pretrain = ["clp-demo", "--store", store, "--out", encoder.parent]
    pretrain += ["--set", *args.assignments] if args.assignments else []
    evaluate = ["--dataset", "rendered", "--root", "shipped", "--store", out / "labelled-store"]
    evaluate += ["--encoder", f"CLP={encoder}", "--untrained", "--modes", "frozen"]
    evaluate += ["--out", report, "--workers", args.workers]
    for verb, words in (("prepare", prepare), ("pretrain", pretrain), ("evaluate", evaluate)):
        status = _run_verb(verb, list(map(str, words)))
        if status:
            return status
    print(
        f"\nOpen {report / 'report.html'} in a browser. It shows that all parts work together. So short a\n"
        "pretraining is not expected to read action units better than the untrained network beside it,\n"
        "and rendered faces say nothing about real ones. docs/evidence.md has longer pretraining."
    )
    return 0


def _run_verb(verb: str, words: list[str]) -> int:
    print(f"\n$ mien {shlex.join([verb, *words])}", flush=True)
    began = time.monotonic()
    command = importlib.import_module(f"mien.commands.{verb}")
    parser = argparse.ArgumentParser(prog=f"mien {verb}")
    command.add_arguments(parser)
    status: int = command.run(parser.parse_args(words))
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return status
