import cv2
import numpy as np
import torch

from mien.data.views import blur, gaussian_kernels


def test_equals_opencv_with_the_same_kernel():
    views = torch.rand(2, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    blurred = blur(views, torch.tensor([1.5, 0.7]))
    for row, deviation in enumerate((1.5, 0.7)):
        expected = cv2.GaussianBlur(
            views[row, 0].permute(1, 2, 0).numpy(), (11, 11), deviation, borderType=cv2.BORDER_REFLECT_101
        )
        np.testing.assert_allclose(blurred[row, 0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_no_deviation_leaves_a_row_as_it_is():
    views = torch.rand(2, 3, 3, 32, 32)
    blurred = blur(views, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(blurred[0], views[0])
    assert (blurred[1] - views[1]).abs().max() > 0.01


def test_one_colour_stays_one_colour():
    views = torch.full((1, 2, 3, 40, 40), 0.3)
    torch.testing.assert_close(blur(views, torch.tensor([2.0])), views)


def test_frames_of_a_row_share_its_deviation():
    frame = torch.rand(1, 1, 3, 32, 32)
    blurred = blur(frame.expand(1, 4, 3, 32, 32), torch.tensor([1.0]))
    torch.testing.assert_close(blurred, blurred[:, :1].expand_as(blurred))


def test_kernels_sum_to_one():
    kernels = gaussian_kernels(torch.tensor([0.0, 0.5, 2.0]), reach_px=4)
    torch.testing.assert_close(kernels.sum(dim=1), torch.ones(3))
    assert kernels[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
