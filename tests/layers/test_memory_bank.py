import copy

import pytest
import torch

from mien.layers.memory_bank import MemoryBank


def keys(first, count, dim=3):
    """Rows that hold their number, with identity = number // 2 and video = number."""
    number_N = torch.arange(first, first + count)
    return number_N[:, None].expand(-1, dim).float(), number_N // 2, number_N


def filled_bank(size, num_rows):
    bank = MemoryBank(size, 3)
    bank.enqueue(*keys(0, num_rows))
    return bank


def numbers(rows):
    return rows.video_M.tolist()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# 22
def test_worked_ring_of_ten_in_batches_of_four():
    bank = MemoryBank(10, 3)
    contents = []
    for batch in range(4):
        bank.enqueue(*keys(4 * batch, 4))
        contents.append((bank.rows_MD[:, 0].tolist(), bank.pointer, bank.filled))
    assert contents[0][0][:4] == [0, 1, 2, 3]
    assert contents[0][1:] == (4, 4)
    assert contents[2] == ([10, 11, 2, 3, 4, 5, 6, 7, 8, 9], 2, 10)
    assert contents[3] == ([10, 11, 12, 13, 14, 15, 6, 7, 8, 9], 6, 10)


def test_identity_and_video_lie_beside_their_row():
    bank = filled_bank(10, 14)
    assert bank.video_M.tolist() == bank.rows_MD[:, 0].tolist()
    assert bank.identity_M.tolist() == [number // 2 for number in bank.video_M.tolist()]


def test_of_a_batch_larger_than_the_bank_the_last_rows_remain_where_one_by_one_would_put_them():
    at_once, one_by_one = MemoryBank(10, 3), MemoryBank(10, 3)
    for bank in (at_once, one_by_one):
        bank.enqueue(*keys(0, 3))
    at_once.enqueue(*keys(3, 25))
    for number in range(3, 28):
        one_by_one.enqueue(*keys(number, 1))
    assert at_once.video_M.tolist() == one_by_one.video_M.tolist()
    assert (at_once.pointer, at_once.filled) == (one_by_one.pointer, one_by_one.filled)


# 17
@pytest.mark.parametrize(("num_rows", "num_candidates"), [(40, 24), (25, 15), (8, 5), (100, 24)])
def test_a_split_is_disjoint_covers_the_filled_rows_and_has_the_stated_sizes(num_rows, num_candidates):
    bank = filled_bank(40, num_rows)
    candidates, negatives = bank.split(24, generator=generator())
    assert len(candidates) == num_candidates
    assert sorted(numbers(candidates) + numbers(negatives)) == sorted(bank.video_M[: bank.filled].tolist())


def test_splits_differ_between_steps_and_agree_for_one_step():
    bank = filled_bank(40, 40)
    first, again, next_step = (bank.split(20, generator=generator(seed))[0] for seed in (1, 1, 2))
    assert numbers(first) == numbers(again)
    assert sorted(numbers(first)) != sorted(numbers(next_step))


def test_a_split_does_not_change_when_rows_are_enqueued_after_it():
    bank = filled_bank(40, 40)
    candidates, _ = bank.split(20, generator=generator())
    before = candidates.rows_MD.clone()
    bank.enqueue(*keys(100, 40))
    assert torch.equal(candidates.rows_MD, before)


def test_rows_of_a_split_keep_their_identity():
    candidates, negatives = filled_bank(40, 40).split(20, generator=generator())
    for part in (candidates, negatives):
        assert part.rows_MD[:, 0].tolist() == numbers(part)
        assert part.identity_M.tolist() == [number // 2 for number in numbers(part)]


# 26
def test_state_dict_holds_rows_ids_pointer_and_count():
    bank = filled_bank(10, 13)
    restored = MemoryBank(10, 3)
    restored.load_state_dict(copy.deepcopy(bank.state_dict()))
    for each in (bank, restored):
        each.enqueue(*keys(13, 4))
    assert restored.video_M.tolist() == bank.video_M.tolist()
    assert restored.identity_M.tolist() == bank.identity_M.tolist()
    assert torch.equal(restored.rows_MD, bank.rows_MD)
    assert (restored.pointer, restored.filled) == (bank.pointer, bank.filled) == (7, 10)
    assert all(isinstance(value, torch.Tensor) for value in bank.state_dict().values())


def test_a_bank_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        MemoryBank(12, 3).load_state_dict(filled_bank(10, 4).state_dict())


def test_nothing_in_it_takes_a_gradient():
    bank = MemoryBank(10, 3)
    rows = torch.ones(2, 3, requires_grad=True)
    bank.enqueue(rows, torch.zeros(2), torch.zeros(2))
    assert not bank.rows_MD.requires_grad
    assert not list(bank.parameters())
