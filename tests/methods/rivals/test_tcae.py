import pytest
import torch

from mien.data.views import pictures_to_views, views_to_pictures
from mien.layers.flow_warp import warp

SMALL = {"flow_side_px": 32, "decoder_width": 4, "code_dim": 8}


def without_motion(method):
    for decoder in (method.pose_decoder, method.action_decoder):
        torch.nn.init.zeros_(decoder.to_field.weight)
        torch.nn.init.zeros_(decoder.to_field.bias)
    return method


def test_without_motion_every_picture_is_the_source(build_method, noise_batch, views):
    method = without_motion(build_method("tcae", **SMALL))
    source, target = views.shared(noise_batch(method).far_BLHWC).unbind(dim=1)
    picture = views_to_pictures(source)
    made = method.change(picture, method.encode(source), method.encode(target))
    for result in (made.pose_changed_NCHW, made.action_changed_NCHW, made.both_changed_NCHW):
        torch.testing.assert_close(result, picture, atol=1e-5, rtol=0)


def pair_and_made(method, batch, views):
    """(source pictures, codes of source and target, what was made) of a batch."""
    source_view, target_view = views.shared(batch.far_BLHWC).unbind(dim=1)
    picture, source = views_to_pictures(source_view), method.encode(source_view)
    target = method.encode(target_view)
    return picture, source, target, method.change(picture, source, target)


def easier_half(losses_N):
    return losses_N.sort().values[: len(losses_N) // 2].mean()


def test_consistency_is_six_mean_squares_each_over_its_own_easier_half(build_method, noise_batch, views):
    method = build_method("tcae", **SMALL).eval()
    picture, source, target, made = pair_and_made(method, noise_batch(method), views)
    terms = method._consistency_and_cycle(picture, source, target, made)
    expected = 0.0
    for changed, pose, action in (
        (made.pose_changed_NCHW, target.pose_ND, source.action_ND),
        (made.action_changed_NCHW, source.pose_ND, target.action_ND),
        (made.both_changed_NCHW, target.pose_ND, target.action_ND),
    ):
        codes = method.encode(pictures_to_views(changed))
        for found, wanted in ((codes.pose_ND, pose), (codes.action_ND, action)):
            expected = expected + easier_half((found - wanted).square().mean(dim=1))
    torch.testing.assert_close(terms["consistency"], expected)


def test_cycles_warp_each_made_picture_back_by_its_own_code(build_method, noise_batch, views):
    method = build_method("tcae", **SMALL).eval()
    picture, source, target, made = pair_and_made(method, noise_batch(method), views)
    cycle = method._consistency_and_cycle(picture, source, target, made)["cycle"]
    expected = 0.0
    for changed, code, decoder in (
        (made.pose_changed_NCHW, "pose_ND", method.pose_decoder),
        (made.action_changed_NCHW, "action_ND", method.action_decoder),
    ):
        again = method.encode(pictures_to_views(changed))
        flow, _ = decoder(torch.cat([getattr(again, code), getattr(source, code)], dim=1))
        expected = expected + easier_half((warp(changed, flow) - picture).abs().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(cycle, expected)


def test_cycles_cost_nothing_without_motion(build_method, noise_batch, views):
    method = without_motion(build_method("tcae", **SMALL).eval())
    cycle = method._consistency_and_cycle(*pair_and_made(method, noise_batch(method), views))["cycle"]
    assert cycle.item() == pytest.approx(0.0, abs=1e-5)


def test_a_cycle_takes_the_pixels_it_warps_back_as_given(build_method):
    method = build_method("tcae", **SMALL)
    made, codes = torch.rand(4, 3, 32, 32, requires_grad=True), torch.randn(4, 16, requires_grad=True)
    method._cycle(method.pose_decoder, codes, made, torch.rand(4, 3, 32, 32)).sum().backward()
    assert made.grad is None
    assert codes.grad.abs().sum() > 0


def test_the_terms_are_weighed_as_stated(build_method, noise_batch, views, generator):
    method = build_method("tcae", **SMALL)
    output = method.training_step(noise_batch(method), views, generator)
    logs = output.logs
    expected = 10 * logs["reconstruction"] + logs["consistency"] + logs["cycle"] + 0.1 * logs["action_flow"]
    torch.testing.assert_close(output.loss.detach(), expected)
