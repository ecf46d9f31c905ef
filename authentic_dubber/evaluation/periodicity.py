"""Pitch and harmonicity by short-term autocorrelation and the cheapest path through its peaks (Boersma 1993)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.fft

Wave: TypeAlias = npt.NDArray[np.float32]
Values: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

SAMPLE_RATE = 16_000
HOP = 160
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
PITCH_WINDOW, PITCH_FFT = 640, 1024
"""The window holds two periods of the lowest pitch, and the transform its lags without wrapping round."""
F0_FLOOR, F0_CEILING = 60.0, 650.0
"""Hertz."""
CANDIDATES = 5
VOICING_COST, OCTAVE_COST, JUMP_COST, VOICE_CHANGE_COST = 0.45, 0.02, 0.35, 0.14
"""Boersma's, per frame of 10 ms."""
SILENT_SHARE = 0.03
"""Of the clip's loudest sample: a frame below is likelier a pause than a voice."""


@dataclass(frozen=True, slots=True)
class Periodicity:
    """Per 10 ms frame.

    Attributes:
        f0: hertz, NaN where unvoiced, (T,).
        hnr: harmonics-to-noise ratio in decibels, NaN where unvoiced, (T,).
    """

    f0: Values
    hnr: Values


def track(wave16k: Wave) -> Periodicity:
    """Pitch and harmonicity by short-term autocorrelation and the cheapest path through its peaks (Boersma 1993).

    Differs from the paper in a Hann window of two periods of the floor, and a parabola where it interpolates by sinc.

    Shape:
        (S,) -> (T,) twice.
    """
    frames = frames_of(wave16k, PITCH_WINDOW)
    frames = frames - frames.mean(axis=1, keepdims=True)
    loudness = np.abs(frames).max(axis=1)
    r = _autocorrelation(frames * hann(PITCH_WINDOW)) / _window_correlation()
    r[:, 1:] /= np.maximum(r[:, :1], 1e-20)
    lags, strengths = _peaks(r)
    silence = loudness / max(float(loudness.max()), 1e-20) / (SILENT_SHARE / (1 + VOICING_COST))
    unvoiced = VOICING_COST + np.maximum(0.0, 2.0 - silence)
    path = _cheapest_path(lags, strengths, unvoiced)
    rows, voiced = np.arange(len(path)), path < lags.shape[1]
    column = np.where(voiced, path, 0)
    clear = np.clip(strengths[rows, column], 1e-3, 1 - 1e-4)
    f0 = np.where(voiced, SAMPLE_RATE / lags[rows, column], np.nan)
    return Periodicity(f0, np.where(voiced, 10 * np.log10(clear / (1 - clear)), np.nan))


def _peaks(r: Values) -> tuple[Values, Values]:
    """Lags in samples and heights of the best peaks of each frame, (T, C); a missing one is infinitely weak."""
    first, last = int(SAMPLE_RATE / F0_CEILING), int(np.ceil(SAMPLE_RATE / F0_FLOOR))
    left, mid, right = r[:, first - 1 : last], r[:, first : last + 1], r[:, first + 1 : last + 2]
    bend = left - 2 * mid + right
    peak = (mid > left) & (mid >= right) & (mid > 0.2)
    shift = np.where(peak, 0.5 * (left - right) / np.minimum(bend, -1e-12), 0.0)
    height = np.where(peak, np.minimum(mid - 0.25 * (left - right) * shift, 1.0), -np.inf)
    lag: Values = np.arange(first, last + 1, dtype=np.float64) + shift
    # A shorter period is preferred among peaks of like height, for every multiple of a period is one too.
    merit = height - OCTAVE_COST * np.log2(F0_FLOOR / SAMPLE_RATE * lag)
    best = np.argpartition(-merit, CANDIDATES, axis=1)[:, :CANDIDATES]
    return np.take_along_axis(lag, best, 1), np.take_along_axis(height, best, 1)


def _cheapest_path(lags: Values, strengths: Values, unvoiced: Values) -> npt.NDArray[np.int64]:
    """Which candidate each frame takes, (T,); one past the last is "unvoiced"."""
    octaves = np.log2(lags)
    merit = strengths - OCTAVE_COST * (octaves + np.log2(F0_FLOOR / SAMPLE_RATE))
    gain = np.concatenate([merit, unvoiced[:, None]], axis=1)
    n, k = gain.shape
    cost = np.full((n - 1, k, k), VOICE_CHANGE_COST)  # (T - 1, C from, C to)
    cost[:, :-1, :-1] = JUMP_COST * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    cost[:, -1, -1] = 0
    came = np.zeros((n, k), dtype=np.int64)
    best = gain[0]
    for t in range(1, n):
        arriving = best[:, None] - cost[t - 1]
        came[t] = arriving.argmax(axis=0)
        best = arriving.max(axis=0) + gain[t]
    path = np.empty(n, dtype=np.int64)
    path[-1] = best.argmax()
    for t in range(n - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


def _autocorrelation(frames: Values) -> Values:
    power = np.square(np.abs(scipy.fft.rfft(frames, PITCH_FFT, axis=1)))
    return np.asarray(scipy.fft.irfft(power, axis=1)[:, : PITCH_FFT - PITCH_WINDOW], dtype=np.float64)


@lru_cache(maxsize=1)
def _window_correlation() -> Values:
    own = _autocorrelation(hann(PITCH_WINDOW)[None])[0]
    return own / own[0]


@lru_cache(maxsize=4)
def hann(size: int) -> Values:
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)


def frames_of(wave: Wave, size: int) -> Wave:
    """Frames whose centres lie a hop apart whatever their size, (T, size)."""
    padded = np.pad(wave, (size // 2, size // 2))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP]
