"""Stories of planted people, tracked by the real tracker."""

from __future__ import annotations

from mien.faces.track import track_frames
from mien.faces.tracked import TrackSettings
from mien.video import Frame, read_frames
from tests.faces.planted_people import PlantedFinder, paint


class StoryTracking:
    """A FaceTracking that finds the planted people of frame t, `story[t]`."""

    def __init__(self, story):
        self.story = story

    def frames(self, frames):
        finder = PlantedFinder()

        def with_people():
            for frame in frames:
                finder.people = self.story[frame.source_frame_index]
                yield frame

        return track_frames(with_people(), finder=finder, settings=TrackSettings())

    def every_frame(self, path):
        return self.frames(read_frames(path))


def tracked(story, *, scenes=None, rate=25):
    """The frames of a story, painted in these scenes."""
    images = (paint(people, scenes[at] if scenes else 0) for at, people in enumerate(story))
    frames = (Frame(at / rate, at, lambda image=image: image) for at, image in enumerate(images))
    return StoryTracking(story).frames(frames)
