"""What the synthesizer hears and sees before it speaks: phonemes, the prompt's style, the lips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Stack, length_mask, masked_mean, sinusoids
from .config import DubberConfig, StackConfig


class PhonemeEncoder(nn.Module):
    """Symbol ids to vectors. Id 0 is padding and nothing else.

    Shape:
        (B, N), (B,) -> (B, N, D).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        width = config.phonemes.width
        self.embedding = nn.Embedding(config.symbol_count, width, padding_idx=0)
        self.stack = Stack(config.phonemes)
        self.out = nn.Linear(width, config.width)

    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        x = self.embedding(symbols)
        mask = length_mask(lengths, symbols.shape[1])
        result: Tensor = self.out(self.stack(x, mask)) * mask[:, :, None]
        return result


class StyleEncoder(nn.Module):
    """A prompt's mel to style tokens and a predicted speaker vector.

    Twice the time is halved by average pooling: style is slower than frames, and the tokens are attended to by every
    symbol. The speaker prediction is trained towards the GE2E vector by cosine.

    Shape:
        mel (B, F, R), lengths (B,) -> tokens (B, R', D), mask (B, R'), speaker (B, C).
    """

    POOL = 4

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        width = config.style.width
        self.first = nn.Conv1d(config.mel.n_mels, width, 5, padding=2)
        self.stack = Stack(config.style)
        self.tokens = nn.Linear(width, config.width)
        self.speaker = nn.Sequential(nn.Linear(width, config.speaker_width), nn.Tanh())

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = length_mask(lengths, mel.shape[2])
        x = self.first(mel * mask[:, None]) * mask[:, None]
        # Padded to whole pools with zeros, since a pool cut off by the batch's end would divide by fewer.
        x = functional.avg_pool1d(functional.pad(x, (0, -x.shape[2] % self.POOL)), self.POOL)
        x = x.transpose(1, 2)  # (B, D, R) -> (B, R', D)
        mask = mask[:, :: self.POOL]
        x = self.stack(x * mask[:, :, None], mask)
        return self.tokens(x), mask, self.speaker(masked_mean(x, mask))


class CrossModal(nn.Module):
    """Symbols ask the prompt's style tokens, layer upon layer (the published cross-modal transformer, after MulT).

    Every layer reads the same tokens. Published with a mask that lets the n-th symbol hear no token after the n-th; a
    prompt and a line share no clock, so there is none here.

    Shape:
        symbols (B, N, D), lengths (B,), tokens (B, R', D), mask (B, R') -> (B, N, D).
    """

    def __init__(self, config: StackConfig, width: int) -> None:
        super().__init__()
        self.width = config.width
        self.asking = nn.Linear(width, config.width, bias=False)
        self.heard = nn.Linear(width, config.width, bias=False)
        self.dropout = nn.Dropout(2.5 * config.dropout)
        self.layers = nn.ModuleList(CrossLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, width)

    def forward(self, symbols: Tensor, lengths: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(self.asking(symbols) + sinusoids(symbols.shape[1], self.width, symbols.device))
        heard = self.dropout(self.heard(tokens) + sinusoids(tokens.shape[1], self.width, tokens.device))
        for layer in self.layers:
            x = layer(x, heard, mask)
        result: Tensor = self.out(self.norm(x)) * length_mask(lengths, symbols.shape[1])[:, :, None]
        return result


class CrossLayer(nn.Module):
    """Attention to the tokens and a feed-forward, pre-norm, each with a residual."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.norm, self.heard_norm, self.rise_norm = (nn.LayerNorm(config.width) for _ in range(3))
        self.attention = nn.MultiheadAttention(config.width, config.heads, batch_first=True)
        self.rise = nn.Linear(config.width, config.inner)
        self.fall = nn.Linear(config.inner, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
        tokens = self.heard_norm(heard)
        y, _ = self.attention(self.norm(x), tokens, tokens, key_padding_mask=~mask, need_weights=False)
        x = x + self.dropout(y)
        y = self.fall(self.dropout(functional.relu(self.rise(self.rise_norm(x)))))
        return x + self.dropout(y)


class LipEncoder(nn.Module):
    """Lip features at the video's own rate to vectors, led by one learned token that stands for "no mouth seen".

    The token is always there, so attention over an off-screen line's lips has something to rest on.

    Shape:
        lips (B, V, L), lengths (B,) -> (B, 1 + V, D), mask (B, 1 + V).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        width = config.lips.width
        self.first = nn.Linear(config.lip_width, width)
        self.stack = Stack(config.lips)
        self.out = nn.Linear(width, config.width)
        self.unseen = nn.Parameter(torch.zeros(config.width))

    def forward(self, lips: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        batch = lips.shape[0]
        mask = length_mask(lengths, lips.shape[1])
        x = self.out(self.stack(self.first(lips), mask))
        x = (x + stretched_positions(lengths, lips.shape[1], x.shape[2])) * mask[:, :, None]
        x = torch.cat([self.unseen.expand(batch, 1, -1), x], dim=1)
        return x, functional.pad(mask, (1, 0), value=True)


POSITION_SPAN = 50.0
"""Symbols and lip frames of one line cover the same stretch of time, so both are numbered from 0 to this."""


def stretched_positions(lengths: Tensor, longest: int, width: int) -> Tensor:
    """Sinusoidal positions that run from 0 to `POSITION_SPAN` over each line's own length.

    Shape:
        (B,) -> (B, L, D).
    """
    grid = sinusoids(1001, width, lengths.device, span=POSITION_SPAN)
    steps = torch.arange(longest, device=lengths.device)[None] / (lengths[:, None] - 1).clamp(min=1)
    return grid[(steps.clamp(max=1) * 1000).round().long()]
