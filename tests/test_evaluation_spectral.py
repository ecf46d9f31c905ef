"""Spectrum and pitch against a recording: the envelope fit, the alignment, and what the figures of known sounds are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.fft import dct
from scipy.optimize import minimize
from scipy.signal import lfilter

from authentic_dubber.evaluation.aligned import warping_path
from authentic_dubber.evaluation.measured import Measured, Sample, estimate
from authentic_dubber.evaluation.mel_cepstrum import ORDER, WARP, fitted, mel_cepstra
from authentic_dubber.evaluation.pitch import PitchContours
from authentic_dubber.evaluation.spectral import MelCepstralDistortion, distortion

RATE = 22_050
DECIBELS = 10 / math.log(10) * math.sqrt(2)
"""Of a difference of one in one coefficient."""


def vowels(
    seconds: float = 1.0, *, semitones: float = 0.0, sway: float = 2.0, breath: bool = False, mouth: float = 1.0
) -> npt.NDArray[np.float32]:
    """A made-up voice: pulses about 110 Hz that sway in pitch twice a second, through a vowel that changes once.

    Args:
        breath: noise instead of pulses.
        mouth: formants are this many times higher.
    """
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = 110 * 2 ** ((semitones + sway * np.sin(2 * np.pi * 2 * time)) / 12)
    phase = np.cumsum(hertz) / RATE
    source = np.diff(np.floor(phase), prepend=0.0) + 1e-4 * np.random.default_rng(1).standard_normal(len(time))
    if breath:
        source = np.random.default_rng(2).standard_normal(len(time)) * 0.05
    half = len(time) // 2
    parts = through(source[:half], (700, 1200, 2600), mouth), through(source[half:], (300, 2200, 3000), mouth)
    wave = np.concatenate(parts)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def through(source: np.ndarray, formants: tuple[int, ...], mouth: float) -> np.ndarray:
    for hertz in (mouth * formant for formant in formants):
        radius = math.exp(-math.pi * 100 / RATE)
        source = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hertz / RATE), radius**2], source)
    return source / np.sqrt(np.mean(source**2))


def sample(wave: npt.NDArray[np.float32], reference: npt.NDArray[np.float32] | None, key: str = "a") -> Sample:
    return Sample(key, "A line.", "en", "toy/one", wave, RATE, reference=reference)


def figures(found: list[Measured], key: str = "a") -> dict[str, float]:
    """Values of one clip; the quotient where there are two."""
    rows = {one.name: one.rows[key].values for one in found if key in one.rows}
    return {name: values[0] / values[1] if len(values) == 2 else values[0] for name, values in rows.items()}


# Mel cepstra


def bent(bins: int, warp: float) -> np.ndarray:
    """The warped axis from the filter itself: the phase of (z - a) / (1 - a z) for z on the unit circle."""
    z = np.exp(-1j * np.linspace(0, np.pi, bins))
    return -np.unwrap(np.angle((z - warp) / (1 - warp * z)))


def test_an_envelope_made_of_known_cepstra_gives_them_back() -> None:
    """Newton's steps end below 1e-6, and converge quadratically: nothing but rounding is left."""
    known = np.random.default_rng(0).normal(0, 0.3, (5, ORDER + 1))
    power = np.exp(2 * known @ np.cos(np.arange(ORDER + 1)[:, None] * bent(257, WARP)))
    np.testing.assert_allclose(fitted(power), known, atol=1e-9)


def test_the_level_of_noise_is_its_mean_power_not_its_mean_logarithm() -> None:
    """With c0 alone the criterion has an answer on paper. A mean of logarithms would be off by Euler's constant / 2."""
    power = np.random.default_rng(0).exponential(3.0, (4, 257))
    inner = power[:, 1:-1].sum(axis=1) + power[:, [0, -1]].sum(axis=1) / 2
    np.testing.assert_allclose(fitted(power, order=0)[:, 0], 0.5 * np.log(inner / 256), atol=1e-9)


def test_the_fit_is_where_a_general_optimiser_ends() -> None:
    """BFGS with numerical slopes stops within 1e-4 of the lowest point."""
    power = np.random.default_rng(3).exponential(1.0, 129) * np.linspace(4, 0.1, 129) ** 2
    weights = np.r_[0.5, np.ones(127), 0.5] / 128
    basis = np.cos(np.arange(5)[:, None] * bent(129, 0.4))

    def criterion(c: np.ndarray) -> float:
        log_envelope = 2 * c @ basis
        return float(weights @ (power * np.exp(-log_envelope) + log_envelope))

    best = minimize(criterion, np.zeros(5), method="BFGS").x
    np.testing.assert_allclose(fitted(power[None], order=4, warp=0.4)[0], best, atol=1e-3)


def test_a_smooth_envelope_agrees_with_a_cosine_transform_on_the_warped_axis() -> None:
    """Another road: the log spectrum of two poles, drawn on the warped axis, and SciPy's DCT.

    Coefficients past the 13th, which a truncated transform drops and a fit spreads over the rest, are below 1e-2 here.
    """
    poles = np.array([0.5, -0.3])
    axis = np.linspace(0, np.pi, 257)
    z = np.exp(-1j * axis)
    log_amplitude = -np.log(np.abs(np.prod(1 - poles[:, None] * z, axis=0)))
    even = np.interp(np.linspace(0, np.pi, 4097), bent(257, WARP), log_amplitude)
    c = dct(even, type=1) / 4096
    c[0] /= 2
    np.testing.assert_allclose(fitted(np.exp(2 * log_amplitude)[None])[0], c[: ORDER + 1], atol=1e-2)


def test_a_gain_moves_c0_alone() -> None:
    loud, soft = mel_cepstra(vowels()), mel_cepstra(vowels() * np.float32(0.1))
    np.testing.assert_allclose(loud[:, 0] - soft[:, 0], math.log(10), atol=1e-5)
    np.testing.assert_allclose(loud[:, 1:], soft[:, 1:], atol=1e-5)


# Alignment and distance


def test_the_warping_path_is_the_cheapest_of_all() -> None:
    """Every path through a 4 by 4 grid, 63 of them, written out."""

    def paths(i: int, j: int) -> list[list[tuple[int, int]]]:
        if (i, j) == (0, 0):
            return [[(0, 0)]]
        before = [(i - a, j - b) for a, b in ((1, 1), (1, 0), (0, 1)) if i >= a and j >= b]
        return [[*path, (i, j)] for place in before for path in paths(*place)]

    every = paths(3, 3)
    assert len(every) == 63
    draw = np.random.default_rng(5)
    for _ in range(20):
        one, other = draw.normal(size=(4, 3)), draw.normal(size=(4, 3))
        apart = np.linalg.norm(one[:, None] - other[None], axis=2)
        cheapest = min(every, key=lambda path: sum(apart[place] for place in path))
        assert [tuple(pair) for pair in warping_path(one, other)] == cheapest


def test_distortion_of_constant_cepstra_is_known_on_paper() -> None:
    one = np.zeros((7, 4))
    assert distortion(one, one + np.array([0, 1, 0, 0])) == pytest.approx(6.14185)
    assert distortion(one, one + np.array([0, 0.3, 0, 0.4])) == pytest.approx(0.5 * 6.14185, abs=1e-5)
    # The mean of distances, not the distance of means: frames that differ either way do not cancel.
    assert distortion(one[:2], np.array([[0.1, 0, 0, 0], [-0.1, 0, 0, 0]])) == pytest.approx(0.1 * DECIBELS)


# Mel-cepstral distortion of clips


def test_a_gain_costs_nothing_but_where_c0_counts() -> None:
    """Halving the amplitude takes ln 2 off c0; single precision leaves 1e-4 dB."""
    clip = sample(vowels() / 2, vowels())
    assert figures(MelCepstralDistortion()([clip])) == pytest.approx(
        {"mcd": 0, "mcd_dtw": 0, "mcd_dtw_sl": 0}, abs=1e-4
    )
    halved = DECIBELS * math.log(2)
    found = figures(MelCepstralDistortion(with_c0=True)([clip]))
    assert found == pytest.approx({"mcd_c0": halved, "mcd_dtw_c0": halved, "mcd_dtw_sl_c0": halved}, abs=1e-4)


def rested(wave: npt.NDArray[np.float32], before: float, after: float) -> npt.NDArray[np.float32]:
    return np.pad(wave, (round(before * RATE), round(after * RATE)))


def test_rests_at_the_ends_cost_nothing() -> None:
    """Cut off on a grid of 256 samples, frames fall on other places of the pulses: some tenths of a decibel stay."""
    late = sample(rested(vowels(), 0.5, 0.2), rested(vowels(), 0.1, 0.9))
    found = figures(MelCepstralDistortion()([late]))
    assert found["mcd_dtw"] < 1
    assert found["mcd_dtw_sl"] < 1
    other = figures(MelCepstralDistortion()([sample(vowels(mouth=1.2), vowels())]))
    assert other["mcd_dtw"] > 2


def test_tempo_costs_without_warping_and_length_multiplies() -> None:
    slow = sample(vowels(1.5), vowels(1.0))
    found = figures(MelCepstralDistortion()([slow]))
    assert found["mcd_dtw"] < 0.6 * found["mcd"]
    # 1.5 but for the one frame that centring adds to each.
    assert found["mcd_dtw_sl"] / found["mcd_dtw"] == pytest.approx(1.5, abs=0.01)
    back = figures(MelCepstralDistortion()([sample(vowels(1.0), vowels(1.5))]))
    assert back == pytest.approx(found, rel=1e-6), "neither side is privileged"


def test_another_mouth_is_farther_than_the_same_one_at_another_pitch() -> None:
    same, other = sample(vowels(semitones=2), vowels()), sample(vowels(mouth=1.2), vowels(), "b")
    measured = MelCepstralDistortion()([same, other])
    assert figures(measured)["mcd_dtw"] < figures(measured, "b")["mcd_dtw"]
    whole = estimate(next(one for one in measured if one.name == "mcd_dtw"))
    assert whole is not None
    assert whole.value == pytest.approx((figures(measured)["mcd_dtw"] + figures(measured, "b")["mcd_dtw"]) / 2)


def test_clips_that_cannot_be_measured_say_why() -> None:
    quiet = np.zeros(RATE, dtype=np.float32)
    clips = [
        sample(vowels(0.5), None, "alone"),
        sample(quiet, vowels(0.5), "silent"),
        sample(vowels(0.5), quiet, "nothing to compare"),
        sample(vowels(0.05), vowels(0.5), "short"),
        sample(np.full(RATE, np.nan, dtype=np.float32), vowels(0.5), "broken"),
    ]
    for found in MelCepstralDistortion()(clips):
        assert not found.rows
        assert found.missing["alone"].startswith("no recording")
        assert found.missing["silent"].startswith("silent")
        assert found.missing["nothing to compare"].startswith("recording: silent")
        assert found.missing["short"] == "expected 0.1 s or more, got 0.05 s"
        assert "not finite" in found.missing["broken"]


def test_two_clips_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' twice"):
        MelCepstralDistortion()([sample(vowels(0.3), None), sample(vowels(0.3), None)])


# Pitch


def test_a_clip_has_its_own_melody() -> None:
    found = figures(PitchContours()([sample(vowels(), vowels())]))
    assert found["f0_rmse"] == 0
    assert found["vuv_error"] == 0
    assert found["f0_correlation"] == pytest.approx(1)


def test_transposed_by_three_semitones() -> None:
    """The tracker reads pitch to some hundredths; warping moves a contour of 25 semitones/s by a frame, 0.1 to 0.3."""
    found = figures(PitchContours()([sample(vowels(semitones=3), vowels())]))
    assert found["f0_rmse"] == pytest.approx(3, abs=0.3)
    assert found["f0_correlation"] > 0.95
    assert found["f0_median"] == pytest.approx(15, abs=0.3), "110 Hz lies 12 semitones above 55"


def test_a_monotone_is_told_from_a_lively_voice() -> None:
    """A sine of two semitones deviates by √2; it is smoothed a little by the tracker."""
    lively, flat = (figures(PitchContours()([sample(vowels(sway=s), None)])) for s in (2.0, 0.0))
    assert lively["f0_spread"] == pytest.approx(math.sqrt(2), abs=0.2)
    assert flat["f0_spread"] < 0.1
    assert set(lively) == {"f0_median", "f0_spread", "energy"}, "the rest needs a recording"


def test_a_whisper_has_no_pitch_and_wrong_voicing() -> None:
    found = PitchContours()([sample(vowels(breath=True), vowels())])
    missing = {one.name for one in found if one.missing}
    assert missing == {"f0_rmse", "f0_correlation", "f0_median", "f0_spread"}
    assert figures(found)["vuv_error"] > 90


@pytest.mark.parametrize("rest", [0.0, 1.0])
def test_energy_is_the_level_of_what_sounds(rest: float) -> None:
    """A sine of amplitude √2/10 has -20 dBFS whatever rest follows; frames on its edges take tenths of a decibel."""
    tone = (0.1 * math.sqrt(2) * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)).astype(np.float32)
    assert figures(PitchContours()([sample(rested(tone, 0, rest), None)]))["energy"] == pytest.approx(-20, abs=0.3)


def test_silence_is_missing_everywhere() -> None:
    found = PitchContours()([sample(np.zeros(RATE, dtype=np.float32), vowels(0.5))])
    assert [one.name for one in found if one.rows or not one.missing["a"]] == []
