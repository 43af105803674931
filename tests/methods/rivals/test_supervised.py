import dataclasses

import pytest
import torch

NAN = float("nan")


def with_labels(batch, rows):
    return dataclasses.replace(batch, far_labels_BLK=torch.tensor(rows)[:, None])


def test_intensities_below_the_threshold_count_as_absent(build_method, noise_batch, views, generator):
    method = build_method("supervised_action_units", action_units=(1, 12), occurs_at=2.0)
    batch = with_labels(noise_batch(method, clips=3), [[0.0, 2.0], [1.9, 5.0], [3.0, NAN]])
    output = method.training_step(batch, views, generator)
    assert method.counts_2A.tolist() == [[2.0, 0.0], [1.0, 2.0]]
    assert output.logs["coded"].item() == pytest.approx(5 / 6)
    assert output.loss.isfinite()


def test_columns_are_asked_for_by_their_names(build_method):
    method = build_method("supervised_action_units", action_units=(1, 12))
    assert method.clip_request(method.settings).label_columns == ("AU01", "AU12")


def test_a_batch_without_labels_is_refused(build_method, noise_batch, views, generator):
    method = build_method("supervised_action_units")
    with pytest.raises(ValueError, match=r"data\.labels"):
        method.training_step(noise_batch(method), views, generator)


def test_a_batch_without_a_coded_frame_costs_nothing(build_method, noise_batch, views, generator):
    for name, columns in (("supervised_action_units", 12), ("supervised_expression", 1)):
        method = build_method(name)
        batch = with_labels(noise_batch(method, clips=2), [[NAN] * columns] * 2)
        loss = method.training_step(batch, views, generator).loss
        loss.backward()
        assert loss.item() == 0.0


def test_expressions_are_learnt(build_method, noise_batch, views, generator):
    method = build_method("supervised_expression", num_expressions=2)
    optimiser = torch.optim.Adam(method.parameters(), lr=3e-3)
    for step in range(16):
        batch = noise_batch(method, clips=8, seed=step)
        batch.far_BLHWC[:4] //= 4  # dark pictures are class 1
        output = method.training_step(with_labels(batch, [[1.0]] * 4 + [[0.0]] * 4), views, generator)
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
    assert output.logs["accuracy"].item() == 1.0
