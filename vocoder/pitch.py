"""F0 and voicing from a mel: what a harmonic generator hangs its harmonics on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .generator import ConvNeXtBlock, IstftConfig, check_shape
from .mel import MelConfig

LOWEST, HIGHEST, STEP = 2.0, 45.0, 0.25
"""Semitones above 55 Hz: from 62 to 740 Hz, in quarters of a semitone."""
BINS = round((HIGHEST - LOWEST) / STEP) + 1
_REACH = 3
"""Bins to either side of the best one that are averaged: finer than a bin, and blind to a rival octave."""
_BLUR = 0.4
"""Semitones: how far around the true pitch a guess still earns something."""


class Pitch(NamedTuple):
    """Attributes:
    semitones: above 55 Hz, carried on through unvoiced frames, (B, T).
    voiced: probability, (B, T).
    """

    semitones: Tensor
    voiced: Tensor

    def hertz(self) -> Tensor:
        """(B, T)."""
        return 55.0 * torch.exp2(self.semitones / 12)


class PitchReader(nn.Module):
    """A few ConvNeXt blocks over a mel, with one logit per quarter semitone and one for voicing.

    Shape:
        (B, F, T) -> logits (B, T, 1 + bins).
    """

    def __init__(self, mel_config: MelConfig, dim: int = 128, blocks: int = 4, *, seed: int = 0) -> None:
        super().__init__()
        self.mel_config = mel_config
        config = IstftConfig(dim=dim, blocks=blocks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Conv1d(mel_config.n_mels, dim, 5, padding=2)
            self.blocks = nn.Sequential(*(ConvNeXtBlock(config) for _ in range(blocks)))
            self.norm = nn.LayerNorm(dim)
            self.head = nn.Linear(dim, 1 + BINS)
        self.register_buffer("semitones", LOWEST + STEP * torch.arange(BINS), persistent=False)

    semitones: Tensor

    def forward(self, mel: Tensor) -> Tensor:
        check_shape(mel, self.mel_config)
        x = self.norm(self.blocks(self.embed(mel)).transpose(1, 2))  # (B, D, T) -> (B, T, D)
        logits: Tensor = self.head(x)
        return logits

    @torch.no_grad()
    def read(self, mel: Tensor) -> Pitch:
        """The pitch of each frame.

        Shape:
            (B, F, T) -> (B, T).
        """
        with torch.autocast(mel.device.type, enabled=False):
            logits = self(mel.float())
        voiced, scores = logits[:, :, 0].sigmoid(), logits[:, :, 1:]
        best = scores.argmax(2, keepdim=True)
        near = (torch.arange(BINS, device=mel.device) - best).abs() <= _REACH
        share = scores.masked_fill(~near, -torch.inf).softmax(2)
        return Pitch(_carried((share * self.semitones).sum(2), voiced > 0.5), voiced)


def pitch_loss(logits: Tensor, semitones: Tensor, voiced: Tensor) -> Tensor:
    """Cross-entropy to a blurred bin where a frame is voiced, and of voicing everywhere.

    Shape:
        (B, T, 1 + bins), (B, T), bool (B, T) -> ().
    """
    sounding = functional.binary_cross_entropy_with_logits(logits[:, :, 0], voiced.float())
    bins = LOWEST + STEP * torch.arange(BINS, device=logits.device)
    target = (-0.5 * ((semitones[:, :, None] - bins) / _BLUR).square()).softmax(2)
    wrong = -(target * logits[:, :, 1:].log_softmax(2)).sum(2)
    return sounding + (wrong * voiced).sum() / voiced.sum().clamp(min=1)


def _carried(values: Tensor, known: Tensor) -> Tensor:
    """Each unknown value replaced by the last known one before it, or the first after it.

    Shape:
        (B, T), bool (B, T) -> (B, T).
    """
    place = torch.arange(values.shape[1], device=values.device).expand_as(values)
    before = torch.where(known, place, -1).cummax(1).values
    first = torch.where(known, place, values.shape[1] - 1).amin(1, keepdim=True)
    return values.gather(1, torch.where(before >= 0, before, first))
