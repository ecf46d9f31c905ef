"""Decides how a line is felt: from what it shows and says, and from how the clips sound that it brought to mind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphs.encoder import Stages
from library_builder.types import QUERY_MODALITIES

from .blocks import masked_mean
from .config import DubberConfig

NEUTRAL = "neutral"
"""The feeling that strength is counted from; every taxonomy has it."""


class Director(nn.Module):
    """The encoded nodes of a line to logits over the taxonomy.

    It reads the own nodes before and after they have heard their references, the references, and how those sound; and
    whether each was there at all, so that a line without any can be told from one whose nodes cancel.

    Shape:
        nodes of three stages -> (B, E).
    """

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        width = config.graph.width
        self.dropout = nn.Dropout(config.graph.dropout)
        self.rise = nn.Linear(4 * width + 2 + len(QUERY_MODALITIES), width)
        self.fall = nn.Linear(width, len(config.emotions))
        sound = config.graph.in_widths["audio"]
        self.listener = nn.Sequential(nn.Linear(sound, width), nn.GELU(), nn.Linear(width, len(config.emotions)))

    def listen(self, audio: Tensor) -> Tensor:
        """What a recording sounds like it feels, for lines that are told to feel like it.

        Shape:
            (B, D_audio) -> logits (B, E).
        """
        logits: Tensor = self.listener(audio)
        return logits

    def forward(self, stages: Stages) -> Tensor:
        queries = len(QUERY_MODALITIES)
        found = (stages.indirect.mask.shape[1] - queries) // queries
        sizes = [queries, queries * found, queries * found]
        own, references, audio = stages.direct.features.split(sizes, dim=1)
        live, has_references, has_audio = stages.direct.mask.split(sizes, dim=1)
        there = torch.cat([live, has_references.any(1, keepdim=True), has_audio.any(1, keepdim=True)], dim=1)
        read = [
            masked_mean(stages.basic.features, stages.basic.mask),
            masked_mean(own, live),
            masked_mean(references, has_references),
            masked_mean(audio, has_audio),
            there.to(own.dtype),
        ]
        hidden = self.dropout(nn.functional.gelu(self.rise(torch.cat(read, dim=1))))
        logits: Tensor = self.fall(hidden)
        return logits


def acted(feeling: Tensor, strength: Tensor, neutral: int) -> Tensor:
    """A feeling at a strength: on the straight line from neutral through the feeling, 0 neutral, 1 as felt.

    Shape:
        feeling (B, E) shares, strength (B,) -> (B, E).
    """
    rest = torch.zeros_like(feeling)
    rest[:, neutral] = 1
    moved = rest + strength[:, None] * (feeling - rest)
    # At strength one the feeling itself, to the bit: the sum above would differ from it by a rounding.
    return torch.where(strength[:, None] == 1, feeling, moved)


def carried(strength: Tensor, expression: float) -> Tensor:
    """How far a feeling is carried when the dial stands at a strength: 0 at 0, the expression at 1, 2 at 2.

    Shape:
        (B,) -> (B,).
    """
    beyond = (strength - 1).clamp(min=0)
    return expression * strength.clamp(max=1) + (2 - expression) * beyond
