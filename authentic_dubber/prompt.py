"""A voice prompt as the model was used to hearing recordings: silence cut, level set, and a note on what was done."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from library_builder.media import MediaInfo

from .levels import TARGET_DBFS, level_dbfs, trimmed_span

LONGEST = 12.0
"""Seconds of a prompt that are listened to."""
QUIET_DBFS, LOUD_DBFS = -40.0, -12.0
"""Levels beyond which a prompt gets a note; inside, recordings usually lie."""
CLIPPED = 0.999
"""Samples at or above this are taken for clipped."""


def heard_prompt(
    wave: npt.NDArray[np.float32], info: MediaInfo, sample_rate: int
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """The sounding part of a prompt at the level of the training recordings, and notes on what was unusual.

    Args:
        wave: the whole prompt, one channel, at `sample_rate`.
        info: of the file it came from.

    Shape:
        (S,) -> (S',).
    """
    notes: list[str] = []
    if info.sample_rate is not None and info.sample_rate != sample_rate:
        limit = ", nothing above half of that can be copied" if info.sample_rate < sample_rate else ""
        notes.append(f"prompt: {info.sample_rate} Hz, resampled to {sample_rate} Hz{limit}")
    if info.channels is not None and info.channels > 1:
        notes.append(f"prompt: {info.channels} channels, their mean is listened to")
    if np.mean(np.abs(wave) >= CLIPPED) > 1e-4:
        notes.append("prompt: clipped, the voice will be rough")
    first, last = trimmed_span(wave, sample_rate)
    kept = wave[first:last]
    if len(wave) - len(kept) > sample_rate:
        notes.append(f"prompt: {(len(wave) - len(kept)) / sample_rate:.1f} s of silence at its ends were cut")
    if len(kept) > LONGEST * sample_rate:
        notes.append(f"prompt: only the first {LONGEST:.0f} s of {len(kept) / sample_rate:.1f} s are listened to")
        kept = kept[: round(LONGEST * sample_rate)]
    level = level_dbfs(kept)
    if not QUIET_DBFS <= level <= LOUD_DBFS:
        notes.append(f"prompt: {'quiet' if level < QUIET_DBFS else 'loud'}, {level:.0f} dBFS")
    return (kept * 10 ** ((TARGET_DBFS - level) / 20)).astype(np.float32), tuple(notes)
