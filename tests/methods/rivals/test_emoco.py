import dataclasses

import torch
from torch.nn import functional as F

from mien.losses.info_nce import info_nce

NAN = float("nan")


def with_emotions(batch, emotions):
    return dataclasses.replace(batch, far_labels_BLK=torch.tensor(emotions)[:, None, None])


def test_negatives_share_the_query_emotion(build_method, noise_batch, views, generator):
    method = build_method("emoco", bank_size=12, emotion_weight=0.0)
    method.warm_start(with_emotions(noise_batch(method, seed=1), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]), views)
    batch = with_emotions(noise_batch(method, clips=2), [0.0, 2.0])
    features = []
    method.backbone.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    loss = method.training_step(batch, views, generator).loss
    query, keys = method.head(features[0]), method._keys_of_step[0]
    bank = method.bank.rows_MD
    first = info_nce(query[:1], keys.rows_MD[:1], bank[0:2], temperature=0.2)
    second = info_nce(query[1:], keys.rows_MD[1:], bank[4:6], temperature=0.2)
    torch.testing.assert_close(loss, torch.cat([first, second]).mean())


def test_the_classifier_adds_its_cross_entropy_over_the_known_emotions(
    build_method, noise_batch, views, generator
):
    method = build_method("emoco", bank_size=12, emotion_weight=1.0)
    batch = with_emotions(noise_batch(method, clips=3), [3.0, NAN, 7.0])
    features = []
    method.backbone.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    logs = method.training_step(batch, views, generator).logs
    logits = method.classifier(features[0])[[0, 2]]
    torch.testing.assert_close(logs["loss_emotion"], F.cross_entropy(logits, torch.tensor([3, 7])).detach())


def test_emotions_travel_with_the_keys_into_the_bank(build_method, noise_batch, views, generator):
    method = build_method("emoco", bank_size=12)
    method.training_step(with_emotions(noise_batch(method, clips=3), [3.0, NAN, 7.0]), views, generator)
    method.after_step()
    assert method.bank.identity_M[:3].tolist() == [3, -1, 7]
