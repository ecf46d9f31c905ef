"""The one mel: its configuration and its analysis. Reads no audio; it is handed waves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class MelConfig:
    """How sound becomes a mel, in the HiFi-GAN convention (natural log of the amplitude mel, Slaney bands).

    A checkpoint carries the config that made it, and a generator refuses mels made by another.

    Raises:
        ValueError: the window, hop and band edges contradict each other.
    """

    sample_rate: int = 22050
    """Hertz."""
    n_fft: int = 1024
    win_samples: int = 1024
    hop_samples: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    floor: float = 1e-5
    """Amplitudes are clamped here before the logarithm."""

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.win_samples <= self.n_fft:
            raise ValueError(
                f"expected 0 < hop <= win <= n_fft, got {self.hop_samples}, {self.win_samples}, {self.n_fft}"
            )
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"expected 0 <= f_min < f_max <= {self.sample_rate / 2}, got {self.f_min}, {self.f_max}")

    @property
    def frames_per_second(self) -> float:
        return self.sample_rate / self.hop_samples

    def frames(self, seconds: float) -> int:
        """Seconds to whole mel frames, rounded to nearest. With `seconds`, the one conversion of time."""
        return round(seconds * self.frames_per_second)

    def seconds(self, frames: int) -> float:
        """Mel frames to seconds."""
        return frames / self.frames_per_second

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MelConfig:
        return cls(**values)


@lru_cache(maxsize=8)
def _filters(config: MelConfig) -> npt.NDArray[np.float32]:
    """Kept as an array: a tensor cached under inference mode could never take part in training."""
    bank = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.f_min, fmax=config.f_max
    )
    return np.ascontiguousarray(bank, dtype=np.float32)


def magnitude(wave: Tensor, config: MelConfig) -> Tensor:
    """Amplitude spectrogram with frames centred on hops: reflect padding of (n_fft - hop) / 2, no further centring.

    Args:
        wave: samples in [-1, 1], (B, S).

    Shape:
        (B, S) -> (B, n_fft / 2 + 1, T) with T = S // hop.
    """
    pad = (config.n_fft - config.hop_samples) // 2
    padded = functional.pad(wave[:, None], (pad, pad), mode="reflect")[:, 0]
    window = torch.hann_window(config.win_samples, device=wave.device, dtype=wave.dtype)
    spectrum = torch.stft(
        padded,
        config.n_fft,
        hop_length=config.hop_samples,
        win_length=config.win_samples,
        window=window,
        center=False,
        return_complex=True,
    )
    # The published convention keeps a tiny constant under the root; without it the gradient of silence is NaN.
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)


def log_mel(wave: Tensor, config: MelConfig) -> Tensor:
    """Natural log of the amplitude mel.

    Shape:
        (B, S) -> (B, F, T) with T = S // hop.

    Raises:
        ValueError: the wave is not (B, S), or is shorter than one padded window.
    """
    if wave.dim() != 2:
        raise ValueError(f"expected a wave (B, S), got shape {tuple(wave.shape)}")
    if wave.shape[1] <= (config.n_fft - config.hop_samples) // 2:
        raise ValueError(f"expected more than {(config.n_fft - config.hop_samples) // 2} samples, got {wave.shape[1]}")
    bank = torch.from_numpy(_filters(config)).to(wave.device, wave.dtype)
    return torch.log(torch.clamp(bank @ magnitude(wave, config), min=config.floor))
