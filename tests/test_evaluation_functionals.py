"""Functionals of a clip: each means what it is called, gain moves levels only, and clips without voice are refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from authentic_dubber.evaluation.functionals import KNOWS_LEVEL, NAMES, Remembered, Unmeasurable, functionals
from authentic_dubber.evaluation.periodicity import SAMPLE_RATE, track

Wave = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


def voiced(f0: float, *, seconds: float = 0.8, rate: int = SAMPLE_RATE, seed: int = 0) -> Wave:
    """A pulse train through one resonance, gliding up by a fifth where `f0` is its middle, with a pause and hiss."""
    t = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum(f0 * 2 ** ((t / seconds - 0.5) * 7 / 12) / rate)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    b, a = scipy.signal.iirpeak(700, 3, fs=rate)
    wave = scipy.signal.lfilter(b, a, pulses) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    wave[(t > 0.55 * seconds) & (t < 0.7 * seconds)] = 0
    noise = np.random.default_rng(seed).normal(0, 1e-3, len(t))
    return np.asarray(0.3 * wave / np.abs(wave).max() + noise, dtype=np.float32)


def named(values: Values) -> dict[str, float]:
    return dict(zip(NAMES, values.tolist(), strict=True))


@pytest.mark.parametrize("f0", [70.0, 110.0, 233.3, 420.0, 600.0])
def test_the_pitch_of_a_pulse_train_is_its_rate(f0: float) -> None:
    t = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    # Below the Nyquist rate only: pulses put on whole samples would repeat at another rate than meant.
    wave = sum(np.cos(2 * np.pi * k * f0 * t) / k for k in range(1, int(7000 / f0)))
    found = track(np.asarray(wave, dtype=np.float32)).f0[5:-5]
    assert np.isfinite(found).mean() > 0.98
    # A parabola through three samples of a peak misses it by less than a twentieth of a sample of 25.
    np.testing.assert_allclose(found, f0, rtol=0.002)


def test_noise_has_no_pitch_and_a_tone_is_more_harmonic_in_less_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE // 2).astype(np.float32)
    # Filtered by no throat, noise is periodic only by chance.
    assert np.isfinite(track(noise).f0).mean() < 0.1
    tone = np.sin(2 * np.pi * 150 * np.arange(len(noise)) / SAMPLE_RATE).astype(np.float32)
    for decibels in (10.0, 20.0):
        gain = np.float32(10 ** (-decibels / 20) * np.sqrt(0.5) / 0.1)
        hnr = track(tone + gain * noise).hnr[5:-5]
        # By its definition the ratio is that of the powers mixed; the best of many lags flatters a little.
        assert np.nanmedian(hnr) == pytest.approx(decibels, abs=1.5)


def test_names_are_unique_and_all_are_measured_of_a_voice() -> None:
    values = functionals(voiced(150), SAMPLE_RATE)
    assert values.shape == (len(NAMES),) == (len(set(NAMES)),)
    assert [name for name, value in named(values).items() if not np.isfinite(value)] == []


def test_figures_mean_what_they_are_called() -> None:
    found = named(functionals(voiced(150), SAMPLE_RATE))
    assert found["f0_mean"] == pytest.approx(12 * np.log2(150 / 55), abs=1)  # the pause takes more of the upper half
    # The glide is a fifth in 0.8 s; that its middle is missing does not move a line.
    assert found["f0_slope"] == pytest.approx(7 / 0.8, rel=0.1)
    assert found["seconds"] == pytest.approx(0.8, abs=0.05)
    # 0.12 s of 0.8, less what windows at its edges hear of their neighbours.
    assert 0.06 < found["pause_share"] < 0.16
    assert found["pause_longest"] == pytest.approx(0.12, abs=0.05)


def test_a_higher_voice_only_moves_upwards_by_its_interval() -> None:
    low, high = (named(functionals(voiced(f0), SAMPLE_RATE)) for f0 in (120, 240))
    # Windows of a fixed length round differently at the edges of the pause.
    assert high["f0_p50"] - low["f0_p50"] == pytest.approx(12, abs=0.5)
    assert high["f0_slope"] == pytest.approx(low["f0_slope"], rel=0.15)


@pytest.mark.parametrize("gain", [0.05, 2.0])
def test_gain_moves_the_levels_by_its_decibels_and_nothing_else(gain: float) -> None:
    wave = voiced(180)
    plain, louder = functionals(wave, SAMPLE_RATE), functionals(wave * np.float32(gain), SAMPLE_RATE)
    np.testing.assert_allclose((louder - plain)[KNOWS_LEVEL], 20 * np.log10(gain), atol=1e-4)
    # float32 keeps seven digits, of which a percentile or a near-equal peak may lose some.
    np.testing.assert_allclose(louder[~KNOWS_LEVEL], plain[~KNOWS_LEVEL], rtol=1e-3, atol=1e-3)


def test_silence_at_the_ends_does_not_count() -> None:
    wave, hush = voiced(180), np.zeros(SAMPLE_RATE // 5, dtype=np.float32)
    plain, padded = (functionals(x, SAMPLE_RATE) for x in (wave, np.concatenate([hush, wave, hush])))
    # Zeros may add the frame at each end that still touches sound, and the mean taken off differs.
    for name in ("f0_p50", "level_mean", "pause_share", "seconds", "mfcc1_mean"):
        assert named(padded)[name] == pytest.approx(named(plain)[name], rel=0.05), name


def test_the_rate_of_a_file_hardly_matters() -> None:
    whole = voiced(180, rate=48_000)
    a, b = functionals(whole, 48_000), functionals(scipy.signal.resample_poly(whole, 1, 2).astype(np.float32), 24_000)
    # Two resamplers differ near 8 kHz only, where there is hiss.
    for name in ("f0_mean", "level_mean", "hnr_mean", "centroid_mean", "mfcc2_mean"):
        assert named(b)[name] == pytest.approx(named(a)[name], rel=0.05), name


def test_what_a_whisper_lacks_is_not_a_number() -> None:
    whisper = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE // 2).astype(np.float32)
    # Chance may find a pitch in a frame or two, so only the share is certain to be small.
    found = named(functionals(whisper, SAMPLE_RATE))
    assert found["voiced_share"] < 0.1
    assert np.isfinite(found["level_mean"])


@pytest.mark.parametrize("broken", ["silent", "hum of a converter", "short", "click", "not finite"])
def test_clips_without_a_voice_are_refused(broken: str) -> None:
    wave = np.zeros(SAMPLE_RATE // 2, dtype=np.float32)
    match broken:
        case "hum of a converter":
            wave += np.random.default_rng(0).normal(0, 1e-5, len(wave)).astype(np.float32)
        case "short":
            wave = voiced(150)[:500]
        case "click":
            wave[4000:4100] = 0.5
        case "not finite":
            wave = np.where(np.arange(len(wave)) == 7, np.nan, voiced(150, seconds=0.5)).astype(np.float32)
    with pytest.raises(Unmeasurable, match=r"expected .* got"):
        functionals(wave, SAMPLE_RATE)


def test_two_channels_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="mono"):
        functionals(np.zeros((2, 8000), dtype=np.float32), SAMPLE_RATE)


def test_what_was_heard_is_remembered_and_cannot_be_spoilt() -> None:
    calls = []

    def take(wave: Wave, sample_rate: int) -> Values:
        calls.append(sample_rate)
        return wave.astype(np.float64)

    remembered = Remembered(take)
    wave = np.arange(3, dtype=np.float32)
    remembered(wave, 8000)[:] = 9
    np.testing.assert_array_equal(remembered(wave.copy(), 8000), [0, 1, 2])
    remembered(wave, 16000)
    assert calls == [8000, 16000]
