"""What every method and every backbone must keep; one dropped into the package is checked by being there."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
import sys

import pytest
import torch

from mien.backbones import BACKBONES, build_backbone
from mien.config import build, to_dict
from mien.data.views import FaceViews, ViewSettings
from mien.layers.memory_bank import MemoryBank
from mien.layers.momentum import MomentumEncoder
from mien.train.method import METHODS, ClipBatch, ClipRequest

SIDE_PX = 32
NUM_CLIPS = 4


# Defaults are the papers'; these differ for the sake of time alone.
SMALLER = {
    "tcae": {"flow_side_px": 32, "decoder_width": 4},
    "fabnet": {"flow_side_px": 32, "decoder_width": 4},
    "clp": {"bank_size": 64, "num_candidates": 32},
    "moco": {"bank_size": 64},
    "cvc": {"bank_size": 64, "cycle_bank_size": 80},
}


class MethodContract:
    """One method under its default settings (or SMALLER ones), around a slim ResNet-18."""

    def __init__(self, name):
        self.cls = METHODS.get(name)
        self.settings = self.cls.Settings(**SMALLER.get(name, {}))

    def make(self):
        torch.manual_seed(0)
        return self.cls(build_backbone("resnet18", width=4), self.settings).train()

    def batch(self, seed=0):
        request, noise = self.cls.clip_request(self.settings), torch.Generator().manual_seed(seed)

        def frames(count):
            shape = NUM_CLIPS, count, SIDE_PX, SIDE_PX, 3
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)

        number_B = torch.arange(NUM_CLIPS)
        labels_BLK = (number_B[:, None, None] % 2).expand(
            -1, request.num_far_frames, len(request.label_columns)
        )
        return ClipBatch(
            frames(request.clip_len),
            frames(request.num_far_frames),
            identity_B=number_B,
            video_B=100 * seed + number_B,
            far_labels_BLK=labels_BLK.float(),
        )

    def forward(self, method, step=0):
        generator = torch.Generator().manual_seed(step)
        views = FaceViews(ViewSettings(output_size_px=SIDE_PX), generator)
        return method.training_step(self.batch(step), views, generator)

    def warm(self, method):
        views = FaceViews(ViewSettings(output_size_px=SIDE_PX), torch.Generator().manual_seed(0))
        with torch.no_grad():
            return [method.warm_start(self.batch(100 + n), views) for n in range(4)]

    def take_steps(self, method, optimiser, steps):
        losses = []
        for step in steps:
            method.before_step()
            loss = self.forward(method, step).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            method.after_step()
            losses.append(loss.item())
        return losses

    def settings_are_frozen_and_can_be_written_down(self):
        assert dataclasses.is_dataclass(self.cls.Settings)
        assert self.cls.Settings.__dataclass_params__.frozen
        assert build(self.cls.Settings, to_dict(self.settings), where="method") == self.settings

    def request_is_one(self):
        request = self.cls.clip_request(self.settings)
        assert isinstance(request, ClipRequest)
        assert request.clip_len + request.num_far_frames > 0

    def loss_is_one_finite_number_and_logs_are_too_without_gradient(self):
        output = self.forward(self.make())
        assert output.loss.shape == ()
        assert output.loss.isfinite()
        assert output.loss.requires_grad
        for name, value in output.logs.items():
            assert value.shape == (), name
            assert not value.requires_grad, name

    def every_trained_parameter_gets_a_gradient_and_each_of_the_backbone_one_that_moves_it(self):
        method = self.make()
        self.warm(method)
        method.before_step()
        self.forward(method).loss.backward()
        missing = [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing
        unmoved = [name for name, p in method.backbone.named_parameters() if not p.grad.any()]
        assert not unmoved

    def encoder_rows_are_those_that_pass_the_backbone_with_gradient(self):
        method, rows = self.make(), []
        method.backbone.register_forward_pre_hook(
            lambda module, args: rows.append(len(args[0]) if torch.is_grad_enabled() else 0)
        )
        self.forward(method)
        assert sum(rows) == method.encoder_rows(NUM_CLIPS)

    def one_generator_gives_one_loss_and_the_global_one_is_left_alone(self):
        method = self.make()
        self.warm(method)
        losses, before = [], torch.get_rng_state()
        for _ in range(2):
            losses.append(self.forward(copy.deepcopy(method)).loss.item())
        assert losses[0] == losses[1]
        assert torch.equal(torch.get_rng_state(), before)

    def save_load_continue_equals_continue(self):
        unbroken = self.make()
        self.warm(unbroken)
        optimiser = _sgd(unbroken)
        self.take_steps(unbroken, optimiser, range(2))
        saved = copy.deepcopy((unbroken.state_dict(), optimiser.state_dict()))
        resumed = self.make()
        resumed.load_state_dict(saved[0])
        optimiser_of_resumed = _sgd(resumed)
        optimiser_of_resumed.load_state_dict(saved[1])
        expected = self.take_steps(unbroken, optimiser, range(2, 4))
        assert self.take_steps(resumed, optimiser_of_resumed, range(2, 4)) == expected

    def banks_take_the_keys_in_after_the_step_and_not_before(self):
        method = self.make()
        banks = _parts(method, MemoryBank, "keeps no bank")
        self.warm(method)
        method.before_step()
        before = copy.deepcopy([(bank.rows_MD, bank.pointer, bank.filled) for bank in banks])
        self.forward(method).loss.backward()
        for bank, (rows_MD, *counts) in zip(banks, before, strict=True):
            assert torch.equal(bank.rows_MD, rows_MD)
            assert [bank.pointer, bank.filled] == counts
        method.after_step()
        for bank, (rows_MD, pointer, filled) in zip(banks, before, strict=True):
            changed = (bank.rows_MD != rows_MD).any(dim=1).nonzero().flatten()
            ahead = (changed - pointer) % bank.size
            assert ahead.sort().values.tolist() == list(range(len(changed)))  # from the pointer on, no gap
            assert len(changed) >= NUM_CLIPS
            assert bank.pointer == (pointer + len(changed)) % bank.size
            assert bank.filled == min(filled + len(changed), bank.size)
            lengths = bank.rows_MD[changed].norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones(len(changed)))
            assert not bank.rows_MD.requires_grad

    def momentum_encoder_begins_as_a_copy_and_follows_without_gradient(self):
        method = self.make()
        averages = _parts(method, MomentumEncoder, "has no momentum encoder")
        self.warm(method)
        for average in averages:
            _assert_equal(average.backbone.parameters(), method.backbone.parameters())
        old = copy.deepcopy([list(average.parameters()) for average in averages])
        self.take_steps(method, _sgd(method), range(1))
        for average, before in zip(averages, old, strict=True):
            assert all(p.grad is None and not p.requires_grad for p in average.parameters())
            _assert_equal(average.parameters(), before)  # the first step's average was over equal weights
        method.before_step()
        mu, begun = self.settings.mu, list(self.make().backbone.parameters())
        for average in averages:
            pairs = list(zip(begun, method.backbone.parameters(), strict=True))
            assert any(not torch.equal(first, current) for first, current in pairs)
            for followed, (first, current) in zip(average.backbone.parameters(), pairs, strict=True):
                torch.testing.assert_close(followed, mu * first + (1 - mu) * current)

    def state_dict_holds_tensors_only(self):
        assert all(isinstance(value, torch.Tensor) for value in self.make().state_dict().values())

    def loss_is_in_full_precision_under_autocast(self):
        method = self.make()
        self.warm(method)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.forward(method).loss
        assert loss.dtype == torch.float32
        assert loss.isfinite()

    def warm_start_says_whether_it_wants_more(self):
        assert set(self.warm(self.make())) <= {True, False}

    def undefined_logs_give_no_warning(self):
        method = self.make()
        names = self.forward(method).logs
        assert method.warnings(dict.fromkeys(names, math.nan)) == []


class BackboneContract:
    """One backbone under its default settings."""

    def __init__(self, name):
        self.name = name

    def make(self):
        torch.manual_seed(0)
        return build_backbone(self.name).eval()

    def images(self, num_rows=2, height=64, width=64):
        return torch.randn(num_rows, 3, height, width, generator=torch.Generator().manual_seed(0))

    def settings_are_frozen_and_can_be_written_down(self):
        settings_class = BACKBONES.get(self.name).Settings
        assert settings_class.__dataclass_params__.frozen
        assert build(settings_class, to_dict(settings_class()), where="backbone") == settings_class()

    @torch.no_grad()
    def a_feature_is_the_mean_of_the_maps(self):
        trunk = self.make()
        maps, features = trunk.feature_maps(self.images()), trunk(self.images())
        assert maps.shape[:2] == features.shape == (2, trunk.feature_dim)
        torch.testing.assert_close(maps.mean(dim=(2, 3)), features)

    @torch.no_grad()
    def pictures_may_be_of_any_size(self):
        trunk = self.make()
        for height, width in ((32, 32), (65, 48), (112, 112)):
            assert trunk(self.images(1, height, width)).shape == (1, trunk.feature_dim)

    @torch.no_grad()
    def a_row_does_not_depend_on_its_neighbours_in_evaluation(self):
        trunk = self.make()
        torch.testing.assert_close(trunk(self.images(3))[:1], trunk(self.images(3)[:1]), atol=1e-4, rtol=1e-4)

    def every_parameter_gets_a_gradient(self):
        trunk = self.make().train()
        trunk(self.images()).square().sum().backward()
        assert not [name for name, parameter in trunk.named_parameters() if parameter.grad is None]

    def weights_can_be_carried_over(self):
        trunk = self.make()
        torch.manual_seed(1)
        other = build_backbone(self.name).eval()
        other.load_state_dict(trunk.state_dict())
        with torch.no_grad():
            assert torch.equal(trunk(self.images()), other(self.images()))


def checks_of(contract):
    """The names of a contract's clauses: its methods that take nothing."""
    helpers = {"make", "batch", "forward", "warm", "take_steps", "images"}
    return [name for name in vars(contract) if not name.startswith("_") and name not in helpers]


def pytest_generate_tests(metafunc):
    for kind, contract, registry in (
        ("method", MethodContract, METHODS),
        ("backbone", BackboneContract, BACKBONES),
    ):
        if f"{kind}_clause" in metafunc.fixturenames:
            metafunc.parametrize(f"{kind}_clause", checks_of(contract))
        if f"{kind}_name" in metafunc.fixturenames:
            metafunc.parametrize(f"{kind}_name", registry.names())


@pytest.fixture
def keeps_contract():
    """`keeps_contract(kind, name, clause)`: raise unless the registered thing keeps that clause."""
    contracts = {"method": MethodContract, "backbone": BackboneContract}
    return lambda kind, name, clause: getattr(contracts[kind](name), clause)()


@pytest.fixture
def drop_in(tmp_path, monkeypatch):
    """`drop_in(package, file, code)`: the package as if `file` lay in its folder; undone after the test."""
    dropped, registries = [], {"methods": METHODS, "backbones": BACKBONES}

    def drop(package, file, code):
        folder = tmp_path / "dropped" / package
        folder.mkdir(parents=True)
        (folder / file).write_text(code)
        module = importlib.import_module(f"mien.{package}")
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])
        dropped.append((package, file.removesuffix(".py")))

    yield drop
    for package, stem in dropped:
        module, registry = f"mien.{package}.{stem}", registries[package]
        sys.modules.pop(module, None)
        registry._imported.discard(stem)
        for name in [name for name, entry in registry._entries.items() if entry.__module__ == module]:
            del registry._entries[name]


def _parts(method, kind, otherwise):
    parts = [module for module in method.modules() if isinstance(module, kind)]
    return parts or pytest.skip(f"{type(method).__name__} {otherwise}")


def _assert_equal(parameters, others):
    assert all(torch.equal(p, other) for p, other in zip(parameters, others, strict=True))


def _sgd(method):
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=1e-3, momentum=0.9)
