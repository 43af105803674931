import pytest
import torch

from mien.losses.nt_xent import nt_xent


@pytest.mark.parametrize("head", ["batch_norm", "plain"])
def test_loss_is_nt_xent_of_two_views_of_each_frame(build_method, noise_batch, views, generator, head):
    method = build_method("simclr", head=head)
    batch = noise_batch(method)
    state = generator.get_state()
    loss = method.training_step(batch, views, generator).loss
    generator.set_state(state)
    first, second = (views.independent(batch.far_BLHWC)[:, 0] for _ in range(2))
    rows = method.head(method.backbone(torch.cat([first, second])))
    torch.testing.assert_close(loss, nt_xent(rows[:6], rows[6:], temperature=0.1))


def test_the_official_head_ends_in_a_batch_norm_without_shift(build_method):
    maps, last = build_method("simclr").head
    assert isinstance(last, torch.nn.BatchNorm1d)
    assert last.weight.requires_grad
    assert not last.bias.requires_grad
    assert all(layer.bias is None for layer in maps if isinstance(layer, torch.nn.Linear))
