import ctypes.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien.backbones import build_backbone


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def batch_norms(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_resnet34_has_the_parameters_of_the_public_one_without_its_classifier():
    trunk = build_backbone("resnet34")
    assert count(trunk) == 21_284_672 == 21_797_672 - (512 * 1000 + 1000)
    assert len(batch_norms(trunk)) == 36
    assert sum(count(layer) for layer in batch_norms(trunk)) == 17_024
    assert trunk.feature_dim == 512


def test_resnet18_has_the_parameters_of_the_public_one_without_its_classifier():
    assert count(build_backbone("resnet18")) == 11_176_512 == 11_689_512 - (512 * 1000 + 1000)


def test_resnet34_takes_the_papers_multiply_adds_at_224():
    with torch.device("meta"):
        trunk, images = build_backbone("resnet34"), torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        trunk(images)
    assert counter.get_total_flops() / 2 == pytest.approx(3.66e9, rel=0.01)


def test_state_dict_has_the_public_names():
    names = set(build_backbone("resnet18").state_dict())
    expected = {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer1.1.bn2.bias"}
    expected |= {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.num_batches_tracked"}
    assert expected <= names
    # 20 convolutions (3 of them shortcuts) and as many batch-norms of 5 tensors.
    assert len(names) == 20 * 6
    assert not any(name.startswith(("fc.", "layer1.0.downsample")) for name in names)


@pytest.mark.parametrize(("stem_stride", "side"), [(4, 2), (2, 4)])
def test_stem_stride_says_how_large_the_maps_of_a_small_picture_are(stem_stride, side):
    trunk = build_backbone("resnet18", width=8, stem_stride=stem_stride)
    assert trunk.feature_maps(torch.zeros(1, 3, 64, 64)).shape == (1, 64, side, side)


def test_stem_stride_changes_no_weight():
    standard, small = (build_backbone("resnet18", width=8, stem_stride=stride) for stride in (4, 2))
    small.load_state_dict(standard.state_dict())


def test_a_block_is_the_sum_of_two_convolutions_and_its_shortcut():
    block = build_backbone("resnet18", width=4).layer2[0].eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    shortcut = block.downsample[1](block.downsample[0](x))
    torch.testing.assert_close(block(x), torch.relu(inner + shortcut))


def test_a_narrow_shortcut_is_a_strided_convolution_without_torch_s_strided_one():
    """That one corrupts memory in training on CPUs with AVX2; wide layers keep it."""
    for width, stride in ((2, (1, 1)), (7, (1, 1)), (8, (2, 2))):
        shortcut = build_backbone("resnet18", width=width).layer2[0].downsample[0]
        assert shortcut.stride == stride
        assert shortcut.weight.shape == (2 * width, width, 1, 1)
        x = torch.randn(2, width, 7, 9, generator=torch.Generator().manual_seed(0))
        expected = F.conv2d(x, shortcut.weight, stride=2)
        torch.testing.assert_close(shortcut(x), expected)


MALLOC_DEBUG = ctypes.util.find_library("c_malloc_debug")


@pytest.mark.skipif(MALLOC_DEBUG is None, reason="no libc_malloc_debug")
def test_training_a_narrow_network_writes_within_its_memory():
    code = (
        "import torch\nfrom mien.backbones import build_backbone\ntorch.set_num_threads(1)\n"
        "for width in (2, 4, 6):\n"
        "    net = build_backbone('resnet18', width=width).to(memory_format=torch.channels_last)\n"
        "    for n in range(20):\n"
        "        x = torch.randn(4 + n % 13, 3, 32, 32).to(memory_format=torch.channels_last)\n"
        "        net(x).square().mean().backward()\n"
        "        junk = [torch.randn(100 + n * 7) for _ in range(20)]\n"
    )
    plain = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    checked = plain | {"LD_PRELOAD": MALLOC_DEBUG, "MALLOC_CHECK_": "3"}
    subprocess.run([sys.executable, "-c", code], env=checked, check=True)


def test_a_misspelt_setting_is_refused_naming_the_right_one():
    with pytest.raises(ValueError, match="'widht'; did you mean 'width'"):
        build_backbone("resnet18", widht=8)


def test_an_unknown_backbone_is_refused_naming_the_nearest():
    with pytest.raises(ValueError, match="unknown backbone 'resnet35'; did you mean 'resnet34'"):
        build_backbone("resnet35")
