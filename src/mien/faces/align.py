"""A face crop: five points brought to a fixed template by a similarity; how sharp and how bright it is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.faces.contract import CropContract
from mien.faces.finder import FaceFinder, Points
from mien.faces.warp import fit_similarity, warp

# Five points of a mean frontal face, in a square from mid-forehead to chin. In distances between the eyes:
# nose tip 0.54 and mouth 1.07 below them, mouth 0.86 wide; the square is 2.8 wide and begins 0.95 above.
TEMPLATE_POINTS_5X2 = ((0.321, 0.339), (0.679, 0.339), (0.5, 0.532), (0.346, 0.721), (0.654, 0.721))
MARGIN = 0.12
CROP_SIZE_PX = 256


def crop_contract(finder: FaceFinder) -> CropContract:
    """How faces are cropped that this finder found."""
    return CropContract(
        detector=finder.detector,
        detector_sha256=finder.detector_sha256,
        landmarker=finder.landmarker,
        landmarker_sha256=finder.landmarker_sha256,
        template_points_5x2=TEMPLATE_POINTS_5X2,
        margin=MARGIN,
        crop_size_px=CROP_SIZE_PX,
    )


def template_points_5x2_px(contract: CropContract) -> Points:
    """Where the five points come to lie in the crop."""
    template = np.array(contract.template_points_5x2)
    return (template + contract.margin) / (1 + 2 * contract.margin) * contract.crop_size_px


def crop_face(
    image_HWC: NDArray[np.uint8], points_5x2_px: Points, contract: CropContract
) -> NDArray[np.uint8]:
    """The (256, 256, 3) crop; outside the picture its edge is continued. ValueError for coinciding points."""
    matrix = fit_similarity(points_5x2_px, template_points_5x2_px(contract))
    return warp(image_HWC, matrix, contract.crop_size_px, border=cv2.BORDER_REPLICATE)


def sharpness(grey_HW: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of a crop's grey values: near 0 for a blurred or much enlarged face."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey_HW, cv2.CV_16S))
    return float(deviation.item() ** 2)


def brightness(grey_HW: NDArray[np.uint8]) -> float:
    """Mean grey value, 0 to 255, of the middle of a crop: half of each side, within the face."""
    height, width = grey_HW.shape
    middle_HW = grey_HW[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(cv2.mean(middle_HW)[0])
