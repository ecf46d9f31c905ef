"""A line of dialogue as a cue, the sheet it stands on, and the ways its times are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .types import Seconds

DROP_FRAME = {30: 2, 60: 4}
"""Frame numbers that drop-frame timecode skips at each minute but the tenth, by nominal rate (SMPTE 12M)."""


class CueError(ValueError):
    """A cue sheet that cannot be used at all."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One line of dialogue.

    Attributes:
        start, end: seconds in the footage.
        character: who speaks; `""` when unknown.
        text: what is said.
        emotion: the label a corpus gives; it is reported and never shown to an extractor. In a script that is to be
            spoken it is asked of the line.
        audio: a sound file of its own, as a path from the footage's folder, instead of the footage's sound.
        film: the film the row belongs to, where a sheet covers several.
        emotion_from, strength, pin, ban, slot: what a script asks of the line besides, as written; None for nothing.
    """

    start: Seconds
    end: Seconds
    character: str
    text: str
    emotion: str | None = None
    audio: str | None = None
    film: str | None = None
    emotion_from: str | None = None
    strength: str | None = None
    pin: str | None = None
    ban: str | None = None
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class CueSheet:
    """The cues of one file in its order, and what was wrong with the rows left out, as `line 12: ...`."""

    cues: tuple[Cue, ...]
    problems: tuple[str, ...] = ()


def parse_time(text: str, *, fps: float | None = None) -> Seconds:
    """Seconds of `12.5`, `01:02.5`, `00:01:02,500`, or with `fps` the timecodes `00:01:02:12` and, drop-frame, `;12`.

    A timecode counts frames at the nominal rate: at 23.976 frames per second its second lasts 1.001 s.

    Raises:
        ValueError: it is none of these, minutes or seconds reach 60, or frames come without a rate or beyond it.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(?:[.,]\d+)?", text, re.ASCII):
        return float(text.replace(",", "."))
    clock = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)", text, re.ASCII)
    if clock:
        hours, minutes, seconds = int(clock[1] or 0), int(clock[2]), float(clock[3].replace(",", "."))
        if minutes >= 60 or seconds >= 60:
            raise ValueError(f"expected minutes and seconds below 60, got {text!r}")
        return hours * 3600 + minutes * 60 + seconds
    code = re.fullmatch(r"(\d+):(\d{1,2}):(\d{1,2})([:;])(\d{1,3})", text, re.ASCII)
    if code is None:
        raise ValueError(f"expected a time such as 62.5, 00:01:02,500 or 00:01:02:12, got {text!r}")
    if fps is None or fps <= 0:
        raise ValueError(f"timecode {text!r} counts frames, so it needs the footage's frames per second")
    return _timecode(code, fps)


def _timecode(code: re.Match[str], fps: float) -> Seconds:
    hours, minutes, seconds, frames = (int(code[group]) for group in (1, 2, 3, 5))
    drop = code[4] == ";"
    nominal = round(fps)
    if minutes >= 60 or seconds >= 60 or frames >= nominal:
        raise ValueError(f"expected minutes and seconds below 60 and frames below {nominal}, got {frames} frames")
    count = ((hours * 60 + minutes) * 60 + seconds) * nominal + frames
    if drop:
        if nominal not in DROP_FRAME:
            raise ValueError(f"drop-frame timecode is written at 29.97 or 59.94 frames per second, got {fps:g}")
        whole_minutes = hours * 60 + minutes
        count -= DROP_FRAME[nominal] * (whole_minutes - whole_minutes // 10)
    return count / fps


def check_span(start: Seconds, end: Seconds) -> None:
    """Refuses a cue that ends before it begins.

    Raises:
        ValueError: not start < end.
    """
    if not start < end:
        raise ValueError(f"expected start < end, got {start:g} and {end:g} s")
