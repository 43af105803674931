from __future__ import annotations

import math

import pytest
import torch

from mien.losses.cross_identity_reconstruction import cross_identity_reconstruction
from mien.losses.unit import unit
from mien.methods._diagnostics import clp_warnings, effective_rank, reconstruction_diagnostics


def random_rows(num_rows, dim, seed=0):
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed))


def diagnostics_of(query, key, bank, *, temperature=0.07, masked=None, own=None, same_video=None):
    """As floats; the first half of the bank are the candidates."""
    candidates, negatives = bank[: len(bank) // 2], bank[len(bank) // 2 :]
    nowhere = torch.zeros(len(query), len(candidates), dtype=torch.bool)
    result = cross_identity_reconstruction(
        query, key, candidates, negatives, temperature=temperature, masked_NC=masked
    )
    logs = reconstruction_diagnostics(
        result,
        query,
        candidates,
        nowhere if own is None else own,
        nowhere if same_video is None else same_video,
    )
    return {name: value.item() for name, value in logs.items()}


def test_effective_rank_counts_the_directions_that_rows_spread_over():
    assert effective_rank(torch.eye(12)).item() == pytest.approx(12, rel=1e-4)
    assert effective_rank(torch.ones(12, 5)).item() == pytest.approx(1, abs=0.01)
    three = torch.linalg.qr(random_rows(40, 3)).Q @ torch.linalg.qr(random_rows(9, 3, seed=1)).Q.T
    assert effective_rank(three).item() == pytest.approx(3, rel=0.05)


def test_effective_rank_is_that_of_the_singular_values():
    rows = random_rows(30, 9)
    shares = torch.linalg.svdvals(rows)
    shares = shares / shares.sum()
    expected = torch.exp(-(shares * shares.log()).sum())
    # The last 21 of 30 Gram eigenvalues are zero up to rounding.
    torch.testing.assert_close(effective_rank(rows), expected, rtol=0.02, atol=0)


def test_effective_rank_of_no_features_at_all_is_finite():
    assert effective_rank(torch.zeros(8, 4)).isfinite()


def test_effective_rank_has_no_gradient_and_ignores_autocast():
    rows = random_rows(30, 9).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert not effective_rank(rows).requires_grad
        assert torch.equal(effective_rank(rows), effective_rank(rows.detach()))


def test_support_runs_from_one_candidate_to_all():
    bank, query = unit(random_rows(40, 8)), random_rows(6, 8, seed=1)
    assert diagnostics_of(query, query, bank, temperature=1e-4)["attention_support"] == pytest.approx(1 / 20)
    assert diagnostics_of(query, query, bank, temperature=1e6)["attention_support"] == pytest.approx(1)


def test_attention_mass_on_ones_own_is_counted_before_masking():
    query = torch.tensor([[1.0, 0.0]])
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    own = torch.tensor([[True, False]])
    logs = diagnostics_of(query, query, bank, masked=own, own=own, same_video=~own)
    expected = math.exp(1 / 0.07) / (math.exp(1 / 0.07) + 1)
    assert logs["attention_on_own_identity"] == pytest.approx(expected)
    assert logs["attention_on_own_video"] == pytest.approx(1 - expected, abs=1e-6)
    assert logs["attention_max"] == 1.0


def test_retrieval_is_the_share_of_keys_ahead_of_every_negative_and_ties_do_not_count():
    bank = torch.eye(4).repeat_interleave(torch.tensor([2, 1, 1, 2]), dim=0)
    query = torch.eye(4)[[0, 0, 0]]
    key = torch.eye(4)[[0, 2, 3]]
    assert diagnostics_of(query, key, bank)["retrieval_accuracy"] == pytest.approx(1 / 3)
    same = torch.ones(6, 4) / 2
    assert diagnostics_of(same, same, same)["retrieval_accuracy"] == 0.0


def test_rows_without_candidates_are_counted_and_left_out_of_the_means():
    bank, query = unit(random_rows(40, 8)), random_rows(4, 8, seed=1)
    masked = torch.zeros(4, 20, dtype=torch.bool)
    masked[0] = True
    some = diagnostics_of(query, query, bank, masked=masked)
    rest = diagnostics_of(query[1:], query[1:], bank)
    assert some["rows_skipped"] == 0.25
    for name in ("attention_support", "attention_max", "retrieval_accuracy", "cos_query_rebuilt"):
        assert some[name] == pytest.approx(rest[name], rel=1e-5)


def warned(logs, masks_own_identity=True):
    return "\n".join(clp_warnings(logs, masks_own_identity=masks_own_identity))


def test_an_isotropic_bank_is_called_plain_info_nce():
    query = random_rows(32, 128)
    logs = diagnostics_of(
        query, query + 0.02 * random_rows(32, 128, seed=2), unit(random_rows(4096, 128, seed=1))
    )
    assert logs["cos_query_rebuilt"] > 0.9
    assert "has become plain InfoNCE" in warned(logs)


def test_a_narrow_bank_is_called_alike_and_batch_norm_is_advised():
    centre = random_rows(1, 128)
    bank, query = (
        unit(centre + 0.5 * random_rows(512, 128, seed=1)),
        centre + 0.5 * random_rows(32, 128, seed=2),
    )
    logs = diagnostics_of(query, centre + 0.5 * random_rows(32, 128, seed=3), bank)
    assert logs["cos_query_bank"] > 0.5
    assert "look alike" in warned(logs)
    assert "batch_norm_output" in warned(logs)


def test_a_working_reconstruction_gives_no_warning():
    # 40 expressions, each worn by many people: a query is rebuilt from those who share its own.
    expressions = unit(random_rows(40, 128))
    worn = torch.randint(0, 40, (4096,), generator=torch.Generator().manual_seed(1))
    bank = unit(expressions[worn] + 0.04 * random_rows(4096, 128, seed=2))
    query = expressions[:32] + 0.04 * random_rows(32, 128, seed=3)
    logs = diagnostics_of(query, expressions[:32], bank)
    assert logs["cos_query_rebuilt"] > 0.9
    assert warned({**logs, "clips_collapsed": 0.0, "effective_rank": 20.0}) == ""


def test_a_collapse_a_line_and_one_hot_attention_are_named():
    assert "80% of the clips have collapsed" in warned({"clips_collapsed": 0.8})
    assert "onto a line" in warned({"effective_rank": 1.1})
    assert "single row" in warned({"attention_max": 0.99})


def test_attention_on_ones_own_identity_is_named_only_where_nothing_masks_it():
    logs = {"attention_on_own_identity": 0.25}
    assert "25% of the attention" in warned(logs, masks_own_identity=False)
    assert warned(logs, masks_own_identity=True) == ""


def test_undefined_numbers_give_no_warning():
    assert warned({"clips_collapsed": math.nan, "attention_support": math.nan}) == ""
    assert warned({}) == ""
