"""The command line: verbs and flags, no logic. A verb's module is imported only when that verb runs."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from mien import __version__, is_of_extra_train

VERBS = {
    "download": "the face finder's weights, fetched once",
    "prepare": "videos -> face tracks in a store",
    "merge": "the stores of several shards -> one",
    "inspect": "a page and a contact sheet of a store",
    "pretrain": "a store of face tracks -> an encoder",
    "sweep": "many runs from one file -> a table, one line per run",
    "detect": "pictures, videos or a camera -> tables of action units",
    "people": "tables of a study -> a page of all faces, and a CSV to name persons",
    "summarise": "tables of a study and its conditions -> numbers per person, and group curves",
    "agree": "two codings of the same videos -> their agreement, and a page of disagreements",
    "convert": "codings between mien, ELAN, BORIS, Praat and labels for `mien fit`",
    "dyad": "one action unit of two faces -> their lagged correlation, and which face follows",
    "embed": "pictures, videos or a store -> a table of features",
    "evaluate": "encoders and a labelled set -> scores by the field's protocol, and a report",
    "compare": "predictions on the same frames -> their scores and differences, with intervals",
    "fit": "an encoder and a labelled set -> an action-unit model with its card",
    "card": "the card of an action-unit model: purpose, training data, scores",
    "adapt": "an action-unit model and faces of your own -> the model adapted to them",
    "export": "an action-unit model -> a file for ONNX Runtime, checked against it",
    "render": "a morphable face model -> videos of people with known action units",
    "serve": "a web app on this machine: drop a file, see its action units",
    "demo": "detect, prepare, pretrain and evaluate on the shipped clips, in minutes",
}

_WRITES_A_FILE = ("embed", "fit", "adapt")  # --out is a file; a folder with the other verbs


def main(argv: list[str] | None = None) -> int:
    """Run one verb; exit code 0 on success, 1 after an error message, 2 for wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="mien",
        description="Learn what a face is doing, independently of whose face it is, from unlabelled video.",
    )
    parser.add_argument("--version", action="version", version=f"mien {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=summary, description=f"{verb}: {summary}")
        if arguments[:1] == [verb]:
            importlib.import_module(f"mien.commands.{verb}").add_arguments(verb_parser)
    args = parser.parse_args(arguments)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    command = importlib.import_module(f"mien.commands.{args.verb}")
    try:
        _require_place(args.verb, getattr(args, "out", None))
        status: int = command.run(args)
    except KeyboardInterrupt:
        print("mien: interrupted; finished parts are kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except ModuleNotFoundError as error:
        if not is_of_extra_train(error):
            raise
        print(f"mien {args.verb} needs more packages: pip install 'mien[train]' ({error})", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"mien {args.verb}: {error}", file=sys.stderr)
        return 1
    return status


def _require_place(verb: str, out: object) -> None:
    """ValueError if --out or a folder above it is a file, or --out is a folder where a file is expected."""
    if not isinstance(out, Path):
        return
    is_file = verb in _WRITES_A_FILE
    if is_file and out.is_dir():
        raise ValueError(f"--out {out} is a folder, expected a file: give a name inside it")
    for folder in [*([] if is_file else [out]), *out.parents]:
        if folder.is_symlink() or folder.exists():
            if not folder.is_dir():
                found = "a file" if folder.exists() else "a link to nothing"
                raise ValueError(
                    f"--out {out}: {folder} is {found}, expected a folder: move it away, "
                    "or give another --out"
                )
            return


if __name__ == "__main__":
    sys.exit(main())
