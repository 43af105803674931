import pytest
import torch

from mien.layers.flow_warp import merge_flows, warp


def ramp(height=6, width=8):
    """A picture whose colour tells where a pixel came from: channel 0 is its column, channel 1 its row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows]).float()[None]


def test_zero_flow_returns_the_picture():
    picture = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(warp(picture, torch.zeros(2, 2, 5, 7)), picture, atol=1e-5, rtol=0)


def test_a_flow_of_two_over_width_takes_the_pixel_to_the_right():
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0] = 2 / 8
    expected = ramp()[0, 0] + 1
    expected[:, -1] = 7  # the grid ends at the picture's edge
    torch.testing.assert_close(warp(ramp(), flow)[0, 0], expected, atol=1e-4, rtol=0)


def test_a_flow_of_two_over_height_takes_the_pixel_below():
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 1] = 2 / 6
    expected = ramp()[0, 1] + 1
    expected[-1] = 5
    torch.testing.assert_close(warp(ramp(), flow)[0, 1], expected, atol=1e-4, rtol=0)


def test_equals_bilinear_sampling_by_hand():
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 1, 6, 8, generator=generator)
    flow = 0.3 * torch.randn(1, 2, 6, 8, generator=generator)
    warped = warp(picture, flow)
    for row in range(6):
        for column in range(8):
            x = ((2 * column + 1) / 8 - 1 + float(flow[0, 0, row, column])) * 0.5 * 8 + 3.5
            y = ((2 * row + 1) / 6 - 1 + float(flow[0, 1, row, column])) * 0.5 * 6 + 2.5
            expected = bilinear(picture[0, 0], min(max(x, 0), 7), min(max(y, 0), 5))
            assert float(warped[0, 0, row, column]) == pytest.approx(expected, abs=1e-4)


def bilinear(plane, x, y):
    left, top = min(int(x), plane.shape[1] - 2), min(int(y), plane.shape[0] - 2)
    right, below = x - left, y - top
    upper = (1 - right) * plane[top, left] + right * plane[top, left + 1]
    lower = (1 - right) * plane[top + 1, left] + right * plane[top + 1, left + 1]
    return float((1 - below) * upper + below * lower)


def test_a_smaller_flow_is_scaled_to_the_picture():
    flow = torch.full((1, 2, 3, 3), 0.1)
    picture = torch.rand(1, 3, 12, 12)
    torch.testing.assert_close(warp(picture, flow), warp(picture, torch.full((1, 2, 12, 12), 0.1)))


def test_the_flow_receives_a_gradient():
    flow = torch.zeros(1, 2, 6, 8, requires_grad=True)
    warp(ramp(), flow)[..., 2, 3].sum().backward()
    # moving by one unit of flow crosses half the picture: 4 columns, 3 rows
    assert flow.grad[0, :, 2, 3].tolist() == pytest.approx([4.0, 3.0], abs=1e-3)


def test_merged_flow_worked_number():
    flow_a = torch.tensor([0.2, -0.1]).view(1, 2, 1, 1)
    flow_b = torch.tensor([-0.4, 0.3]).view(1, 2, 1, 1)
    merged = merge_flows(
        flow_a,
        flow_b,
        logit_a_N1HW=torch.full((1, 1, 1, 1), 0.5),
        logit_b_N1HW=torch.full((1, 1, 1, 1), -0.5),
    )
    assert merged.flatten().tolist() == pytest.approx([0.038635, 0.007577], abs=1e-6)


def test_equal_masks_average_the_flows():
    flow_a, flow_b = torch.randn(2, 1, 2, 4, 4)
    zero = torch.zeros(1, 1, 4, 4)
    merged = merge_flows(flow_a, flow_b, logit_a_N1HW=zero, logit_b_N1HW=zero)
    torch.testing.assert_close(merged, (flow_a + flow_b) / 2)
