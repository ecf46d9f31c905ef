"""How far a generated wave is from the real one: spectra at several resolutions, the mel, and what a critic noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .mel import MelConfig, log_mel

RESOLUTIONS = (512, 1024, 2048)
"""FFT sizes; the window is as long and the hop a quarter. Short ones place attacks, long ones tell harmonics apart."""

POWER_FLOOR = 1e-8
"""Below 16-bit rounding noise under any of these windows; it bounds the gradient of the logarithm."""


class SpectralDistance(NamedTuple):
    """Attributes:
    convergence: Frobenius distance of the magnitudes, relative to the real ones; led by loud bins.
    log_magnitude: mean absolute difference of natural logs; quiet bins count as much as loud ones.
    """

    convergence: Tensor
    log_magnitude: Tensor


def spectral_distance(generated: Tensor, real: Tensor, n_fft: int) -> SpectralDistance:
    """Distance of two waves at one resolution (Yamamoto et al. 2020, https://arxiv.org/abs/1910.11480).

    Shape:
        (B, S), (B, S) -> scalars

    Raises:
        ValueError: the shapes differ, or the waves are too short for the window.
    """
    if generated.shape != real.shape or real.dim() != 2:
        raise ValueError(f"expected two waves (B, S), got {tuple(generated.shape)} and {tuple(real.shape)}")
    if real.shape[1] <= n_fft // 2:
        raise ValueError(f"expected more than {n_fft // 2} samples, got {real.shape[1]}")
    with torch.no_grad():
        target = _magnitude(real, n_fft)
    got = _magnitude(generated, n_fft)
    floor = POWER_FLOOR**0.5
    return SpectralDistance(
        convergence=torch.linalg.vector_norm(target - got) / torch.linalg.vector_norm(target).clamp(min=floor),
        log_magnitude=functional.l1_loss(torch.log(got), torch.log(target)),
    )


def _magnitude(wave: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft, device=wave.device)
    spectrum = torch.stft(wave.float(), n_fft, hop_length=n_fft // 4, window=window, return_complex=True)
    return torch.sqrt((spectrum.real.square() + spectrum.imag.square()).clamp(min=POWER_FLOOR))


def multi_resolution_stft(generated: Tensor, real: Tensor, resolutions: Sequence[int] = RESOLUTIONS) -> Tensor:
    """Spectral convergence plus log magnitude, averaged over resolutions; zero for equal waves.

    Shape:
        (B, S), (B, S) -> scalar
    """
    total = real.new_zeros(())
    for n_fft in resolutions:
        total = total + sum(spectral_distance(generated, real, n_fft))
    return total / len(resolutions)


def mel_distance(generated: Tensor, real_mel: Tensor, config: MelConfig) -> Tensor:
    """Mean absolute difference of log mels, in nepers.

    Shape:
        wave (B, S), mel (B, F, T) -> scalar
    """
    return functional.l1_loss(log_mel(generated.float(), config), real_mel.float())


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Least squares (Mao et al. 2017): real scores are pulled to one, fake ones to zero; mean over critics."""
    parts = [(r.float() - 1).square().mean() + f.float().square().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(parts).mean()


def adversarial_loss(fake: Sequence[Tensor]) -> Tensor:
    """Least squares on the generator's side: fake scores are pulled to one; mean over critics."""
    return torch.stack([(score.float() - 1).square().mean() for score in fake]).mean()


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the critics' inner layers; the real side is a fixed target."""
    return torch.stack(
        [functional.l1_loss(f.float(), r.detach().float()) for r, f in zip(real, fake, strict=True)]
    ).mean()
