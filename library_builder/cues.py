"""Who says what, when: cue sheets of every kind read into one form, and the sheet that lies beside a piece of footage.

Rows that cannot be understood are reported with their line, and the others kept: a sheet of a thousand lines is not
lost for one slip of the pen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import subtitles, tables
from .cue import Cue, CueError, CueSheet, parse_time

__all__ = ["CUE_SUFFIXES", "Cue", "CueError", "CueSheet", "find_cues", "parse_time", "read_cues"]

CUE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".csv", ".tsv", ".align")
"""Formats that are read, in the order in which `find_cues` prefers them."""


def read_cues(
    path: Path, *, fps: float | None = None, speaker: str = "", check: Callable[[Cue], object] | None = None
) -> CueSheet:
    """Reads SubRip, WebVTT, Advanced SubStation, CSV or TSV, or a GRID alignment, told apart by the suffix.

    Args:
        fps: frames per second of the footage, for times written as `HH:MM:SS:FF`.
        speaker: the character where a file names none.
        check: looks at each row of a table; where it raises a ValueError, the row is left out with that problem.

    Raises:
        FileNotFoundError: there is no such file.
        CueError: the format is unknown, the text is not UTF-8, or no cue is usable.
    """
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
            sheet = tables.read_table(text, path, fps=fps, check=check)
    if not sheet.cues:
        why = f"; {sheet.problems[0]}" if sheet.problems else ""
        raise CueError(f"{path}: expected at least one usable cue, found none{why}")
    named = (cue if cue.character or not speaker else replace(cue, character=speaker) for cue in sheet.cues)
    return CueSheet(tuple(named), sheet.problems)


def find_cues(footage: Path) -> Path | None:
    """The cue sheet of a piece of footage: same stem, beside it, or in a folder `align` beside it or its folder.

    The last is how the GRID corpus lies on disk: `video/x.mpg` and `align/x.align`.
    """
    footage = Path(footage)
    beside = [footage.with_name(footage.stem + suffix) for suffix in CUE_SUFFIXES]
    aligned = [folder / "align" / f"{footage.stem}.align" for folder in (footage.parent, footage.parent.parent)]
    return next((path for path in beside + aligned if path.is_file()), None)


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
