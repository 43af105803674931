"""The interface of a method: the clips it needs, its loss for a batch, hooks around the backward pass."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mien.registry import Registry


@dataclass(frozen=True)
class ClipRequest:
    """The frames of one video that a method needs for one row of a batch."""

    clip_len: int = 9  # frames of a clip, consecutive in one run; 0: no clip
    stride: int = 2  # raw frames from one clip frame to the next (25 fps: 2 is 80 ms)
    num_far_frames: int = 2  # frames drawn from the whole track, far apart; 0: none
    min_gap_frames: int = 17  # minimum distance of far frames, if the track is long enough
    label_columns: tuple[str, ...] = ()  # columns of the table data.labels, for each far frame


@dataclass(frozen=True)
class ClipBatch:
    """Frames of B videos as stored, with identity and video.

    clip_BTHWC: uint8 RGB, T = clip_len (T = 0 without a clip).
    far_BLHWC: uint8 RGB, L = num_far_frames.
    identity_B, video_B: int64 numbers, equal exactly where the identity or the video is the same.
    far_labels_BLK: float32, the K columns of `label_columns`, NaN where a frame is not coded.
    """

    clip_BTHWC: Tensor
    far_BLHWC: Tensor
    identity_B: Tensor
    video_B: Tensor
    far_labels_BLK: Tensor | None = None

    def __post_init__(self) -> None:
        B = self.identity_B.shape[0]
        for name, tensor in (("clip_BTHWC", self.clip_BTHWC), ("far_BLHWC", self.far_BLHWC)):
            if (
                tensor.ndim != 5
                or tensor.shape[0] != B
                or tensor.shape[-1] != 3
                or tensor.dtype != torch.uint8
            ):
                raise ValueError(
                    f"{name}: expected uint8 ({B}, frames, H, W, 3), got {tensor.dtype} {tuple(tensor.shape)}"
                )

    def to(self, device: torch.device) -> ClipBatch:
        """The batch on `device`."""
        tensors: dict[str, Any] = {column.name: getattr(self, column.name) for column in fields(self)}
        given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return ClipBatch(**{name: tensor.to(device, non_blocking=True) for name, tensor in given.items()})

    def far_labels(self) -> Tensor:
        """`far_labels_BLK`; ValueError if the batch has none."""
        if self.far_labels_BLK is None or self.far_labels_BLK.shape[2] == 0:
            raise ValueError("this method needs labels: name a table of them in data.labels")
        return self.far_labels_BLK


class Views(Protocol):
    """Augmentation of uint8 frames on their device, drawn from the step's generator."""

    def shared(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; one draw of all parameters for the T frames of a row."""

    def independent(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; every frame with a draw of its own."""

    def shared_geometry(self, frames_BTHWC: Tensor) -> Tensor:
        """(B, T, 3, h, w) float32 views; rotation, flip and crop once for a row, the rest for every frame."""

    def pair_with_one_flip(self, frames_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Two independent views of every frame, both mirrored or neither."""


@dataclass(frozen=True)
class StepOutput:
    """A 0-dimensional loss for backward, and 0-dimensional tensors for the log."""

    loss: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module):
    """A way to train a backbone. The order of one step, kept by the loop:

    before_step -> training_step -> backward -> optimiser step -> after_step.

    `self.backbone` is kept when training ends. All state that a resumed run needs is in parameters and
    buffers (state_dict). Random draws come from the given generator, never from global state.
    """

    Settings: ClassVar[type]
    backbone: nn.Module
    diagnosing: bool = True  # False: this step's logs are not used, so expensive ones may be NaN

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @classmethod
    def clip_request(cls, settings: Any) -> ClipRequest:
        """The frames of one row of a batch under these settings; one frame of a video unless overridden."""
        return ClipRequest(clip_len=0, num_far_frames=1)

    @classmethod
    def fit_to_corpus(cls, settings: Any, *, num_videos: int) -> Any:
        """The settings with values that depend on the corpus filled in, such as the size of a bank."""
        return settings

    def encoder_rows(self, clips: int) -> int:
        """Rows with gradient through the backbone in a step of that many clips: the unit of budgets."""
        raise NotImplementedError

    def warm_start(self, batch: ClipBatch, views: Views) -> bool:
        """Process one batch without training, for example to fill a bank; True if no more is needed."""
        return True

    def before_step(self) -> None:
        """Called before the forward pass, for example to update a momentum encoder."""

    def training_step(self, batch: ClipBatch, views: Views, generator: torch.Generator) -> StepOutput:
        """The loss of one batch. `generator` is seeded from (run seed, step) and lies on the CPU.

        Its state is the same in all processes: draw from it for the rows of all, and equally often
        (`mien.layers.gather.draw_rows`).
        """
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after the optimiser's step, for example to enqueue the step's keys."""

    def warnings(self, logs: dict[str, float]) -> list[str]:
        """Warnings about training problems, from the mean logs of a window."""
        return []


METHODS: Registry[type[Method]] = Registry("mien.methods", kind="method")
