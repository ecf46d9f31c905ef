"""Critics for adversarial training: HiFi-GAN's multi-period discriminator, slim enough for a CPU to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
"""Primes, so that no two critics fold the wave alike (Kong et al. 2020, https://arxiv.org/abs/2010.05646)."""

SLIM_CHANNELS = (8, 32, 128, 256, 256)
"""The published widths divided by four."""

SLOPE = 0.1


class Verdict(NamedTuple):
    """Attributes:
    scores: one tensor per critic, near one for what it takes to be real.
    features: the critics' inner layers, in order, for feature matching.
    """

    scores: list[Tensor]
    features: list[Tensor]


class PeriodDiscriminator(nn.Module):
    """One critic: the wave folded into rows of `period` samples, 2-D convolutions down each column.

    Shape:
        (B, S) -> one score tensor (B, *) and its inner layers
    """

    def __init__(self, period: int, channels: Sequence[int] = SLIM_CHANNELS) -> None:
        super().__init__()
        self.period = period
        widths = [1, *channels]
        strides = [3] * (len(channels) - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), stride=(stride, 1), padding=(2, 0)))
            for before, after, stride in zip(widths, channels, strides, strict=False)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        short = -wave.shape[1] % self.period
        x = functional.pad(wave[:, None], (0, short), mode="reflect")
        x = x.view(x.shape[0], 1, -1, self.period)  # (B, 1, S) -> (B, 1, S / period, period)
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        x = self.score(x)
        return x.flatten(1), [*features, x]


class MultiPeriodDiscriminator(nn.Module):
    """Five critics, each blind to what the others' folding shows.

    Args:
        channels: widths of each critic's layers.
        seed: of the initial weights; the global random state is left as it was.
    """

    def __init__(self, channels: Sequence[int] = SLIM_CHANNELS, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critics = nn.ModuleList(PeriodDiscriminator(period, channels) for period in PERIODS)

    def forward(self, wave: Tensor) -> Verdict:
        """Shape: (B, S) -> a `Verdict`."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for critic in self.critics:
            score, layers = critic(wave)
            scores.append(score)
            features += layers
        return Verdict(scores, features)
