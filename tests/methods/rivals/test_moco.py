import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss

from mien.layers.memory_bank import BankRows
from mien.losses.unit import unit
from mien.methods.moco import Moco

SMALL = {"bank_size": 24}


@pytest.mark.parametrize(("temperature", "worked"), [(0.07, 0.055864), (0.2, 0.339777)])
def test_worked_numbers(build_method, temperature, worked):
    method = build_method("moco", bank_size=4, embedding_dim=3, temperature=temperature)
    method.head = torch.nn.Identity()
    queue = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.6, 0.0, 0.8]])
    method.bank.enqueue(queue, torch.arange(4), torch.arange(4))
    keys = BankRows(torch.tensor([[0.8, 0.6, 0.0]]), torch.tensor([0]), torch.tensor([0]))
    loss = method._loss(torch.tensor([[1.0, 0.0, 0.0]]), keys).loss
    assert loss.item() == pytest.approx(worked, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_loss_equals_pytorch_metric_learning(build_method, generator, temperature):
    method = build_method("moco", bank_size=30, embedding_dim=8, temperature=temperature)
    method.head = torch.nn.Identity()
    query, key = unit(torch.randn(2, 5, 8, generator=generator))
    method.bank.enqueue(unit(torch.randn(30, 8, generator=generator)), torch.arange(30), torch.arange(30))
    loss = method._loss(query, BankRows(key, torch.arange(5), torch.arange(5))).loss
    theirs = [
        NTXentLoss(temperature)(
            query[row : row + 1],
            torch.tensor([0]),
            ref_emb=torch.cat([key[row : row + 1], method.bank.rows_MD]),
            ref_labels=torch.arange(31),
        )
        for row in range(5)
    ]
    torch.testing.assert_close(loss, torch.stack(theirs).mean(), atol=1e-5, rtol=1e-5)


def test_warm_start_fills_the_bank_and_then_wants_no_more(build_method, noise_batch, views):
    method = build_method("moco", **SMALL)
    wanted = [not method.warm_start(noise_batch(method, seed=seed), views) for seed in range(4)]
    assert wanted == [True, True, True, False]
    assert method.bank.filled == 24
    torch.testing.assert_close(method.bank.rows_MD.norm(dim=1), torch.ones(24))


def test_v1_has_a_linear_head(build_method):
    heads = build_method("moco", **SMALL, hidden_dims=()).head
    assert [type(layer) for layer in heads] == [torch.nn.Linear]


def test_an_open_bank_keeps_the_papers_share_of_the_corpus():
    open_bank = Moco.Settings(bank_size=0)
    assert Moco.fit_to_corpus(open_bank, num_videos=48_000).bank_size == 65_536
    assert Moco.fit_to_corpus(open_bank, num_videos=10).bank_size == 512
    assert Moco.fit_to_corpus(Moco.Settings(), num_videos=10).bank_size == 65_536
