from __future__ import annotations

import numpy as np
import pytest

from mien.faces.align import crop_contract, template_points_5x2_px
from mien.faces.finder import Detection, Mesh, Region
from mien.faces.picture import picture_faces


class DotFinder:
    """Finds "faces" whose five points it is told; a region's side says how often the mesh has looked."""

    detector = landmarker = "dots"
    detector_sha256 = landmarker_sha256 = ""

    def __init__(self, points_F5x2, scores):
        self.points, self.scores = points_F5x2, scores

    def detect(self, _image):
        return [Detection((0, 0, 9, 9), 1.0, Region(face, 0, 1, 0)) for face in range(len(self.points))]

    def mesh(self, _image, region):
        face = region.centre_x_px
        again = Region(face, 0, region.side_px + 1, 0)
        # Only the second look gives the right points.
        points = self.points[face] + (0 if region.side_px == 2 else 30)
        return Mesh(points, (0, 0, 9, 9), self.scores[face], 0, 0, 0, again)


@pytest.fixture
def template():
    return template_points_5x2_px(crop_contract(DotFinder([], [])))


def test_each_face_is_cropped_to_the_template(template):
    image = np.zeros((300, 600, 3), np.uint8)
    points = [template + 20, template + np.array([320, 30])]
    for face, colour in enumerate(((255, 0, 0), (0, 255, 0))):
        for x, y in np.round(points[face]).astype(int):
            image[y - 2 : y + 3, x - 2 : x + 3] = colour
    faces = list(picture_faces(image, DotFinder(points, [0.9, 0.8])))
    assert len(faces) == 2
    for channel, face in enumerate(faces):
        assert face.crop_HWC.shape == (256, 256, 3)
        for x, y in np.round(template).astype(int):
            assert face.crop_HWC[y, x, channel] > 200


def test_what_the_mesh_does_not_believe_is_left_out(template):
    image = np.zeros((300, 300, 3), np.uint8)
    assert len(list(picture_faces(image, DotFinder([template, template], [0.2, 0.9])))) == 1
