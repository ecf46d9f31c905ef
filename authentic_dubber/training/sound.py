"""First step of preparation: every recording to one rate, silence at its ends cut, levels set per speaker."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.media import read_wave

from .cache import INT16_SCALE, Entry, save_index
from .corpora import CORPORA, Utterance

TRIM_DB = 38.0
"""Ends this far below the loudest frame are silence. Acted corpora carry a second of it on each side."""
MARGIN_SECONDS = 0.06
"""Kept on each side, so that a closure before a plosive is not cut."""
TARGET_DBFS = -24.0
"""Level of a speaker's median utterance. One gain per speaker: what loudness says of emotion stays."""
PEAK_LIMIT = 0.97


def trimmed_span(wave: npt.NDArray[np.float32], sample_rate: int) -> tuple[int, int]:
    """First and one-past-last sample of the sounding part, margins included."""
    _, (first, last) = librosa.effects.trim(wave, top_db=TRIM_DB, frame_length=1024, hop_length=256)
    margin = round(MARGIN_SECONDS * sample_rate)
    return max(0, int(first) - margin), min(len(wave), int(last) + margin)


def level_dbfs(wave: npt.NDArray[np.float32]) -> float:
    """Root mean square over the whole wave, decibels below full scale."""
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-12))


def prepare_waves(utterances: Sequence[Utterance], folder: Path, sample_rate: int) -> None:
    """Write `waves.i16` and `index.json`.

    Raises:
        library_builder.media.MediaError: a recording cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waves, starts = [], []
    for utterance in tqdm(utterances, desc="decoding", unit="clip"):
        wave = read_wave(utterance.media, sample_rate=sample_rate)
        first, last = trimmed_span(wave, sample_rate)
        waves.append(wave[first:last].copy())
        starts.append(first / sample_rate)
    levels: dict[str, list[float]] = defaultdict(list)
    for utterance, wave in zip(utterances, waves, strict=True):
        levels[utterance.voice].append(level_dbfs(wave))
    gains = {voice: 10 ** ((TARGET_DBFS - float(np.median(values))) / 20) for voice, values in levels.items()}
    entries, offset = [], 0
    temporary = folder / "waves.i16.part"
    with temporary.open("wb") as file:
        for utterance, wave, start in zip(utterances, waves, starts, strict=True):
            levelled = wave * gains[utterance.voice]
            levelled *= min(1.0, PEAK_LIMIT / (float(np.abs(levelled).max()) + 1e-9))
            file.write(np.round(levelled * (INT16_SCALE - 1)).astype(np.int16).tobytes())
            entries.append(_entry(utterance, start, offset, len(levelled)))
            offset += len(levelled)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "waves.i16")
    save_index(folder, sample_rate, entries)


def _entry(utterance: Utterance, start: float, offset: int, samples: int) -> Entry:
    return Entry(
        id=utterance.id,
        corpus=utterance.corpus,
        speaker=utterance.speaker,
        language=utterance.language,
        text=utterance.text,
        emotion=utterance.emotion,
        licence=CORPORA[utterance.corpus].licence,
        media=str(utterance.media),
        has_picture=utterance.has_picture,
        start=start,
        offset=offset,
        samples=samples,
    )
