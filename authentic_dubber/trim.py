"""The silences around a line: recordings have them, a slot does not."""

from __future__ import annotations

from torch import Tensor

from .symbols import SILENCE, Symbols

END_SILENCE_FRAMES = 2.0
"""Silence kept at each end of a line inside its slot: enough for the vocoder to fade, far below what an ear notices."""


def settle_ends(predicted: Tensor, symbols: Symbols) -> Tensor:
    """Durations with the outer silences held short, so that speech begins and ends with its slot.

    Shape:
        (N,) -> (N,).
    """
    settled = predicted.clone()
    for end in (0, -1):
        if symbols.names[end] == SILENCE:
            settled[end] = settled[end].clamp(max=END_SILENCE_FRAMES)
    return settled
