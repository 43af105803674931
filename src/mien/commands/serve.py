"""`mien serve`: a page on this machine alone: drop a file or look into the camera, see the action units."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--model M [--port P] [--engine E] [--max-mb N] [--models DIR]."""
    parser.add_argument("--model", type=Path, required=True, help="an action-unit model, from `mien fit`")
    parser.add_argument(
        "--port", type=int, default=8686, help="of 127.0.0.1; 0: any free one (default: %(default)s)"
    )
    parser.add_argument("--engine", default="torch", help="what runs the network (default: %(default)s)")
    parser.add_argument(
        "--max-mb", type=int, default=2000, help="of a file that is dropped in (default: %(default)s)"
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="the face models' weights, if elsewhere")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; nothing is reachable from another machine."""
    from mien.commands.serving import serve

    serve(args.model, port=args.port, engine=args.engine, max_upload_mb=args.max_mb, face_models=args.models)
    return 0
