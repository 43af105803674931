import pytest
import torch

from mien.layers.memory_bank import BankRows
from mien.losses.unit import unit
from mien.methods.cvc import Cvc

SMALL = {"bank_size": 18, "cycle_bank_size": 30}


class FixedSplit:
    """A cycle bank whose split is given, for the worked number."""

    def __init__(self, candidates, negatives):
        self.parts = tuple(type("Rows", (), {"rows_MD": unit(rows)})() for rows in (candidates, negatives))

    def split(self, _count, *, generator):
        return self.parts


def test_worked_number(build_method, generator):
    method = build_method("cvc", bank_size=4, cycle_bank_size=7, embedding_dim=3)
    method.heads = torch.nn.Identity()
    queue = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.6, 0.0, 0.8]])
    method.bank.enqueue(queue, torch.arange(4), torch.arange(4))
    candidates = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.6, -0.8], [1.0, 0.0, 0.0], [-0.6, 0.0, 0.8]])
    negatives = torch.tensor([[0.0, 1.0, 0.0], [0.8, 0.0, -0.6], [-1.0, 0.0, 0.0]])
    del method.cycle_bank
    object.__setattr__(method, "cycle_bank", FixedSplit(candidates, negatives))
    number = torch.tensor([0])
    rows = torch.tensor([[0.8, 0.6, 0.0]]), torch.tensor([[1.0, 2.0, -2.0]]) / 3
    main, cycle = (BankRows(key, number, number) for key in rows)
    features = torch.tensor([[1.0, 0.0, 0.0, 0.2, 0.4, -0.4]])
    output = method._loss(features, main, cycle, generator=generator)
    assert output.logs["loss_intra"].item() == pytest.approx(0.055864, abs=1e-6)
    assert output.logs["loss_cycle"].item() == pytest.approx(0.011735, abs=1e-6)
    assert output.loss.item() == pytest.approx(0.057038, abs=1e-6)


def test_both_banks_are_filled_before_training(build_method, noise_batch, views):
    method = build_method("cvc", **SMALL)
    wanted = [not method.warm_start(noise_batch(method, seed=seed), views) for seed in range(5)]
    assert wanted == [True, True, True, True, False]
    assert (method.bank.filled, method.cycle_bank.filled) == (18, 30)


def test_query_and_key_are_different_frames_in_either_order(build_method, noise_batch, generator):
    class WhichFrame:
        """Views that are all the number of their frame."""

        def independent(self, frames_BTHWC):
            numbers = torch.arange(frames_BTHWC.shape[1]).float()
            return numbers.view(1, -1, 1, 1, 1).expand(*frames_BTHWC.shape[:2], 3, 32, 32).clone()

    method = build_method("cvc", **SMALL)
    seen = []
    method.backbone.forward = lambda query: seen.append(query[:, 0, 0, 0]) or torch.ones(len(query), 32)
    method.momentum.forward = lambda key: seen.append(key[:, 0, 0, 0]) or torch.ones(len(key), 256)
    method.training_step(noise_batch(method, clips=40), WhichFrame(), generator)
    keys, queries = seen
    assert torch.equal(queries.sort().values.unique(), torch.tensor([0.0, 1.0]))
    assert keys.sum() + queries.sum() == 40  # each row has one of each, whatever the keys' order


def test_open_banks_keep_the_papers_share_of_the_corpus():
    settings = Cvc.fit_to_corpus(Cvc.Settings(bank_size=0, cycle_bank_size=0), num_videos=4_800)
    assert (settings.bank_size, settings.cycle_bank_size) == (6_554, 8_192)
