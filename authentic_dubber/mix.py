"""Lines on a timeline, over the film's own sound or without it. Arrays in, arrays out; nothing is read or written.

Levels are dBFS of the root mean square, full scale at one. All waves are mono.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from library_builder.types import Hertz, Seconds

Wave = npt.NDArray[np.float32]

LINE_LEVEL = -23.0
"""dBFS that a line's speech is brought to, pauses left out. Near the programme loudness of European broadcasts."""
DUCK = -12.0
"""dB by which a ducked bed is lowered while a line is on."""
RAMP: Seconds = 0.08
"""A ducked bed goes down just before a line and comes up just after it, in this time."""
CEILING = -1.0
"""dBFS that no peak exceeds: lossy codecs overshoot a little, and clip what already fills the scale."""
ACTIVE_RANGE = 30.0
"""dB below a line's loud parts at which speech ends and pause begins."""
SILENCE = -60.0
"""dBFS below which sound counts as silence."""

_FRAME: Seconds = 0.02


class Span(NamedTuple):
    """A stretch of time, in seconds."""

    start: Seconds
    end: Seconds


@dataclass(frozen=True, slots=True)
class Levelled:
    """A line at the stated level.

    Attributes:
        wave: (S,).
        gain: dB that were added.
        notes: why the level was not reached.
    """

    wave: Wave
    gain: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """A line's sound and the second of the picture at which it begins."""

    name: str
    wave: Wave
    start: Seconds


@dataclass(frozen=True, slots=True)
class Mix:
    """A finished track.

    Attributes:
        wave: (S,), exactly as long as was asked for.
        lowered: dB by which the whole was lowered so that it does not clip; 0 when it fitted.
        notes: what had to be done, in words.
    """

    wave: Wave
    lowered: float
    notes: tuple[str, ...]


def decibels(amplitude: float) -> float:
    """An amplitude as dBFS; silence is -120."""
    return float(20 * np.log10(max(amplitude, 1e-6)))


def amplitude(level: float) -> float:
    """dBFS as an amplitude."""
    return float(10 ** (level / 20))


def active_frames(wave: Wave, sample_rate: Hertz) -> npt.NDArray[np.bool_]:
    """Which stretches of 20 ms hold speech: within 30 dB of the loud ones, and not silence.

    Shape:
        (S,) -> (ceil(S / 20 ms),)
    """
    step = max(1, round(_FRAME * sample_rate))
    count = -(-len(wave) // step)
    padded = np.zeros(count * step, dtype=np.float64)
    padded[: len(wave)] = wave
    level = 10 * np.log10(np.mean(padded.reshape(count, step) ** 2, axis=1) + 1e-12)
    if count == 0:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(level > max(float(np.percentile(level, 95)) - ACTIVE_RANGE, SILENCE))


def active_level(wave: Wave, sample_rate: Hertz) -> float | None:
    """dBFS of a line's speech, pauses left out; None when there is none."""
    step = max(1, round(_FRAME * sample_rate))
    active = np.repeat(active_frames(wave, sample_rate), step)[: len(wave)]
    if not active.any():
        return None
    return decibels(float(np.sqrt(np.mean(np.square(wave[active], dtype=np.float64)))))


def active_span(wave: Wave, sample_rate: Hertz) -> Span | None:
    """From the first speech to the last, in seconds of the wave, to 20 ms; None when there is none."""
    active = np.flatnonzero(active_frames(wave, sample_rate))
    if not len(active):
        return None
    step = max(1, round(_FRAME * sample_rate))
    end = min(len(wave), (int(active[-1]) + 1) * step)
    return Span(float(active[0] * step / sample_rate), float(end / sample_rate))


def levelled(wave: Wave, sample_rate: Hertz, level: float = LINE_LEVEL) -> Levelled:
    """A line brought to a level; short of it, with a note, where its peaks would pass the ceiling.

    Shape:
        (S,) -> (S,)
    """
    now = active_level(wave, sample_rate)
    if now is None:
        return Levelled(wave, 0.0, ("the take is silent",))
    room = CEILING - decibels(float(np.abs(wave).max()))
    wanted = level - now
    notes: tuple[str, ...] = ()
    if wanted > room:
        notes = (f"its peaks leave {room:.1f} of {wanted:.1f} dB: it sounds at {now + room:.1f} dBFS, not {level:.0f}",)
    gain = min(wanted, room)
    return Levelled((wave * amplitude(gain)).astype(np.float32), gain, notes)


def place(takes: Sequence[Placed], length: int, sample_rate: Hertz) -> tuple[Wave, tuple[str, ...]]:
    """Lines added up on a timeline of `length` samples; what passes its end is cut, with a note.

    Shape:
        B takes of any length -> (S,), S = length.
    """
    line = np.zeros(length, dtype=np.float32)
    notes = []
    for take in takes:
        first = round(take.start * sample_rate)
        part = take.wave[: max(0, length - first)]
        line[first : first + len(part)] += part
        over = (len(take.wave) - len(part)) / sample_rate
        if over > _FRAME:
            notes.append(f"line {take.name}: its last {over:.2f} s lie past the end of the picture and are cut")
    return line, tuple(notes)


def duck_gain(spans: Sequence[Span], length: int, sample_rate: Hertz) -> Wave:
    """What a bed is multiplied with: lowered inside the spans, untouched a ramp away, straight in dB between.

    Shape:
        -> (S,), S = length.
    """
    level = np.zeros(length, dtype=np.float64)
    ramp = RAMP * sample_rate
    for span in spans:
        start, end = span.start * sample_rate, span.end * sample_rate
        first, last = max(0, int(start - ramp)), min(length, int(end + ramp) + 2)
        inside = np.interp(
            np.arange(first, last), [start - ramp, start, end, end + ramp], [0, DUCK, DUCK, 0], left=0, right=0
        )
        level[first:last] = np.minimum(level[first:last], inside)
    return (10 ** (level / 20)).astype(np.float32)


def mix(
    takes: Sequence[Placed], length: int, sample_rate: Hertz, *, bed: Wave | None = None, duck: bool = False
) -> Mix:
    """Lines over a bed, on a timeline of exactly `length` samples; scaled down as a whole rather than clipped.

    Args:
        bed: the sound under the lines, cut or filled with silence to the length; None for none.
        duck: lower the bed while a line's speech is on.

    Shape:
        -> (S,), S = length.

    Raises:
        ValueError: the length or the rate is not positive.
    """
    if length < 1 or sample_rate < 1:
        raise ValueError(f"expected a positive length and rate, got {length} samples at {sample_rate} Hz")
    track, notes = place(takes, length, sample_rate)
    if bed is not None:
        under = np.zeros(length, dtype=np.float32)
        under[: len(bed)] = bed[:length]
        if duck:
            under *= duck_gain(_spoken(takes, sample_rate), length, sample_rate)
        track = track + under
    peak = float(np.abs(track).max())
    lowered = max(0.0, decibels(peak) - CEILING)
    if lowered > 0:
        track = (track * (amplitude(CEILING) / peak)).astype(np.float32)
        notes += (f"the whole mix is lowered by {lowered:.1f} dB so that its peaks do not clip",)
    return Mix(track, lowered, notes)


def _spoken(takes: Sequence[Placed], sample_rate: Hertz) -> list[Span]:
    spans = [(take.start, active_span(take.wave, sample_rate)) for take in takes]
    return [Span(start + span.start, start + span.end) for start, span in spans if span is not None]
