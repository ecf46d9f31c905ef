"""The nouns of dubbing: a line to be spoken over a picture, the slot the picture leaves it, and the take that came out.

Standard library and NumPy only, so that `--help` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from library_builder.types import Modality, Seconds

if TYPE_CHECKING:  # the index that retrieval brings along is heavy, and these nouns are not
    from retrieval import Hit

SlotSource: TypeAlias = Literal["cue", "mouth", "oracle", "free"]
SlotChoice: TypeAlias = Literal["mouth", "cue"]


@dataclass(frozen=True, slots=True)
class Line:
    """What to say, and over which picture.

    Attributes:
        id: unique within a script.
        character: who speaks; names the voice.
        text: what is said, as written.
        start, end: the cue, seconds in the picture.
        picture: the video, or None for sound alone; then the length is the model's own unless a slot is forced.
        language: `en` or `pl`.

    Raises:
        ValueError: the times are not 0 <= start < end.
    """

    id: str
    character: str
    text: str
    start: Seconds
    end: Seconds
    picture: Path | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"line {self.id}: expected 0 <= start < end, got {self.start} and {self.end}")


@dataclass(frozen=True, slots=True)
class Acting:
    """What a voice director asks of a line, beyond what its picture and words show. The default asks for nothing.

    Attributes:
        emotion: a name of the checkpoint's taxonomy that stands in for what picture and words show, or None.
        weight: how much of that emotion, 0 to 1; the rest is neutral.
        like: a recording that sounds as the line should feel; not together with `emotion`.
        strength: the dial: 0 speaks neutrally, 1 as felt, above that more than was felt.
        pin: ids of library clips that are always among the references.
        ban: ids of library clips that never are.
        slot: `mouth` lets the visible mouth set when speech sounds, `cue` the script's times.

    Raises:
        ValueError: a number is out of range, both an emotion and a recording are given, or a clip is pinned and banned.
    """

    emotion: str | None = None
    weight: float = 1.0
    like: Path | None = None
    strength: float = 1.0
    pin: tuple[str, ...] = ()
    ban: tuple[str, ...] = ()
    slot: SlotChoice = "mouth"

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"expected the share of an emotion from 0 to 1, got {self.weight:g}")
        if not 0 <= self.strength <= MOST_STRENGTH:
            raise ValueError(f"expected an emotion strength from 0 to {MOST_STRENGTH:g}, got {self.strength:g}")
        if self.emotion is not None and self.like is not None:
            raise ValueError(f"expected an emotion or a recording to feel like, got {self.emotion} and {self.like}")
        if both := sorted(set(self.pin) & set(self.ban)):
            raise ValueError(f"expected a clip to be pinned or banned, got {', '.join(both)} in both")


MOST_STRENGTH = 2.0
"""Beyond twice what was felt a voice breaks."""


@dataclass(frozen=True, slots=True)
class Slot:
    """When speech should sound, in seconds of the picture, and what decided so.

    Attributes:
        source: `cue`: the cue itself; `mouth`: the visible mouth's motion inside the cue; `oracle`: a recording's
            length, research only; `free`: no picture, the model's own rate.
    """

    start: Seconds
    end: Seconds
    source: SlotSource

    @property
    def duration(self) -> Seconds:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Voice:
    """A character's voice, taken from a prompt.

    Attributes:
        name: the character.
        mel: log mel of the prompt, (F, R).
        speaker: unit speaker vector, (C,).
        prompt: hash of the prompt's samples, for resuming.
        notes: what was done to the prompt, in words.
    """

    name: str
    mel: npt.NDArray[np.float32]
    speaker: npt.NDArray[np.float32]
    prompt: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the symbols fell.

    Attributes:
        names: symbols as phones.
        ends: seconds from the take's start at which each symbol ends.
        rate: speed it was spoken at relative to the model's own; above one is faster.
        needed: seconds the line would take at the model's own rate.
        verdict: `""` when the slot is filled; else one line such as `needs 3.1 s, slot 2.0 s`, at the allowed rate that
            comes nearest.
    """

    names: tuple[str, ...]
    ends: tuple[Seconds, ...]
    rate: float
    needed: Seconds
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Take:
    """What was said, when, and from what.

    Attributes:
        wave: samples at `sample_rate`, (S,); begins at `slot.start`.
        mel: log mel, (F, T).
        hits: per query modality, the clips that drove it, best first.
        captions: words about the line's own picture.
        lips: mouth opening per video frame as (seconds in the picture, opening in [0, 1]); empty when off-screen.
        emotion: share per emotion that it was spoken with, as asked or else as judged, before its strength.
        own: modalities of the line itself that were there to ask with.
        provenance: checkpoint, library version, spaces, licences; whatever made the take.
        seconds: wall time per stage, such as `{"retrieval": 0.004, "mel": 0.05, "vocoder": 0.03}`.
    """

    line: Line
    slot: Slot
    wave: npt.NDArray[np.float32]
    sample_rate: int
    mel: npt.NDArray[np.float32]
    timing: Timing
    hits: Mapping[Modality, tuple[Hit, ...]]
    captions: Mapping[str, str]
    lips: tuple[tuple[Seconds, float], ...]
    emotion: Mapping[str, float]
    own: tuple[Modality, ...]
    seed: int
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
