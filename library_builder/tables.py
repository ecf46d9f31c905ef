"""Tables as cues: CSV and TSV sheets with a header, and the word alignments of the GRID corpus."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from .cue import Cue, CueError, CueSheet, check_span, parse_time
from .manifest import check_relative

REQUIRED = ("start", "end", "character", "text")
OPTIONAL = ("emotion", "audio", "film", "emotion_from", "strength", "pin", "ban", "slot")

GRID_TICKS = 25_000
"""Alignments count 1/25000 s: a thousand ticks are one frame of the corpus's 25."""

GRID_PAUSES = {"sil", "sp"}


def read_table(text: str, path: Path, *, fps: float | None, check: Callable[[Cue], object] | None = None) -> CueSheet:
    """CSV (commas or semicolons) or TSV. The header names the columns, in any order; further ones are ignored.

    Args:
        check: as in `cues.read_cues`.

    Raises:
        CueError: the header lacks a required column.
    """
    header, _, _ = text.partition("\n")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;", key=header.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    cues: list[Cue] = []
    problems: list[str] = []
    columns: list[str] = []
    while True:
        line = rows.line_num + 1  # where the row starts: a quoted text may run over several lines
        try:
            values = next(rows, None)
            if values is None:
                break
            if not columns:
                columns = _columns(values, path)
            elif any(value.strip() for value in values):
                cue = _row(columns, values, fps)
                if check is not None:
                    check(cue)
                cues.append(cue)
        except CueError:
            raise
        except (ValueError, csv.Error) as error:
            problems.append(f"line {line}: {error}")
    return CueSheet(tuple(cues), tuple(problems))


def _columns(values: list[str], path: Path) -> list[str]:
    columns = [value.strip().lower() for value in values]
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        expected = f"{', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        raise CueError(f"{path}: expected a header with {expected}; got no {', '.join(missing)}")
    return columns


def _row(columns: list[str], values: list[str], fps: float | None) -> Cue:
    if len(values) != len(columns):
        raise ValueError(f"expected {len(columns)} columns, got {len(values)}")
    row: Mapping[str, str] = {name: value.strip() for name, value in zip(columns, values, strict=True)}
    start, end = parse_time(row["start"], fps=fps), parse_time(row["end"], fps=fps)
    check_span(start, end)
    audio = row.get("audio") or None
    return Cue(
        start=start,
        end=end,
        character=row["character"],
        text=" ".join(row["text"].split()),
        emotion=row.get("emotion") or None,
        audio=None if audio is None else check_relative(audio.replace("\\", "/")),
        film=row.get("film") or None,
        emotion_from=row.get("emotion_from") or None,
        strength=row.get("strength") or None,
        pin=row.get("pin") or None,
        ban=row.get("ban") or None,
        slot=row.get("slot") or None,
    )


def read_align(text: str) -> CueSheet:
    """One cue from the first to the last word of a GRID alignment; its pauses belong to nobody."""
    problems: list[str] = []
    words: list[tuple[float, float, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            problems.append(f"line {number}: expected 'start end word' in 1/25000 s, got {line.strip()[:40]!r}")
        elif int(parts[0]) >= int(parts[1]):
            problems.append(f"line {number}: expected start < end, got {parts[0]} and {parts[1]}")
        elif parts[2].lower() not in GRID_PAUSES:
            words.append((int(parts[0]) / GRID_TICKS, int(parts[1]) / GRID_TICKS, parts[2]))
    if not words:
        return CueSheet((), tuple(problems))
    start, end = min(word[0] for word in words), max(word[1] for word in words)
    return CueSheet((Cue(start, end, "", " ".join(word[2] for word in words)),), tuple(problems))
