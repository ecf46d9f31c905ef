"""Residual blocks over padded sequences. Every block masks what it reads, so padding never leaks into a line.

Layout is (B, L, D) throughout; convolutions flip to (B, D, L) inside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import StackConfig


def sinusoids(length: int, width: int, device: torch.device, span: float | None = None) -> Tensor:
    """Sinusoidal positions, (L, D). With `span`, positions are stretched to end at that value."""
    position = torch.arange(length, device=device, dtype=torch.float32)
    if span is not None:
        position = position * (span / max(length - 1, 1))
    half = width // 2
    rate = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / max(half - 1, 1)))
    angle = position[:, None] * rate[None]
    return functional.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, width - 2 * half))


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition (style-adaptive layer norm, Meta-StyleSpeech).

    Without a condition (`condition_width` 0) it is a plain layer norm.

    Shape:
        (B, L, D), (B, C) -> (B, L, D).
    """

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=condition_width == 0)
        self.affine = nn.Linear(condition_width, 2 * width) if condition_width else None
        if self.affine is not None:
            nn.init.zeros_(self.affine.weight)
            nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y: Tensor = self.norm(x)
        if self.affine is None or condition is None:
            return y
        scale, shift = self.affine(condition)[:, None].chunk(2, dim=2)
        return y * (1 + scale) + shift


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm, two linear layers, residual. The cheapest block on a CPU in bfloat16."""

    def __init__(self, config: StackConfig, condition_width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            config.width, config.width, config.kernel, padding=config.kernel // 2, groups=config.width
        )
        self.norm = AdaptiveNorm(config.width, condition_width)
        self.rise = nn.Linear(config.width, config.inner)
        self.fall = nn.Linear(config.inner, config.width)
        self.scale = nn.Parameter(torch.full((config.width,), 1.0 / config.layers))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        y = self.depthwise((x * mask).transpose(1, 2)).transpose(1, 2)
        y = self.fall(functional.gelu(self.rise(self.norm(y, condition))))
        return x + self.dropout(self.scale * y)


class AttentionBlock(nn.Module):
    """Pre-norm self-attention with residual."""

    def __init__(self, width: int, heads: int, dropout: float, condition_width: int) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(width, condition_width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        y = self.norm(x, condition)
        # The first position is always looked at: attention over nothing is NaN, and a line may have no lips at all.
        padding = ~mask[:, :, 0].bool()
        padding[:, 0] = False
        y, _ = self.attention(y, y, y, key_padding_mask=padding, need_weights=False)
        return x + self.dropout(y)


class FFTBlock(nn.Module):
    """Self-attention and a convolutional feed-forward (FastSpeech's block), pre-norm."""

    def __init__(self, config: StackConfig, condition_width: int) -> None:
        super().__init__()
        self.attention = AttentionBlock(config.width, config.heads, config.dropout, condition_width)
        self.norm = AdaptiveNorm(config.width, condition_width)
        self.rise = nn.Conv1d(config.width, config.inner, config.kernel, padding=config.kernel // 2)
        self.fall = nn.Conv1d(config.inner, config.width, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        x = self.attention(x, mask, condition)
        y = (self.norm(x, condition) * mask).transpose(1, 2)  # (B, L, D) -> (B, D, L)
        y = self.fall(functional.relu(self.rise(y))).transpose(1, 2)
        return x + self.dropout(y)


class Stack(nn.Module):
    """A stack of blocks with a final norm.

    Shape:
        x (B, L, D), mask (B, L) with 1 where real, condition (B, C) or None -> (B, L, D), zero where padded.
    """

    def __init__(self, config: StackConfig, condition_width: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(config.layers):
            if config.block == "fft":
                layers.append(FFTBlock(config, condition_width))
                continue
            layers.append(ConvNeXtBlock(config, condition_width))
            if config.attention_every and (i + 1) % config.attention_every == 0:
                layers.append(AttentionBlock(config.width, config.heads, config.dropout, condition_width))
        self.layers = nn.ModuleList(layers)
        self.norm = AdaptiveNorm(config.width, condition_width)

    def forward(self, x: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        column = mask[:, :, None].to(x.dtype)
        for layer in self.layers:
            x = layer(x, column, condition)
        result: Tensor = self.norm(x, condition) * column
        return result


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over real positions; zeros where a line has none.

    Shape:
        (B, L, D), (B, L) -> (B, D).
    """
    weight = mask[:, :, None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def length_mask(lengths: Tensor, longest: int | None = None) -> Tensor:
    """True where a position is real.

    Shape:
        (B,) -> (B, L).
    """
    size = longest if longest is not None else int(lengths.max())
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]
