"""Mel to wave by harmonics and noise, each through a filter that the network draws for every frame.

A network that draws phases from a mel has to invent them, and spectral losses cannot tell it how: the result buzzes.
Here phase is not invented: F0, read from the mel, turns into a train of harmonics with continuous phase, and the
network filters it, and noise beside it, in the STFT domain. Spectral losses suffice, as in the neural source-filter
model (Wang et al. 2019, https://arxiv.org/abs/1904.12088) and neural homomorphic vocoders (Liu et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .generator import ConvNeXtBlock, InverseStft, IstftConfig, check_shape, initialise
from .mel import MelConfig
from .pitch import Pitch, PitchReader

_TOP = 0.48
"""Highest harmonic as a share of the sample rate."""
_GAIN_LIMIT = 6.0
"""Nepers; a filter needs no more, and a young network would explode through the exponential."""
_FIRST_GAIN = -4.0
_NOISE_SAMPLES = 1 << 18
"""Twelve seconds of noise, told over and over. Fixed, so that a mel always makes the same wave, alone or in a batch."""


@dataclass(frozen=True, slots=True)
class HarmonicConfig:
    """Size of a `HarmonicGenerator`: its trunk's, as `IstftConfig`, and its pitch reader's.

    Raises:
        ValueError: a size is not positive, the kernel is even and so has no centre, or the breath is no share.
    """

    dim: int = 256
    blocks: int = 8
    expansion: int = 3
    kernel: int = 7
    pitch_dim: int = 128
    pitch_blocks: int = 4
    breath: float = 1.0
    """Share of its noise that voiced sound keeps. Log spectra are nearest when noise fills what lies between harmonics,
    more of it than listeners like; chosen when a checkpoint is packaged, 1 in training."""

    def __post_init__(self) -> None:
        if min(self.pitch_dim, self.pitch_blocks) < 1:
            raise ValueError(f"expected positive sizes, got {self}")
        if not 0 <= self.breath <= 1:
            raise ValueError(f"expected a breath from 0 to 1, got {self.breath:g}")
        self.trunk()

    def trunk(self) -> IstftConfig:
        return IstftConfig(self.dim, self.blocks, self.expansion, self.kernel)

    @classmethod
    def tiny(cls) -> HarmonicConfig:
        """The smallest honest one, for tests."""
        return cls(dim=16, blocks=2, pitch_dim=16, pitch_blocks=1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HarmonicConfig:
        return cls(**values)


class HarmonicGenerator(nn.Module):
    """The starter's vocoder.

    Args:
        config: its size.
        mel_config: the mels it reads; the STFT of its sources uses the same window and hop.
        seed: of the initial weights; the global random state is left as it was.

    Shape:
        (B, F, T) -> (B, S) with S = T * hop
    """

    noise: Tensor
    window: Tensor

    def __init__(self, config: HarmonicConfig, mel_config: MelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config, self.mel_config = config, mel_config
        self.pitch = PitchReader(mel_config, config.pitch_dim, config.pitch_blocks, seed=seed)
        self.pitch.requires_grad_(False)
        trunk = config.trunk()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Conv1d(mel_config.n_mels, config.dim, config.kernel, padding=config.kernel // 2)
            self.tone = nn.Conv1d(2, config.dim, 1)
            self.first_norm = nn.LayerNorm(config.dim)
            self.blocks = nn.Sequential(*(ConvNeXtBlock(trunk) for _ in range(config.blocks)))
            self.last_norm = nn.LayerNorm(config.dim)
            self.bins = mel_config.n_fft // 2 + 1
            self.head = nn.Linear(config.dim, 3 * self.bins)
            self.apply(initialise)
        with torch.no_grad():
            self.head.bias[: 2 * self.bins] = _FIRST_GAIN
        self.istft = InverseStft(mel_config)
        # Its own dice: it is stored with no weights, and a loaded generator must hiss as the trained one did.
        noise = torch.randn(_NOISE_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)
        self.register_buffer("window", torch.hann_window(mel_config.win_samples), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        check_shape(mel, self.mel_config)
        with torch.autocast(mel.device.type, enabled=False):
            pitch = self.pitch.read(mel)
            harmonics = self._spectrum(self._harmonics(pitch, mel.shape[2] * self.mel_config.hop_samples))
            noise = self._spectrum(self._noise(mel.shape[0], mel.shape[2] * self.mel_config.hop_samples))
        tone = torch.stack([pitch.voiced, (pitch.semitones - 20) / 6 * (pitch.voiced > 0.5)], dim=1)
        x = self.embed(mel) + self.tone(tone)
        x = self.first_norm(x.transpose(1, 2)).transpose(1, 2)
        x = self.last_norm(self.blocks(x).transpose(1, 2))  # (B, D, T) -> (B, T, D)
        # Three digits are not enough for a phase, nor for a gain behind an exponential.
        with torch.autocast(mel.device.type, enabled=False):
            voice, breath, phase = self.head(x.float()).transpose(1, 2).split(self.bins, dim=1)
            voice, breath = (torch.exp(gain.clamp(max=_GAIN_LIMIT)) for gain in (voice, breath))
            breath = breath * (1 - (1 - self.config.breath) * pitch.voiced[:, None])
            return self.istft(harmonics * torch.polar(voice, phase) + noise * breath)

    def _harmonics(self, pitch: Pitch, samples: int) -> Tensor:
        """All harmonics below the top at equal strength and unit power, with the phase that F0 adds up to.

        Their sum has a closed form (Dirichlet's kernel): two sines whatever their number.

        Shape:
            (B, T) -> (B, S).
        """
        rate = self.mel_config.sample_rate
        hertz = torch.exp(_stretched(torch.log(pitch.hertz()), samples))
        turns = torch.cumsum(hertz.double() / rate, dim=1) % 1
        count = torch.floor(_TOP * rate / hertz)
        half = (pi * turns).float()
        below = torch.sin(half)
        near = below.abs() < 1e-4
        kernel = torch.sin((2 * count + 1) * half) / (2 * torch.where(near, torch.ones_like(below), below)) - 0.5
        kernel = torch.where(near, count, kernel)
        return kernel * torch.sqrt(2 / count) * _stretched(pitch.voiced, samples)

    def _noise(self, lines: int, samples: int) -> Tensor:
        times = -(-samples // len(self.noise))
        return self.noise.repeat(times)[:samples].expand(lines, -1)

    def _spectrum(self, wave: Tensor) -> Tensor:
        """The STFT with frames where the mel has them.

        Shape:
            (B, S) -> complex (B, n_fft / 2 + 1, T).
        """
        config = self.mel_config
        pad = (config.n_fft - config.hop_samples) // 2
        return torch.stft(
            functional.pad(wave, (pad, pad)),
            config.n_fft,
            hop_length=config.hop_samples,
            win_length=config.win_samples,
            window=self.window,
            center=False,
            return_complex=True,
        )


def _stretched(frames: Tensor, samples: int) -> Tensor:
    """Values at frame centres to values at samples, on straight lines.

    Shape:
        (B, T) -> (B, S).
    """
    return functional.interpolate(frames[:, None], size=samples, mode="linear", align_corners=False)[:, 0]
