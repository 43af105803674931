import pytest
import torch
from torch.nn import functional as F

from mien.data.views import pictures_to_views, views_to_pictures

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


def test_consistency_is_six_mean_squares(build_method, noise_batch, views):
    method = build_method("tcae", **SMALL).eval()
    source_view, target_view = views.shared(noise_batch(method).far_BLHWC).unbind(dim=1)
    picture = views_to_pictures(source_view)
    source, target = method.encode(source_view), method.encode(target_view)
    made = method.change(picture, source, target)
    consistency, _ = method._consistency_and_cycle(picture, source, target, made)
    expected = 0.0
    for changed, pose, action in (
        (made.pose_changed_NCHW, target.pose_ND, source.action_ND),
        (made.action_changed_NCHW, source.pose_ND, target.action_ND),
        (made.both_changed_NCHW, target.pose_ND, target.action_ND),
    ):
        codes = method.encode(pictures_to_views(changed))
        expected = expected + F.mse_loss(codes.pose_ND, pose) + F.mse_loss(codes.action_ND, action)
    torch.testing.assert_close(consistency, expected)


def test_cycles_cost_nothing_without_motion(build_method, noise_batch, views):
    method = without_motion(build_method("tcae", **SMALL).eval())
    source_view, target_view = views.shared(noise_batch(method).far_BLHWC).unbind(dim=1)
    picture = views_to_pictures(source_view)
    source, target = method.encode(source_view), method.encode(target_view)
    made = method.change(picture, source, target)
    _, cycle = method._consistency_and_cycle(picture, source, target, made)
    assert cycle.item() == pytest.approx(0.0, abs=1e-5)


def test_the_terms_are_weighed_as_stated(build_method, noise_batch, views, generator):
    method = build_method("tcae", **SMALL)
    output = method.training_step(noise_batch(method), views, generator)
    logs = output.logs
    expected = 10 * logs["band"] + logs["consistency"] + logs["cycle"] + 0.1 * logs["action_flow"]
    torch.testing.assert_close(output.loss.detach(), expected)


def test_five_encodings_a_pair_count_in_the_budget(build_method, noise_batch, views, generator):
    method = build_method("tcae", **SMALL)
    rows = []
    method.backbone.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    method.training_step(noise_batch(method), views, generator)
    assert sum(rows) == method.encoder_rows(6) == 30
