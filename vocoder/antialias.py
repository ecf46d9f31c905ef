"""Activations that do not alias: a wave is bent at twice its rate and brought back through a low-pass filter.

A non-linearity makes harmonics; those above half the sample rate fold back as tones that no voice has. BigVGAN (Lee et
al. 2023, https://arxiv.org/abs/2206.04658, section 2.2) bends every layer's signal between two windowed-sinc filters.
"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

RATIO = 2
TAPS = 12
"""Of both filters in every published checkpoint, which stores them beside its weights."""
HALF_WIDTH = 0.3
"""Of the filters' transition band, in cycles per sample at the doubled rate."""
TILE = 1 << 17
"""Values that a CPU bends at a time: half a megabyte stays in its caches, where forty passes cost little."""


def kaiser_sinc(cutoff: float, half_width: float, taps: int) -> Tensor:
    """A windowed-sinc low-pass that keeps the mean; Kaiser's formulas turn the transition's width into the window.

    Args:
        cutoff: cycles per sample, at most 0.5.
        half_width: of the transition band around it, in the same unit.

    Shape:
        (taps,)

    Raises:
        ValueError: the cutoff is out of range, or there are fewer than two taps.
    """
    if not 0 < cutoff <= 0.5 or taps < 2:
        raise ValueError(f"expected 0 < cutoff <= 0.5 and two taps or more, got {cutoff} and {taps}")
    attenuation = 2.285 * (taps // 2 - 1) * pi * 4 * half_width + 7.95  # decibels that so many taps can reach
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    time = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2 if taps % 2 == 0 else torch.arange(taps) - taps // 2
    window = torch.kaiser_window(taps, beta=beta, periodic=False, dtype=torch.float64)
    response = window * torch.sinc(2 * cutoff * time)
    return (response / response.sum()).float()


class Snake(nn.Module):
    """`x + sin(alpha x)^2 / beta` with both learned per channel; plain Snake has beta equal to alpha.

    Args:
        separate: learn beta apart from alpha (SnakeBeta).
        log_scale: the parameters are logarithms.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, *, separate: bool, log_scale: bool) -> None:
        super().__init__()
        self.log_scale = log_scale
        neutral = torch.zeros(channels) if log_scale else torch.ones(channels)
        self.alpha = nn.Parameter(neutral.clone())
        self.beta = nn.Parameter(neutral.clone()) if separate else None

    def rates(self) -> tuple[Tensor, Tensor]:
        """Frequency of the ripple and its height, each (D, 1)."""
        alpha = self.alpha[:, None]
        beta = alpha if self.beta is None else self.beta[:, None]
        if self.log_scale:
            alpha, beta = alpha.exp(), beta.exp()
        return alpha, 1 / (beta + 1e-9)  # the published guard against a division by zero

    def forward(self, x: Tensor) -> Tensor:
        frequency, height = self.rates()
        return bend(x, frequency, height)


def bend(x: Tensor, frequency: Tensor, height: Tensor) -> Tensor:
    """Snake itself, for rates (D, 1) and a signal (..., D, S)."""
    return x + height * torch.sin(x * frequency).square()


class Lowpass(nn.Module):
    """The filter before half of the samples are dropped; edges are held.

    Shape:
        (B, D, 2 S) -> (B, D, S)
    """

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", kaiser_sinc(0.5 / RATIO, HALF_WIDTH, TAPS).view(1, 1, -1))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (TAPS // 2 - 1, TAPS // 2), mode="replicate")
        return functional.conv1d(x, self.filter.expand(x.shape[1], -1, -1), stride=RATIO, groups=x.shape[1])


class Downsample(nn.Module):
    """Half the rate. A room of its own, because checkpoints name it so."""

    def __init__(self) -> None:
        super().__init__()
        self.lowpass = Lowpass()

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, D, 2 S) -> (B, D, S)."""
        return self.lowpass(x)


class Upsample(nn.Module):
    """Twice the rate: a zero after each sample, then the filter; edges are held.

    Shape:
        (B, D, S) -> (B, D, 2 S)
    """

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", kaiser_sinc(0.5 / RATIO, HALF_WIDTH, TAPS).view(1, 1, -1))

    def forward(self, x: Tensor) -> Tensor:
        held = TAPS // RATIO - 1
        x = functional.pad(x, (held, held), mode="replicate")
        kernel = RATIO * self.filter.expand(x.shape[1], -1, -1)
        x = functional.conv_transpose1d(x, kernel, stride=RATIO, groups=x.shape[1])
        edge = held * RATIO + (TAPS - RATIO) // 2
        return x[..., edge:-edge]


class AntialiasedSnake(nn.Module):
    """Up, bent, down.

    Two ways to one result: convolutions, which a GPU does well and gradients need, and for a CPU that only speaks the
    same sums in two phases that are never interleaved, a few channels at a time so that they stay in its cache.

    Shape:
        (B, D, S) -> (B, D, S)
    """

    def __init__(self, channels: int, *, separate: bool, log_scale: bool) -> None:
        super().__init__()
        self.act = Snake(channels, separate=separate, log_scale=log_scale)
        self.upsample, self.downsample = Upsample(), Downsample()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            return self.tiled(x)
        return self.downsample(self.act(self.upsample(x)))

    def tiled(self, x: Tensor) -> Tensor:
        """The same in phases, in place and without a gradient."""
        batch, channels, length = x.shape
        rise = (RATIO * self.upsample.filter.flatten()).tolist()
        fall = self.downsample.lowpass.filter.flatten().tolist()
        frequency, height = (rate.repeat(batch, 1) for rate in self.act.rates())
        rows, out = x.reshape(batch * channels, length), x.new_empty(batch * channels, length)
        step = max(1, TILE // length)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            even, odd = _split(rows[part], rise)
            for phase in (even, odd):
                ripple = torch.mul(phase, frequency[part]).sin_().square_()
                phase.addcmul_(ripple, height[part])
            _join(even, odd, fall, out[part])
        return out.view(batch, channels, length)


def _split(x: Tensor, taps: list[float]) -> tuple[Tensor, Tensor]:
    """The upsampled signal's even and odd samples: (R, S) -> two of (R, S).

    An even sample lies under the odd taps and begins one input earlier than the odd sample after it.
    """
    length = x.shape[1]
    held = functional.pad(x[None], (3, 3), mode="replicate")[0]
    even, odd = held[:, :length] * taps[11], held[:, 1 : 1 + length] * taps[10]
    for j in range(1, TAPS // 2):
        even.add_(held[:, j : j + length], alpha=taps[11 - 2 * j])
        odd.add_(held[:, 1 + j : 1 + j + length], alpha=taps[10 - 2 * j])
    return even, odd


def _join(even: Tensor, odd: Tensor, taps: list[float], out: Tensor) -> None:
    """Filter two phases and keep one sample of each pair, into `out` (R, S).

    The doubled signal begins with an even sample and ends with an odd one, so these two are held at its edges.
    """
    length = even.shape[1]
    first, last = even[:, :1], odd[:, -1:]
    even = torch.cat([first, first, even, last, last, last], dim=1)
    odd = torch.cat([first, first, first, odd, last, last], dim=1)
    torch.mul(even[:, :length], taps[1], out=out)
    out.add_(odd[:, :length], alpha=taps[0])
    for j in range(1, TAPS // 2):
        out.add_(even[:, j : j + length], alpha=taps[2 * j + 1])
        out.add_(odd[:, j : j + length], alpha=taps[2 * j])
