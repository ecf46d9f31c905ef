"""Two ears that judge a mel no recording can be held against: who speaks, and how it feels.

Both are still while the voice learns. The one that knows voices is GE2E, which `dub evaluate` scores with too and shows
beside a classifier of its own; the one that knows feelings is fitted here and judges nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from authentic_dubber.batching import pad
from authentic_dubber.config import DubberConfig
from vocoder.mel import MelConfig

from .cache import Cache

RATE, WINDOW, BANDS, FRAMES_PER_SECOND = 16_000, 400, 40, 100
"""The spectra GE2E was trained on: hertz, samples, mel bands, frames a second."""
PARTIAL = 160
"""Frames it hears at once."""
SPOKEN_POWER = 1.55
"""Its summed bands over a stretch of speech at -24 dBFS; mean of 30 recordings of four corpora, spread 0.05."""
AUDIBLE = 1e-4
"""Frames fainter than this share of the loudest are pauses, which the encoder never hears."""
BATCH, LEARNING_RATE, CROP_SECONDS = 32, 2e-3, 2.0
QUIETEST, LOUDEST = -2.5, 3.0
"""Bounds of a mel in a voice's own units: below lies room noise, which differs by corpus and not by feeling."""


@lru_cache(maxsize=4)
def _bridge(config: MelConfig) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """From our bands to GE2E's: spectral power on straight lines between our band centres, summed in its bands.

    Shape:
        () -> (BANDS, F), widths of our bands (F,).
    """
    ours = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.f_min, fmax=config.f_max
    )
    centres = librosa.mel_frequencies(config.n_mels + 2, fmin=config.f_min, fmax=config.f_max)[1:-1]
    hertz = librosa.fft_frequencies(sr=RATE, n_fft=WINDOW)
    between = np.stack([np.interp(hertz, centres, one) for one in np.eye(config.n_mels)], axis=1)
    theirs = librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BANDS)
    return (theirs @ between).astype(np.float32), ours.sum(1).astype(np.float32)


class SpeakerEar(nn.Module):
    """GE2E on our mels, differentiable: what it says of a recording's mel has a cosine of .91 to its own vector.

    Args:
        network: the encoder itself, (B, PARTIAL, BANDS) -> (B, C) unit vectors.
        config: the mels it is shown.
    """

    def __init__(self, network: nn.Module, config: MelConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        network.requires_grad_(False)

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """One stretch of each line, chosen by torch's dice; a short line is padded with silence, as GE2E's own are.

        Shape:
            (B, F, T), (B,) -> (B, C).
        """
        heard = [self._partial(one[:, : int(length)]) for one, length in zip(mel, lengths, strict=True)]
        vectors: Tensor = self.network(torch.stack(heard))
        return vectors

    def _partial(self, mel: Tensor) -> Tensor:
        across, widths = (torch.from_numpy(part).to(mel.device) for part in _bridge(self.config))
        power = across @ torch.square(torch.exp(mel.float()) / widths[:, None])
        frames = max(1, round(self.config.seconds(power.shape[1]) * FRAMES_PER_SECOND))
        power = functional.interpolate(power[None], size=frames, mode="linear")[0]
        level = power.detach().sum(0)
        spoken = power[:, level > AUDIBLE * level.max()]
        spoken = spoken * (SPOKEN_POWER / spoken.sum(0).mean())
        spare = spoken.shape[1] - PARTIAL
        start = int(torch.randint(spare + 1, ())) if spare > 0 else 0
        return functional.pad(spoken[:, start : start + PARTIAL], (0, max(0, -spare))).T


@dataclass(frozen=True, slots=True)
class Register:
    """Mean and spread of a voice's log mel per band, (F,) each: what is left of a mel in these units is its acting."""

    mean: Tensor
    spread: Tensor

    def to(self, device: str) -> Register:
        return Register(self.mean.to(device), self.spread.to(device))

    def apply(self, mel: Tensor) -> Tensor:
        """Shape: (F, T) -> (F, T)."""
        return ((mel - self.mean[:, None]) / self.spread[:, None]).clamp(QUIETEST, LOUDEST)


def registers(cache: Cache, rows: list[int]) -> Mapping[str, Register]:
    """The register of every voice among some rows."""
    voices: dict[str, list[int]] = defaultdict(list)
    for i in rows:
        voices[cache.entries[i].voice].append(i)
    mels, found = cache.ragged("mel"), {}
    for voice, mine in voices.items():
        found[voice] = register([mels[i] for i in mine])
    return found


def register(mels: Sequence[npt.NDArray[np.floating[Any]]]) -> Register:
    """The register of one voice.

    Shape:
        each (T, F), log.
    """
    frames = np.concatenate([mel.astype(np.float32) for mel in mels])
    return Register(torch.from_numpy(frames.mean(0)), torch.from_numpy(frames.std(0) + 1e-3))


class FeelingEar(nn.Module):
    """A mel in its voice's own register to logits over the taxonomy: three convolutions, then mean and spread in time.

    Shape:
        (B, F, T), (B,) -> (B, E).
    """

    WIDTH = 128
    STRIDES = (1, 2, 2)

    def __init__(self, config: DubberConfig) -> None:
        super().__init__()
        sizes = [config.mel.n_mels, self.WIDTH, self.WIDTH, self.WIDTH]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, 5, stride=stride, padding=2)
            for a, b, stride in zip(sizes, sizes[1:], self.STRIDES, strict=False)
        )
        # Over bands, not over time: what lies past a line's end is not heard.
        self.norms = nn.ModuleList(nn.LayerNorm(self.WIDTH) for _ in self.STRIDES)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(2 * self.WIDTH, len(config.emotions))

    def forward(self, mel: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(mel.shape[2], device=mel.device)[None] < lengths[:, None]
        x = mel * mask[:, None]
        for conv, norm, stride in zip(self.convs, self.norms, self.STRIDES, strict=True):
            x = norm(conv(x).transpose(1, 2)).transpose(1, 2)  # (B, D, T) -> (B, T, D) and back
            x = self.dropout(functional.gelu(x))
            mask = mask[:, ::stride]
            x = x * mask[:, None]
        count = mask.sum(1).clamp(min=1)[:, None]
        mean = x.sum(2) / count
        spread = torch.sqrt((((x - mean[:, :, None]) * mask[:, None]) ** 2).sum(2) / count + 1e-5)
        logits: Tensor = self.out(self.dropout(torch.cat([mean, spread], dim=1)))
        return logits


def roughened(mels: Tensor) -> Tensor:
    """Mels in registers a little brighter or duller, and less clean: that feels no different, and an ear that knows so
    is harder to please by a trick.

    Shape:
        (B, F, T) -> (B, F, T).
    """
    tint = 0.1 * torch.randn(*mels.shape[:2], 1, device=mels.device)
    return mels + tint + 0.2 * torch.randn_like(mels)


def teach_feeling(cache: Cache, config: DubberConfig, rows: Sequence[int], *, steps: int, seed: int) -> FeelingEar:
    """A feeling ear fitted on labelled training recordings, every feeling of every corpus drawn alike.

    Raises:
        ValueError: there are none.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in rows:
        groups[cache.entries[i].corpus, str(cache.entries[i].emotion)].append(i)
    if not groups:
        raise ValueError("expected recordings with a feeling to train an ear on, got none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _fit(cache, config, list(groups.values()), steps, seed)


def _fit(cache: Cache, config: DubberConfig, groups: list[list[int]], steps: int, seed: int) -> FeelingEar:
    ear, units = FeelingEar(config), registers(cache, cache.training_rows())
    optimizer = torch.optim.AdamW(ear.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    mels, rng = cache.ragged("mel"), np.random.default_rng([seed, 11])
    longest = config.mel.frames(CROP_SECONDS)
    bar = tqdm(range(steps), desc="feeling ear", unit="step")
    for step in bar:
        drawn = [int(rng.choice(groups[int(g)])) for g in rng.integers(len(groups), size=BATCH)]
        crops = []
        for i in drawn:
            mel = units[cache.entries[i].voice].apply(torch.from_numpy(mels[i].astype(np.float32).T)).numpy()
            start = int(rng.integers(max(1, mel.shape[1] - longest + 1)))
            crops.append(mel[:, start : start + longest].T)
        batch = roughened(pad(crops).transpose(1, 2))
        answers = torch.tensor([config.emotions.index(str(cache.entries[i].emotion)) for i in drawn])
        logits = ear(batch, torch.tensor([len(crop) for crop in crops]))
        loss = functional.cross_entropy(logits, answers, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    return ear.eval().requires_grad_(False)
