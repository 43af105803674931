"""Numbers worked by hand lie in tests/oracles.json; the oracle for random clips is a loop from Eq. 1."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import DoNothingReducer

from mien.losses.temporal_triplet import temporal_triplet_losses, triplet_weights
from mien.losses.unit import unit

ORACLES = json.loads((Path(__file__).parents[1] / "oracles.json").read_text())
PLAIN_CASES = [case for case in ORACLES["tcl"] if not case["options"]["squared"]]
SQUARED_CASES = [case for case in ORACLES["tcl"] if case["options"]["squared"]]
FORMS = ("one", "inv_sqrt", "inv", "exp")
MARGIN = 0.03


def weights_of(options, clip_len):
    return triplet_weights(options["lambda"], clip_len=clip_len, start=options["lambda_start"])


def both_directions(raw_JD, weights_P):
    """(forward, reverse) of one clip of raw rows."""
    clip_1JD = unit(raw_JD)[None]
    return tuple(
        temporal_triplet_losses(clip, weights_P=weights_P, margin=MARGIN)[0]
        for clip in (clip_1JD, clip_1JD.flip(1))
    )


def loop_from_the_equation(unit_JD, weights, margin=MARGIN):
    rows = unit_JD.tolist()
    distance = {j: math.dist(rows[0], rows[j - 1]) for j in range(2, len(rows) + 1)}
    return sum(weights[j - 2] * max(0.0, distance[j] - distance[j + 1] + margin) for j in range(2, len(rows)))


def random_clips(num_clips=5, clip_len=9, dim=6, seed=0):
    return torch.randn(
        num_clips, clip_len, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


WEIGHTS = triplet_weights("inv_sqrt", clip_len=9)


@pytest.mark.parametrize("case", PLAIN_CASES, ids=lambda case: case["name"])
def test_worked_clip_gives_its_number_in_both_directions(case):
    raw_JD = torch.tensor(case["frames"], dtype=torch.float64)
    forward, reverse = both_directions(raw_JD, weights_of(case["options"], len(raw_JD)))
    assert forward.item() == pytest.approx(case["forward"], abs=1e-6)
    assert reverse.item() == pytest.approx(case["reverse"], abs=1e-6)
    assert (forward + reverse).item() == pytest.approx(case["l_tcl"], abs=1e-6)


@pytest.mark.parametrize("case", SQUARED_CASES, ids=lambda case: case["name"])
def test_distance_is_not_squared(case):
    raw_JD = torch.tensor(case["frames"], dtype=torch.float64)
    forward, reverse = both_directions(raw_JD, weights_of(case["options"], len(raw_JD)))
    assert abs((forward + reverse).item() - case["l_tcl"]) > 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("start", [1, 2])
def test_weights_are_the_worked_ones(form, start):
    expected = ORACLES["lambda"][f"lambda_{form}_start{start}"]
    weights_P = triplet_weights(form, clip_len=9, start=start)
    assert weights_P.tolist() == pytest.approx(expected["w"], abs=1e-9)
    assert weights_P.sum().item() == pytest.approx(expected["sum"], abs=1e-12)


def test_an_unknown_form_of_weights_is_refused_by_name():
    with pytest.raises(ValueError, match=r"inverse.*inv_sqrt"):
        triplet_weights("inverse", clip_len=9)


def test_worked_gradient_by_raw_rows():
    case = next(case for case in PLAIN_CASES if case["name"] == "T7_J5_3d")
    raw_JD = torch.tensor(case["frames"], dtype=torch.float64, requires_grad=True)
    forward, reverse = both_directions(raw_JD, weights_of(case["options"], 5))
    (gradient,) = torch.autograd.grad(forward + reverse, raw_JD)
    expected = torch.tensor(ORACLES["tcl_gradients"][0]["dL_draw"], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=6e-5, rtol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("clip_len", [2, 3, 5, 9])
def test_agrees_with_loops_written_from_the_equation(form, clip_len):
    clips_BJD = unit(random_clips(clip_len=clip_len))
    weights_P = triplet_weights(form, clip_len=clip_len)
    losses = temporal_triplet_losses(clips_BJD, weights_P=weights_P, margin=MARGIN)
    expected = [loop_from_the_equation(clip, weights_P.tolist()) for clip in clips_BJD]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)


def test_agrees_with_pytorch_metric_learning_given_the_same_triplets():
    clip_JD = unit(random_clips(num_clips=1)[0])
    triplets = (torch.zeros(7, dtype=torch.long), torch.arange(1, 8), torch.arange(2, 9))
    reference = TripletMarginLoss(
        margin=MARGIN,
        distance=LpDistance(normalize_embeddings=True, p=2, power=1),
        reducer=DoNothingReducer(),
    )
    hinges_P = reference(clip_JD, indices_tuple=triplets)["loss"]["losses"]
    ours = temporal_triplet_losses(clip_JD[None], weights_P=WEIGHTS, margin=MARGIN)
    # The reference takes distances by a matrix product in float64.
    torch.testing.assert_close(ours[0], (hinges_P * WEIGHTS).sum(), atol=1e-6, rtol=0)


# 1
def test_reversing_the_clip_leaves_the_sum_of_both_directions_and_changes_one():
    for clip_JD in random_clips():
        forward, reverse = both_directions(clip_JD, WEIGHTS)
        forward_of_reversed, reverse_of_reversed = both_directions(clip_JD.flip(0), WEIGHTS)
        assert forward + reverse == reverse_of_reversed + forward_of_reversed
        assert forward != forward_of_reversed


# 2
def test_does_not_change_with_the_length_of_raw_rows():
    clips_BJD = random_clips()
    lengths = (
        torch.rand(5, 9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 100 + 0.01
    )
    for clip_JD, scaled_JD in zip(clips_BJD, clips_BJD * lengths, strict=True):
        torch.testing.assert_close(both_directions(clip_JD, WEIGHTS), both_directions(scaled_JD, WEIGHTS))


def test_does_not_change_when_all_embeddings_turn_together():
    rotation = torch.linalg.qr(random_clips(1, 6, 6, seed=2)[0]).Q
    for clip_JD in random_clips():
        turned = both_directions(clip_JD @ rotation, WEIGHTS)
        torch.testing.assert_close(both_directions(clip_JD, WEIGHTS), turned)


def test_changes_when_frames_change_places():
    clip_JD = random_clips()[0]
    assert both_directions(clip_JD, WEIGHTS) != both_directions(clip_JD[torch.arange(9).roll(3)], WEIGHTS)


# 3
def test_is_never_negative():
    assert (temporal_triplet_losses(unit(random_clips(500)), weights_P=WEIGHTS, margin=MARGIN) >= 0).all()


@pytest.mark.parametrize(("clip_len", "num_triplets"), [(2, 0), (3, 1), (9, 7)])
def test_a_clip_has_two_triplets_fewer_than_frames(clip_len, num_triplets):
    weights_P = triplet_weights("one", clip_len=clip_len)
    constant = torch.ones(1, clip_len, 4, dtype=torch.float64) / 2
    loss = temporal_triplet_losses(constant, weights_P=weights_P, margin=1.0)
    assert loss.item() == len(weights_P) == num_triplets


# 4
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coinciding_frames_give_the_margin_times_the_weights_and_no_gradient(dtype):
    raw_JD = torch.full((9, 128), 0.3, dtype=dtype, requires_grad=True)
    forward, _ = both_directions(raw_JD, WEIGHTS)
    assert forward.item() == pytest.approx(MARGIN * WEIGHTS.sum().item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(forward, raw_JD)
    assert torch.equal(gradient, torch.zeros_like(gradient))


# 5
def test_weights_of_one_telescope_while_every_hinge_is_active_and_only_then():
    ones = triplet_weights("one", clip_len=9)
    angles = torch.linspace(1.0, 0.2, 9, dtype=torch.float64)
    angles[0] = 0.0  # jumps away, then comes back: every hinge is active
    returning = torch.stack([angles.cos(), angles.sin()], dim=1)
    telescoped = torch.dist(returning[0], returning[1]) - torch.dist(returning[0], returning[8]) + 7 * MARGIN
    torch.testing.assert_close(both_directions(returning, ones)[0], telescoped)
    for clip_JD in unit(random_clips()):
        telescoped = torch.dist(clip_JD[0], clip_JD[1]) - torch.dist(clip_JD[0], clip_JD[8]) + 7 * MARGIN
        assert both_directions(clip_JD, ones)[0] > telescoped


# 6
@pytest.mark.parametrize(
    ("form", "bound"), [("one", 8.12), ("inv_sqrt", 3.996884), ("inv", 2.114583), ("exp", 0.317624)]
)
def test_largest_loss_is_that_of_alternating_antipodes(form, bound):
    weights_P = triplet_weights(form, clip_len=9)
    # Frame 1, then as far as can be, back, far, ...: the even triplets are violated by 2 + margin.
    clip = torch.tensor([[1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0]]).double()
    assert both_directions(clip, weights_P)[0].item() == pytest.approx(bound, abs=1e-6)
    random = temporal_triplet_losses(unit(random_clips(300)), weights_P=weights_P, margin=MARGIN)
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=9))).double()[..., None]
    corners = temporal_triplet_losses(signs, weights_P=weights_P, margin=MARGIN)
    assert random.max() < bound
    assert corners.max().item() == pytest.approx(bound, abs=1e-6)


# 7
def test_gradients_by_unit_rows_sum_to_zero_over_a_clip():
    clips_BJD = unit(random_clips()).requires_grad_()
    loss = temporal_triplet_losses(clips_BJD, weights_P=WEIGHTS, margin=MARGIN).sum()
    (gradient,) = torch.autograd.grad(loss, clips_BJD)
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(5, 6, dtype=torch.float64))


def test_gradients_by_raw_rows_are_orthogonal_to_them():
    raw_BJD = random_clips().requires_grad_()
    loss = temporal_triplet_losses(unit(raw_BJD), weights_P=WEIGHTS, margin=MARGIN).sum()
    (gradient,) = torch.autograd.grad(loss, raw_BJD)
    torch.testing.assert_close((gradient * raw_BJD).sum(dim=2), torch.zeros(5, 9, dtype=torch.float64))


# 8
def test_a_step_downhill_draws_the_positive_near_and_pushes_the_negative_off():
    raw_JD = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.0, 0.6]], dtype=torch.float64)
    raw_JD.requires_grad_()
    loss = both_directions(raw_JD, triplet_weights("one", clip_len=3))[0]
    assert loss > 0
    (gradient,) = torch.autograd.grad(loss, raw_JD)
    before, after = unit(raw_JD.detach()), unit(raw_JD.detach() - 1e-3 * gradient)
    assert torch.dist(after[0], after[1]) < torch.dist(before[0], before[1])
    assert torch.dist(after[0], after[2]) > torch.dist(before[0], before[2])


def test_an_inactive_triplet_has_no_gradient():
    raw_JD = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(both_directions(raw_JD, triplet_weights("one", clip_len=3))[0], raw_JD)
    assert torch.equal(gradient, torch.zeros_like(gradient))


# 9
def test_a_frame_between_two_satisfied_triplets_has_no_gradient():
    angles = torch.deg2rad(torch.tensor([0.0, 10, 20, 40, 30, 50], dtype=torch.float64))
    clip_JD = torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()
    loss = both_directions(clip_JD, triplet_weights("one", clip_len=6))[0]
    (gradient,) = torch.autograd.grad(loss, clip_JD)
    # Only (40, 30) is out of order, so only the anchor and these two frames feel anything.
    assert [bool(row.any()) for row in gradient] == [True, False, False, True, True, False]


# 10
def test_each_clip_has_its_own_loss_whatever_else_is_in_the_batch():
    clips_BJD = unit(random_clips())
    together = temporal_triplet_losses(clips_BJD, weights_P=WEIGHTS, margin=MARGIN)
    alone = [temporal_triplet_losses(clip[None], weights_P=WEIGHTS, margin=MARGIN)[0] for clip in clips_BJD]
    assert together.tolist() == pytest.approx([loss.item() for loss in alone], abs=1e-14)
    repeated = temporal_triplet_losses(clips_BJD[:1].repeat(4, 1, 1), weights_P=WEIGHTS, margin=MARGIN)
    assert repeated.mean().item() == pytest.approx(alone[0].item(), abs=1e-14)


def test_autocast_does_not_lower_its_precision():
    clips_BJD = unit(random_clips()).float()
    expected = temporal_triplet_losses(clips_BJD, weights_P=WEIGHTS, margin=MARGIN)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(temporal_triplet_losses(clips_BJD, weights_P=WEIGHTS, margin=MARGIN), expected)
        from_half = temporal_triplet_losses(clips_BJD.bfloat16(), weights_P=WEIGHTS, margin=MARGIN)
    assert from_half.dtype == torch.float32
