import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mien.backbones import build_backbone
from mien.backbones.weights import WeightsError, load_public_weights


@pytest.fixture
def public():
    """Weights as public files hold them: with a classifier, without batch counters."""
    trunk = build_backbone("resnet18", width=4)
    with torch.no_grad():
        trunk.bn1.running_mean.fill_(0.5)
    weights = {name: value for name, value in trunk.state_dict().items() if "num_batches" not in name}
    return weights | {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}


def fresh():
    torch.manual_seed(1)
    return build_backbone("resnet18", width=4)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "wrapped.pth"])
def test_public_weights_load_and_their_hash_is_told(tmp_path, public, name):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(public, path)
    else:
        torch.save({"state_dict": public, "epoch": 3} if name.startswith("wrapped") else public, path)
    trunk = fresh()
    assert load_public_weights(trunk, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    for weight, value in trunk.state_dict().items():
        if weight in public:
            assert torch.equal(value, public[weight])


class Malicious:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return Path.touch, (self.flag,)


def write_plain_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, write_plain_pickle])
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path, save):
    path, flag = tmp_path / "evil.pth", tmp_path / "code_has_run"
    save({"conv1.weight": Malicious(flag)}, path)
    with pytest.raises(WeightsError, match=r"evil\.pth .* could run code"):
        load_public_weights(fresh(), path)
    assert not flag.exists()


def test_weights_of_another_width_are_refused_naming_the_first(tmp_path, public):
    save_file(public, tmp_path / "slim.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)slim\.safetensors is of another network: .*conv1\.weight"):
        load_public_weights(build_backbone("resnet18", width=8), tmp_path / "slim.safetensors")


def test_weights_of_another_depth_are_refused(tmp_path, public):
    save_file(public, tmp_path / "resnet18.safetensors")
    with pytest.raises(WeightsError, match="80 weights are missing"):
        load_public_weights(build_backbone("resnet34", width=4), tmp_path / "resnet18.safetensors")


def test_unknown_weights_are_refused_naming_the_nearest(tmp_path, public):
    save_file(public | {"layer5.0.conv1.weight": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"1 are unknown: 'layer5.0.conv1.weight' .*; did you mean"):
        load_public_weights(fresh(), tmp_path / "odd.safetensors")


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_a_text_file_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_text("these are no weights")
    with pytest.raises(WeightsError, match=name):
        load_public_weights(fresh(), tmp_path / name)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_public_weights(fresh(), tmp_path / "none.pth")
