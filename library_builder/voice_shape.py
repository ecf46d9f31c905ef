"""What else can be measured of a tracked voice: how its pitch, effort and spectrum move, in 48 further named figures.

`voice.MEASURES` say where a voice lies and how much it varies; these say in what shape. All come from tracks that are
there already and none changes with gain. A figure that cannot be taken is NaN, never 0.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import librosa
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, signal, stats

from .voice import FRAMES_PER_SECOND, SAMPLE_RATE, SPECTRUM_WINDOW, Mask, Track, VoiceTracks, runs

_BANDS = 16
"""Mel bands of which every other's spread over time is told, against the whole of its frame. Their means are the
microphone's as much as the voice's: with them feelings were found less often in recordings of another corpus."""
_SHORT = 0.06
"""Seconds; voiced stretches below this are breaks of a voice rather than vowels."""
_HERTZ = np.fft.rfftfreq(SPECTRUM_WINDOW, 1 / SAMPLE_RATE)

SHAPES: tuple[str, ...] = (
    *("f0_low", "f0_high", "f0_skew", "f0_kurtosis", "f0_arc_1", "f0_arc_2", "f0_arc_3", "f0_arc_4"),
    *("f0_rise", "f0_fall", "f0_run_slope", "f0_run_range", "f0_bend", "f0_reset"),
    *("breaks", "hnr_p10", "hnr_p90", "jitter_p90", "shimmer_p90"),
    *(
        "level_arc_1",
        "level_arc_2",
        "level_arc_3",
        "level_kurtosis",
        "stress",
        "f0_level",
        "f0_balance",
        "level_balance",
    ),
    *("h1_a3", "balance_p10", "balance_p90", "balance_slope", "span"),
    *(f"band_std_{i}" for i in range(1, _BANDS + 1, 2)),
    *(f"mfcc_travel_{i}" for i in range(1, 5)),
    *(f"mfcc_std_{i}" for i in range(5, 9)),
)
"""The figures, in the order in which they follow those of `voice.MEASURES`."""


def measure_shape(tracks: VoiceTracks) -> dict[str, float]:
    """The 48 figures of `SHAPES`, by name; NaN where one cannot be taken."""
    figures = {name: float("nan") for name in SHAPES}
    figures.update(_melody(tracks))
    figures.update(_roughness(tracks))
    figures.update(_dynamics(tracks))
    figures.update(_balance(tracks))
    figures.update(_bands(tracks))
    return figures


def _arc(values: Track, count: int) -> Track:
    """The first cosines of a contour, whatever its length: fall, arch and finer waves, in its own unit."""
    return np.asarray(fft.dct(values - values.mean(), norm="forward"))[1 : count + 1]


def _moments(values: Track) -> tuple[float, float]:
    """Skewness and excess kurtosis; 0 for what does not vary."""
    if values.std() < 1e-6:
        return 0.0, 0.0
    return float(stats.skew(values)), float(stats.kurtosis(values))


def _melody(tracks: VoiceTracks) -> dict[str, float]:
    if tracks.voiced.sum() < 5:
        return {}
    where = np.flatnonzero(tracks.voiced)
    f0 = tracks.f0[where]
    low, middle, high = np.percentile(f0, [10, 50, 90])
    skew, kurtosis = _moments(f0)
    # A pause is bridged by a straight line, so that the arc is that of the line and not of its words.
    arc = _arc(np.interp(np.linspace(where[0], where[-1], 64), where, f0), 4)
    long = [tracks.f0[a:b] for a, b in runs(tracks.voiced) if b - a >= 5]
    steps = np.concatenate([np.diff(tracks.f0[a:b]) for a, b in runs(tracks.voiced)]) * FRAMES_PER_SECOND
    figures = {
        "f0_low": float(low - middle),
        "f0_high": float(high - middle),
        "f0_skew": skew,
        "f0_kurtosis": kurtosis,
        "f0_rise": float(np.percentile(steps, 90)),
        "f0_fall": float(np.percentile(steps, 10)),
        **{f"f0_arc_{i}": float(value) for i, value in enumerate(arc, start=1)},
    }
    if long:
        figures["f0_run_slope"] = float(np.mean([(run[-1] - run[0]) / len(run) for run in long])) * FRAMES_PER_SECOND
        figures["f0_run_range"] = float(np.mean([np.ptp(run) for run in long]))
        figures["f0_bend"] = float(np.mean([run[len(run) // 2] - (run[0] + run[-1]) / 2 for run in long]))
        resets = [after[0] - before[-1] for before, after in pairwise(long)]
        figures["f0_reset"] = float(np.mean(resets)) if resets else 0.0
    return figures


def _roughness(tracks: VoiceTracks) -> dict[str, float]:
    voiced = tracks.voiced
    if voiced.sum() < 5:
        return {}
    ratio = np.clip(tracks.periodicity[voiced], 0.05, 0.995)
    low, high = np.percentile(10 * np.log10(ratio / (1 - ratio)), [10, 90])
    lengths = np.array([b - a for a, b in runs(voiced)]) / FRAMES_PER_SECOND
    bends = np.concatenate([np.diff(tracks.f0[a:b], 2) for a, b in runs(voiced)])
    shakes = np.concatenate([np.diff(tracks.level[a:b], 2) for a, b in runs(voiced)])
    return {
        "breaks": float((lengths < _SHORT).mean()),
        "hnr_p10": float(low),
        "hnr_p90": float(high),
        "jitter_p90": float(np.log10(np.percentile(np.abs(bends), 90) + 1e-3)),
        "shimmer_p90": float(np.log10(np.percentile(np.abs(shakes), 90) + 1e-3)),
    }


def _dynamics(tracks: VoiceTracks) -> dict[str, float]:
    where = np.flatnonzero(tracks.active)
    level = tracks.level[where]
    arc = _arc(np.interp(np.linspace(where[0], where[-1], 64), where, level), 3)
    envelope = ndimage.gaussian_filter1d(np.maximum(tracks.level, tracks.level.max() - 45), 2.5)
    beats, _ = signal.find_peaks(envelope, prominence=2.0, distance=8)
    heights = envelope[beats[tracks.active[beats]]]
    return {
        **{f"level_arc_{i}": float(value) for i, value in enumerate(arc, start=1)},
        "level_kurtosis": _moments(level)[1],
        # Whoever stresses some syllables and drops others differs from who hammers or murmurs them all.
        "stress": float(heights.std()) if len(heights) > 1 else 0.0,
        "span": float(np.log(max(where[-1] - where[0], 1) / FRAMES_PER_SECOND)),
    }


def _share(power: Track, low: float, high: float) -> Track:
    """Power of a band in each frame, dB."""
    return _decibels(power[(low <= _HERTZ) & (high > _HERTZ)].sum(axis=0))


def _decibels(power: Track) -> Track:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-20)))


def _together(one: Track, other: Track) -> float:
    """Correlation; 0 where one of the two stands still."""
    if one.std() < 1e-6 or other.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _balance(tracks: VoiceTracks) -> dict[str, float]:
    voiced: Mask = tracks.voiced
    if voiced.sum() < 5:
        return {}
    power, f0, level = tracks.power[:, voiced], tracks.f0[voiced], tracks.level[voiced]
    # Of upper over lower bands: vocal effort, frame by frame.
    balance = _share(power, 1000, 5000) - _share(power, 50, 1000)
    low, high = np.percentile(balance, [10, 90])
    times = np.flatnonzero(voiced) / FRAMES_PER_SECOND
    centred = times - times.mean()
    bins = np.rint(55 * 2 ** (f0 / 12) * SPECTRUM_WINDOW / SAMPLE_RATE).astype(int)
    first = _decibels(power[bins, np.arange(len(bins))])
    third = _decibels(power[(_HERTZ >= 2300) & (_HERTZ < 3500)].max(axis=0))
    return {
        "f0_level": _together(f0, level),
        "f0_balance": _together(f0, balance),
        "level_balance": _together(level, balance),
        "h1_a3": float(np.mean(first - third)),
        "balance_p10": float(low),
        "balance_p90": float(high),
        "balance_slope": float(centred @ balance / max(float(centred @ centred), 1e-9)),
    }


@cache
def _bank() -> npt.NDArray[np.float32]:
    bank: npt.NDArray[np.float32] = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=SPECTRUM_WINDOW, n_mels=40, fmin=60)
    return bank


def _bands(tracks: VoiceTracks) -> dict[str, float]:
    active = tracks.power[:, tracks.active]
    mel = _decibels(_bank() @ active + active.max() * 1e-8)
    cepstrum = librosa.feature.mfcc(S=mel, n_mfcc=9)
    wide = _decibels(
        np.add.reduceat(10 ** (mel / 10), np.linspace(0, len(mel), _BANDS, endpoint=False).astype(int), axis=0)
    )
    wide = wide - _decibels((10 ** (wide / 10)).sum(axis=0))
    # Neighbours in time alone: between two sounding stretches nothing moved.
    near = np.diff(np.flatnonzero(tracks.active)) == 1
    steps = np.abs(np.diff(cepstrum, axis=1))[:, near]
    figures = {f"band_std_{i + 1}": float(wide[i].std()) for i in range(0, _BANDS, 2)}
    figures.update({f"mfcc_std_{i}": float(cepstrum[i].std()) for i in range(5, 9)})
    figures.update({f"mfcc_travel_{i}": float(steps[i].mean()) if near.any() else 0.0 for i in range(1, 5)})
    return figures
