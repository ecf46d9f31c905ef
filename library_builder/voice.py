"""What can be measured of a voice: tracks over time, and 64 named figures that sum them up. No learning, no labels.

Every figure but `level` is unchanged when the recording is made louder or softer: gain belongs to the microphone, while
vocal effort shows in the spectrum. A figure that cannot be taken (pitch of a whisper) is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, signal, stats

Track = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SAMPLE_RATE = 16000
HOP_SAMPLES = 160
FRAMES_PER_SECOND = SAMPLE_RATE / HOP_SAMPLES
PITCH_WINDOW = 1024
SPECTRUM_WINDOW = 512
F0_MIN, F0_MAX = 65.0, 700.0
"""Hz. Drawn characters squeak: the ceiling lies above that of adult speech."""
PERIODIC = 0.55
"""Normalised autocorrelation above which a frame counts as voiced."""
ACTIVE_RANGE_DB = 30.0
"""Frames this far below the loud ones are pauses."""
SILENCE_DBFS = -65.0
"""A clip whose loud frames are below this has no voice in it."""
SHORTEST = 0.1
"""Seconds of sound below which nothing is measured."""

_MFCCS = 12
MEASURES: tuple[str, ...] = (
    *("f0_median", "f0_p10", "f0_p90", "f0_range", "f0_std", "f0_slope", "f0_travel", "f0_rising", "f0_final"),
    "f0_peak_time",
    *("voiced_share", "fill_share", "voiced_rate", "voiced_run", "voiced_longest", "pause_mean", "syllable_rate"),
    *("level", "level_std", "level_p10", "level_p90", "level_slope", "level_travel", "level_attack", "level_skew"),
    *("mod_1_2", "mod_2_4", "mod_4_8", "mod_8_16"),
    *("alpha", "hammarberg", "slope_low", "slope_mid", "tilt", "centroid", "centroid_std", "flux", "flux_std"),
    *("rolloff", "flatness", "share_2_4k", "share_4_8k"),
    *(f"mfcc_{i}" for i in range(1, _MFCCS + 1)),
    *(f"mfcc_std_{i}" for i in range(1, 5)),
    *("hnr", "hnr_std", "jitter", "shimmer", "h1_h2", "creak"),
)
"""The figures, in the order of the vector. Pitch in semitones above 55 Hz, levels in dB, times in seconds."""


@dataclass(frozen=True, slots=True)
class VoiceTracks:
    """A voice over time, one value per 10 ms frame; T frames.

    Attributes:
        f0: semitones above 55 Hz, smoothed; meaningful where `voiced`. Shape (T,).
        periodicity: normalised autocorrelation at the period, in (0, 1). Shape (T,).
        level: dBFS of each frame. Shape (T,).
        power: power spectrum, shape (257, T).
        active: frames with sound. Shape (T,).
        voiced: active frames with a pitch. Shape (T,).
    """

    f0: Track
    periodicity: Track
    level: Track
    power: Track
    active: Mask
    voiced: Mask


def track_voice(wave: npt.NDArray[np.floating], sample_rate: int) -> VoiceTracks | None:
    """Pitch, periodicity, level and spectrum over time; None when the clip is silent or too short to hold a sound.

    Args:
        wave: samples in [-1, 1], mono.

    Shape:
        (S,) -> T frames, 10 ms apart.

    Raises:
        ValueError: the wave is not one channel of finite samples, or the rate is not positive.
    """
    if wave.ndim != 1:
        raise ValueError(f"expected a mono wave (S,), got shape {wave.shape}")
    if sample_rate <= 0:
        raise ValueError(f"expected a positive sample rate, got {sample_rate}")
    if not np.isfinite(wave).all():
        raise ValueError("expected finite samples, got NaN or infinity")
    if len(wave) < SHORTEST * sample_rate or float(np.abs(wave).max()) < 10 ** (SILENCE_DBFS / 20):
        return None
    sound = librosa.resample(wave.astype(np.float32), orig_sr=sample_rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    sound = sound - sound.mean()
    power = np.abs(librosa.stft(sound, n_fft=SPECTRUM_WINDOW, hop_length=HOP_SAMPLES)).astype(np.float64) ** 2
    # Parseval: a Hann window passes 3/8 of the power, and the one-sided spectrum holds half of it.
    mean_square = 2 * power.sum(axis=0) / (SPECTRUM_WINDOW**2 * 3 / 8)
    level = 10 * np.log10(np.maximum(mean_square, 1e-12))
    loud = float(np.percentile(level, 95))
    if loud < SILENCE_DBFS:
        return None
    active = level > max(loud - ACTIVE_RANGE_DB, SILENCE_DBFS)
    if active.sum() < SHORTEST * FRAMES_PER_SECOND:
        return None
    hertz, periodicity = _pitch(sound, len(level))
    voiced = active & (periodicity > PERIODIC) & (hertz > F0_MIN * 1.02) & (hertz < F0_MAX * 0.98)
    voiced = ndimage.binary_opening(voiced, np.ones(3, dtype=bool))
    f0 = _smooth(12 * np.log2(hertz / 55), voiced)
    return VoiceTracks(f0=f0, periodicity=periodicity, level=level, power=power, active=active, voiced=voiced)


def _pitch(sound: npt.NDArray[np.float32], count: int) -> tuple[Track, Track]:
    """F0 in Hz by YIN, and Boersma's windowed autocorrelation at its lag: (T,), (T,)."""
    hertz = librosa.yin(
        sound, fmin=F0_MIN, fmax=F0_MAX, sr=SAMPLE_RATE, frame_length=PITCH_WINDOW, hop_length=HOP_SAMPLES
    )
    padded = np.pad(sound, PITCH_WINDOW // 2)
    frames = librosa.util.frame(padded, frame_length=PITCH_WINDOW, hop_length=HOP_SAMPLES, axis=0)
    window = np.hanning(PITCH_WINDOW)
    count = min(count, len(frames), len(hertz))
    # Lags go up to half a window, so a window and a half of points keeps them free of what wraps around.
    size = PITCH_WINDOW * 3 // 2
    centred = frames[:count] - frames[:count].mean(axis=1, keepdims=True)
    auto = fft.irfft(_power(fft.rfft(centred * window, size)), size)[:, : PITCH_WINDOW // 2]
    auto /= fft.irfft(_power(fft.rfft(window, size)), size)[: PITCH_WINDOW // 2]
    auto /= np.maximum(auto[:, :1], 1e-12)
    lag = np.clip(np.rint(SAMPLE_RATE / hertz[:count]).astype(int), 2, PITCH_WINDOW // 2 - 3)
    near = np.stack([auto[np.arange(count), lag + step] for step in (-2, -1, 0, 1, 2)])
    return hertz[:count].astype(np.float64), np.clip(near.max(axis=0), 1e-3, 1 - 1e-3)


def _power(spectrum: npt.NDArray[np.complex128]) -> Track:
    return np.asarray(np.square(spectrum.real) + np.square(spectrum.imag))


def _smooth(f0: Track, voiced: Mask) -> Track:
    """Octave slips folded back to the clip's median, then a median over 50 ms inside each voiced run."""
    smooth = f0.copy()
    if not voiced.any():
        return smooth
    middle = float(np.median(f0[voiced]))
    smooth = np.where(smooth > middle + 14, smooth - 12, smooth)
    smooth = np.where(smooth < middle - 14, smooth + 12, smooth)
    for first, last in runs(voiced):
        smooth[first:last] = ndimage.median_filter(smooth[first:last], 5, mode="nearest")
    return smooth


def runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """The stretches of True in a mask, as half-open index pairs in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def measure_voice(tracks: VoiceTracks) -> dict[str, float]:
    """The 64 figures of `MEASURES`, by name; NaN where one cannot be taken."""
    figures = {name: float("nan") for name in MEASURES}
    figures.update(_pitch_figures(tracks))
    figures.update(_timing_figures(tracks))
    figures.update(_level_figures(tracks))
    figures.update(_spectrum_figures(tracks))
    figures.update(_quality_figures(tracks))
    return figures


def _slope(values: Track, times: Track) -> float:
    """Least-squares slope per unit of time."""
    centred = times - times.mean()
    return float(centred @ values / max(float(centred @ centred), 1e-9))


def _pitch_figures(tracks: VoiceTracks) -> dict[str, float]:
    if tracks.voiced.sum() < 5:
        return {}
    f0 = tracks.f0[tracks.voiced]
    times = np.flatnonzero(tracks.voiced) / FRAMES_PER_SECOND
    low, middle, high = np.percentile(f0, [10, 50, 90])
    steps = np.concatenate([np.diff(tracks.f0[a:b]) for a, b in runs(tracks.voiced)])
    moving = steps[np.abs(steps) > 0.02]
    tail = f0[-max(3, len(f0) // 5) :]
    span = max(times[-1] - times[0], 1e-3)
    return {
        "f0_median": float(middle),
        "f0_p10": float(low),
        "f0_p90": float(high),
        "f0_range": float(high - low),
        "f0_std": float(f0.std()),
        "f0_slope": _slope(f0, times),
        "f0_travel": float(np.abs(steps).mean() * FRAMES_PER_SECOND),
        "f0_rising": float((moving > 0).mean()) if len(moving) else 0.5,
        "f0_final": float(tail.mean() - middle),
        "f0_peak_time": float((times[int(np.argmax(f0))] - times[0]) / span),
    }


def _timing_figures(tracks: VoiceTracks) -> dict[str, float]:
    active, voiced = tracks.active, tracks.voiced
    sounding = np.flatnonzero(active)
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    span = (last - first) / FRAMES_PER_SECOND
    lengths = [(b - a) / FRAMES_PER_SECOND for a, b in runs(voiced)]
    pauses = [(b - a) / FRAMES_PER_SECOND for a, b in runs(~active[first:last])]
    envelope = ndimage.gaussian_filter1d(np.maximum(tracks.level, tracks.level.max() - 45), 2.5)
    beats, _ = signal.find_peaks(envelope, prominence=2.0, distance=8)
    beats = beats[active[beats]]
    return {
        "voiced_share": float(voiced[active].mean()),
        "fill_share": float(active[first:last].mean()),
        "voiced_rate": len(lengths) / span,
        "voiced_run": float(np.mean(lengths)) if lengths else 0.0,
        "voiced_longest": max(lengths, default=0.0),
        "pause_mean": float(np.mean(pauses)) if pauses else 0.0,
        "syllable_rate": len(beats) / max(float(active.sum()) / FRAMES_PER_SECOND, 0.1),
    }


def _level_figures(tracks: VoiceTracks) -> dict[str, float]:
    level = tracks.level[tracks.active]
    times = np.flatnonzero(tracks.active) / FRAMES_PER_SECOND
    low, middle, high = np.percentile(level, [10, 50, 90])
    steps = np.concatenate([np.diff(tracks.level[a:b]) for a, b in runs(tracks.active)])
    rises = steps[steps > 0]
    figures = {
        "level": float(10 * np.log10(np.mean(10 ** (level / 10)))),
        "level_std": float(level.std()),
        "level_p10": float(low - middle),
        "level_p90": float(high - middle),
        "level_slope": _slope(level, times),
        "level_travel": float(np.abs(steps).mean() * FRAMES_PER_SECOND) if len(steps) else 0.0,
        "level_attack": float(rises.mean() * FRAMES_PER_SECOND) if len(rises) else 0.0,
        "level_skew": float(stats.skew(level)) if level.std() > 1e-6 else 0.0,
    }
    first, last = int(np.flatnonzero(tracks.active)[0]), int(np.flatnonzero(tracks.active)[-1]) + 1
    envelope = np.sqrt(10 ** (tracks.level[first:last] / 10))
    spectrum = np.abs(np.fft.rfft(envelope / envelope.mean() - 1, 1024)) ** 2
    rate = np.fft.rfftfreq(1024, 1 / FRAMES_PER_SECOND)
    whole = spectrum[(rate >= 1) & (rate < 16)].sum() + 1e-9
    for a, b in ((1, 2), (2, 4), (4, 8), (8, 16)):
        figures[f"mod_{a}_{b}"] = float(np.log10(spectrum[(rate >= a) & (rate < b)].sum() / whole + 1e-3))
    return figures


def _decibels(power: Track | float) -> Track:
    return 10 * np.log10(np.maximum(power, 1e-20))


def _spectrum_figures(tracks: VoiceTracks) -> dict[str, float]:
    # Vocal effort shows in the vowels; a whisper has none, and is described by what sounds.
    chosen = tracks.voiced if tracks.voiced.sum() >= 5 else tracks.active
    power = tracks.power[:, chosen]
    hertz = np.fft.rfftfreq(SPECTRUM_WINDOW, 1 / SAMPLE_RATE)
    mean = power.mean(axis=1)

    def band(low: float, high: float) -> float:
        return float(mean[(hertz >= low) & (hertz < high)].sum())

    def top(low: float, high: float) -> float:
        return float(_decibels(mean[(hertz >= low) & (hertz < high)].max()))

    def fall(low: float, high: float, octaves: bool = False) -> float:
        inside = (hertz >= low) & (hertz < high)
        axis = np.log2(hertz[inside]) if octaves else hertz[inside] / 1000
        return _slope(_decibels(mean[inside] + 1e-9 * mean.max()), axis)

    whole = band(50, 8000)
    active = tracks.power[:, tracks.active]
    shares = active / active.sum(axis=0)
    centroid = hertz @ shares / 1000
    # Flux between neighbours in time, both sounding; spectra of unit mass, so gain cancels.
    change = np.abs(np.diff(np.sqrt(tracks.power / np.maximum(tracks.power.sum(axis=0), 1e-20)), axis=1)).sum(axis=0)
    flux = change[tracks.active[1:] & tracks.active[:-1]]
    floor = active.max() * 1e-8
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=SPECTRUM_WINDOW, n_mels=40, fmin=60)
    cepstrum = librosa.feature.mfcc(S=_decibels(bank @ active + floor), n_mfcc=_MFCCS + 1)
    figures = {
        "alpha": float(_decibels(band(1000, 5000)) - _decibels(band(50, 1000))),
        "hammarberg": top(0, 2000) - top(2000, 5000),
        "slope_low": fall(60, 500),
        "slope_mid": fall(500, 1500),
        "tilt": fall(100, 5000, octaves=True),
        "centroid": float(centroid.mean()),
        "centroid_std": float(centroid.std()),
        "flux": float(flux.mean()) if len(flux) else 0.0,
        "flux_std": float(flux.std()) if len(flux) else 0.0,
        "rolloff": float(hertz[np.searchsorted(np.cumsum(mean), 0.85 * mean.sum())]) / 1000,
        "flatness": float(np.mean(_decibels(librosa.feature.spectral_flatness(S=power, power=1.0, amin=floor * 1e-3)))),
        "share_2_4k": float(_decibels(band(2000, 4000) / whole + 1e-6)),
        "share_4_8k": float(_decibels(band(4000, 8000) / whole + 1e-6)),
    }
    figures.update({f"mfcc_{i}": float(cepstrum[i].mean()) for i in range(1, _MFCCS + 1)})
    figures.update({f"mfcc_std_{i}": float(cepstrum[i].std()) for i in range(1, 5)})
    return figures


def _quality_figures(tracks: VoiceTracks) -> dict[str, float]:
    voiced = tracks.voiced
    if voiced.sum() < 5:
        return {}
    ratio = np.clip(tracks.periodicity[voiced], 0.05, 0.995)
    hnr = 10 * np.log10(ratio / (1 - ratio))
    # Second differences leave out glides, which are melody and not roughness.
    bends = np.concatenate([np.diff(tracks.f0[a:b], 2) for a, b in runs(voiced)])
    shakes = np.concatenate([np.diff(tracks.level[a:b], 2) for a, b in runs(voiced)])
    columns = np.flatnonzero(voiced)
    bins = 55 * 2 ** (tracks.f0[columns] / 12) * SPECTRUM_WINDOW / SAMPLE_RATE
    first = tracks.power[np.rint(bins).astype(int), columns]
    second = tracks.power[np.rint(2 * bins).astype(int), columns]
    f0 = tracks.f0[voiced]
    return {
        "hnr": float(hnr.mean()),
        "hnr_std": float(hnr.std()),
        "jitter": float(np.log10(np.abs(bends).mean() + 1e-3)),
        "shimmer": float(np.log10(np.abs(shakes).mean() + 1e-3)),
        "h1_h2": float(np.mean(_decibels(first) - _decibels(second))),
        "creak": float((f0 < np.median(f0) - 7).mean()),
    }
