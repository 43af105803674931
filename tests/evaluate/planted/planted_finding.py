"""A way of finding faces over which a process dies; importable by name in a worker."""

from __future__ import annotations

import os
import signal

from tests.points_beside import PointsTracking


class Dying(PointsTracking):
    """Killed at the first look into a video called a.mp4."""

    def look(self, path):
        if path.name == "a.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().look(path)
