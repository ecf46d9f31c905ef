"""Who says what, when: cue sheets of every kind read into one form, and the sheet that lies beside a piece of footage.

Rows that cannot be understood are reported with their line, and the others kept: a sheet of a thousand lines is not
lost for one slip of the pen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .types import Seconds

CUE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".csv", ".tsv", ".align")
"""Formats that are read, in the order in which `find_cues` prefers them."""

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
        emotion: the label a corpus gives; it is reported and never shown to an extractor.
        audio: a sound file of its own, as a path from the footage's folder, instead of the footage's sound.
        film: the film the row belongs to, where a sheet covers several.
    """

    start: Seconds
    end: Seconds
    character: str
    text: str
    emotion: str | None = None
    audio: str | None = None
    film: str | None = None


@dataclass(frozen=True, slots=True)
class CueSheet:
    """The cues of one file in its order, and what was wrong with the rows left out, as `line 12: ...`."""

    cues: tuple[Cue, ...]
    problems: tuple[str, ...] = ()


def read_cues(path: Path, *, fps: float | None = None, speaker: str = "") -> CueSheet:
    """Reads SubRip, WebVTT, Advanced SubStation, CSV or TSV, or a GRID alignment, told apart by the suffix.

    Args:
        fps: frames per second of the footage, for times written as `HH:MM:SS:FF`.
        speaker: the character where a file names none.

    Raises:
        FileNotFoundError: there is no such file.
        CueError: the format is unknown, the text is not UTF-8, or no cue is usable.
    """
    from . import subtitles, tables  # they build on this module's cue and times

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a cue sheet, there is none")
    suffix = path.suffix.lower()
    if suffix not in CUE_SUFFIXES:
        raise CueError(f"{path}: expected one of {', '.join(CUE_SUFFIXES)}, got {path.suffix or 'no suffix'!r}")
    text = _text(path)
    match suffix:
        case ".srt":
            sheet = subtitles.read_srt(text)
        case ".vtt":
            sheet = subtitles.read_vtt(text, path)
        case ".ass" | ".ssa":
            sheet = subtitles.read_ass(text)
        case ".align":
            sheet = tables.read_align(text)
        case _:
            sheet = tables.read_table(text, path, fps=fps)
    if not sheet.cues:
        why = f"; {sheet.problems[0]}" if sheet.problems else ""
        raise CueError(f"{path}: expected at least one usable cue, found none{why}")
    named = (cue if cue.character or not speaker else _spoken_by(cue, speaker) for cue in sheet.cues)
    return CueSheet(tuple(named), sheet.problems)


def find_cues(footage: Path) -> Path | None:
    """The cue sheet of a piece of footage: same stem, beside it, or in a folder `align` beside it or its folder.

    The last is how the GRID corpus lies on disk: `video/x.mpg` and `align/x.align`.
    """
    footage = Path(footage)
    beside = [footage.with_name(footage.stem + suffix) for suffix in CUE_SUFFIXES]
    aligned = [folder / "align" / f"{footage.stem}.align" for folder in (footage.parent, footage.parent.parent)]
    return next((path for path in beside + aligned if path.is_file()), None)


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


def _spoken_by(cue: Cue, speaker: str) -> Cue:
    return Cue(cue.start, cue.end, speaker, cue.text, cue.emotion, cue.audio, cue.film)


def _text(path: Path) -> str:
    """The file as text, byte order mark dropped. Guessing an encoding would put wrong letters into someone's mouth."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CueError(
            f"{path}: expected UTF-8, got byte 0x{data[error.start]:02x} on line {line}; save the sheet as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
