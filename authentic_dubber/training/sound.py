"""First step of preparation: every recording to one rate, silence at its ends cut, levels set per speaker."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.levels import TARGET_DBFS, level_dbfs, trimmed_span
from library_builder.media import read_wave

from .cache import INT16_SCALE, Entry, ReadBy, save_index
from .corpora import CORPORA, Utterance

PEAK_LIMIT = 0.97


def prepare_waves(
    utterances: Sequence[Utterance], folder: Path, sample_rate: int, read_by: ReadBy | None = None
) -> None:
    """Write `waves.i16` and `index.json`.

    Args:
        read_by: what will read their pictures, words and sound.

    Raises:
        library_builder.media.MediaError: a recording cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waves, starts = [], []
    for utterance in tqdm(utterances, desc="decoding", unit="clip"):
        wave = read_wave(utterance.media, sample_rate=sample_rate, start=utterance.start, end=utterance.end)
        first, last = trimmed_span(wave, sample_rate)
        waves.append(wave[first:last].copy())
        starts.append(utterance.start + first / sample_rate)
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
    save_index(folder, sample_rate, entries, read_by)


def _entry(utterance: Utterance, start: float, offset: int, samples: int) -> Entry:
    return Entry(
        id=utterance.id,
        corpus=utterance.corpus,
        speaker=utterance.speaker,
        language=utterance.language,
        text=utterance.text,
        emotion=utterance.emotion,
        licence=utterance.licence or CORPORA[utterance.corpus].licence,
        media=str(utterance.media),
        has_picture=utterance.has_picture,
        start=start,
        offset=offset,
        samples=samples,
        held_out=utterance.held_out,
    )
