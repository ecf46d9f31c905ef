"""Pitch, voicing and energy of each symbol, predicted from text, voice and feeling (FastPitch, Lancucki 2021).

A mel decoder trained by distance alone speaks every ambiguity as its average: flat. Told the melody it does not average
over melodies; and a melody that is predicted apart can be dialled.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import length_mask
from .config import DubberConfig

PITCH_MEAN, PITCH_SCALE = 20.0, 6.0
"""Semitones above 55 Hz: the middle of adult speech, and its spread over voices and feelings."""
LEVEL_MEAN, LEVEL_SCALE = 0.0, 2.0
"""Nepers: the log of a frame's summed mel."""
CHANNELS = 3
MOST_STRETCHED = 4.0
"""Times that a melody is widened or narrowed at most; a prediction that is nearly flat has no shape worth more."""


class Prosody(NamedTuple):
    """One value per symbol, each (B, N), in network units.

    Attributes:
        pitch: semitones, centred and scaled by the constants above; carried through unvoiced symbols.
        voiced: share of voiced frames, 0 to 1.
        energy: log level, centred and scaled.
    """

    pitch: Tensor
    voiced: Tensor
    energy: Tensor

    def stacked(self) -> Tensor:
        """(B, N, 3)."""
        return torch.stack(self, dim=2)


class ProsodyPredictor(nn.Module):
    """Symbols in the prompt's style, and a condition that knows voice and feeling, to prosody.

    Shape:
        symbols (B, N, D), lengths (B,), condition (B, D) -> three times (B, N).
    """

    LAYERS = 4

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        timing, width = config.timing, config.width
        sizes = [width, *([timing.hidden] * self.LAYERS)]
        self.convs = nn.ModuleList(nn.Conv1d(a, timing.hidden, 5, padding=2) for a in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(timing.hidden) for _ in range(self.LAYERS))
        # The condition enters at every layer: what a feeling does to a melody depends on where in the line one is.
        self.conditions = nn.ModuleList(nn.Linear(width, a) for a in sizes[:-1])
        self.dropout = nn.Dropout(timing.dropout)
        self.out = nn.Linear(timing.hidden, CHANNELS)

    def forward(self, symbols: Tensor, lengths: Tensor, condition: Tensor) -> Prosody:
        mask = length_mask(lengths, symbols.shape[1])[:, :, None]
        x = symbols
        for i, (conv, norm, style) in enumerate(zip(self.convs, self.norms, self.conditions, strict=True)):
            told = x + style(condition)[:, None]
            y = conv((told * mask).transpose(1, 2)).transpose(1, 2)  # (B, N, D) -> (B, D, N) and back
            y = self.dropout(norm(functional.gelu(y)))
            x = y if i == 0 else x + y
        pitch, voiced, energy = (self.out(x).float() * mask).unbind(2)
        return Prosody(pitch, voiced.sigmoid() * mask[:, :, 0], energy)


class ProsodyEmbedding(nn.Module):
    """Prosody to what is added to each symbol; it starts at nothing, so that a model without prosody can be taken on.

    Shape:
        (B, N) each -> (B, N, D).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rise = nn.Conv1d(CHANNELS, width, 3, padding=1)
        self.fall = nn.Linear(width, width)
        nn.init.zeros_(self.fall.weight)
        nn.init.zeros_(self.fall.bias)

    def forward(self, prosody: Prosody) -> Tensor:
        hidden = functional.gelu(self.rise(prosody.stacked().transpose(1, 2)))
        result: Tensor = self.fall(hidden.transpose(1, 2))
        return result


def dialled(rest: Prosody, felt: Prosody, strength: Tensor) -> Prosody:
    """Melody and energy on the straight line from the neutral reading through the felt one; voicing ends at the felt
    one's, as a share has no beyond.

    Shape:
        (B, N) each, strength (B,) -> (B, N) each.
    """

    def moved(still: Tensor, full: Tensor, s: Tensor) -> Tensor:
        return torch.where(s == 1, full, still + s * (full - still))

    s = strength[:, None]
    return Prosody(
        moved(rest.pitch, felt.pitch, s),
        moved(rest.voiced, felt.voiced, s.clamp(max=1)),
        moved(rest.energy, felt.energy, s),
    )


def prosody_loss(
    predicted: Prosody,
    real: Prosody,
    lengths: Tensor,
    sounding_sum: Tensor | None = None,
    symbols: Tensor | None = None,
) -> Tensor:
    """Mean absolute errors, pitch counting as much as the symbol is voiced.

    Args:
        sounding_sum, symbols: what pitch's and the other sums are divided by; this batch's own by default.

    Shape:
        (B, N) each, (B,) -> ().
    """
    mask = length_mask(lengths, real.pitch.shape[1]).float()
    sounding = mask * real.voiced
    heard = sounding.sum() if sounding_sum is None else sounding_sum
    pitch = ((predicted.pitch - real.pitch).abs() * sounding).sum() / heard.clamp(min=1)
    rest = (predicted.voiced - real.voiced).abs() + (predicted.energy - real.energy).abs()
    return pitch + (rest * mask).sum() / (mask.sum() if symbols is None else symbols)


def as_loud(felt: Prosody, rest: Prosody, lengths: Tensor, gain: Tensor) -> Prosody:
    """The felt reading with its own rise and fall, but as loud as the neutral one and so many nepers more.

    Shape:
        (B, N) each, lengths (B,), gain (B,) -> (B, N) each.
    """
    mask = length_mask(lengths, felt.energy.shape[1])
    count = lengths.clamp(min=1)
    change = ((rest.energy - felt.energy) * mask).sum(1) / count + gain / LEVEL_SCALE
    return felt._replace(energy=felt.energy + change[:, None] * mask)


def as_wide(felt: Prosody, rest: Prosody, lengths: Tensor, log_range: Tensor) -> Prosody:
    """The felt melody around its own middle, but as wide in hertz as the neutral one, and so much wider.

    Shape:
        (B, N) each, lengths (B,), log_range (B,) -> (B, N) each.
    """
    mask = length_mask(lengths, felt.pitch.shape[1])
    weight = mask * felt.voiced + 1e-6 * mask
    middle = ((felt.pitch * weight).sum(1) / weight.sum(1))[:, None]
    wanted = _spread(rest.pitch, weight) * torch.exp(log_range)
    stretch = (wanted / _spread(felt.pitch, weight)).clamp(1 / MOST_STRETCHED, MOST_STRETCHED)
    return felt._replace(pitch=torch.where(mask, middle + stretch[:, None] * (felt.pitch - middle), felt.pitch))


def _spread(pitch: Tensor, weight: Tensor) -> Tensor:
    """Standard deviation of F0, in units of 55 Hz.

    Shape:
        (B, N), (B, N) -> (B,).
    """
    hertz = torch.exp2((pitch * PITCH_SCALE + PITCH_MEAN) / 12)
    share = weight / weight.sum(1, keepdim=True)
    middle = (hertz * share).sum(1, keepdim=True)
    return torch.sqrt(((hertz - middle).square() * share).sum(1) + 1e-6)
