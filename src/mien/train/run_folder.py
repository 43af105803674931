"""The folder of a run: its files, its lock, and the check that a continued run has the same settings."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.config import Settings, load_recipe, require_same
from mien.io import naming_write_errors, only_one, write_bytes
from mien.train.checkpoint import Checkpoint, list_checkpoints, newest_readable
from mien.train.recipe import to_toml
from mien.train.tensor_file import TensorFileError

MAY_CHANGE = frozenset(  # settings that do not affect what is learned
    {
        "data.workers",
        "data.prefetch_steps",
        "data.in_memory",
        "run.accelerator",
        "run.devices",
        "run.nodes",
        "run.compile",
        "run.threads",
        "run.deterministic",
        "run.checkpoint_every_epochs",
        "run.checkpoint_every_steps",
        "run.keep_checkpoints",
        "run.log_every_steps",
        "run.tensorboard",
        "run.max_minutes",
    }
)


class RunFolderError(ValueError):
    """A folder that cannot be used for this run; the message says why and what to do."""


class RunFolder:
    """settings.toml, checkpoints/, log.jsonl, tensorboard/ and encoder.safetensors of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "settings.toml"
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.jsonl"
        self.tensorboard = path / "tensorboard"
        self.encoder = path / "encoder.safetensors"

    def require_usable(self, settings: Settings, *, resolve: Callable[[Settings], Settings] = dict) -> None:
        """RunFolderError or SettingsError, before anything is written, if this run cannot go here.

        An existing run must have the same settings, except for `MAY_CHANGE`. `resolve` adds the defaults of
        keys that an earlier version did not have.
        """
        if self.settings.is_file():
            self._require_same_run(settings, resolve(load_recipe(self.settings)))
        elif self.path.exists() and not _is_empty(self.path):
            raise RunFolderError(f"{self.path} holds other files than a run's; give an empty or new --out")

    @contextmanager
    def writing(self, settings: Settings) -> Iterator[None]:
        """Create the folder, lock it against other processes, write the resolved settings."""
        refusal = RunFolderError(f"another process is writing to {self.path}; wait for it or stop it")
        with naming_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with only_one(self.path / ".lock", refusal=refusal):
            header = "# The resolved settings of this run; `mien pretrain` takes this file as a recipe.\n\n"
            write_bytes(self.settings, (header + to_toml(settings)).encode())
            yield

    def newest_checkpoint(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest usable checkpoint (None: none was written), and a line for each damaged one.

        TensorFileError if there are checkpoints but none can be read.
        """
        checkpoint, problems = newest_readable(self.checkpoints)
        if checkpoint is None and problems:
            raise TensorFileError(
                f"no checkpoint in {self.checkpoints} can be read:\n  " + "\n  ".join(problems)
            )
        return checkpoint, problems

    def last_step_saved(self) -> str:
        """The newest checkpoint's name, for messages; 'none' if there is none."""
        return max((path.name for path in list_checkpoints(self.checkpoints)), default="none")

    def _require_same_run(self, settings: Settings, begun_with: Settings) -> None:
        # Through TOML and back, so that both sides have the same types.
        ours, theirs = (_that_matter(tomllib.loads(to_toml(each))) for each in (settings, begun_with))
        require_same(theirs, ours, where=f"the run in {self.path}")


def _is_empty(folder: Path) -> bool:
    """Except for hidden files: the lock, and remains of a run that was killed at its start."""
    return folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())


def _that_matter(settings: Settings) -> Settings:
    return {
        section: {key: value for key, value in values.items() if f"{section}.{key}" not in MAY_CHANGE}
        for section, values in settings.items()
    }
