"""When each symbol is spoken: attention from symbols to lips, durations, and their fit into the line's slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import length_mask
from .config import DubberConfig, TimingConfig
from .encoders import stretched_positions


class PhonemeLipAttention(nn.Module):
    """Symbols ask the lips where they are spoken.

    The attention handed back is the mean over heads or, `focused`, that of the head which is surest in each line.

    Shape:
        symbols (B, N, D), lips (B, 1 + V, D), lip mask (B, 1 + V) -> (B, N, D), attention (B, N, 1 + V).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        timing = config.timing
        self.attention = nn.MultiheadAttention(
            config.width, timing.heads, dropout=timing.attention_dropout, batch_first=True
        )
        self.focused = timing.focused

    def forward(self, symbols: Tensor, lengths: Tensor, lips: Tensor, lip_mask: Tensor) -> tuple[Tensor, Tensor]:
        query = symbols + stretched_positions(lengths, symbols.shape[1], symbols.shape[2])
        seen, attention = self.attention(
            query, lips, lips, key_padding_mask=~lip_mask, average_attn_weights=not self.focused
        )
        return seen, _surest_head(attention, lengths) if self.focused else attention


def _surest_head(attention: Tensor, lengths: Tensor) -> Tensor:
    """The head whose symbols look hardest at one place each (FastSpeech's focus rate), line by line.

    Shape:
        (B, H, N, V), (B,) -> (B, N, V).
    """
    there = length_mask(lengths, attention.shape[2])[:, None]
    focus = (attention.detach().amax(3) * there).sum(2)  # (B, H); the count is the same for every head
    return attention[torch.arange(len(attention), device=attention.device), focus.argmax(1)]


def diagonal_loss(
    attention: Tensor, symbol_lengths: Tensor, lip_lengths: Tensor, band: float, lines: Tensor | None = None
) -> Tensor:
    """-log of the attention mass inside a band around the diagonal; lines without lips do not count.

    Args:
        lines: how many the sum is divided by; those of this batch that have lips by default.

    Shape:
        (B, N, 1 + V), (B,), (B,) -> ().
    """
    seen = lip_lengths > 0
    if not bool(seen.any()):
        return attention.new_zeros(())
    attention = attention[:, :, 1:].float()
    n = torch.arange(attention.shape[1], device=attention.device)[None, :, None] / symbol_lengths[:, None, None]
    v = torch.arange(attention.shape[2], device=attention.device)[None, None] / lip_lengths.clamp(min=1)[:, None, None]
    inside = ((n - v).abs() <= band).float()
    mask = length_mask(symbol_lengths, attention.shape[1])
    share = ((attention * inside).sum(2) * mask).sum(1) / symbol_lengths
    return -(torch.log(share[seen].clamp(min=1e-4)).sum() / (seen.sum() if lines is None else lines))


class DurationPredictor(nn.Module):
    """Symbols that know their lips, and the speaker's style, to log(frames + 1).

    Shape:
        (B, N, D), (B,), (B, D) -> (B, N).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        timing, width = config.timing, config.width
        self.convs = nn.ModuleList(
            nn.Conv1d(width if i == 0 else timing.hidden, timing.hidden, timing.kernel, padding=timing.kernel // 2)
            for i in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(timing.hidden) for _ in range(2))
        self.style = nn.Linear(width, width)
        self.dropout = nn.Dropout(timing.dropout)
        self.out = nn.Linear(timing.hidden, 1)

    def forward(self, symbols: Tensor, lengths: Tensor, style: Tensor) -> Tensor:
        mask = length_mask(lengths, symbols.shape[1])[:, :, None]
        x = symbols + self.style(style)[:, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = conv((x * mask).transpose(1, 2)).transpose(1, 2)  # (B, N, D) -> (B, D, N) and back
            x = self.dropout(norm(functional.relu(y)))
        return functional.softplus(self.out(x)[:, :, 0]) * mask[:, :, 0]


def regulate(symbols: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat each symbol for its frames.

    Shape:
        (B, N, D), (B, N) -> (B, T, D), frame lengths (B,).
    """
    lengths = durations.sum(1)
    index = frame_symbols(durations, int(lengths.max()))
    frames = torch.gather(symbols, 1, index[:, :, None].expand(-1, -1, symbols.shape[2]))
    return frames * length_mask(lengths, index.shape[1])[:, :, None], lengths


def frame_symbols(durations: Tensor, frames: int) -> Tensor:
    """Which symbol each frame belongs to; past the end, the last.

    Shape:
        (B, N) -> (B, T).
    """
    ends = durations.cumsum(1)
    position = torch.arange(frames, device=durations.device).expand(durations.shape[0], -1).contiguous()
    return torch.searchsorted(ends, position, right=True).clamp(max=durations.shape[1] - 1)


def place_in_symbol(durations: Tensor, frames: int) -> Tensor:
    """How far into its symbol each frame lies, and how long that symbol is: (fraction, log frames).

    Shape:
        (B, N) -> (B, T, 2).
    """
    index = frame_symbols(durations, frames)
    starts = (durations.cumsum(1) - durations).gather(1, index)
    length = durations.gather(1, index).clamp(min=1)
    inside = torch.arange(frames, device=durations.device)[None] - starts
    fraction = (inside + 0.5).clamp(min=0) / length
    return torch.stack([fraction.clamp(max=1), torch.log(length.float()) / 4], dim=2)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a line's durations were fitted into its slot.

    Attributes:
        durations: frames per symbol, (N,).
        rate: speed it is spoken at relative to the model's own, within the allowed range; above one is faster.
        fits: whether that fills the slot exactly.
        natural_frames: what the line would take at the model's own rate.
    """

    durations: Tensor
    rate: float
    fits: bool
    natural_frames: int


def fit_durations(predicted: Tensor, frames: int | None, timing: TimingConfig) -> Fit:
    """Scale predicted durations so that they fill a slot, or as near as the allowed rates reach.

    Rounding keeps the cumulated error under one frame: ends are rounded, not lengths. Every symbol keeps a frame.

    Args:
        predicted: frames per symbol before rounding, (N,).
        frames: the slot; None leaves the model's own rate.
    """
    natural = float(predicted.sum())
    wanted = natural if frames is None else float(frames)
    rate = natural / max(wanted, 1e-6)
    allowed = min(max(rate, timing.slowest), timing.fastest)
    fits = frames is None or abs(allowed - rate) < 1e-6
    total = frames if frames is not None and fits else max(round(natural / allowed), 1)
    return Fit(_round_to_total(predicted / allowed, max(total, len(predicted))), allowed, fits, round(natural))


def _round_to_total(lengths: Tensor, total: int) -> Tensor:
    """Whole frames per symbol, at least one each, summing to `total`."""
    scaled = lengths.double() * (total / float(lengths.double().sum().clamp(min=1e-9)))
    free = total - len(lengths)
    spare = (scaled - 1).clamp(min=0)
    if float(spare.sum()) > 0:
        spare = spare * (free / float(spare.sum()))
    else:
        spare = torch.full_like(scaled, free / len(lengths))
    ends = spare.cumsum(0).round()
    return (torch.diff(ends, prepend=ends.new_zeros(1)) + 1).long()
