"""Does the slot that is read from the mouth lie where the speech is, in footage whose speech is known?

    python recipes/mouths.py FOOTAGE... [--around SECONDS] [--limit N] [--json]

Every FOOTAGE is a folder of videos with a cue sheet beside each (`NAME.csv`, as `dub demo` writes them), or GRID clips
with `align/NAME.align`. A cue's times are the speech's. The slot is read as for dubbing, twice: inside the cue, tight
as a subtitle is, where it should be nearly all of it, and with some seconds around it, where it should be found. Told
are the distances of the ends, and how often a slot has less than three quarters of the speech.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.slot import mouth_slot
from library_builder.cue import Cue
from library_builder.cues import read_cues
from library_builder.face import LightFace, track_of
from library_builder.lips import LightLips
from library_builder.media import MediaError, probe, read_frames

SUFFIXES = {".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".avi", ".webm"}
MAX_HEIGHT = 480
"""Pixels that pictures are shrunk to."""
AROUND = 0.25
SHORT = 0.75
"""Share of the speech below which a slot cannot hold its words."""


@dataclass(frozen=True, slots=True)
class Ends:
    """How the slots of one footage lie against its speech.

    Attributes:
        lines: cues read.
        unseen: of these, with no mouth moving through half of what is shown; the cue sets their slot.
        short: with a slot that has less than `SHORT` of the speech.
        onset, offset: medians of the absolute distances, in seconds.
        early, late: tenth percentile of onsets against speech, and ninetieth of offsets.
        overlap: mean intersection over union.
    """

    lines: int
    unseen: int
    short: int
    onset: float
    offset: float
    early: float
    late: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line whose speech is known.

    Attributes:
        cue: its times are the speech's.
        room: from and to which second of the video nothing of the lines beside it is shown.
    """

    video: Path
    cue: Cue
    room: tuple[float, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 when there is nothing to measure."""
    options = _options(argv)
    found = {}
    for folder in options.footage:
        lines = list(_lines(folder))[: options.limit]
        if not lines:
            print(f"{folder}: expected videos with cue sheets (NAME.csv, or align/NAME.align), found none")
            return 2
        found[folder.name] = {
            "tight": measure(lines, 0.0, f"{folder.name}, tight"),
            "around": measure(lines, options.around, f"{folder.name}, around"),
        }
    if options.json:
        print(json.dumps({name: {how: asdict(ends) for how, ends in both.items()} for name, both in found.items()}))
    else:
        print("\n".join(_rows(found, options.around)))
    return 0


def measure(lines: Sequence[Spoken], around: float, what: str) -> Ends:
    """Read the mouth of every cue.

    Args:
        around: seconds shown before and after the cue, as far as there is room.
    """
    slots, unseen = [], 0
    for line in tqdm(lines, desc=what, unit="line"):
        slot = _mouth(line, around)
        if slot is None:
            unseen += 1
        else:
            slots.append((*slot, line.cue.start, line.cue.end))
    if not slots:
        return Ends(len(lines), unseen, 0, *[float("nan")] * 5)
    ends = np.array(slots)
    onset, offset = ends[:, 0] - ends[:, 2], ends[:, 1] - ends[:, 3]
    inside = np.minimum(ends[:, 1], ends[:, 3]) - np.maximum(ends[:, 0], ends[:, 2])
    whole = np.maximum(ends[:, 1], ends[:, 3]) - np.minimum(ends[:, 0], ends[:, 2])
    short = inside < SHORT * (ends[:, 3] - ends[:, 2])

    return Ends(
        lines=len(lines),
        unseen=unseen,
        short=int(short.sum()),
        onset=round(float(np.median(np.abs(onset))), 3),
        offset=round(float(np.median(np.abs(offset))), 3),
        early=round(float(np.percentile(onset, 10)), 3),
        late=round(float(np.percentile(offset, 90)), 3),
        overlap=round(float((np.clip(inside, 0, None) / whole).mean()), 3),
    )


def _mouth(line: Spoken, around: float) -> tuple[float, float] | None:
    start, end = max(line.room[0], line.cue.start - around), min(line.room[1], line.cue.end + around)
    frames = list(read_frames(line.video, start=start, end=end, max_height=MAX_HEIGHT))
    if len(frames) < 2:
        return None
    slot = mouth_slot(LightLips().read(frames, track_of(LightFace(), frames)), start, end)
    return None if slot is None else (slot.start, slot.end)


def _lines(folder: Path) -> Iterator[Spoken]:
    for video in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        sheets = [folder / "align" / f"{video.stem}.align", video.with_suffix(".csv")]
        sheet = next((path for path in sheets if path.is_file()), None)
        if sheet is None:
            continue
        try:
            film = probe(video)
            cues = sorted(read_cues(sheet, fps=film.fps).cues, key=lambda cue: cue.start)
        except (MediaError, ValueError) as error:
            print(f"left out: {video.name}: {error}", file=sys.stderr)
            continue
        # Half-way to its neighbours a line's picture ends.
        borders = [0.0, *((one.end + next.start) / 2 for one, next in pairwise(cues)), film.duration]
        for cue, first, last in zip(cues, borders, borders[1:], strict=False):
            yield Spoken(video, cue, (min(first, cue.start), max(last, cue.end)))


def _rows(found: dict[str, dict[str, Ends]], around: float) -> Iterator[str]:
    names = f"{'shown':>12s} {'lines':>5s} {'no mouth':>8s} {'short':>5s}"
    yield f"{'footage':24s} {names} {'onset off':>12s} {'offset':>6s} IoU"
    for name, both in found.items():
        for how, ends in both.items():
            shown = "the cue" if how == "tight" else f"{around:g} s around"
            yield (
                f"{name:24s} {shown:>12s} {ends.lines:5d} {ends.unseen:8d} {ends.short:5d} "
                f"{ends.onset:10.2f} s {ends.offset:4.2f} s {ends.overlap:.2f}"
            )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("footage", type=Path, nargs="+", help="folders of videos with cue sheets, or GRID clips")
    parser.add_argument("--around", type=float, default=AROUND, help="seconds shown before and after a cue")
    parser.add_argument("--limit", type=int, default=None, help="cues of each footage at most")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
