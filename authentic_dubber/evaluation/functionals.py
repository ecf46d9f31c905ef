"""What a reader of emotion or of speakers hears of a clip: functionals of pitch, energy, harmonicity and spectrum.

The dubber is conditioned on the light figures of its library and must not be judged by them. This is another road: its
own frames, its own pitch, and its own choice of figures, after the families of the Geneva parameter set (Eyben et al.
2016). Only the `level_` figures know how loud a recording is. A figure that cannot be taken, such as the pitch of a
whisper, is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b

import librosa
import numpy as np
import scipy.fft
import soxr

from .periodicity import FRAMES_PER_SECOND, SAMPLE_RATE, Mask, Values, Wave, frames_of, hann, track

SPECTRUM_WINDOW, SPECTRUM_FFT = 400, 512
"""Samples. Every clip is brought to the rate of the pitch, so that no reader hears the bandwidth of a corpus."""
ACTIVE_RANGE_DB = 35.0
"""Frames this far below the loudest are pauses, and no sound of the voice is taken from them."""
SILENCE_DBFS = -75.0
"""A clip whose loudest frame is below this holds converter noise only."""
SHORTEST = 0.15
"""Seconds of sound, from the first active frame to the last, below which nothing is measured."""
ROOM_DB = 80.0
"""Powers are kept above the clip's greatest less this, so that digital zeros and faint hiss are heard alike."""

_CEPSTRA = 13
_BANDS = (0, 300, 700, 1200, 2000, 3200, 5000, 8000)
_SHAPES = (
    *(f"band_{low}" for low in _BANDS[:-1]),
    *("centroid", "spread", "rolloff", "flatness", "flux", "alpha", "hammarberg", "slope_low", "slope_high"),
)
NAMES: tuple[str, ...] = (
    *("f0_mean", "f0_std", "f0_p10", "f0_p50", "f0_p90", "f0_range", "f0_slope", "f0_curve", "f0_step", "f0_step_std"),
    *("f0_rising", "f0_final", "f0_peak_time", "jitter", "voiced_share", "voiced_rate", "voiced_run", "voiced_longest"),
    *("level_mean", "level_max", "energy_std", "energy_p10", "energy_p50", "energy_range", "energy_slope"),
    *("energy_step", "energy_step_std", "energy_rising", "energy_final", "energy_peak_time", "shimmer"),
    *("syllable_rate", "pause_share", "pause_rate", "pause_longest", "seconds"),
    *("hnr_mean", "hnr_std", "hnr_p10", "hnr_p50", "hnr_p90", "tilt_mean", "tilt_std"),
    *(f"mfcc{i}_{form}" for i in range(1, _CEPSTRA + 1) for form in ("mean", "std", "delta")),
    *(f"mfcc{i}_voiced" for i in range(1, _CEPSTRA + 1)),
    *(f"{shape}_{form}" for shape in _SHAPES for form in ("mean", "std")),
    *(f"{shape}_{form}" for shape in _SHAPES[len(_BANDS) - 1 :] for form in ("p10", "p90")),
)
"""What `functionals` returns, in its order."""
KNOWS_LEVEL: Mask = np.array([name.startswith("level_") for name in NAMES])
"""Which of them move when the recording is made louder."""


class Unmeasurable(ValueError):
    """A clip that nothing can be heard in."""


class Remembered:
    """`functionals` of waves heard before are not taken again, for several measures hear the same clips.

    Args:
        take: what is remembered.
    """

    def __init__(self, take: Callable[[Wave, int], Values] | None = None) -> None:
        self._take = take or functionals
        self._known: dict[tuple[bytes, int], Values] = {}

    def __call__(self, wave: Wave, sample_rate: int) -> Values:
        """As `functionals`."""
        key = (blake2b(np.ascontiguousarray(wave).tobytes(), digest_size=16).digest(), sample_rate)
        if key not in self._known:
            self._known[key] = self._take(wave, sample_rate)
        return self._known[key].copy()


def functionals(wave: Wave, sample_rate: int) -> Values:
    """One figure per name in `NAMES`; NaN where it cannot be taken.

    Silence at the ends does not count. Pitch is in semitones above 55 Hz, levels and ratios in decibels, times in
    seconds but for `_peak_time`, a share of the clip, and `_slope`, per second.

    Args:
        wave: mono samples at any level.
        sample_rate: hertz.

    Shape:
        (S,) -> (N,).

    Raises:
        Unmeasurable: the clip is silent, too short or not finite.
        ValueError: the wave is not mono.
    """
    if wave.ndim != 1:
        raise ValueError(f"expected a mono wave (S,), got shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise Unmeasurable("expected finite samples, got NaN or infinity")
    if len(wave) < SHORTEST * sample_rate:
        raise Unmeasurable(f"expected {SHORTEST} s of sound or more, got a clip of {len(wave) / sample_rate:.2f} s")
    x = np.asarray(wave, dtype=np.float32)
    if sample_rate != SAMPLE_RATE:
        x = soxr.resample(x, sample_rate, SAMPLE_RATE)
    spectrum, level = _heard(x)
    span = _span(level)
    spectrum, level = spectrum[span], level[span]
    pitch = track(x)
    f0, hnr = pitch.f0[span], pitch.hnr[span]
    active = level > level.max() - ACTIVE_RANGE_DB
    semitones = 12 * np.log2(f0 / 55.0)
    cepstra = _cepstra(spectrum)
    figures = [
        *_pitch_figures(semitones),
        *_energy_figures(level, active),
        *_forms(hnr, "mean", "std", "p10", "p50", "p90"),
        *_forms(_tilt(spectrum, f0), "mean", "std"),
        *_cepstral_figures(cepstra, active, np.isfinite(f0)),
        *_shape_figures(spectrum, active),
    ]
    return np.array(figures, dtype=np.float64)


def _heard(x: Wave) -> tuple[Values, Values]:
    """Power spectrum (T, bins), floored, and level in dBFS (T,)."""
    frames = frames_of(x, SPECTRUM_WINDOW)
    # By frame: the mean of the whole would leave a step where a click or zeros moved it.
    frames = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loudest = float(power.max())
    if loudest < 10 ** (SILENCE_DBFS / 10):
        found = "digital silence" if not x.any() else f"at most {10 * np.log10(loudest + 1e-20):.0f} dBFS"
        raise Unmeasurable(f"expected sound above {SILENCE_DBFS:.0f} dBFS, got {found}")
    window = hann(SPECTRUM_WINDOW).astype(np.float32)
    spectrum = np.square(np.abs(scipy.fft.rfft(frames * window, SPECTRUM_FFT, axis=1))).astype(np.float64)
    room = 10 ** (-ROOM_DB / 10)
    return np.maximum(spectrum, spectrum.max() * room), 10 * np.log10(np.maximum(power, loudest * room))


def _span(level: Values) -> slice:
    active = np.flatnonzero(level > level.max() - ACTIVE_RANGE_DB)
    span = slice(int(active[0]), int(active[-1]) + 1)
    seconds = (span.stop - span.start) / FRAMES_PER_SECOND
    if seconds < SHORTEST:
        raise Unmeasurable(f"expected {SHORTEST} s of sound or more, got {seconds:.2f} s")
    return span


def _pitch_figures(semitones: Values) -> Iterator[float]:
    """The figures from `f0_mean` to `voiced_longest`."""
    voiced = np.flatnonzero(np.isfinite(semitones))
    runs = _runs(np.isfinite(semitones)) / FRAMES_PER_SECOND
    values, n = semitones[voiced], len(semitones)
    yield from _forms(values, "mean", "std", "p10", "p50", "p90")
    steps = np.diff(values)[np.diff(voiced) == 1] * FRAMES_PER_SECOND
    yield from _course(values, voiced / FRAMES_PER_SECOND, steps, n / FRAMES_PER_SECOND, curve=True)
    # The wobble that remains where three neighbouring frames lie on no line.
    bends = (
        np.diff(values, 2)[(np.diff(voiced)[1:] == 1) & (np.diff(voiced)[:-1] == 1)] if len(voiced) > 2 else values[:0]
    )
    yield float(np.abs(bends).mean()) if len(bends) else np.nan
    yield len(voiced) / n
    yield len(runs) * FRAMES_PER_SECOND / n
    yield float(runs.mean()) if len(runs) else np.nan
    yield float(runs.max()) if len(runs) else np.nan


def _energy_figures(level: Values, active: Mask) -> Iterator[float]:
    """The figures from `level_mean` to `seconds`."""
    values, where, n = level[active], np.flatnonzero(active), len(level)
    seconds = n / FRAMES_PER_SECOND
    yield float(values.mean())
    yield float(level.max())
    relative = values - values.mean()
    yield from _forms(relative, "std", "p10", "p50")
    steps = np.diff(values)[np.diff(where) == 1] * FRAMES_PER_SECOND
    yield from _course(relative, where / FRAMES_PER_SECOND, steps, seconds, curve=False)
    yield float(np.abs(np.diff(level, 2)).mean())
    smooth = np.convolve(level, hann(13) / hann(13).sum(), mode="same")
    hills = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & (smooth[1:-1] > level.max() - 25)
    yield float(hills.sum()) / seconds
    pauses = _runs(~active) / FRAMES_PER_SECOND
    yield float((~active).mean())
    yield float((pauses > 0.1).sum()) / seconds
    yield float(pauses.max()) if len(pauses) else 0.0
    yield seconds


def _course(values: Values, times: Values, steps: Values, seconds: float, *, curve: bool) -> Iterator[float]:
    """Range, slope, (curve,) mean and spread of steps per second, share of rising, final fifth, time of the peak."""
    if len(values) < 3:
        yield from [np.nan] * (8 if curve else 7)
        return
    yield float(np.subtract(*np.percentile(values, [90, 10])))
    centred = times - times.mean()
    yield float(np.polyfit(centred, values, 1)[0])
    if curve:
        yield float(np.polyfit(centred / seconds, values, 2)[0])
    yield float(np.abs(steps).mean()) if len(steps) else np.nan
    yield float(steps.std()) if len(steps) else np.nan
    yield float((steps > 0).mean()) if len(steps) else np.nan
    last = values[-max(1, len(values) // 5) :]
    yield float(last.mean() - values.mean())
    yield float(times[values.argmax()] / seconds)


def _tilt(spectrum: Values, f0: Values) -> Values:
    """First harmonic above the second in decibels where voiced, (voiced,): breath against press."""
    rows = np.flatnonzero(f0 < SAMPLE_RATE / 8)
    decibels = 10 * np.log10(spectrum[rows])
    first, second = (np.rint(k * f0[rows] * SPECTRUM_FFT / SAMPLE_RATE).astype(int) for k in (1, 2))
    here = np.arange(len(rows))
    return decibels[here, first] - decibels[here, second]


def _cepstra(spectrum: Values) -> Values:
    """Mel cepstra without the level, (T, 13)."""
    bands = np.log(spectrum @ _mel_bank())
    return np.asarray(scipy.fft.dct(bands, type=2, norm="ortho", axis=1)[:, 1 : _CEPSTRA + 1], dtype=np.float64)


@lru_cache(maxsize=1)
def _mel_bank() -> Values:
    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=SPECTRUM_FFT, n_mels=32, fmin=60).T.astype(np.float64)


def _cepstral_figures(cepstra: Values, active: Mask, voiced: Mask) -> Iterator[float]:
    # A slope over five frames: single differences mostly hear the noise.
    delta = np.gradient(cepstra, axis=0)
    delta[1:-1] = (2 * delta[1:-1] + delta[:-2] + delta[2:]) / 4
    loud = cepstra[active]
    columns = zip(loud.mean(axis=0), loud.std(axis=0), delta[active].std(axis=0), strict=True)
    yield from (float(value) for column in columns for value in column)
    yield from (cepstra[voiced].mean(axis=0) if voiced.any() else np.full(_CEPSTRA, np.nan)).tolist()


def _shape_figures(spectrum: Values, active: Mask) -> Iterator[float]:
    shapes = _shapes(spectrum[active])
    low, high = np.percentile(shapes[:, len(_BANDS) - 1 :], [10, 90], axis=0)
    for pair in zip(shapes.mean(axis=0), shapes.std(axis=0), strict=True):
        yield from map(float, pair)
    for pair in zip(low, high, strict=True):
        yield from map(float, pair)


def _shapes(power: Values) -> Values:
    """What is named in `_SHAPES`, per frame, (T, shapes)."""
    hertz = np.arange(power.shape[1]) * SAMPLE_RATE / SPECTRUM_FFT
    total = power.sum(axis=1)
    share = power / total[:, None]
    edges = np.searchsorted(hertz, _BANDS[:-1])
    bands = 10 * np.log10(np.add.reduceat(share, edges, axis=1))
    centroid = share @ hertz
    spread = np.sqrt(np.maximum(share @ np.square(hertz) - np.square(centroid), 0))
    rolloff = hertz[(np.cumsum(share, axis=1) < 0.85).sum(axis=1).clip(max=len(hertz) - 1)]
    logs = np.log(power)
    flatness = 10 / np.log(10) * (logs.mean(axis=1) - np.log(power.mean(axis=1)))
    change = np.abs(np.diff(share, axis=0, prepend=share[:1])).sum(axis=1)
    decibels = 10 / np.log(10) * logs

    def between(low: float, high: float) -> slice:
        return slice(*np.searchsorted(hertz, [low, high]))

    def ratio(below: slice, above: slice) -> Values:
        return 10 * np.log10(power[:, below].sum(axis=1) / power[:, above].sum(axis=1))

    def slope(part: slice) -> Values:
        at = (hertz[part] - hertz[part].mean()) / 1000  # decibels per kilohertz
        return decibels[:, part] @ at / (at @ at)

    peaks = decibels[:, between(0, 2000)].max(axis=1) - decibels[:, between(2000, 5000)].max(axis=1)
    alpha = ratio(between(50, 1000), between(1000, 5000))
    slopes = (slope(between(60, 500)), slope(between(500, 1500)))
    return np.column_stack([bands, centroid, spread, rolloff, flatness, change, alpha, peaks, *slopes])


def _forms(values: Values, *forms: str) -> tuple[float, ...]:
    """Mean, spread and percentiles over what is finite."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return (np.nan,) * len(forms)
    moments = {"mean": float(finite.mean()), "std": float(finite.std())}
    return tuple(moments[form] if form in moments else float(np.percentile(finite, int(form[1:]))) for form in forms)


def _runs(mask: Mask) -> Values:
    """Lengths in frames of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return (edges[1::2] - edges[::2]).astype(np.float64)
