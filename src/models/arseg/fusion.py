"""Cross-resolution feature fusion, CReFF (AR-Seg, paper section 3.2), and its gate."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import UserError, check_choice, check_range
from src.models.layers import initialise
from src.ops import gate as mixing
from src.ops.cpu import GATE_WIDTH
from src.ops.cpu.threads import can_use_cpu_kernel
from src.ops.local_attention import local_attention
from src.ops.resize import resize, size_of
from src.ops.warp import motion_at, sample_positions, warp, warp_legacy

IDENTITY_QUERY = 0.1  # of the query's centre tap: content barely steers the attention before training
IDENTITY_DECAY = 3.0  # position(d) = -3 |d|^2: five sixths of the attention start on the centre tap
GATE_START = 1.5  # logit of the gate before training: 0.82 of the keyframe's feature
WIDEST = 63  # side of a window
RELIABILITY_CUES = 3  # channels of `motion_reliability`


class CReFF(nn.Module):
    """Low-resolution features of a frame, refined by features of its keyframe.

    Keyframe features are warped by the motion; each pixel of the upsampled low-resolution features attends to
    a window around its own place in them. The sum is the paper's; the gate learns, per pixel, how far to trust
    the keyframe instead. Where no position of the window is valid the low-resolution feature stays as it is.

    Args:
        channels: C of the features.
        window: side of the attention window, odd, up to 63.
        mix: "residual" adds the attended feature (the paper), "gate" interpolates towards it; "attended" puts it in
            the place of the own one, the ablation without direct connection; "none" leaves the keyframe out, the
            ablation without CReFF.
        init: "kaiming" (the official code), or "identity": convolutions that change nothing and a learned
            position term that starts on the centre tap, so that attention starts as the bare warp.
        warp: false attends to keyframe features that stay in their place, the ablation without motion.
        legacy: conventions of the official code, for its weights: its warp, zero padding, unscaled products.
        grouped: each channel has convolutions of its own; false: the ablation with convolutions over all channels.

    Raises:
        UserError: an unknown `mix` or `init`, parts that do not go together, or a number out of its range.
    """

    def __init__(
        self,
        channels: int,
        window: int = 7,
        mix: Literal["residual", "gate", "attended", "none"] = "residual",
        init: Literal["kaiming", "identity"] = "kaiming",
        warp: bool = True,
        legacy: bool = False,
        grouped: bool = True,
    ) -> None:
        super().__init__()
        check_choice("model.fusion.mix", mix, ("residual", "gate", "attended", "none"))
        check_choice("model.fusion.init", init, ("kaiming", "identity"))
        if legacy and mix != "residual":
            raise UserError(f"model.fusion.mix={mix}: the official code (legacy) knows residual only; give that")
        if not grouped and init != "kaiming":
            given = f"model.fusion.grouped=false with model.fusion.init={init}, which is of convolutions by channel"
            raise UserError(f"{given}; give model.fusion.init=kaiming")
        if channels < 1:
            raise UserError(f"the features have {channels} channels; build the fusion for 1 or more")
        allowed = f"an odd number from 1 to {WIDEST}"
        check_range(0 < window <= WIDEST and window % 2 == 1, "model.fusion.window", window, allowed)
        self.channels, self.window, self.mix, self.warp, self.legacy = channels, window, mix, warp, legacy
        self.scale = 1.0 if legacy else channels**-0.5
        self.query, self.key, self.value = (
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels if grouped else 1) for _ in range(3)
        )
        # whether one kernel computes all of it on CPUs
        self.has_kernel = window == 7 and not legacy and grouped and mix != "attended"
        self.position: nn.Parameter | None = None
        self.gate = Gate(channels) if mix == "gate" else None
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        for conv in (self.query, self.key, self.value):
            initialise(conv, linear=True, zero_bias=True)
        if init == "identity":
            for conv, centre in ((self.query, IDENTITY_QUERY), (self.key, 1.0), (self.value, 1.0)):
                nn.init.zeros_(conv.weight)
                conv.weight.data[:, :, 1, 1] = centre
            offset = torch.arange(self.window) - self.window // 2
            self.position = nn.Parameter(-IDENTITY_DECAY * (offset[:, None] ** 2 + offset**2).flatten().float())

    def forward(self, low: Tensor, key_features: Tensor, motion: Tensor, motion_valid: Tensor | None = None) -> Tensor:
        """Fused features (B, C, H, W).

        Args:
            low: (B, C, h, w) features of the current frame at low resolution.
            key_features: (B, C, H, W) of its keyframe at high resolution.
            motion: (B, 2, image height, image width) in image pixels, x_key = x + motion(x).
            motion_valid: (B, image height, image width) bool; None means all valid.
        """
        size = size_of(key_features)
        if self.mix == "none":
            return resize(low, size, align_corners=self.legacy)
        if not self.warp:
            motion, motion_valid = torch.zeros_like(motion), None
        if self.has_kernel and can_use_cpu_kernel(low, key_features):
            return self._forward_in_tiles(low, key_features, *motion_at(size, motion, motion_valid))
        warped, valid = self.move(key_features, motion, motion_valid)
        low, warped = _fast_layout(low), _fast_layout(warped)
        low_up = resize(low, size, align_corners=self.legacy)
        attended = local_attention(
            self.query(low_up),
            self.key(warped),
            self.value(warped),
            valid,
            self.position,
            window=self.window,
            scale=self.scale,
            zero_padding=self.legacy,
            residual=low_up if self.mix == "residual" else None,
        )
        if self.gate is None or valid is None:
            return attended
        hidden = self.gate.project(low, size) + mixing.compare(low_up, attended, self.gate.comparison)
        cues = motion_reliability(motion_at(size, motion, motion_valid)[0], valid)
        trust: Tensor = self.gate(hidden, cues) * _reachable(cues[:, :1], self.window)
        return mixing.blend(low_up, attended, trust)

    def _forward_in_tiles(self, low: Tensor, key_features: Tensor, motion: Tensor, valid: Tensor) -> Tensor:
        from src.ops.cpu.creff import GateInput, fuse  # Numba loads only where it is used

        x, y, valid = sample_positions(motion, valid)
        gate = None
        if self.gate is not None:
            gate = GateInput(motion, *self.gate.weights())
        convolutions = self.query, self.key, self.value
        positions = torch.stack((x, y), 1)
        fused: Tensor = fuse(low, key_features, positions, valid, convolutions, self.position, self.scale, gate)
        return fused

    def _aligned(
        self, low: Tensor, key_features: Tensor, motion: Tensor, motion_valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both features (B, C, H, W) at one place, and 1 in (B, 1, H, W) where those of the keyframe are valid."""
        size = size_of(key_features)
        if not self.warp:
            motion, motion_valid = torch.zeros_like(motion), None
        warped, valid = self.move(key_features, motion, motion_valid)
        known = torch.ones_like(warped[:, :1]) if valid is None else valid[:, None].to(warped.dtype)
        return resize(low, size), warped, known

    def move(self, key_features: Tensor, motion: Tensor, motion_valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Keyframe features warped to the current frame, and their validity (B, H, W); None in legacy form."""
        if self.legacy:
            return warp_legacy(key_features, motion), None
        return warp(key_features, *motion_at(size_of(key_features), motion, motion_valid))


class Gate(nn.Module):
    """Weight in 0..1 of the attended feature, from both features, their distance, and the reliability of motion.

    Args:
        channels: C of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(channels, GATE_WIDTH, 1)
        self.attended = nn.Conv2d(channels, GATE_WIDTH, 1, bias=False)
        self.difference = nn.Conv2d(channels, GATE_WIDTH, 1, bias=False)
        self.score = nn.Conv2d(GATE_WIDTH + RELIABILITY_CUES, 1, 3, padding=1)
        nn.init.zeros_(self.score.weight)
        nn.init.constant_(self.score.bias, GATE_START)  # type: ignore[arg-type]

    def project(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        """Contribution of low-resolution features (B, C, h, w) to the hidden layer (B, 8, *size).

        A 1x1 convolution and bilinear upsampling commute; it is computed before upsampling.
        """
        return resize(self.low(low), size)

    @property
    def comparison(self) -> Tensor:
        """Weights (2, 8, C) of the attended features and of their distance to the upsampled ones."""
        return torch.stack([self.attended.weight, self.difference.weight]).flatten(2)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights (3, 8, C) of upsampled features, attended ones and their distance, bias (8,); those of the score."""
        hidden = torch.cat([self.low.weight[None].flatten(2), self.comparison])
        assert self.low.bias is not None
        assert self.score.bias is not None
        return hidden, self.low.bias, self.score.weight, self.score.bias

    def forward(self, hidden: Tensor, reliability: Tensor) -> Tensor:
        """Weights (B, 1, H, W) from the hidden layer (B, 8, H, W) and the `motion_reliability` (B, 3, H, W)."""
        trust: Tensor = torch.sigmoid(self.score(torch.cat([F.relu(hidden), reliability.to(hidden.dtype)], 1)))
        return trust


def motion_reliability(motion: Tensor, valid: Tensor) -> Tensor:
    """Motion reliability cues (B, 3, H, W): validity, log length, log deviation from the surroundings.

    Errors add up along long motion, and motion that deviates from its surroundings marks occlusions.

    Args:
        motion: (B, 2, H, W) in feature pixels.
        valid: (B, H, W) bool.
    """
    around = F.avg_pool2d(motion, 3, stride=1, padding=1, count_include_pad=False)
    lengths = [torch.log1p(torch.linalg.vector_norm(x, dim=1)) for x in (motion, motion - around)]
    return torch.stack([valid.to(motion.dtype), *lengths], 1)


def _reachable(known: Tensor, window: int) -> Tensor:
    """1 where any position of the window is known; first along columns, then along rows, for speed."""
    for size in ((window, 1), (1, window)):
        known = F.max_pool2d(known, size, stride=1, padding=(size[0] // 2, size[1] // 2))
    return known


def _fast_layout(x: Tensor) -> Tensor:
    """channels_last on CPU, where depthwise convolutions are several times faster in it."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
