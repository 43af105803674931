import math

import pytest
import torch

from mien.losses.temporal_ranking import temporal_ranking


def arc(degrees_per_frame, num_frames=12):
    angles = torch.arange(num_frames, dtype=torch.float64) * math.radians(degrees_per_frame)
    return torch.stack([angles.cos(), angles.sin()], dim=1)[None]


@pytest.mark.parametrize(("degrees", "worked"), [(1.0, 0.263559), (5.0, 0.007226), (0.0, 0.3)])
def test_worked_numbers(degrees, worked):
    assert temporal_ranking(arc(degrees), margin=0.03).item() == pytest.approx(worked, abs=1e-6)


def test_equals_loops_written_from_the_equation():
    clips = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for clip in clips:
        rows = [row / row.norm() for row in clip]
        for j in range(1, len(rows) - 1):
            near = float((rows[j] - rows[0]).square().sum())
            far = float((rows[j + 1] - rows[0]).square().sum())
            total += max(0.0, near - far + 0.1)
    assert temporal_ranking(clips, margin=0.1).item() == pytest.approx(total / len(clips), abs=1e-5)


def test_scaling_a_frame_changes_nothing():
    clips = torch.randn(2, 5, 4)
    scales = torch.tensor([0.1, 3.0, 1.0, 7.0, 0.5])[None, :, None]
    torch.testing.assert_close(
        temporal_ranking(scales * clips, margin=0.03), temporal_ranking(clips, margin=0.03)
    )


def test_two_frames_hold_no_pair():
    assert temporal_ranking(torch.randn(2, 2, 4), margin=0.03).item() == 0.0


def test_coincident_frames_give_a_finite_gradient():
    clips = torch.ones(1, 4, 3, requires_grad=True)
    temporal_ranking(clips, margin=0.03).backward()
    assert clips.grad.isfinite().all()
