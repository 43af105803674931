import pytest
import torch


def test_loss_lies_between_the_ends_of_the_cosine(build_method, noise_batch, views, generator):
    loss = build_method("simsiam").training_step(noise_batch(build_method("simsiam")), views, generator).loss
    assert -1.0 <= loss.item() <= 1.0


def test_the_projector_alone_receives_no_gradient_through_the_target(
    build_method, noise_batch, views, generator
):
    """With a predictor that ignores its input nothing but the target could carry a gradient."""
    method = build_method("simsiam")
    torch.nn.init.zeros_(method.predictor[-1].weight)
    method.training_step(noise_batch(method), views, generator).loss.backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in method.projector.parameters())


def test_no_map_before_a_batch_norm_has_a_bias(build_method):
    method = build_method("simsiam")
    maps, _ = method.projector
    linear = [layer for layer in [*maps, *method.predictor] if isinstance(layer, torch.nn.Linear)]
    assert [layer.bias is None for layer in linear] == [True, True, True, True, False]


def test_collapse_is_told_in_words(build_method):
    method = build_method("simsiam")
    assert "collapsing" in method.warnings({"spread": 0.01})[0]
    assert method.warnings({"spread": 0.9}) == []


def test_spread_of_equal_projections_is_zero(build_method, noise_batch, views, generator):
    method = build_method("simsiam")
    method.projector = torch.nn.Sequential(torch.nn.Linear(32, 2048))
    torch.nn.init.zeros_(method.projector[0].weight)
    logs = method.training_step(noise_batch(method), views, generator).logs
    assert logs["spread"].item() == pytest.approx(0.0, abs=1e-6)
