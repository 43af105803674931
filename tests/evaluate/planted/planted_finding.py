"""A way of finding faces over which a process dies; importable by name in a worker."""

from __future__ import annotations

import os
import signal

from mien.evaluate.labelled_store import FaceFinding


class Dying(FaceFinding):
    """Killed at the first look into a video called a.mp4."""

    def start(self, path):
        if path.name == "a.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().start(path)

    def __reduce__(self):
        return Dying, (self.settings, self.models)
