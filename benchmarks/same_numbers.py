"""Did a change change numbers? Losses, a store, predictions and a detection, written down and compared.

    python benchmarks/same_numbers.py --out numbers
    PYTHONPATH=OTHER/src python benchmarks/same_numbers.py --out others --compare numbers/numbers.json

On ten people of two parts of the shipped clips it prepares a store, takes 20 steps of every registered
method, evaluates SimCLR's encoder beside an untrained one, fits an AU model to it and detects action units in
two clips. `numbers.json` has the loss of every step, and SHA-256 of the crops, the index and every column of
every table. With `--compare` it prints each entry that differs, and exits with 1 if there is one. Compare on
one machine with one version of torch. It takes about two minutes; what --out already has is used again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mien import cli
from mien.train.method import METHODS

CLIPS = Path(__file__).parents[1] / "src/mien/clips"

RECIPE = """
[method]
name = "{name}"
{settings}

[backbone]
name = "resnet18"
width = 8

[views]
output_size_px = 64

[data]
frame_size_px = 72
clips_per_step = 8
workers = 0
labels = "{labels}"

[optimiser]
name = "adam"

[run]
steps = 20
log_every_steps = 1
checkpoint_every_epochs = 0
threads = 1
accelerator = "cpu"
tensorboard = false
"""
SETTINGS = {  # smaller than the defaults, which 20 steps would not fill
    "clp": "bank_size = 64\nnum_candidates = 32",
    "cvc": "bank_size = 64\ncycle_bank_size = 80",
    "emoco": "bank_size = 64\nnum_emotions = 2",
    "fabnet": "flow_side_px = 64\ndecoder_width = 4",
    "moco": "bank_size = 64",
    "supervised_action_units": "action_units = [1, 12]",
    "supervised_expression": "num_expressions = 2",
    "tcae": "flow_side_px = 64\ndecoder_width = 4",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--compare", type=Path, metavar="NUMBERS", help="numbers.json of another run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    numbers = dict(all_numbers(args.out.absolute()))
    (args.out / "numbers.json").write_text(json.dumps(numbers, indent=0) + "\n")
    if args.compare:
        sys.exit(differences(json.loads(args.compare.read_text()), numbers))


def all_numbers(out: Path) -> Iterator[tuple[str, Any]]:
    store, encoder, model = out / "store", out / "runs/simclr/encoder.safetensors", out / "model.safetensors"
    unlabelled, main = ten_people("pretraining", out), ten_people("main", out)
    mien("prepare", unlabelled, "--out", store, "--workers", 0)
    crops = sorted(path for path in (store / "crops").rglob("*") if path.is_file())
    yield "store/crops", sha256(path.read_bytes() for path in crops)
    yield "store/frames.index.npy", sha256([(store / "frames.index.npy").read_bytes()])
    for table in ("manifest", "frames"):
        yield from columns(store / f"{table}.parquet", out)
    labels = labels_with_classes(unlabelled)
    for name in METHODS.names():
        yield f"losses/{name}", losses(name, store, labels, out / "runs" / name)
    labelled = ["--dataset", "rendered", "--root", main, "--store", out / "labelled-store"]
    labelled += ["--workers", 0, "--device", "cpu", "--set", "min_steps=200"]
    tested = ["--encoder", f"simclr={encoder}", "--untrained", "--modes", "frozen"]
    mien("evaluate", *labelled, *tested, "--out", out / "evaluation")
    for path in sorted((out / "evaluation/predictions").glob("*.parquet")):
        yield from columns(path, out)
    if not model.exists():
        mien("fit", *labelled, "--encoder", encoder, "--out", model)
    person = min((main / "mp4").iterdir())
    mien("detect", person, "--model", model, "--device", "cpu", "--out", out / "detection")
    for path in sorted((out / "detection").rglob("*.parquet")):
        yield from columns(path, out)


def mien(*words: object) -> None:
    """One command; exits where it fails."""
    if cli.main([str(word) for word in words]) != 0:
        sys.exit(f"same_numbers: mien {words[0]} failed")


def ten_people(part: str, out: Path) -> Path:
    """The first ten people of a part of the shipped clips, with their labels."""
    people = sorted((CLIPS / part / "mp4").iterdir())[:10]
    for person in people:
        shutil.copytree(person, out / part / "mp4" / person.name, dirs_exist_ok=True)
    labels = pd.read_parquet(CLIPS / part / "labels.parquet")
    labels = labels[labels["identity"].isin([person.name for person in people])]
    labels.to_parquet(out / part / "labels.parquet", index=False)
    return out / part


def sha256(parts: Iterable[bytes]) -> str:
    """The first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def columns(path: Path, out: Path) -> Iterator[tuple[str, str]]:
    """A digest for each column of a Parquet file in `out`, whose own name in a text does not count."""
    for name, values in pd.read_parquet(path).items():
        words = (repr(value).replace(str(out), "") for value in values.tolist())
        yield f"{path.relative_to(out)}/{name}", sha256(f"{word}\n".encode() for word in words)


def labels_with_classes(part: Path) -> Path:
    """The labels of a part with an invented class for the methods that want one."""
    labels = pd.read_parquet(part / "labels.parquet")
    labels["expression"] = labels["emotion"] = labels["identity"].str[-1].astype(int) % 2
    labels.to_csv(part / "labels.csv", index=False)
    return part / "labels.csv"


def losses(name: str, store: Path, labels: Path, run: Path) -> list[float]:
    recipe = run.with_suffix(".toml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(RECIPE.format(name=name, settings=SETTINGS.get(name, ""), labels=labels))
    if not (run / "encoder.safetensors").exists():
        mien("pretrain", recipe, "--store", store, "--out", run)
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> int:
    """Print what differs or is on one side alone; 1 if anything does."""
    same = [key for key in ours if key in theirs and ours[key] == theirs[key]]
    for key in sorted({*theirs, *ours} - set(same)):
        if key not in theirs or key not in ours:
            print(f"only {'here' if key in ours else 'there'}: {key}")
        elif isinstance(ours[key], list):
            pairs = enumerate(zip(theirs[key], ours[key], strict=False), start=1)
            step, (there, here) = next(pair for pair in pairs if len(set(pair[1])) > 1)
            print(f"differs: {key}, from step {step} on: {there} there, {here} here")
        else:
            print(f"differs: {key}")
    print(f"{len(same)} of {len({*theirs, *ours})} entries are equal")
    return int(len(same) < len({*theirs, *ours}))


if __name__ == "__main__":
    main()
