"""Subtitle files as cues: SubRip, WebVTT, Advanced SubStation Alpha."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .cue import Cue, CueError, CueSheet, check_span, parse_time
from .types import Seconds

ARROW = re.compile(r"^\s*(?P<start>\S+)\s*-->\s*(?P<end>\S+)(?:\s.*)?$")
MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")
"""`<i>`, `<c.loud>`, karaoke times, and the `{\\an8}` that travels from ASS into SubRip."""

VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t\n]+([^>]+)>")
NAMED = re.compile(r"^(?P<name>[^\W\d_][\w .'’\-&]{0,39}):\s+(?P<text>\S.*)$", re.DOTALL)

DRAWING = re.compile(r"\{[^{}]*\\p[1-9][^{}]*\}.*?(?:\{[^{}]*\\p0[^{}]*\}|$)")
"""ASS vector drawings, which are coordinates and no words."""

ASS_FORMAT = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
"""The columns when a file does not list them."""


def read_srt(text: str) -> CueSheet:
    """SubRip. `NAME: text` gives the character when the name is in capitals."""
    return _read_blocks(text, lambda start, end, words: [_named(start, end, _plain(words))])


def read_vtt(text: str, path: Path) -> CueSheet:
    """WebVTT. `<v Name>` gives the character; a cue of several voices becomes one cue each, at the same time.

    Raises:
        CueError: the first line is not `WEBVTT`.
    """
    if not re.match(r"WEBVTT(?:[ \t\n]|$)", text):
        raise CueError(f"{path}: expected the first line WEBVTT, got {text.splitlines()[0][:40] if text else ''!r}")
    return _read_blocks(text, _voices)


def _read_blocks(text: str, cues_of: Callable[[Seconds, Seconds, str], list[Cue]]) -> CueSheet:
    """Blocks between blank lines; the line with `-->` starts a cue, what stands before it is a number or a comment."""
    cues: list[Cue] = []
    problems: list[str] = []
    for first, block in _blocks(text):
        arrow = next((i for i, line in enumerate(block) if "-->" in line), None)
        if arrow is None:
            # Comments and styles of WebVTT, and a stray number, are no cues; anything else is a cue without a time.
            if not re.match(r"(WEBVTT|NOTE|STYLE|REGION)\b|\d+\s*$", block[0]):
                problems.append(f"line {first}: expected 'start --> end', got {block[0][:40]!r}")
            continue
        try:
            times = ARROW.match(block[arrow])
            if times is None:
                raise ValueError(f"expected 'start --> end', got {block[arrow][:60]!r}")
            start, end = parse_time(times["start"]), parse_time(times["end"])
            check_span(start, end)
            found = [cue for cue in cues_of(start, end, "\n".join(block[arrow + 1 :])) if cue.text]
            if not found:
                raise ValueError("expected words, got none")
        except ValueError as error:
            problems.append(f"line {first + arrow}: {error}")
            continue
        cues += found
    return CueSheet(tuple(cues), tuple(problems))


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Runs of non-blank lines, with the number of their first line. A second `-->` also starts a block anew, because
    a forgotten blank line must not swallow the next cue.
    """
    block: list[str] = []
    first = 1
    timed = False
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if "-->" in line and timed:
            # The number above belongs to the new cue.
            carried = [block.pop()] if block[-1].strip().isdigit() else []
            yield first, block
            block, first = [*carried, line], number - len(carried)
        elif line.strip():
            first = first if block else number
            block.append(line)
            timed = timed or "-->" in line
        elif block:
            yield first, block
            block, timed = [], False


def _plain(words: str) -> str:
    """Words without markup, on one line, dialogue dashes dropped."""
    lines = (re.sub(r"^\s*[-–—]\s*", "", line) for line in MARKUP.sub("", words).split("\n"))
    return " ".join(" ".join(lines).split())


def _named(start: Seconds, end: Seconds, words: str) -> Cue:
    named = NAMED.match(words)
    if named and named["name"].isupper():
        return Cue(start, end, named["name"].strip(), named["text"])
    return Cue(start, end, "", words)


def _voices(start: Seconds, end: Seconds, words: str) -> list[Cue]:
    parts = VOICE.split(words)  # what precedes the first voice, then name and words in turn
    before = html.unescape(_plain(parts[0]))
    cues = [_named(start, end, before)] if before else []
    for name, said in zip(parts[1::2], parts[2::2], strict=True):
        cues.append(Cue(start, end, html.unescape(" ".join(name.split())), html.unescape(_plain(said))))
    return cues


def read_ass(text: str) -> CueSheet:
    """Advanced SubStation Alpha and its elder SSA: `Dialogue` lines of `[Events]`, the character from `Name`."""
    cues: list[Cue] = []
    problems: list[str] = []
    columns: tuple[str, ...] = ASS_FORMAT
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("["):
            inside = line.strip().lower() == "[events]"
        kind, _, rest = line.partition(":")
        if not inside or kind.strip().lower() not in {"format", "dialogue"}:
            continue
        if kind.strip().lower() == "format":
            columns = tuple(column.strip().lower() for column in rest.split(","))
            continue
        try:
            cue = _dialogue(rest, columns)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if cue is not None:
            cues.append(cue)
    return CueSheet(tuple(cues), tuple(problems))


def _dialogue(rest: str, columns: tuple[str, ...]) -> Cue | None:
    """The cue of one `Dialogue` line; `None` for a drawing."""
    values = rest.strip().split(",", len(columns) - 1)  # the text comes last and may hold commas
    row = dict(zip(columns, values, strict=False))
    missing = [name for name in ("start", "end", "text") if name not in row]
    if missing:
        raise ValueError(f"expected the columns {', '.join(columns)}, got no {missing[0]}")
    start, end = parse_time(row["start"]), parse_time(row["end"])
    check_span(start, end)
    spoken = DRAWING.sub("", row["text"])
    spoken = re.sub(r"\{[^{}]*\}", "", spoken)
    spoken = _plain(re.sub(r"\\[Nnh]", " ", spoken))
    if not spoken:
        if DRAWING.search(row["text"]):
            return None
        raise ValueError("expected words, got none")
    # SSA calls the column Name and so does ASS; Aegisub shows it as Actor and some tools write that.
    character = row.get("name", row.get("actor", "")).strip()
    return Cue(start, end, character, spoken)
