"""Processor time and memory of MediaPipe's Face Landmarker with blendshapes on a video, all rows written.

    python benchmarks/peer.py VIDEO face_landmarker.task rows.csv     # needs: pip install mediapipe

Compare it, as a whole process, with `mien detect VIDEO --out DIR`:

    /usr/bin/time -f "%U + %S s, %M kB" COMMAND
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision

video, bundle, rows = sys.argv[1:]
options = vision.FaceLandmarkerOptions(
    base_options=BaseOptions(model_asset_path=bundle),
    output_face_blendshapes=True,
    running_mode=vision.RunningMode.VIDEO,
)
capture = cv2.VideoCapture(video)
with (
    vision.FaceLandmarker.create_from_options(options) as landmarker,
    Path(rows).open("w", newline="") as file,
):
    writer = csv.writer(file)
    number = 0
    while True:
        more, image = capture.read()
        if not more:
            break
        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        found = landmarker.detect_for_video(picture, number * 40)
        shapes = found.face_blendshapes[0] if found.face_blendshapes else []
        writer.writerow([number, *(f"{shape.score:.4f}" for shape in shapes)])
        number += 1
