import pytest
import torch

from mien.layers.flow_decoder import FlowDecoder, doubling_sides


@pytest.mark.parametrize("side_px", [2, 7, 56, 64])
def test_field_has_the_asked_side(side_px):
    flow, masks = FlowDecoder(12, side_px=side_px, width=4, num_masks=1)(torch.randn(3, 12))
    assert flow.shape == (3, 2, side_px, side_px)
    assert masks.shape == (3, 1, side_px, side_px)


def test_without_masks_the_second_field_is_empty():
    _, masks = FlowDecoder(12, side_px=8, width=4)(torch.randn(3, 12))
    assert masks.shape == (3, 0, 8, 8)


def test_flow_and_mask_logits_stay_between_minus_one_and_one():
    decoder = FlowDecoder(6, side_px=16, width=4, num_masks=1)
    torch.nn.init.constant_(decoder.to_field.weight, 10.0)
    flow, masks = decoder(1e3 * torch.randn(4, 6))
    assert flow.abs().max() <= 1.0
    assert 0.9 < masks.abs().max() <= 1.0


def test_a_convolution_a_doubling_as_in_the_releases():
    """256 px, 32 filters: 512 codes, then 256 256 256 256 128 64 32 channels, then the field."""
    convolutions = [m for m in FlowDecoder(512, side_px=256).modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.in_channels for m in convolutions] == [512, 256, 256, 256, 256, 128, 64, 32]
    assert convolutions[-1].out_channels == 2


def test_every_parameter_receives_a_gradient():
    decoder = FlowDecoder(6, side_px=16, width=4, num_masks=1)
    flow, masks = decoder(torch.randn(4, 6))
    (flow.square().sum() + masks.square().sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())


def test_256_pixels_take_eight_doublings():
    assert doubling_sides(256) == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert doubling_sides(224) == [1, 2, 4, 7, 14, 28, 56, 112, 224]


def test_a_side_below_two_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        doubling_sides(1)
