import pytest


def test_loss_of_a_still_clip_is_the_margin_of_ten_pairs(build_method, noise_batch, views, generator):
    method = build_method("temporal_ranking").eval()
    batch = noise_batch(method)
    batch.clip_BTHWC[:] = batch.clip_BTHWC[:, :1]
    output = method.training_step(batch, views, generator)
    assert output.loss.item() == pytest.approx(0.3, abs=1e-4)


def test_views_may_be_drawn_frame_by_frame(build_method, noise_batch, views, generator):
    method = build_method("temporal_ranking", views_in_clip="independent").eval()
    batch = noise_batch(method)
    batch.clip_BTHWC[:] = batch.clip_BTHWC[:, :1]
    assert abs(method.training_step(batch, views, generator).loss.item() - 0.3) > 1e-3


def test_twelve_consecutive_frames_are_asked_for(build_method):
    method = build_method("temporal_ranking")
    request = method.clip_request(method.settings)
    assert (request.clip_len, request.stride, request.num_far_frames) == (12, 1, 0)
    assert method.encoder_rows(5) == 60


def test_two_frames_are_refused(build_method):
    with pytest.raises(ValueError, match="at least 3"):
        build_method("temporal_ranking", clip_len=2)


def test_collapse_is_told_in_words(build_method):
    method = build_method("temporal_ranking")
    assert "collapsed" in method.warnings({"mean_distance_to_anchor": 1e-5})[0]
    assert method.warnings({"mean_distance_to_anchor": 0.2}) == []
