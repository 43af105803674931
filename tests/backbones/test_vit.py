import pytest
import torch

from mien.backbones import build_backbone
from mien.backbones.weights import load_public_weights

SMALL = {"patch_px": 8, "width": 24, "depth": 2, "heads": 3, "picture_px": 32}


def small():
    torch.manual_seed(0)
    return build_backbone("vit", **SMALL).eval()


def test_the_default_has_the_parameters_of_vit_s_16():
    """patches 295 296, class token 384, 197 positions 75 648, 12 blocks of 1 774 464, last norm 768."""
    counted = sum(parameter.numel() for parameter in build_backbone("vit").parameters())
    assert counted == 295_296 + 384 + 75_648 + 12 * 1_774_464 + 768


def test_names_are_those_of_public_weights(tmp_path):
    backbone = small()
    names = set(backbone.state_dict())
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm.bias"} <= names
    assert {
        f"blocks.1.{part}.weight" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1")
    } <= names
    weights = {name: value + 1.0 for name, value in backbone.state_dict().items()}
    torch.save(
        weights | {"head.weight": torch.zeros(5, 24), "head.bias": torch.zeros(5)}, tmp_path / "vit.pth"
    )
    load_public_weights(backbone, tmp_path / "vit.pth")
    assert torch.equal(backbone.cls_token, weights["cls_token"])


def test_attention_equals_torchs_own():
    attention = small().blocks[0].attn
    reference = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.qkv.weight)
        reference.in_proj_bias.copy_(attention.qkv.bias)
        reference.out_proj.load_state_dict(attention.proj.state_dict())
    tokens = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    expected, _ = reference(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens), expected)


@torch.no_grad()
def test_a_patch_knows_where_it_lies():
    backbone = small()
    maps = backbone.feature_maps(torch.full((1, 3, 32, 32), 0.5))[0]
    assert maps.flatten(1).std(dim=1).min() > 0  # the same patch everywhere, but not the same token


@torch.no_grad()
def test_positions_of_another_size_lie_between_the_learnt_ones():
    backbone = small()
    backbone.pos_embed[:, 1:] = 0.0
    backbone.pos_embed[0, 1:, 0] = torch.arange(4.0).repeat_interleave(4)  # row numbers
    positions = backbone._positions(8, 6)[0, :, 0].view(8, 6)
    assert (positions.diff(dim=0) > -1e-6).all()
    torch.testing.assert_close(positions.mean(), torch.tensor(1.5))


def test_a_picture_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="4 x 32 pixels hold no patch of 8"):
        small()(torch.zeros(1, 3, 4, 32))


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"depth": 0}, {"picture_px": 4}])
def test_shapes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least|do not divide"):
        build_backbone("vit", **(SMALL | wrong))
