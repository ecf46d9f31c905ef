"""Silence at the ends of a recording, and its level: the same for training recordings and for prompts."""

from __future__ import annotations

import librosa
import numpy as np
import numpy.typing as npt

TRIM_DB = 38.0
"""Ends this far below the loudest frame are silence. Acted corpora carry a second of it on each side."""
MARGIN_SECONDS = 0.06
"""Kept on each side, so that a closure before a plosive is not cut."""
TARGET_DBFS = -24.0
"""Level of a speaker's median utterance. One gain per speaker: what loudness says of emotion stays."""


def trimmed_span(wave: npt.NDArray[np.float32], sample_rate: int) -> tuple[int, int]:
    """First and one-past-last sample of the sounding part, margins included."""
    _, (first, last) = librosa.effects.trim(wave, top_db=TRIM_DB, frame_length=1024, hop_length=256)
    margin = round(MARGIN_SECONDS * sample_rate)
    return max(0, int(first) - margin), min(len(wave), int(last) + margin)


def level_dbfs(wave: npt.NDArray[np.float32]) -> float:
    """Root mean square over the whole wave, decibels below full scale."""
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12))
