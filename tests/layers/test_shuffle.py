import pytest
import torch
from torch import nn

from mien.layers.shuffle import encode_shuffled


def images(num_rows=16):
    return torch.randn(num_rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def shuffled(encode, x, rows_per_group=4, seed=0):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return encode_shuffled(encode, x, rows_per_group=rows_per_group, generator=generator)


def test_each_row_comes_back_to_its_place():
    assert torch.equal(shuffled(nn.Flatten(), images()), images().flatten(1))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_group_has_batch_statistics_of_its_own(groups):
    seen = []

    def encode(x):
        seen.append(x)
        return nn.Flatten()(nn.BatchNorm2d(3)(x))

    shuffled(encode, images(), rows_per_group=16 // groups)
    assert [len(x) for x in seen] == [16 // groups] * groups
    rows = {tuple(row.flatten().tolist()) for x in seen for row in x}
    assert rows == {tuple(row.flatten().tolist()) for row in images()}


def test_groups_are_drawn_anew_from_each_generator():
    encode = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten())
    assert torch.equal(shuffled(encode, images(), seed=1), shuffled(encode, images(), seed=1))
    assert not torch.equal(shuffled(encode, images(), seed=1), shuffled(encode, images(), seed=2))


def test_without_a_generator_groups_are_neighbours():
    seen = []
    shuffled(lambda x: (seen.append(x), x.flatten(1))[1], images(), seed=None)
    assert torch.equal(torch.cat(seen), images())


@pytest.mark.parametrize(("num_rows", "expected"), [(1, [1]), (3, [3]), (4, [4]), (7, [7]), (10, [5, 5])])
def test_a_group_has_at_least_as_many_rows_as_asked_for_where_there_are_as_many(num_rows, expected):
    sizes = []
    shuffled(lambda x: (sizes.append(len(x)), x.flatten(1))[1], images(num_rows))
    assert sizes == expected


def test_groups_of_one_row_are_refused():
    with pytest.raises(ValueError, match="key_batch_norm_rows = 1: at least 2"):
        shuffled(nn.Flatten(), images(), rows_per_group=1)


def test_keys_carry_no_gradient():
    layer = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    assert not shuffled(layer, images()).requires_grad
