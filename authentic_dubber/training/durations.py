"""Third step of preparation: train the aligner and read off how many frames each symbol takes."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from authentic_dubber.batching import pad
from authentic_dubber.symbols import NAMES, PAUSES, SILENCE

from .alignment import Aligner, diagonal_prior, forward_sum_loss, monotonic_durations
from .cache import Cache, Ragged, save_ragged

log = logging.getLogger(__name__)

QUIET_PENALTY = 4.0
"""Log-probability taken from every sounding symbol in a quiet frame, so that rests go to pauses and end silences.
Without it the aligner, which hears spectra and not levels, gives a rest to the consonant beside it."""
QUIET_BELOW = 3.0
"""Nepers below the loud part of a recording at which a frame is quiet (26 dB)."""
QUIET_SHARE = 0.3
"""And no further up than this share of the way from the quietest to the loudest frames, for noisy recordings."""
_RESTS = np.array([name in (SILENCE, *PAUSES) for name in NAMES])


def _centred(mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mel without the recording's mean spectrum: the aligner should hear phones, not voices and rooms."""
    return (mel - mel.mean(0)) / 2


def _example(symbols: Ragged, mels: Ragged, i: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    return symbols[i].astype(np.int64), _centred(mels[i].astype(np.float32))


def _stack(pairs: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]) -> tuple[Tensor, ...]:
    symbols, mel = pad([a for a, _ in pairs]), pad([b for _, b in pairs]).transpose(1, 2)
    prior = torch.full((len(pairs), mel.shape[2], symbols.shape[1]), -20.0)
    for b, (ids, frames) in enumerate(pairs):
        prior[b, : len(frames), : len(ids)] = torch.from_numpy(diagonal_prior(len(ids), len(frames)))
    lengths = torch.tensor([[len(a), len(b)] for a, b in pairs])
    return symbols, mel, prior, lengths[:, 0], lengths[:, 1]


def train_aligner(cache: Cache, symbol_count: int, mels: int, *, steps: int, batch: int, seed: int) -> Aligner:
    """Fit the aligner on the training rows.

    Raises:
        HeldOutError: a training row is held out.
    """
    torch.manual_seed(seed)
    aligner = Aligner(symbol_count, mels)
    optimizer = torch.optim.AdamW(aligner.parameters(), lr=2e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    symbols, mel = cache.ragged("symbols"), cache.ragged("mel")
    rows = np.array(cache.training_rows())
    bar = tqdm(range(steps), desc="aligner", unit="step")
    for step in bar:
        drawn = rng.choice(rows, size=4 * batch, replace=len(rows) < 4 * batch)
        drawn = drawn[np.argsort([mel.offsets[i + 1] - mel.offsets[i] for i in drawn])]
        start = int(rng.integers(4)) * batch
        ids, frames, prior, n, t = _stack([_example(symbols, mel, int(i)) for i in drawn[start : start + batch]])
        loss = forward_sum_loss(aligner(ids, frames, prior), n, t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(aligner.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss):.3f}")
    return aligner.eval()


def quiet_frames(mel: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Frames in which nobody speaks, by level alone.

    Shape:
        (T, F) in log -> (T,).
    """
    level = np.log(np.exp(mel).sum(1))
    low, high = np.percentile(level, [5, 95])
    return np.asarray(level < min(high - QUIET_BELOW, low + QUIET_SHARE * (high - low)))


@torch.no_grad()
def prepare_durations(cache: Cache, aligner: Aligner) -> None:
    """`durations`: frames per symbol of each recording, summing to its mel's frames."""
    symbols, mel = cache.ragged("symbols"), cache.ragged("mel")
    runs = []
    for i in tqdm(range(len(cache.entries)), desc="durations", unit="clip"):
        ids, frames, prior, _, _ = _stack([_example(symbols, mel, i)])
        score = aligner(ids, frames, prior)[0].numpy()
        quiet = quiet_frames(mel[i].astype(np.float32))
        score -= QUIET_PENALTY * quiet[:, None] * ~_RESTS[ids[0].numpy()][None]
        runs.append(monotonic_durations(score).astype(np.int16))
    save_ragged(cache.folder, "durations", runs)
