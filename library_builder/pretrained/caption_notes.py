"""What a clip's notes say of its captions: nothing said, the same over and over, cut off; and the emotion they came to.

Written by the readers and read by the audit page, so both are here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

EMPTY, LOOPING, CUT = "empty", "looping", "cut"
FLAGS = (EMPTY, LOOPING, CUT)
_SAID = {
    EMPTY: "the model said nothing",
    LOOPING: "the caption repeats itself",
    CUT: "the caption is cut off, the model came to no end",
}
_FELT = "felt as"
_ROUNDS = 4
"""A phrase that comes so often without a pause is a loop: three may be for emphasis ("no, no, no")."""
_LONGEST = 12
_LONG, _FRESH = 30, 0.5
"""From so many words on, at least this share of threes of words has to be new."""


def flags(caption: str, *, finished: bool = True) -> tuple[str, ...]:
    """What is wrong with a caption, of `FLAGS`; nothing with a good one.

    Args:
        finished: the model came to an end by itself.
    """
    words = caption.lower().split()
    if not any(word.strip(".,;:!?-\"'") for word in words):
        return (EMPTY,)
    found = [LOOPING] if _loops(words) else []
    return tuple(found if finished else [*found, CUT])


def _loops(words: list[str]) -> bool:
    """Whether a phrase of up to twelve words follows itself four times, or a long text brings few new threes."""
    for length in range(1, _LONGEST + 1):
        same = 0
        for at in range(length, len(words)):
            same = same + 1 if words[at] == words[at - length] else 0
            if same >= length * (_ROUNDS - 1):
                return True
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= _LONG and len(threes) < _FRESH * sum(threes.values())


def flag_notes(modality: str, found: Sequence[str]) -> tuple[str, ...]:
    """Flags as a clip keeps them: `scene: the caption repeats itself`."""
    return tuple(f"{modality}: {_SAID[flag]}" for flag in found)


def flags_in(notes: Sequence[str], modality: str) -> tuple[str, ...]:
    """The flags that a clip's notes speak of; the inverse of `flag_notes`."""
    return tuple(flag for flag in FLAGS if f"{modality}: {_SAID[flag]}" in notes)


def felt_note(modality: str, label: str, share: float) -> str:
    """What a classifier took a text for, as a clip keeps it: `scene: felt as sadness, 0.62`."""
    return f"{modality}: {_FELT} {label}, {share:.2f}"


def felt_in(notes: Sequence[str], modality: str) -> tuple[str, float] | None:
    """The emotion and its probability that a clip's notes speak of; None where no classifier read it."""
    for note in notes:
        found = re.fullmatch(rf"{re.escape(modality)}: {_FELT} (.+), (\d\.\d\d)", note)
        if found:
            return found[1], float(found[2])
    return None
