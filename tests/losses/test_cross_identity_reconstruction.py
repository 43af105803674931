"""Numbers worked by hand lie in tests/oracles.json; the oracle for random rows is a loop from Eqs. 2-4."""

import json
import math
from pathlib import Path

import pytest
import torch

from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction, reconstruct
from mien.losses.temporal_triplet import temporal_triplet_losses, triplet_weights
from mien.losses.unit import unit

ORACLES = json.loads((Path(__file__).parents[1] / "oracles.json").read_text())
CASES = {case["name"]: case for case in ORACLES["cir"]}


def rows(values):
    return torch.tensor(values, dtype=torch.float64)


def random_rows(num_rows, dim=5, seed=0):
    return torch.randn(num_rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_case(case, query=None):
    query = rows([case["q"]]) if query is None else query
    masked = None if case["candidate_mask"] is None else torch.tensor([case["candidate_mask"]])
    key, candidates, negatives = rows([case["k"]]), rows(case["C"]), rows(case["C_bar"])
    return cross_identity_reconstruction(
        query, key, candidates, negatives, temperature=case["tau"], masked_NC=masked
    )


def loop_from_the_equations(query, key, candidates, negatives, tau):
    """One query, lists of numbers."""

    def cos(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    weights = [math.exp(cos(query, c) / tau) for c in candidates]
    alpha = [weight / sum(weights) for weight in weights]
    rebuilt = [sum(a * c[d] for a, c in zip(alpha, candidates, strict=True)) for d in range(len(query))]
    positive = math.exp(cos(rebuilt, key) / tau)
    return -math.log(positive / (positive + sum(math.exp(cos(rebuilt, n) / tau) for n in negatives)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_worked_case_gives_its_attention_its_reconstruction_and_its_loss(case):
    result = of_case(case)
    assert result.reconstruction.alpha_NC[0].tolist() == pytest.approx(case["alpha"], abs=1e-6)
    assert result.reconstruction.rebuilt_ND[0].tolist() == pytest.approx(case["qhat"], abs=1e-6)
    assert result.loss.item() == pytest.approx(case["loss"], abs=1e-6)


@pytest.mark.parametrize("expected", ORACLES["cir_gradients"], ids=lambda expected: expected["case"])
def test_worked_gradient_by_the_query(expected):
    case = CASES[expected["case"]]
    query = rows([case["q"]]).requires_grad_()
    (gradient,) = torch.autograd.grad(of_case(case, query).loss, query)
    assert gradient[0].tolist() == pytest.approx(expected["dL_dq"], abs=1e-6)


def test_worked_batch_of_two_is_the_mean_of_its_rows():
    case = CASES["C4_tau0.2"]
    query, key = rows([case["q"], [1, 0, 0]]), rows([case["k"], [1, 0, 0]])
    result = cross_identity_reconstruction(query, key, rows(case["C"]), rows(case["C_bar"]), temperature=0.2)
    assert result.loss_N.tolist() == pytest.approx([0.327865, 0.326981], abs=1e-6)
    assert result.loss.item() == pytest.approx(0.327423, abs=1e-6)


def test_worked_total_of_both_losses():
    frames = next(case["frames"] for case in ORACLES["tcl"] if case["name"] == "T2_invsqrt")
    clip, weights_P = unit(rows([frames])), triplet_weights("inv_sqrt", clip_len=4)
    tcl = sum(temporal_triplet_losses(c, weights_P=weights_P, margin=0.03) for c in (clip, clip.flip(1)))
    total = tcl + 0.1 * of_case(CASES["C4_tau0.07"]).loss
    assert total.item() == pytest.approx(ORACLES["total_T2_C4"], abs=1e-6)


def test_worked_perfect_reconstruction_of_one_negative():
    assert of_case(CASES["C5b_perfect"]).loss.item() == pytest.approx(3.9e-13, rel=0.02)


def test_a_reconstruction_of_length_zero_has_a_finite_gradient():
    query = rows([CASES["C6_zero_qhat"]["q"]]).requires_grad_()
    (gradient,) = torch.autograd.grad(of_case(CASES["C6_zero_qhat"], query).loss, query)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1e4


def test_agrees_with_loops_written_from_the_equations():
    query, key = random_rows(4), random_rows(4, seed=1)
    candidates, negatives = unit(random_rows(7, seed=2)), unit(random_rows(6, seed=3))
    result = cross_identity_reconstruction(query, key, candidates, negatives, temperature=0.3)
    expected = [
        loop_from_the_equations(q, k, candidates.tolist(), negatives.tolist(), 0.3)
        for q, k in zip(query.tolist(), key.tolist(), strict=True)
    ]
    assert result.loss_N.tolist() == pytest.approx(expected, abs=1e-12)


def test_attention_has_a_temperature_of_its_own_when_given_one():
    query, candidates = random_rows(3), unit(random_rows(7, seed=2))
    result = cross_identity_reconstruction(
        query, query, candidates, candidates, temperature=0.07, reconstruction_temperature=0.5
    )
    expected = reconstruct(query, candidates, temperature=0.5).alpha_NC
    torch.testing.assert_close(result.reconstruction.alpha_NC, expected)


# 11
def test_attention_is_positive_sums_to_one_and_ignores_the_length_of_the_query():
    query, candidates = random_rows(6), unit(random_rows(40, seed=1))
    alpha_NC = reconstruct(query, candidates, temperature=0.07).alpha_NC
    assert (alpha_NC > 0).all()
    torch.testing.assert_close(alpha_NC.sum(dim=1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(reconstruct(query * 17, candidates, temperature=0.07).alpha_NC, alpha_NC)


# 12
def test_reconstruction_is_a_mixture_no_longer_than_one():
    query, candidates = random_rows(50), unit(random_rows(40, seed=1))
    found = reconstruct(query, candidates, temperature=0.2)
    assert (found.rebuilt_ND.norm(dim=1) < 1).all()
    torch.testing.assert_close(found.rebuilt_ND, found.alpha_NC @ candidates)
    equal = reconstruct(query, candidates[:1].repeat(9, 1), temperature=0.2)
    torch.testing.assert_close(equal.rebuilt_ND.norm(dim=1), torch.ones(50, dtype=torch.float64))


# 13
@pytest.mark.parametrize(("num_negatives", "expected"), ORACLES["chance_levels"].items())
def test_equal_cosines_give_the_chance_level(num_negatives, expected):
    same = torch.zeros(1, 4)
    same[0, 0] = 1.0
    negatives = same.expand(int(num_negatives), -1)
    loss = cross_identity_reconstruction(same, same, same, negatives, temperature=0.07).loss
    assert loss.item() == pytest.approx(expected, abs=2e-5)


# 14
def test_loss_lies_between_its_bounds_and_reaches_them():
    north, south = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[-1.0, 0.0]]).double()
    many = north.expand(32768, -1)
    best = cross_identity_reconstruction(north, north, north, -many, temperature=0.07).loss
    worst = cross_identity_reconstruction(north, south, north, many, temperature=0.07).loss
    assert best.item() == pytest.approx(1.28e-8, rel=0.01)
    assert worst.item() == pytest.approx(38.968636, abs=1e-6)
    query, bank = random_rows(64), unit(random_rows(300, seed=4))
    losses = cross_identity_reconstruction(
        query, random_rows(64, seed=5), bank[:150], bank[150:], temperature=0.07
    ).loss_N
    assert (losses >= math.log1p(150 * math.exp(-2 / 0.07))).all()
    assert (losses <= math.log1p(150 * math.exp(2 / 0.07))).all()


# 15
def test_gradient_by_the_query_is_orthogonal_to_it_and_agrees_with_finite_differences():
    key, bank = random_rows(3, seed=1), unit(random_rows(12, seed=2))

    def loss(query):
        return cross_identity_reconstruction(query, key, bank[:7], bank[7:], temperature=0.2).loss

    query = random_rows(3).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(query), query)
    torch.testing.assert_close((gradient * query).sum(dim=1), torch.zeros(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(loss, query)


# 16
def test_the_gradient_passes_through_the_attention_and_nowhere_else():
    key, bank = random_rows(3, seed=1), unit(random_rows(12, seed=2))
    query = random_rows(3).requires_grad_()
    result = cross_identity_reconstruction(query, key, bank[:7], bank[7:], temperature=0.2)
    assert result.reconstruction.alpha_NC.requires_grad
    (by_alpha,) = torch.autograd.grad(result.loss, result.reconstruction.alpha_NC, retain_graph=True)
    (through_alpha,) = torch.autograd.grad(result.reconstruction.alpha_NC, query, by_alpha, retain_graph=True)
    (whole,) = torch.autograd.grad(result.loss, query)
    torch.testing.assert_close(through_alpha, whole)
    assert whole.abs().max() > 1e-3


# 17
def test_order_of_candidates_and_of_negatives_does_not_matter():
    query, key, bank = random_rows(3), random_rows(3, seed=1), unit(random_rows(12, seed=2))
    candidates, negatives = bank[:7], bank[7:]
    loss = cross_identity_reconstruction(query, key, candidates, negatives, temperature=0.2).loss
    turned = cross_identity_reconstruction(
        query, key, candidates.flip(0), negatives.roll(2, 0), temperature=0.2
    ).loss
    torch.testing.assert_close(turned, loss)


# 18
def test_an_isotropic_bank_makes_it_plain_info_nce():
    generator = torch.Generator().manual_seed(0)
    bank = unit(torch.randn(65536, 128, generator=generator))
    query, key = (torch.randn(32, 128, generator=generator) for _ in range(2))
    strangers = cross_identity_reconstruction(query, key, bank[:32768], bank[32768:], temperature=0.07)
    rebuilt_ND = strangers.reconstruction.rebuilt_ND
    assert strangers.loss.item() == pytest.approx(math.log(32769) + 1 / (2 * 128 * 0.07**2), abs=0.4)
    assert ((unit(query) * unit(rebuilt_ND)).sum(dim=1) > 0.99).all()
    assert rebuilt_ND.norm(dim=1).mean().item() == pytest.approx(0.1110, abs=0.001)
    same = cross_identity_reconstruction(query, query, bank[:32768], bank[32768:], temperature=0.07)
    assert same.loss.item() == pytest.approx(0.0477, abs=0.005)


# 19
def test_temperature_turns_attention_from_the_nearest_row_to_the_mean_of_all():
    query, candidates = random_rows(8), unit(random_rows(20, seed=1))
    nearest = reconstruct(query, candidates, temperature=1e-4).rebuilt_ND
    torch.testing.assert_close(nearest, candidates[(query @ candidates.T).argmax(dim=1)])
    mean = reconstruct(query, candidates, temperature=1e9).rebuilt_ND
    torch.testing.assert_close(mean, candidates.mean(dim=0).expand(8, -1))


# 20
def test_masked_candidates_get_no_attention_and_the_rest_is_renormalised():
    query, candidates = random_rows(2), unit(random_rows(6, seed=1))
    masked = torch.tensor([[True, False, False, True, False, False], [False] * 6])
    found = reconstruct(query, candidates, temperature=0.2, masked_NC=masked)
    kept = reconstruct(query[:1], candidates[[1, 2, 4, 5]], temperature=0.2)
    assert found.alpha_NC[0, [0, 3]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(found.alpha_NC[0, [1, 2, 4, 5]], kept.alpha_NC[0])
    torch.testing.assert_close(
        found.alpha_NC[1:], reconstruct(query[1:], candidates, temperature=0.2).alpha_NC
    )


@pytest.mark.parametrize("rows_masked", [(0,), (0, 1, 2)])
def test_a_row_without_candidates_is_left_out_of_the_mean_without_a_nan(rows_masked):
    query = random_rows(3).requires_grad_()
    key, bank = random_rows(3, seed=1), unit(random_rows(12, seed=2))
    masked = torch.zeros(3, 7, dtype=torch.bool)
    masked[list(rows_masked)] = True
    result = cross_identity_reconstruction(query, key, bank[:7], bank[7:], temperature=0.07, masked_NC=masked)
    rest = [row for row in range(3) if row not in rows_masked]
    alone = cross_identity_reconstruction(query[rest], key[rest], bank[:7], bank[7:], temperature=0.07)
    (gradient,) = torch.autograd.grad(result.loss, query)
    torch.testing.assert_close(result.loss, alone.loss)
    assert result.reconstruction.possible_N.tolist() == [row in rest for row in range(3)]
    assert torch.equal(gradient[list(rows_masked)], torch.zeros(len(rows_masked), 5, dtype=torch.float64))
    assert gradient.isfinite().all()


# 21
def test_each_row_has_its_own_loss_whatever_else_is_in_the_batch():
    query, key, bank = random_rows(4), random_rows(4, seed=1), unit(random_rows(12, seed=2))
    together = cross_identity_reconstruction(query, key, bank[:7], bank[7:], temperature=0.2).loss_N
    alone = [
        cross_identity_reconstruction(query[[n]], key[[n]], bank[:7], bank[7:], temperature=0.2).loss.item()
        for n in range(4)
    ]
    assert together.tolist() == pytest.approx(alone, abs=1e-14)


def test_autocast_does_not_lower_its_precision():
    query, key, bank = (random_rows(n, seed=n).float() for n in (3, 4, 12))
    bank = unit(bank)

    def loss():
        return cross_identity_reconstruction(query, key[:3], bank[:7], bank[7:], temperature=0.07).loss

    expected = loss()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(), expected)
