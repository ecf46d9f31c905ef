"""Second step of preparation: from waves to everything a batch needs, one named feature at a time.

Each step writes its feature and is skipped when that is there, so an interrupted preparation goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tqdm import tqdm

from authentic_dubber.speaker import SpeakerEncoder
from authentic_dubber.text import TextFrontend
from library_builder.types import QUERY_MODALITIES, Emotion
from vocoder import MelConfig, log_mel

from .cache import Cache, save_ragged, save_rows


def prepare_mels(cache: Cache, mel: MelConfig) -> None:
    """`mel`: log mels in half precision, T rows of F."""
    if cache.has("mel"):
        return
    runs = []
    for i in tqdm(range(len(cache.entries)), desc="mels", unit="clip"):
        frames = log_mel(torch.from_numpy(cache.wave(i))[None], mel)[0].T  # (F, T) -> (T, F)
        runs.append(frames.numpy().astype(np.float16))
    save_ragged(cache.folder, "mel", runs)


def prepare_symbols(cache: Cache, frontend: TextFrontend) -> None:
    """`symbols`: ids of each sentence."""
    if cache.has("symbols"):
        return
    runs: list[np.ndarray] = [np.zeros(0, dtype=np.int16)] * len(cache.entries)
    for language in sorted({entry.language for entry in cache.entries}):
        rows = [i for i, entry in enumerate(cache.entries) if entry.language == language]
        spoken = frontend.symbols_many([cache.entries[i].text for i in rows], language)
        for i, symbols in zip(rows, spoken, strict=True):
            runs[i] = np.array(symbols.ids, dtype=np.int16)
    save_ragged(cache.folder, "symbols", runs)


def prepare_speakers(cache: Cache, encoder: SpeakerEncoder) -> None:
    """`speaker`: one unit vector per recording, so that any recording can be the prompt."""
    if cache.has("speaker"):
        return
    rows = [
        encoder.embed(cache.wave(i), cache.sample_rate)
        for i in tqdm(range(len(cache.entries)), desc="speakers", unit="clip")
    ]
    save_rows(cache.folder, "speaker", np.stack(rows).astype(np.float16))


def prepare_vectors(cache: Cache, modality: str, width: int, read: Callable[[int], Emotion | None]) -> None:
    """`own_<modality>`: the emotion vector of each recording, zero where it has none."""
    name = f"own_{modality}"
    if cache.has(name):
        return
    rows = np.zeros((len(cache.entries), width), dtype=np.float16)
    for i in tqdm(range(len(cache.entries)), desc=modality, unit="clip"):
        emotion = read(i)
        if emotion is not None:
            rows[i] = emotion.vector
    save_rows(cache.folder, name, rows)


def prepare_hits(cache: Cache, search: Callable[[int, str], Sequence[tuple[int, float]]], most: int) -> None:
    """`hits_<modality>` and `scores_<modality>`: rows of the nearest training clips, -1 where there are fewer.

    Args:
        search: the retrieval of one row in one modality, best first; it never returns the row itself nor its
            (speaker, text) group.
    """
    for modality in QUERY_MODALITIES:
        if cache.has(f"scores_{modality}"):
            continue
        hits = np.full((len(cache.entries), most), -1, dtype=np.int32)
        scores = np.zeros((len(cache.entries), most), dtype=np.float16)
        for i in tqdm(range(len(cache.entries)), desc=f"{modality} hits", unit="clip"):
            for rank, (row, score) in enumerate(search(i, modality)[:most]):
                hits[i, rank], scores[i, rank] = row, score
        save_rows(cache.folder, f"hits_{modality}", hits)
        save_rows(cache.folder, f"scores_{modality}", scores)
