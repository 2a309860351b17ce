"""Video consistency: whether labels stay as constant as the scene is (VC8, VC16)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from src.data.labels import IGNORE
from src.errors import check_range


class VideoConsistency(Metric):
    """Video consistency VC_n (Miao et al., VSPW, CVPR 2021, section 5.1), in two forms, each in 0..1.

    Over each run of n consecutive frames it is the share of the pixels with one ground-truth class in all n frames
    where the prediction is constant, too.

    `vcN` is computed as the published tables were, by VC_perclip.py of the authors (VSPW-dataset/VSPW_code): the mean
    over the runs of all videos together. That script leaves out the last run of each video, and so videos of n frames
    or fewer; it counts ignored pixels as if these were of one class; and a wrong label is as good as the right one
    where it is constant.

    `vcN_corrected` is the definition in the text: the constant prediction has to be the ground truth, ignored pixels do
    not count, all runs do, and the mean is taken over the runs of a video, then over videos.

    Runs without a constant pixel, and videos without a run, do not count. NaN where nothing does, as without frames
    that are labelled one after the other.

    Args:
        lengths: n, in frames.

    Raises:
        UserError: a length below 2.
    """

    full_state_update = False
    published: Tensor
    corrected: Tensor
    _last: tuple[Tensor, Tensor] | None
    _runs: list[Tensor]
    _index: int
    _pending: Tensor
    _own: Tensor
    _closed: Tensor

    def __init__(self, lengths: list[int]) -> None:
        super().__init__()
        for length in lengths:
            check_range(length >= 2, "metric.consistency.lengths", length, "2 frames or more")
        self.lengths = list(lengths)
        for name in ("published", "corrected"):  # sums, and numbers of summands
            self.add_state(name, torch.zeros(2, len(lengths), dtype=torch.float64), dist_reduce_fx="sum")
        self._begin(None)

    def reset(self) -> None:
        """Forget all videos."""
        super().reset()
        self._begin(None)

    def update(self, preds: Tensor, target: Tensor, video: str, index: int) -> None:
        """Count class indices (1, H, W) against labels (1, H, W), 255 = ignore, of frame `index` of a video."""
        if video != self._video:
            self._begin(video)
        follows = self._last is not None and index == self._index + 1 and self._last[0].shape == preds.shape
        before = self._last if self._last is not None and follows else (preds, target)
        repeats, stays = preds == before[0], target == before[1]
        counts, right = target != IGNORE, preds == target
        every = torch.ones_like(counts)
        holds, starts = (stays, repeats, stays & counts, right), (every, every, counts, right)
        self._runs = [
            torch.where(holding, run + 1, start.int()) if follows else start.int()
            for run, holding, start in zip(self._runs, holds, starts, strict=True)
        ]
        if follows:
            self.published += self._pending
        self._pending = self._shares(*self._runs[:2])
        self._own += self._shares(*self._runs[2:])
        runs = self._own[1].clamp(min=1)
        self.corrected = self._closed + torch.stack([self._own[0] / runs, (self._own[1] > 0).double()])
        self._last, self._index = (preds, target), index

    def compute(self) -> dict[str, Tensor]:
        """Return `vcN` and `vcN_corrected` for each length N."""
        scores = {}
        for k, length in enumerate(self.lengths):
            scores[f"vc{length}"] = self.published[0, k] / self.published[1, k]
            scores[f"vc{length}_corrected"] = self.corrected[0, k] / self.corrected[1, k]
        return scores

    def _begin(self, video: str | None) -> None:
        self._video, self._index = video, -1
        self._last = None
        # How many frames, up to the latest, each pixel has had its label, its prediction, its class, the right one
        self._runs = [torch.zeros(1, dtype=torch.int32)] * 4
        self._pending, self._own = torch.zeros_like(self.published), torch.zeros_like(self.corrected)
        self._closed = self.corrected.clone()

    def _shares(self, constant: Tensor, predicted: Tensor) -> Tensor:
        """Return shares and number (0 or 1) of the runs (2, N) that end in the latest frame."""
        shares = torch.zeros_like(self.published)
        for k, length in enumerate(self.lengths):
            where = constant >= length
            if pixels := int(where.sum()):
                shares[0, k], shares[1, k] = int((where & (predicted >= length)).sum()) / pixels, 1
        return shares
