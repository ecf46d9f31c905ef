"""Do subtitles belong to this print of a film, or to one that runs faster or slower?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .cue import Cue, CueError
from .media import MediaError, probe, read_wave
from .types import Seconds

logger = logging.getLogger(__name__)

RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0)
"""Frames per second that films and subtitles are made for."""
ENVELOPE_RATE = 20
"""Per second, of sound's level, against which subtitles are laid."""
CLEARLY = 0.1
"""By so much better must other times fit the sound before a film's subtitles are called wrong."""
ALIKE, OWN_RATE = 0.02, 0.01
"""Agreements that cannot be told apart, as those for 24 and 23.976 frames a second in a short film; and how near a
film's own frame rate, which is named rather than another, has to be."""
SUBTITLES = frozenset({".srt", ".vtt", ".ass", ".ssa"})
"""Sheets that come from elsewhere, made for a print of the film that may run at another rate."""
TELLING = 30
"""Subtitles; fewer agree with the sound of a film by chance."""
LATE: Seconds = 5
"""After a film's end a title may be shown so long; a whole line may not."""
HEARD, STRETCH = 8_000, 300
"""Hertz at which sound is heard for that, and seconds of it held at a time."""


def check_rate(spans: Sequence[tuple[Seconds, Seconds]], media: Path, subtitles: Path) -> None:
    """Refuse subtitles that were made for a print that runs faster or slower than this film.

    Their times are stretched by every ratio of two frame rates in turn, and laid over the level of the sound: speech is
    where it is loud. Other times have to fit clearly better before the subtitles are called wrong.

    Args:
        spans: start and end of every subtitle, in seconds.
        subtitles: their file, for errors.

    Raises:
        CueError: they were; the line names both frame rates.
        library_builder.media.MediaError: the film cannot be read.
    """
    shown = np.array(spans, dtype=np.float64)
    info = probe(media)
    level = film_level(media, info.duration, media.stat().st_mtime_ns) if info.has_audio else np.zeros(0)
    ratios = {made / runs: (made, runs) for made in RATES for runs in RATES if 0.9 < made / runs < 1.1 and made != runs}
    fits = {ratio: agreement(shown * ratio, level) for ratio in (1.0, *ratios)}
    best = max(fits, key=lambda ratio: fits[ratio])
    if best == 1.0 or fits[best] - fits[1.0] < CLEARLY:
        return
    near = [ratio for ratio in ratios if fits[best] - fits[ratio] < ALIKE]
    own = [ratio for ratio in near if abs(ratios[ratio][1] - (info.fps or 0)) < OWN_RATE]
    told = max(own or near, key=lambda ratio: fits[ratio])
    made, runs = ratios[told]
    raise CueError(
        f"{subtitles}: expected this film's times, got such as a print at {made:.3f} frames a second has beside one at "
        f"{runs:.3f}: {told:.4f} times as late they agree with its sound by {fits[told]:.2f}, as they are by "
        f"{fits[1.0]:.2f}; stretch them"
    )


def check_edition(sheet: Path, cues: Sequence[Cue], video: Path) -> None:
    """`check_rate` where it can tell: of subtitles, where there are enough; tables are their makers' own.

    Raises:
        CueError: as `check_rate`.
    """
    if sheet.suffix.lower() not in SUBTITLES or len(cues) < TELLING:
        return
    try:
        check_rate([(cue.start, cue.end) for cue in cues], video, sheet)
    except MediaError as error:  # whoever works with the video says so
        logger.info("%s", error)


def check_end(spans: Sequence[tuple[Seconds, Seconds]], media: Path, subtitles: Path) -> None:
    """Refuse subtitles that go on well after the film has ended.

    Args:
        spans, subtitles: as for `check_rate`.

    Raises:
        CueError: they do.
        library_builder.media.MediaError: the film cannot be read.
    """
    length, last = probe(media).duration, max(end for _, end in spans)
    if last > length + LATE:
        raise CueError(
            f"{subtitles}: expected subtitles within {length:.1f} s, the last ends at {last:.1f} s: ratio "
            f"{last / length:.4f}, another edition or frame rate"
        )


@lru_cache(maxsize=1)
def film_level(media: Path, seconds: Seconds, changed: int) -> npt.NDArray[np.float64]:
    """Level of a film's sound, see `loudness`; read a stretch at a time, since a film's samples are many.

    A script is checked before models are loaded and again when work is planned: the last film's level is kept.

    Args:
        changed: when the file was, so that another film of the same name is read anew.
    """
    starts = np.arange(0, seconds, STRETCH)
    return np.concatenate(
        [loudness(read_wave(media, sample_rate=HEARD, start=float(t), end=float(t + STRETCH))) for t in starts]
    )


def loudness(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Level of a wave, in decibels, `ENVELOPE_RATE` times a second: (S,) -> (T,)."""
    step = HEARD // ENVELOPE_RATE
    frames = wave[: len(wave) // step * step].astype(np.float64).reshape(-1, step)
    return 10 * np.log10(np.square(frames).mean(axis=1) + 1e-8)


def agreement(spans: npt.NDArray[np.float64], level: npt.NDArray[np.float64]) -> float:
    """Correlation of sound's level with whether a subtitle is shown; 0 where either never changes.

    Shape:
        (N, 2) seconds, (T,) -> a number in [-1, 1].
    """
    shown = np.zeros(len(level))
    for start, end in np.round(spans * ENVELOPE_RATE).astype(int):
        shown[start:end] = 1
    if not len(level) or shown.std() == 0 or level.std() == 0:
        return 0.0
    return float(np.corrcoef(shown, level)[0, 1])
