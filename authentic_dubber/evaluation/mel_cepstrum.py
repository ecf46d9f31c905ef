"""The spectral envelope of speech in a few numbers per frame: mel-cepstral analysis, without a vocoder.

Fukada, Tokuda, Kobayashi and Imai, "An adaptive algorithm for mel-cepstral analysis of speech", ICASSP 1992. A log
envelope that is smooth on a bent frequency axis is fitted to each frame's periodogram. What is minimised is the
unbiased criterion (Whittle's likelihood), which follows the tops of harmonics rather than the nulls between them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import librosa
import numpy as np
import numpy.typing as npt

Track: TypeAlias = npt.NDArray[np.float64]

SAMPLE_RATE = 22_050
"""Hertz. The published measures are taken at this rate."""
HOP_SAMPLES = 110
"""5 ms, to the nearest sample below."""
WINDOW = 512
"""Samples, 23 ms: of the lengths tried, the one whose distances went best with those of WORLD's envelopes."""
ORDER = 13
"""Coefficients beside c0."""
WARP = 0.65
"""Bends the axis towards low frequencies, the published choice; 0.455 would come nearest the mel scale at this rate."""
FLOOR_DB = 80.0
"""White noise this far below the loudest bin is added, so that the void after padding has a (flat) spectrum, and so
that a gain changes c0 alone."""

_STEPS = 12
_LARGEST_STEP = 2.0
"""Nepers of any one coefficient; a fit begun far off would overshoot."""


def mel_cepstra(wave: npt.NDArray[np.floating], order: int = ORDER, warp: float = WARP) -> Track:
    """Mel-cepstral coefficients c0..cM of a wave at 22.05 kHz, in nepers of amplitude.

    The envelope is log|H(ω)| = c0 + Σ c_m cos(m ω~), with ω~ the phase of a first-order all-pass filter. So c_m of
    a mel cepstrum as SPTK writes it is the same number: no factor of two is hidden in it.

    Args:
        wave: not silent.

    Shape:
        (S,) -> (T, order + 1).
    """
    amplitude = np.abs(librosa.stft(np.asarray(wave, dtype=np.float64), n_fft=WINDOW, hop_length=HOP_SAMPLES)).T
    power = np.square(amplitude)
    return fitted(power + power.max() * 10 ** (-FLOOR_DB / 10), order, warp)


def fitted(power: Track, order: int = ORDER, warp: float = WARP) -> Track:
    """The mel cepstra whose envelopes make these periodograms likeliest.

    Minimises the mean over ω of I/|H|² + log|H|², which is convex, by Newton's method from a least-squares fit of
    log I. That start lies below the answer, whence Newton's steps for an exponential are short.

    Shape:
        (T, K) bins from 0 to half the rate, all positive -> (T, order + 1).
    """
    basis, weights, solve = _axis(power.shape[1], order, warp)
    log_power = np.log(power)
    found = 0.5 * log_power @ solve
    rank = np.arange(order + 1)
    apart, together = np.abs(rank[:, None] - rank), rank[:, None] + rank
    for _ in range(_STEPS):
        excess = np.exp(log_power - 2 * found @ basis[: order + 1]) * weights
        # cos a cos b = ½ [cos(a - b) + cos(a + b)]: the curvature needs 2M + 1 moments of the excess, not M² of them.
        moments = excess @ basis.T
        slope = moments[:, : order + 1] - basis[: order + 1] @ weights
        curve = moments[:, apart] + moments[:, together]
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        found += np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if np.abs(step).max() < 1e-6:
            break
    return found


@lru_cache(maxsize=4)
def _axis(bins: int, order: int, warp: float) -> tuple[Track, Track, Track]:
    """Cosines up to twice the order, (2M + 1, K); each bin's share of the axis, (K,); least squares, (K, M + 1)."""
    omega = np.linspace(0, np.pi, bins)
    bent = omega + 2 * np.arctan2(warp * np.sin(omega), 1 - warp * np.cos(omega))
    basis = np.cos(np.arange(2 * order + 1)[:, None] * bent)
    weights = np.ones(bins)
    weights[[0, -1]] = 0.5
    weights /= weights.sum()
    low = basis[: order + 1]
    solve = np.linalg.solve((low * weights) @ low.T, low * weights).T
    return basis, weights, solve
