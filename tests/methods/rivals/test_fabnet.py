import pytest
import torch

from mien.data.views import views_to_pictures

SMALL = {"flow_side_px": 32, "decoder_width": 4}


def test_zero_flow_returns_the_source(build_method, noise_batch, views):
    method = build_method("fabnet", **SMALL)
    torch.nn.init.zeros_(method.decoder.to_field.weight)
    torch.nn.init.zeros_(method.decoder.to_field.bias)
    source, target = views.shared(noise_batch(method).far_BLHWC).unbind(dim=1)
    pictures, flow = method.reconstruct(source, target)
    assert flow.abs().max() == 0.0
    torch.testing.assert_close(pictures, views_to_pictures(source), atol=1e-5, rtol=0)


def test_loss_is_the_easier_half_of_the_batch(build_method, noise_batch, views, generator):
    method = build_method("fabnet", **SMALL).eval()
    torch.nn.init.zeros_(method.decoder.to_field.weight)
    torch.nn.init.zeros_(method.decoder.to_field.bias)
    batch = noise_batch(method)
    batch.far_BLHWC[:3, 1] = batch.far_BLHWC[:3, 0]  # three pairs of equal frames: no loss at all
    output = method.training_step(batch, views, generator)
    assert output.loss.item() == pytest.approx(0.0, abs=1e-5)
    assert output.logs["reconstruction"].item() > 0.05


def test_views_of_a_pair_are_shared_or_drawn_for_each_frame(build_method, noise_batch, views, generator):
    same = {}
    for choice in ("shared", "independent"):
        method = build_method("fabnet", **SMALL, views_in_pair=choice).eval()
        torch.nn.init.zeros_(method.decoder.to_field.weight)
        torch.nn.init.zeros_(method.decoder.to_field.bias)
        batch = noise_batch(method)
        batch.far_BLHWC[:, 1] = batch.far_BLHWC[:, 0]
        same[choice] = method.training_step(batch, views, generator).logs["reconstruction"].item()
    assert same["shared"] == pytest.approx(0.0, abs=1e-5)
    assert same["independent"] > 0.05


def test_the_curriculum_hears_of_all_pairs_not_of_the_band(build_method, noise_batch, views, generator):
    method = build_method("fabnet", **SMALL, window_steps=10)
    output = method.training_step(noise_batch(method), views, generator)
    method.after_step()
    assert method.curriculum.loss_sum.item() == pytest.approx(output.logs["reconstruction"].item())
    assert method.curriculum.loss_sum.item() > output.loss.item()


def test_the_curriculum_hears_of_each_step(build_method, noise_batch, views, generator):
    method = build_method("fabnet", **SMALL, window_steps=1, patience_windows=1).eval()
    batch = noise_batch(method)
    for _ in range(4):
        state = generator.get_state()
        method.training_step(batch, views, generator)
        method.after_step()
        generator.set_state(state)  # the same loss again is no progress
    assert method.curriculum.low == pytest.approx(0.2)


def test_a_short_training_beats_the_unmoved_source(build_method, generator):
    """Pictures shifted by two pixels: the flow that undoes the shift is learnt in seconds."""
    from mien.train.method import ClipBatch

    class Plain:
        def shared(self, frames_BTHWC):
            return frames_BTHWC.permute(0, 1, 4, 2, 3).float() / 64.0 - 2.0

    method = build_method("fabnet", **SMALL, code_dim=16)
    optimiser = torch.optim.Adam(method.parameters(), lr=3e-3)
    ratios = []
    for step in range(60):
        rows = torch.Generator().manual_seed(step)
        wide = torch.nn.functional.interpolate(torch.rand(8, 3, 6, 7, generator=rows), size=(32, 36))
        pictures = (255 * wide).to(torch.uint8).permute(0, 2, 3, 1)
        pairs = torch.stack([pictures[:, :, :32], pictures[:, :, 4:]], dim=1)
        batch = ClipBatch(pairs[:, :0], pairs, torch.arange(8), torch.arange(8))
        output = method.training_step(batch, Plain(), generator)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        method.after_step()
        ratios.append(output.logs["reconstruction_of_unmoved"].item())
    assert sum(ratios[-10:]) / 10 < 0.9 * ratios[0]
