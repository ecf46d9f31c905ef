"""Second step of preparation: from waves to everything a batch needs, one named feature at a time.

Each step writes its feature and is skipped when that is there, so an interrupted preparation goes on where it was.
"""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from authentic_dubber.speaker import SpeakerEncoder
from authentic_dubber.text import TextFrontend
from library_builder.audio import LIGHT_AUDIO, AudioReader, LightAudio
from library_builder.types import space_width
from library_builder.voice import FRAMES_PER_SECOND, track_voice
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


def prepare_voices(cache: Cache, mel: MelConfig, reader: AudioReader | None = None) -> None:
    """`own_audio`: the emotion vector of each recording, zero where it has none; and `pitch`: per mel frame, semitones
    above 55 Hz, carried on through unvoiced frames, and whether the frame is voiced.

    Args:
        reader: gives the vectors; the light one, whose tracks are those of the pitch, by default.
    """
    if cache.has("pitch"):
        return
    frames = cache.ragged("mel")
    space = LIGHT_AUDIO if reader is None else reader.space
    vectors = np.zeros((len(cache.entries), space_width(space)), dtype=np.float16)
    runs = []
    for i in tqdm(range(len(cache.entries)), desc="voices", unit="clip"):
        wave = cache.wave(i)
        tracks = track_voice(wave, cache.sample_rate)
        if reader is not None and space != LIGHT_AUDIO and (heard := reader.read(wave, cache.sample_rate)) is not None:
            vectors[i] = heard.emotion.vector
        track = np.zeros((len(frames[i]), 2), dtype=np.float32)
        if tracks is not None:
            if space == LIGHT_AUDIO:
                vectors[i] = LightAudio().emotion_of(tracks).vector
            at = np.array([mel.seconds(t) for t in range(len(track))]) * FRAMES_PER_SECOND
            track[:, 1] = tracks.voiced[np.clip(np.rint(at).astype(int), 0, len(tracks.voiced) - 1)]
            if tracks.voiced.any():
                track[:, 0] = np.interp(at, np.flatnonzero(tracks.voiced), tracks.f0[tracks.voiced])
        runs.append(track.astype(np.float16))
    save_rows(cache.folder, "own_audio", vectors)
    save_ragged(cache.folder, "pitch", runs)
