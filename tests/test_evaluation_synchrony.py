"""Timing: the detector's edges on made-up speech, and the arithmetic on edges that are known."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from authentic_dubber.evaluation.gathering import Unmeasurable
from authentic_dubber.evaluation.measured import Measured, Sample, difference, estimate
from authentic_dubber.evaluation.speech_activity import FRAME_SECONDS, WebRtcDetector
from authentic_dubber.evaluation.synchrony import Synchrony, span

RATE = 16_000


def loud(wave: npt.NDArray[np.floating], sample_rate: int) -> npt.NDArray[np.bool_]:
    """A detector whose answer is known: a frame speaks when its first sample is not zero."""
    return np.asarray(wave[:: round(FRAME_SECONDS * sample_rate)] != 0)


def marks(*spans: tuple[float, float], seconds: float = 2.0) -> npt.NDArray[np.float32]:
    wave = np.zeros(round(seconds * RATE), dtype=np.float32)
    for first, last in spans:
        wave[round(first * RATE) : round(last * RATE)] = 0.1
    return wave


def clip(key: str = "a", *spans: tuple[float, float], text: str = "Ten letters.", **more: object) -> Sample:
    return Sample(key, text, "en", "toy/one", marks(*spans), RATE, **more)  # type: ignore[arg-type]


def measure(*clips: Sample) -> dict[str, Measured]:
    return {one.name: one for one in Synchrony(loud)(clips)}


def value(found: dict[str, Measured], name: str, key: str = "a") -> float:
    (number,) = found[name].rows[key].values
    return number


# Edges and slots


def test_late_at_the_beginning_and_early_at_the_end() -> None:
    found = measure(clip("a", (0.53, 1.45), slot=(0.5, 1.5)))
    assert value(found, "onset_lag") == pytest.approx(30)
    assert value(found, "offset_lag") == pytest.approx(-50)
    assert value(found, "onset_error") == pytest.approx(30)
    assert value(found, "offset_error") == pytest.approx(50)
    assert value(found, "in_slot") == 0


def test_both_edges_have_to_be_within_tolerance() -> None:
    """Forty milliseconds themselves are within, though 0.54 - 0.5 is a little more in floats."""
    clips = [
        clip("a", (0.54, 1.46), slot=(0.5, 1.5)),
        clip("b", (0.50, 1.55), slot=(0.5, 1.5)),
        clip("c", (0.45, 1.50), slot=(0.5, 1.5)),
        clip("d", (0.50, 0.6), (1.2, 1.50), slot=(0.5, 1.5)),
    ]
    found = measure(*clips)
    assert [value(found, "in_slot", key) for key in "abcd"] == [100, 0, 0, 100]
    whole = estimate(found["in_slot"])
    assert whole is not None
    assert (whole.value, whole.n) == (50, 4)


def test_signed_lags_cancel_and_absolute_errors_do_not() -> None:
    found = measure(clip("a", (0.4, 1.5), slot=(0.5, 1.5)), clip("b", (0.6, 1.5), slot=(0.5, 1.5)))
    lag, error = estimate(found["onset_lag"]), estimate(found["onset_error"])
    assert lag is not None
    assert error is not None
    assert lag.value == pytest.approx(0)
    assert error.value == pytest.approx(100)


def test_what_lacks_a_slot_a_mouth_or_a_recording_is_missing_there_only() -> None:
    found = measure(clip("a", (0.5, 1.5)))
    assert {name for name, one in found.items() if one.rows} == {"rate"}
    assert found["in_slot"].missing == {"a": "no slot"}
    assert found["mouth_iou"].missing == {"a": "no mouth seen"}
    assert found["duration_correlation"].missing["a"].startswith("no recording")


def test_a_silent_clip_is_missing_from_all() -> None:
    found = measure(clip("a", slot=(0.5, 1.5), reference=marks((0.5, 1.5))))
    assert {tuple(one.missing.items()) for one in found.values()} == {(("a", "no speech heard"),)}
    assert not any(one.rows for one in found.values())


def test_speech_has_two_edges() -> None:
    assert span(np.array([0, 1, 0, 1, 1, 0], dtype=bool)) == pytest.approx((0.01, 0.05))
    with pytest.raises(Unmeasurable, match="no speech"):
        span(np.zeros(4, dtype=bool))


# Speed and duration


def test_speed_leaves_pauses_and_signs_out() -> None:
    """Ten letters over 0.4 s that sound; over all clips letters are summed before they are divided."""
    found = measure(clip("a", (0.5, 0.7), (1.3, 1.5)), clip("b", (0.2, 1.2)), clip("c", (0, 1), text="42!"))
    assert found["rate"].rows["a"].values == pytest.approx((10, 0.4))
    whole = estimate(found["rate"])
    assert whole is not None
    assert whole.value == pytest.approx(20 / 1.4)
    assert found["rate"].missing == {"c": "no letters in the text"}


def test_duration_follows_the_recording() -> None:
    clips = [
        clip(f"{n}", (0.2, 0.2 + seconds), reference=marks((0.5, 0.5 + 0.8 * seconds)))
        for n, seconds in enumerate((0.5, 0.75, 1.0, 1.25))
    ]
    found = measure(*clips)["duration_correlation"]
    assert found.rows["1"].values == pytest.approx((0.75, 0.6))
    whole = estimate(found)
    assert whole is not None
    assert whole.value == pytest.approx(1)
    gap = difference(found, found)
    assert gap is not None
    assert gap.value == 0


def test_a_silent_recording_is_told_from_a_silent_clip() -> None:
    found = measure(clip("a", (0.5, 1.5), reference=marks()))
    assert found["duration_correlation"].missing == {"a": "recording: no speech heard"}


# Mouths


def mouth(*spans: tuple[float, float], seconds: float = 2.0, fps: float = 25.0) -> npt.NDArray[np.float64]:
    times = (np.arange(round(seconds * fps)) + 0.5) / fps
    return 0.1 + 0.6 * np.any([(times > first) & (times < last) for first, last in spans], axis=0)


@pytest.mark.parametrize(
    ("wide", "expected"),
    [((0.4, 1.2), 100.0), ((0.8, 1.6), 100 / 3), ((0.4, 0.8), 50.0), ((1.2, 1.6), 0.0)],
    ids=["together", "half late", "half as long", "apart"],
)
def test_speech_over_an_open_mouth(wide: tuple[float, float], expected: float) -> None:
    found = measure(clip("a", (0.4, 1.2), mouth=mouth(wide)))
    assert value(found, "mouth_iou") == pytest.approx(expected)


def test_the_mouth_is_judged_by_its_own_range_at_any_video_rate() -> None:
    plain = measure(clip("a", (0.4, 1.2), mouth=mouth((0.8, 1.6))))
    small = measure(clip("a", (0.4, 1.2), mouth=0.3 + 0.1 * mouth((0.8, 1.6), fps=50.0), mouth_fps=50.0))
    assert value(plain, "mouth_iou") == pytest.approx(value(small, "mouth_iou"))


def test_pictures_without_a_face_count_for_neither_side() -> None:
    half = mouth((0.4, 1.2))
    half[20:] = np.nan  # from 0.8 s on
    assert value(measure(clip("a", (0.4, 1.2), mouth=half)), "mouth_iou") == pytest.approx(100)
    assert value(measure(clip("a", (0.4, 0.6), mouth=half)), "mouth_iou") == pytest.approx(50)


def test_speech_after_the_picture_has_ended_has_no_mouth() -> None:
    short = mouth((0.4, 0.8), seconds=0.8)
    assert value(measure(clip("a", (0.4, 1.2), mouth=short)), "mouth_iou") == pytest.approx(50)


def test_a_mouth_that_never_moves_says_nothing() -> None:
    found = measure(clip("a", (0.4, 1.2), mouth=np.full(50, 0.2)))
    assert found["mouth_iou"].missing == {"a": "the mouth does not move"}
    assert measure(clip("a", (0.4, 1.2), mouth=np.full(50, np.nan)))["mouth_iou"].missing == {"a": "no mouth seen"}


# The detector


def voice(first: float, last: float, rate: int = RATE, seconds: float = 2.0) -> npt.NDArray[np.float32]:
    """A made-up vowel of swaying pitch, between rests with a faint hiss."""
    count = round((last - first) * rate)
    time = np.arange(count) / rate
    phase = np.cumsum(130 * 2 ** (np.sin(2 * np.pi * 3 * time) / 6)) / rate
    sound = np.diff(np.floor(phase), prepend=0.0)
    for hertz in (650, 1300, 2500):
        radius = math.exp(-math.pi * 90 / rate)
        sound = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hertz / rate), radius**2], sound)
    wave = np.random.default_rng(0).normal(0, 1e-4, round(seconds * rate))
    start = round(first * rate)
    wave[start : start + count] += 0.3 * sound / np.abs(sound).max()
    return wave.astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_the_detector_finds_both_edges(rate: int) -> None:
    """Three frames: heard one way only, the end would come a tenth of a second late."""
    heard = span(WebRtcDetector()(voice(0.6, 1.4, rate), rate))
    assert heard == pytest.approx((0.6, 1.4), abs=0.03)


def test_level_does_not_move_the_edges() -> None:
    wave = voice(0.6, 1.4)
    heard = WebRtcDetector()
    for gain in (0.03, 0.5, 3.0):
        assert (heard(wave * np.float32(gain), RATE) == heard(wave, RATE)).all()


def test_the_same_sound_backwards_is_heard_at_the_mirrored_places() -> None:
    """The wave is a whole number of frames, so both ways are cut at the same places."""
    wave = voice(0.6, 1.4)
    one, other = WebRtcDetector()(wave, RATE), WebRtcDetector()(wave[::-1], RATE)
    assert (one == other[::-1]).all()


def test_nothing_is_heard_in_silence_and_shorter_than_a_frame_is_refused() -> None:
    detector = WebRtcDetector()
    assert detector(np.zeros(RATE, dtype=np.float32), RATE).tolist() == [False] * 100
    assert len(detector(np.zeros(RATE + 1, dtype=np.float32), RATE)) == 101
    with pytest.raises(Unmeasurable, match=r"0\.01 s or more"):
        detector(np.zeros(100, dtype=np.float32), RATE)
    with pytest.raises(Unmeasurable, match="mono"):
        detector(np.zeros((2, RATE), dtype=np.float32), RATE)


def test_the_whole_measure_on_a_made_up_voice() -> None:
    sample = Sample("a", "Ah", "en", "toy/one", voice(0.6, 1.4), RATE, slot=(0.6, 1.4), mouth=mouth((0.6, 1.4)))
    found = {one.name: one for one in Synchrony()([sample])}
    assert value(found, "in_slot") == 100
    assert value(found, "mouth_iou") > 90


def test_without_the_detector_nothing_is_measured_and_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    for one in Synchrony()([clip("a", (0.5, 1.5), slot=(0.5, 1.5))]):
        assert not one.measured
        assert one.note.startswith("not measured: no voice activity detector")
        assert one.note.endswith("pip install webrtcvad-wheels")
