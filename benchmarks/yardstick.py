"""52 blendshapes of a face: a yardstick for measurements on videos without labels. No training uses it.

    python benchmarks/yardstick.py face_landmarker.task PICTURE...

The bundle is MediaPipe's Face Landmarker (Google, Apache-2.0); download it yourself, it is not part of
mien. Its landmark model places 478 points; its blendshape model turns 146 of them into 52 scores from 0 to
1, named as ARKit's. The choice of points and the order of names are those of MediaPipe's public
face_blendshapes_graph.cc. Prints the five highest scores of each picture; a picture shows one face, as an
aligned crop does.
"""

from __future__ import annotations

import argparse
import math
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mien.faces.finder import Points, Region
from mien.faces.warp import invert_similarity, map_points, upright_map, warp

INPUT_PX = 256
REGION_PER_FACE = 1.5  # side of the square that the landmark model sees, in sides of the face
EYE_CORNERS = (33, 263)  # the outer ones, left and right as seen

# fmt: off
POINTS_146 = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70,
    78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149,
    150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195,
    197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300,
    308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375,
    377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
]
NAMES = [
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
]
# fmt: on


class Yardstick:
    """The bundle's two models, on one thread. Left and right are the pictured person's own."""

    def __init__(self, bundle: Path) -> None:
        with zipfile.ZipFile(bundle) as files:
            self._landmarks = _Model(files.read("face_landmarks_detector.tflite"))
            self._blendshapes = _Model(files.read("face_blendshapes.tflite"))

    def blendshapes(self, image_HWC: np.ndarray, region: Region | None = None) -> np.ndarray:
        """(52,) scores of the face in `region` of a uint8 RGB picture; None: of the only, large face."""
        return self.blendshapes_of_points(self.points(image_HWC, region))

    def points(self, image_HWC: np.ndarray, region: Region | None = None) -> Points:
        """(478, 2) in pixels. The models look twice: in the region, then around the face found there."""
        found = self._points_in(image_HWC, region or _whole(image_HWC))
        return self._points_in(image_HWC, _around(found))

    def blendshapes_of_points(self, points_478x2_px: Points) -> np.ndarray:
        """(52,) scores, in the order of NAMES."""
        return self._blendshapes(points_478x2_px[POINTS_146])[0]

    def _points_in(self, image_HWC: np.ndarray, region: Region) -> Points:
        to_input = upright_map(region, INPUT_PX)
        face_HWC = warp(image_HWC, to_input, INPUT_PX, border=cv2.BORDER_REPLICATE)
        points_478x3 = self._landmarks(face_HWC / np.float32(255))[0].reshape(478, 3).astype(np.float64)
        return map_points(invert_similarity(to_input), points_478x3[:, :2] - 0.5)  # edges to pixel centres


class _Model:
    def __init__(self, content: bytes) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def __call__(self, one: np.ndarray) -> list[Any]:
        self._interpreter.set_tensor(self._input, one[None].astype(np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _whole(image_HWC: np.ndarray) -> Region:
    height, width = image_HWC.shape[:2]
    return Region((width - 1) / 2, (height - 1) / 2, float(max(height, width)), 0.0)


def _around(points_478x2_px: Points) -> Region:
    low, high = points_478x2_px.min(axis=0), points_478x2_px.max(axis=0)
    along = points_478x2_px[EYE_CORNERS[1]] - points_478x2_px[EYE_CORNERS[0]]
    side_px = float(max(high - low)) * REGION_PER_FACE
    return Region(*map(float, (low + high) / 2), side_px, math.degrees(math.atan2(along[1], along[0])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    args = parser.parse_args()
    yardstick = Yardstick(args.bundle)
    for path in args.pictures:
        image_HWC = cv2.imread(str(path))
        if image_HWC is None:
            raise SystemExit(f"{path}: not a picture that OpenCV reads")
        scores = yardstick.blendshapes(cv2.cvtColor(image_HWC, cv2.COLOR_BGR2RGB))
        highest = np.argsort(-scores)[:5]
        print(f"{path}: " + ", ".join(f"{NAMES[index]} {scores[index]:.2f}" for index in highest))


if __name__ == "__main__":
    main()
