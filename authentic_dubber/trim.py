"""The rests around a line: recordings have them, a slot does not."""

from __future__ import annotations

from torch import Tensor

from .symbols import PAUSES, SILENCE, Symbols

END_REST_FRAMES = 1.0
"""Frames left to each rest at an end of a line, silence or the punctuation beside it: the vocoder needs a little to
fade, and an ear does not notice so little."""


def settle_ends(predicted: Tensor, symbols: Symbols) -> Tensor:
    """Durations with the outer rests held short, so that speech begins and ends with its slot.

    Shape:
        (N,) -> (N,).
    """
    settled = predicted.clone()
    for order in (range(len(symbols.names)), reversed(range(len(symbols.names)))):
        for n in order:
            if symbols.names[n] not in (SILENCE, *PAUSES):
                break
            settled[n] = settled[n].clamp(max=END_REST_FRAMES)
    return settled
