"""The rests around a line: recordings have them, a slot does not."""

from __future__ import annotations

from torch import Tensor

from .symbols import PAUSES, SILENCE, Symbols

END_REST_FRAMES = 1.0
"""Frames left to each rest at an end of a line, silence or the punctuation beside it: the vocoder needs a little to
fade, and an ear does not notice so little."""

LONGEST_FIRST, LONGEST_LAST = 10.0, 20.0
"""Frames of the first and last sound of a line. Where recordings begin and end in room noise that no level tells from
speech, a model learns outer sounds of half a second; nobody begins to speak so."""


def settle_ends(predicted: Tensor, symbols: Symbols) -> Tensor:
    """Durations with the outer rests and sounds held short, so that speech begins and ends with its slot.

    Shape:
        (N,) -> (N,).
    """
    settled = predicted.clone()
    places = range(len(symbols.names))
    for order, longest in ((places, LONGEST_FIRST), (reversed(places), LONGEST_LAST)):
        for n in order:
            if symbols.names[n] not in (SILENCE, *PAUSES):
                settled[n] = settled[n].clamp(max=longest)
                break
            settled[n] = settled[n].clamp(max=END_REST_FRAMES)
    return settled
