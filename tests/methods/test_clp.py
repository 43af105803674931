from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from mien.backbones import build_backbone
from mien.config import SettingsError, build
from mien.data.views import FaceViews, ViewSettings
from mien.methods.clp import Clp, ClpSettings


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def sgd(method, rate=0.05):
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=rate, momentum=0.9)


def fill(method, batch_for, views):
    for seed in itertools.count(100):
        if method.warm_start(batch_for(method, seed=seed), views):
            return


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_rows(rows):
    return [[value / math.hypot(*row) for value in row] for row in rows]


def tcl_by_loops(embedding_BTD, settings):
    total = 0.0
    for clip in embedding_BTD.tolist():
        for ordered in [clip, clip[::-1]] if settings.reverse else [clip]:
            frames = unit_rows(ordered)
            for j in range(2, len(frames)):
                nearer, farther = math.dist(frames[0], frames[j - 1]), math.dist(frames[0], frames[j])
                total += max(0.0, nearer - farther + settings.margin) / math.sqrt(j)
    return total / len(embedding_BTD)


def cir_by_loops(query_ND, key_ND, owner_N, parts, settings):
    """`owner_N`: (identity, video) of each query; `parts`: (row, identity, video) of the bank."""
    (candidates, negatives), exclude, losses = parts, settings.exclude_same_identity, []
    keys = unit_rows(key_ND.tolist())
    for n, (query, key, (identity, video)) in enumerate(
        zip(unit_rows(query_ND.tolist()), keys, owner_N, strict=True)
    ):
        chosen = [
            row
            for row, whose, where in candidates
            if exclude == "none" or (whose != identity and where != video)
        ]
        others = [
            row
            for row, whose, where in negatives
            if exclude == "none" or (where != video and (exclude == "candidates" or whose != identity))
        ]
        if settings.negatives == "video":
            others = []
        if settings.negatives != "bank":
            others += [keys[m] for m, (_, where) in enumerate(owner_N) if where == video and m != n]
        if not chosen:
            continue
        tau = settings.tau_reconstruction or settings.tau
        weights = [math.exp(sum(map(float.__mul__, query, row)) / tau) for row in chosen]
        rebuilt = [sum(w * row[d] for w, row in zip(weights, chosen, strict=True)) for d in range(len(query))]
        rebuilt = unit_rows([rebuilt])[0]
        exponents = [sum(map(float.__mul__, rebuilt, row)) / settings.tau for row in [key, *others]]
        losses.append(math.log(sum(map(math.exp, exponents))) - exponents[0])
    return sum(losses) / len(losses)


def parts_of_bank(method, step_generator):
    """Candidates and negatives as lists, from the permutation that the step will draw."""
    bank = method.bank
    order = torch.randperm(bank.filled, generator=step_generator).tolist()
    entries = list(zip(bank.rows_MD.tolist(), bank.identity_M.tolist(), bank.video_M.tolist(), strict=True))
    num_candidates = round(bank.filled * method.settings.num_candidates / bank.size)
    return [entries[i] for i in order[:num_candidates]], [entries[i] for i in order[num_candidates:]]


@pytest.mark.parametrize("exclude", ["none", "candidates", "candidates+negatives"])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"batch_norm_output": True, "tau_reconstruction": 0.3},
        {"negatives": "bank+video"},
        {"negatives": "video"},
    ],
)
def test_a_step_is_the_equations(small_clp, batch_for, plain_views, exclude, extra):
    method = small_clp(exclude_same_identity=exclude, key_batch_norm_rows=2, **extra)
    fill(method, batch_for, plain_views)
    batch, twin = batch_for(method, seed=105), copy.deepcopy(method)
    # Seed 105 filled the bank too, so identities and videos of the batch are in it.
    output = method.training_step(batch, plain_views, generator())

    B, T, L = 4, 5, 2
    clip_rows = plain_views.shared(batch.clip_BTHWC).flatten(0, 1)
    far_rows = plain_views.shared(batch.far_BLHWC).flatten(0, 1)
    features = twin.backbone(torch.cat([clip_rows, far_rows]))
    draws = generator()
    keys, order = torch.empty(B * L, 8), torch.randperm(B * L, generator=draws)
    for group in order.tensor_split(4):
        keys[group] = twin.momentum.head(twin.momentum.backbone(far_rows[group]))
    owners = [(int(batch.identity_B[n // L]), int(batch.video_B[n // L])) for n in range(B * L)]
    tcl = tcl_by_loops(twin.head_tcl(features[: B * T]).view(B, T, 8), twin.settings)
    query_ND, parts = twin.head_cir(features[B * T :]), parts_of_bank(twin, draws)
    cir = cir_by_loops(query_ND, keys, owners, parts, twin.settings)
    assert output.logs["loss_tcl"].item() == pytest.approx(tcl, abs=1e-5)
    assert output.logs["loss_cir"].item() == pytest.approx(cir, abs=1e-4)
    assert output.loss.item() == pytest.approx(tcl + 0.1 * cir, abs=1e-4)


def test_query_of_a_clip_is_the_clips_own_feature(small_clp, batch_for, plain_views):
    method = small_clp(cir_source="clip")
    fill(method, batch_for, plain_views)
    seen = []
    method.head_cir.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    twin = copy.deepcopy(method)
    batch = batch_for(method, seed=3)
    method.training_step(batch, plain_views, generator())
    features = twin.backbone(plain_views.shared(batch.clip_BTHWC).flatten(0, 1))
    places = [(features - query).norm(dim=1).argmin().item() for query in seen[0]]
    torch.testing.assert_close(seen[0], features[places])
    assert [place // 5 for place in places] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(second - first >= 2 for first, second in zip(places[::2], places[1::2], strict=True))
    assert method.encoder_rows(4) == 4 * 5


def test_a_key_is_mirrored_with_its_query_where_it_shares_the_flip(small_clp, batch_for):
    flips_alone = ViewSettings(output_size_px=32, rotation_degrees=0, colour_probability=0)
    mirrored = {}
    for key_flip in ("independent", "query"):
        method = small_clp(key_flip=key_flip, tcl_weight=0.0, beta=1.0)
        draws = generator()
        batch = batch_for(method, num_clips=8)
        pictures = method._pictures(batch.clip_BTHWC, batch, FaceViews(flips_alone, draws), draws)
        query_QCHW = pictures.rows_NCHW[pictures.query_rows_Q]
        differs_Q = (query_QCHW - pictures.key_QCHW).abs().flatten(1).amax(dim=1) > 1e-3
        assert torch.allclose(query_QCHW[differs_Q].flip(-1), pictures.key_QCHW[differs_Q], atol=1e-3)
        mirrored[key_flip] = int(differs_Q.sum())
    assert 0 < mirrored["independent"] < 16
    assert mirrored["query"] == 0


def test_frames_reconstructed_from_a_clip_are_never_neighbours_and_every_choice_occurs(
    small_clp, batch_for, plain_views
):
    method = small_clp(cir_source="clip", bank_start="empty")
    seen, batch = [], batch_for(method, num_clips=1)
    method.momentum.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for seed in range(80):
        method.training_step(batch, plain_views, generator(seed))
    frames = plain_views.shared(batch.clip_BTHWC)[0]
    choices = set()
    for images in seen:
        places = [int((frames - image).flatten(1).norm(dim=1).argmin()) for image in images]
        choices.add(tuple(sorted(places)))
    assert choices == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}


def test_clips_and_far_frames_may_come_from_different_videos(small_clp, batch_for, plain_views):
    method = small_clp(videos_per_clip=3)
    fill(method, batch_for, plain_views)
    batch, seen = batch_for(method, num_clips=7, seed=9), []
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.training_step(batch, plain_views, generator())
    method.after_step()
    clips, far = plain_views.shared(batch.clip_BTHWC), plain_views.shared(batch.far_BLHWC)
    assert torch.equal(seen[0], torch.cat([clips[[0, 3, 6]].flatten(0, 1), far[[1, 2, 4, 5]].flatten(0, 1)]))
    assert len(seen[0]) == method.encoder_rows(7)
    newest = [(method.bank.pointer - 8 + n) % method.bank.size for n in range(8)]
    assert method.bank.video_M[newest].tolist() == [9001, 9001, 9002, 9002, 9004, 9004, 9005, 9005]


def test_parameters_of_the_papers_encoder_and_momentum_encoder():
    method = Clp(build_backbone("resnet34"), ClpSettings(bank_size=8, num_candidates=4))
    assert count(method.head_tcl) == count(method.head_cir) == 164_224
    assert count(method.backbone, method.head_tcl, method.head_cir) == 21_613_120
    assert count(method.momentum) == 21_448_896


def test_a_step_of_the_papers_batch_has_704_encoder_rows():
    method = Clp(build_backbone("resnet18", width=1), ClpSettings(bank_size=8, num_candidates=4))
    assert method.encoder_rows(64) == 704


# 24
def test_momentum_encoder_starts_equal_and_has_no_temporal_head(small_clp):
    method = small_clp()
    state = method.state_dict()
    for ours, theirs in (("momentum.backbone", "backbone"), ("momentum.head", "head_cir")):
        names = [name for name in state if name.startswith(f"{theirs}.")]
        assert names
        for name in names:
            assert torch.equal(state[name], state[name.replace(theirs, ours, 1)])
    assert not any("tcl" in name for name in state if name.startswith("momentum"))


# 15, 16
def test_gradient_reaches_backbone_and_heads_and_neither_bank_nor_momentum_encoder(
    small_clp, batch_for, plain_views
):
    method = small_clp()
    fill(method, batch_for, plain_views)
    method.training_step(batch_for(method), plain_views, generator()).loss.backward()
    for name, parameter in method.named_parameters():
        if name.startswith("momentum"):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
    assert method.head_cir[-1].weight.grad.abs().sum() > 0
    assert not method.bank.rows_MD.requires_grad


def test_reconstruction_alone_trains_the_backbone(small_clp, batch_for, plain_views):
    method = small_clp(tcl_weight=0.0, beta=1.0)
    fill(method, batch_for, plain_views)
    method.training_step(batch_for(method), plain_views, generator()).loss.backward()
    assert method.backbone.conv1.weight.grad.abs().sum() > 0


# 22
def test_keys_enter_the_bank_only_after_the_step(small_clp, batch_for, plain_views):
    method = small_clp()
    fill(method, batch_for, plain_views)
    before, batch = method.bank.video_M.clone(), batch_for(method, seed=7)
    output = method.training_step(batch, plain_views, generator())
    assert torch.equal(method.bank.video_M, before)
    output.loss.backward()
    method.after_step()
    assert method.bank.video_M.tolist()[:8] == [n for v in batch.video_B.tolist() for n in (v, v)]
    assert torch.equal(method.bank.video_M[8:], before[8:])
    lengths = method.bank.rows_MD.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_candidates_change_from_step_to_step(small_clp, batch_for, plain_views):
    method = small_clp()
    fill(method, batch_for, plain_views)
    losses = set()
    for seed in range(3):
        twin = copy.deepcopy(method)
        output = twin.training_step(batch_for(twin), plain_views, generator(seed))
        losses.add(output.logs["loss_cir"].item())
    assert len(losses) == 3


def test_warm_start_fills_the_bank_without_touching_a_weight(small_clp, batch_for, plain_views):
    method = small_clp()
    weights = {name: value.clone() for name, value in method.named_parameters()}
    answers = [method.warm_start(batch_for(method, seed=seed), plain_views) for seed in range(4)]
    assert answers == [False, False, False, True]
    assert method.bank.filled == 32
    assert all(torch.equal(value, weights[name]) for name, value in method.named_parameters())


def test_an_empty_start_waits_for_four_steps_of_keys(small_clp, batch_for, plain_views):
    method = small_clp(bank_start="empty", bank_size=64, num_candidates=32)
    assert method.warm_start(batch_for(method), plain_views)
    optimiser = sgd(method)
    for step in range(5):
        method.before_step()
        output = method.training_step(batch_for(method, seed=step), plain_views, generator(step))
        waiting = step < 4
        assert (output.logs["loss_cir"] == 0) == waiting
        assert output.logs["retrieval_accuracy"].isnan() == waiting
        optimiser.zero_grad()
        output.loss.backward()
        assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
        method.after_step()


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"beta": 0.0}, ("head_cir", "momentum", "bank")),
        ({"tcl_weight": 0.0}, ("head_tcl", "triplet_weights_P")),
        ({"tcl_weight": 0.0, "cir_source": "clip"}, ("head_tcl",)),
    ],
)
def test_a_loss_of_weight_zero_is_not_computed(small_clp, batch_for, plain_views, settings, absent):
    method = small_clp(**settings)
    assert not any(hasattr(method, name) for name in absent)
    fill(method, batch_for, plain_views)
    method.before_step()
    output = method.training_step(batch_for(method), plain_views, generator())
    output.loss.backward()
    method.after_step()
    assert ("loss_cir" in output.logs) == ("bank" not in absent)
    assert ("loss_tcl" in output.logs) == ("head_tcl" not in absent)


@pytest.mark.parametrize(
    ("settings", "clip_len", "far_frames"),
    [
        ({}, 5, 2),
        ({"cir_source": "clip"}, 5, 0),
        ({"beta": 0.0}, 5, 0),
        ({"tcl_weight": 0.0}, 0, 2),
        ({"tcl_weight": 0.0, "cir_source": "clip"}, 5, 0),
    ],
)
def test_only_frames_that_a_loss_uses_are_asked_for(small_clp, settings, clip_len, far_frames):
    method = small_clp(**settings)
    request = method.clip_request(method.settings)
    assert (request.clip_len, request.num_far_frames) == (clip_len, far_frames)
    assert method.encoder_rows(10) == 10 * (clip_len + far_frames)


def test_one_direction_only_when_the_reversed_pass_is_off(small_clp, batch_for, plain_views):
    method = small_clp(reverse=False, beta=0.0)
    batch, twin = batch_for(method), copy.deepcopy(method)
    output = method.training_step(batch, plain_views, generator())
    embedding = twin.head_tcl(twin.backbone(plain_views.shared(batch.clip_BTHWC).flatten(0, 1)))
    expected = tcl_by_loops(embedding.view(4, 5, 8), method.settings)
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)


def test_shuffled_frames_are_each_clips_own_in_an_order_of_the_step(small_clp, batch_for, plain_views):
    method = small_clp(frame_order="shuffled", beta=0.0)
    batch, seen = batch_for(method), []
    method.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].unflatten(0, (4, 5))))
    for seed in (0, 0, 1):
        method.training_step(batch, plain_views, generator(seed))
    frames = plain_views.shared(batch.clip_BTHWC)
    orders = [
        (shown[:, :, None] - frames[:, None]).flatten(3).norm(dim=-1).argmin(dim=2).tolist() for shown in seen
    ]
    assert [sorted(order) for order in orders[0]] == [list(range(5))] * 4
    assert orders[0] != [list(range(5))] * 4
    assert orders[1] == orders[0]
    assert orders[2] != orders[0]


def test_under_autocast_only_the_trunk_is_in_half_precision(small_clp, batch_for, plain_views):
    method = small_clp()
    fill(method, batch_for, plain_views)
    dtypes = {}
    for name in ("backbone.layer4.1.conv2", "head_tcl.0", "head_cir.2", "momentum.head.0"):
        method.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: dtypes.update({name: output.dtype})
        )
    with torch.autocast("cpu", torch.bfloat16):
        output = method.training_step(batch_for(method), plain_views, generator())
    assert dtypes.pop("backbone.layer4.1.conv2") == torch.bfloat16
    assert set(dtypes.values()) == {output.loss.dtype} == {torch.float32}


def test_training_makes_the_loss_fall(small_clp, batch_for, plain_views):
    method = small_clp(beta=1.0, batch_norm_output=True)
    fill(method, batch_for, plain_views)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=5e-3)
    losses, batch = [], batch_for(method, seed=3)
    for step in range(15):
        method.before_step()
        output = method.training_step(batch, plain_views, generator(step))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        method.after_step()
        losses.append(output.logs["loss_tcl"].item())
    assert losses[-1] < 0.6 * losses[0]


def test_defaults_are_the_papers():
    settings = ClpSettings()
    assert (settings.clip_len, settings.stride, settings.margin, settings.beta) == (9, 2, 0.03, 0.1)
    assert (settings.bank_size, settings.num_candidates, settings.mu) == (65536, 32768, 0.999)
    assert (settings.triplet_weights, settings.lambda_start, settings.reverse) == ("inv_sqrt", 2, True)
    assert (settings.frames_per_video, settings.hidden_dim, settings.embedding_dim) == (2, 256, 128)
    assert (settings.tau, settings.batch_norm_output) == (0.07, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clip_len": 2}, "at least 3 frames"),
        ({"beta": 0.0, "tcl_weight": 0.0}, "nothing to train on"),
        ({"num_candidates": 65536}, "below bank_size = 65536"),
        ({"cir_source": "clip", "frames_per_video": 6}, "do not fit a clip of 9"),
        ({"cir_source": "clip", "frame_order": "shuffled"}, "goes with the default frame_order"),
        ({"videos_per_clip": 2, "beta": 0.0}, "both tcl_weight and beta"),
        ({"tau": 0.0}, "above 0"),
        ({"mu": 1.5}, "between 0 and 1"),
        ({"lambda_start": 3}, "lambda_start = 3"),
        ({"exclude_same_identity": "negatives"}, "exclude_same_identity = 'negatives'"),
        ({"betta": 1.0}, "did you mean 'beta'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(SettingsError, match=message):
        build(ClpSettings, wrong, where="method")
