import math

import pytest
import torch
from torch.nn import functional as F

from mien.backbones import build_backbone
from mien.methods.within_video import WithinVideo

L, B = 3, 4


def method(**settings):
    torch.manual_seed(0)
    chosen = WithinVideo.Settings(frames_per_video=L, embedding_dim=8, hidden_dim=16, **settings)
    return WithinVideo(build_backbone("resnet18", width=2), chosen)


def loss_by_loops(embedding_2BLD, *, of_all, temperature):
    """Both directions of every pair of views, written out."""
    losses = []
    for view in (0, 1):
        for video in range(B):
            for frame in range(L):
                query = embedding_2BLD[view, video, frame]
                rivals = [(v, f) for v in range(B) for f in range(L) if of_all or v == video]
                scores = [float(query @ embedding_2BLD[1 - view, v, f]) / temperature for v, f in rivals]
                own = scores[rivals.index((video, frame))]
                losses.append(math.log(sum(math.exp(score) for score in scores)) - own)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("negatives", ["video", "all"])
def test_the_loss_is_that_of_the_loops(negatives):
    ours = method(negatives=negatives, temperature=0.5)
    features_ND = torch.randn(2 * B * L, ours.backbone.feature_dim)
    embedding = F.normalize(ours.head(features_ND), dim=1).view(2, B, L, -1)
    expected = loss_by_loops(embedding.detach(), of_all=negatives == "all", temperature=0.5)
    assert ours._loss(features_ND).loss.item() == pytest.approx(expected, rel=1e-5)


def test_who_it_is_does_not_help_among_the_frames_of_one_video():
    ours = method(negatives="video")
    ours.head = torch.nn.Identity()
    one_a_video = torch.eye(B).repeat_interleave(L, dim=0).repeat(2, 1)
    assert ours._loss(one_a_video).loss.item() == pytest.approx(math.log(L))


def test_one_frame_a_video_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        WithinVideo.Settings(frames_per_video=1)
