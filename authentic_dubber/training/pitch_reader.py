"""Teach a harmonic vocoder's pitch reader: from a mel to the pitch that was tracked in the wave it came from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vocoder.harmonic import HarmonicConfig
from vocoder.mel import MelConfig
from vocoder.pitch import PitchReader, pitch_loss

from .cache import Cache

BATCH, FRAMES = 16, 96
LEARNING_RATE = 2e-3
LEVEL_SPREAD = 0.7
"""Nepers: recordings are heard louder and softer, since pitch does not depend on it."""


def teach_pitch(
    cache: Cache, rows: list[int], mel: MelConfig, config: HarmonicConfig, *, steps: int, seed: int
) -> PitchReader:
    """Fit a pitch reader on prepared rows.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("expected recordings to learn pitch from, got none")
    reader = PitchReader(mel, config.pitch_dim, config.pitch_blocks, seed=seed)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    rng = np.random.default_rng([seed, 11])
    bar = tqdm(range(steps), desc="pitch", unit="step")
    for step in bar:
        mels, pitch = _stretches(cache, rows, rng)
        loss = pitch_loss(reader(mels), pitch[:, :, 0], pitch[:, :, 1] > 0.5)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    return reader.eval()


def pitch_errors(reader: PitchReader, cache: Cache, rows: list[int]) -> npt.NDArray[np.float64]:
    """Absolute errors in semitones over the voiced frames of some recordings."""
    mels, pitch = cache.ragged("mel"), cache.ragged("pitch")
    errors = []
    for i in rows:
        track = pitch[i].astype(np.float32)
        read = reader.read(torch.from_numpy(mels[i].astype(np.float32).T)[None])
        errors.append(np.abs(read.semitones[0].numpy() - track[:, 0])[track[:, 1] > 0.5])
    return np.concatenate(errors).astype(np.float64)


def _stretches(cache: Cache, rows: list[int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random stretches at random levels: mels (B, F, T) and pitch (B, T, 2)."""
    mels, pitch = cache.ragged("mel"), cache.ragged("pitch")
    sound = np.full((BATCH, FRAMES, mels.values.shape[1]), float(mels.values[0].min()), dtype=np.float32)
    track = np.zeros((BATCH, FRAMES, 2), dtype=np.float32)
    for b, i in enumerate(rng.choice(rows, size=BATCH)):
        whole = mels[i]
        start = int(rng.integers(max(1, len(whole) - FRAMES)))
        part = whole[start : start + FRAMES]
        sound[b, : len(part)] = part + rng.normal(0, LEVEL_SPREAD)
        track[b, : len(part)] = pitch[i][start : start + FRAMES]
    return torch.from_numpy(sound).transpose(1, 2), torch.from_numpy(track)
