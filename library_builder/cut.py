"""Footage without a cue sheet, cut into stretches at its shots and at the pauses of its sound.

A shot change is a jump of the colour histogram that stands out from its neighbourhood, so that a waving flag, or
drawings that change on every second frame, are not cut to pieces. Dissolves and slow fades are not found. Inside a
shot, stretches end in pauses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .media import MediaError, probe, read_frames, read_wave
from .types import Hertz, Seconds

Span = tuple[Seconds, Seconds]
Values = npt.NDArray[np.float64]

LOOK_HEIGHT = 72
"""Pixels: a histogram needs no more, and decoding dominates the cost."""

HUES, SATURATIONS, LIGHTNESSES = 12, 3, 8
GREY = 0.1
"""Below this chroma the hue of a pixel is noise; all such pixels share one hue."""

SOUND_RATE: Hertz = 8000
LEVEL_HOP: Seconds = 0.02
BLOCK: Seconds = 60.0
"""Sound is measured in blocks of this length, so that a long film needs little memory."""

SILENCE_DB = -70.0
"""Digital silence and worse count as this level."""


@dataclass(frozen=True, slots=True)
class CutConfig:
    """How footage is cut.

    Attributes:
        min_seconds: shorter stretches join a neighbour of their shot; a shot shorter than this is left out.
        max_seconds: longer stretches are split where their sound is quietest.
        shot_distance: least histogram distance at a shot change, in [0, 1]: the share of the picture that changed.
        shot_ratio: how often the distance must exceed those around it.
        neighbourhood: pictures looked at before and after a change.
        pause_seconds: shortest pause that ends a stretch.
        pause_share: a pause lies below this share of the way from the quiet to the loud level, in decibels.
        pause_range: decibels between quiet and loud below which the sound has no pauses: steady noise, or music.

    Raises:
        ValueError: lengths are not 0 < min, 2 min <= max, or a share is outside [0, 1].
    """

    min_seconds: Seconds = 1.0
    max_seconds: Seconds = 8.0
    shot_distance: float = 0.25
    shot_ratio: float = 1.8
    neighbourhood: int = 8
    pause_seconds: Seconds = 0.3
    pause_share: float = 0.35
    pause_range: float = 12.0

    def __post_init__(self) -> None:
        # Twice, because a stretch just above the maximum must split into two that reach the minimum.
        if not 0 < 2 * self.min_seconds <= self.max_seconds < math.inf:
            raise ValueError(f"expected 0 < 2 min <= max seconds, got {self.min_seconds} and {self.max_seconds}")
        if not (0 <= self.shot_distance <= 1 and 0 <= self.pause_share <= 1):
            raise ValueError(f"expected shares in [0, 1], got {self.shot_distance} and {self.pause_share}")
        if self.neighbourhood < 1 or self.pause_seconds <= 0:
            raise ValueError("expected a neighbourhood of at least one picture and a positive pause")


def cut(path: Path, config: CutConfig | None = None) -> list[Span]:
    """Stretches of footage in order, none across a shot change, each from `min_seconds` to `max_seconds` long.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it is unreadable, truncated, or has no pictures.
    """
    config = config or CutConfig()
    info = probe(path)
    if not info.has_video:
        raise MediaError(f"{path}: expected pictures, found no video stream")
    levels = sound_levels(path, info.duration) if info.has_audio else np.zeros(0)
    pauses = find_pauses(levels, config)
    stretches: list[Span] = []
    for start, end in find_shots(path, config):
        inner = [(a + b) / 2 for a, b in pauses if start < (a + b) / 2 < end]
        for piece in _joined([start, *inner, end], config.min_seconds):
            stretches += _split(piece, levels, config)
    return [(float(start), float(end)) for start, end in stretches if end - start >= config.min_seconds]


def find_shots(path: Path, config: CutConfig) -> list[Span]:
    """Shots from the first picture to the end of the last, without gaps.

    Raises:
        FileNotFoundError, MediaError: as `cut`.
    """
    times: list[Seconds] = []
    distances: list[float] = []
    before: Values | None = None
    for frame in read_frames(path, max_height=LOOK_HEIGHT):
        histogram = colour_histogram(frame.image)
        distances.append(0.0 if before is None else float(np.abs(histogram - before).sum()) / 2)
        times.append(frame.time)
        before = histogram
    if len(times) < 2:
        return []
    changes = [times[i] for i in _jumps(np.array(distances), config)]
    end = times[-1] + float(np.median(np.diff(times)))
    bounds = [times[0], *changes, end]
    return list(pairwise(bounds))


def _jumps(distances: Values, config: CutConfig) -> list[int]:
    """Pictures that open a shot: their distance is large, stands out, and is the largest next to it."""
    found = []
    for i in range(1, len(distances)):
        if distances[i] < config.shot_distance:
            continue
        lowest = max(1, i - config.neighbourhood)
        around = np.concatenate([distances[lowest:i], distances[i + 1 : i + 1 + config.neighbourhood]])
        # The upper quartile: the median is zero where drawings are held for two frames or more, and the maximum
        # would hide one of two changes close together.
        usual = float(np.percentile(around, 75)) if around.size else 0.0
        beside = distances[max(1, i - 1) : i + 2]
        if distances[i] >= config.shot_ratio * usual and distances[i] >= beside.max():
            found.append(i)
    return found


def colour_histogram(image: npt.NDArray[np.uint8]) -> Values:
    """Share of pixels per cell of hue, saturation and lightness (value), in each quarter of the picture.

    Quarters, because a face after a sky of the same colours is still another shot.

    Shape:
        (H, W, 3) -> (4 * HUES * SATURATIONS * LIGHTNESSES,), sum one.
    """
    height, width = image.shape[0] // 2, image.shape[1] // 2
    quarters = (image[:height, :width], image[:height, width:], image[height:, :width], image[height:, width:])
    return np.concatenate([_histogram(quarter) for quarter in quarters]) / len(quarters)


def _histogram(image: npt.NDArray[np.uint8]) -> Values:
    red, green, blue = np.moveaxis(image.astype(np.float32) / 255, -1, 0)
    high, low = image.max(axis=2) / np.float32(255), image.min(axis=2) / np.float32(255)
    chroma = high - low
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.select(
        [high == red, high == green],
        [((green - blue) / safe) % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    hue_cell = np.where(chroma < GREY, 0, np.minimum(hue / 6 * HUES, HUES - 1)).astype(np.int64)
    saturation = np.where(chroma < GREY, 0, chroma / np.where(high > 0, high, 1))
    saturation_cell = np.minimum(saturation * SATURATIONS, SATURATIONS - 1).astype(np.int64)
    # The root spreads the dark end: two night scenes differ there, and only there. A pixel is shared between the two
    # nearest cells, so that a slow fade does not jump when it crosses an edge.
    lightness = np.sqrt(high) * (LIGHTNESSES - 1)
    light_cell = np.minimum(lightness.astype(np.int64), LIGHTNESSES - 2)
    upper = (lightness - light_cell).ravel()
    cells = ((hue_cell * SATURATIONS + saturation_cell) * LIGHTNESSES + light_cell).ravel()
    size = HUES * SATURATIONS * LIGHTNESSES
    counts = np.bincount(cells, 1 - upper, size) + np.bincount(cells + 1, upper, size)
    return counts / cells.size


def sound_levels(path: Path, duration: Seconds) -> Values:
    """Decibels below full scale of each `LEVEL_HOP` of the sound."""
    hop = round(LEVEL_HOP * SOUND_RATE)
    levels = []
    for number in range(math.ceil(duration / BLOCK)):
        wave = read_wave(path, sample_rate=SOUND_RATE, start=number * BLOCK, end=(number + 1) * BLOCK)
        power = np.square(wave[: len(wave) // hop * hop].astype(np.float64)).reshape(-1, hop).mean(axis=1)
        levels.append(10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10))))
    return np.concatenate(levels) if levels else np.zeros(0)


def find_pauses(levels: Values, config: CutConfig) -> list[Span]:
    """Spans of quiet, in seconds; none in sound that is about equally loud throughout."""
    if not levels.size:
        return []
    quiet, loud = np.percentile(levels, (5, 95))
    if loud - quiet < config.pause_range:
        return []
    silent = levels < quiet + config.pause_share * (loud - quiet)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    spans = [(a * LEVEL_HOP, b * LEVEL_HOP) for a, b in edges.reshape(-1, 2)]
    return [(a, b) for a, b in spans if b - a >= config.pause_seconds]


def _joined(bounds: list[Seconds], least: Seconds) -> list[Span]:
    """Neighbouring bounds as spans; one too short joins the shorter of its neighbours."""
    bounds = list(bounds)
    while len(bounds) > 2:
        lengths = np.diff(bounds)
        short = int(np.argmin(lengths))
        if lengths[short] >= least:
            break
        left = lengths[short - 1] if short > 0 else math.inf
        right = lengths[short + 1] if short + 1 < len(lengths) else math.inf
        del bounds[short if left <= right else short + 1]
    return list(pairwise(bounds))


def _split(span: Span, levels: Values, config: CutConfig) -> list[Span]:
    """A span in parts of at most `max_seconds`, each split at the quietest place of its middle third."""
    start, end = span
    length = end - start
    if length <= config.max_seconds:
        return [span]
    margin = max(length / 3, config.min_seconds)
    first, last = (round(time / LEVEL_HOP) for time in (start + margin, end - margin))
    middle = levels[first : last + 1]
    at = (first + int(np.argmin(middle))) * LEVEL_HOP if middle.size and np.ptp(middle) > 0 else (start + end) / 2
    # Rounding to a hop may step over the margin by half of one.
    at = min(max(at, start + config.min_seconds), end - config.min_seconds)
    return _split((start, at), levels, config) + _split((at, end), levels, config)
