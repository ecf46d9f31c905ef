"""Lines over a bed, and what a report draws of them: arrays in, arrays and pictures out."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from authentic_dubber import mix as mixing
from authentic_dubber.figures import line_figure, mel_png
from authentic_dubber.mix import Placed, Span, active_level, active_span, duck_gain, levelled, mix
from authentic_dubber.takes import Details, TakeRecord

RATE = 16_000


def tone(seconds: float, level: float = -20.0, rate: int = RATE, hertz: float = 220.0) -> np.ndarray:
    """A sine of a root-mean-square level in dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    return (np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def rms_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64)) + 1e-20))


def test_the_mix_is_exactly_as_long_as_asked_and_without_a_bed_only_the_lines() -> None:
    take = Placed("001", tone(0.5), 0.25)
    for length in (RATE, RATE + 1, 12345):
        track = mix([take], length, RATE)
        assert len(track.wave) == length
        assert not track.wave[: RATE // 4].any() and not track.wave[RATE * 3 // 4 :].any()
    exact = mix([take], RATE, RATE).wave
    assert np.array_equal(exact[RATE // 4 : RATE * 3 // 4], take.wave)
    assert not mix([], RATE, RATE).wave.any()


def test_a_kept_bed_is_untouched_and_a_ducked_one_lowered_under_lines_only() -> None:
    bed = tone(4, -30, hertz=97)
    # Faint enough to leave the bed's level alone, loud enough to count as speech.
    take = Placed("001", tone(1, -50, hertz=2000), 1.5)
    kept = mix([take], 4 * RATE, RATE, bed=bed).wave
    assert np.allclose(kept[:RATE], bed[:RATE])
    ducked = mix([take], 4 * RATE, RATE, bed=bed, duck=True).wave
    inside = slice(round(1.6 * RATE), round(2.4 * RATE))
    line = np.zeros_like(bed)
    line[round(1.5 * RATE) : round(2.5 * RATE)] = take.wave
    assert rms_db((ducked - line)[inside]) - rms_db(bed[inside]) == pytest.approx(-12, abs=0.01)
    far = np.r_[0 : round(1.4 * RATE), round(2.6 * RATE) : 4 * RATE]
    assert np.array_equal(ducked[far], bed[far])


def test_the_ducks_ramp_is_80_ms_and_straight_in_decibels() -> None:
    gain = 20 * np.log10(duck_gain([Span(1.0, 2.0)], 3 * RATE, RATE).astype(np.float64))
    for offset, expected in ((0.08, 0), (0.04, -6), (0.0, -12)):
        assert gain[round((1 - offset) * RATE)] == pytest.approx(expected, abs=0.02)
        assert gain[round((2 + offset) * RATE)] == pytest.approx(expected, abs=0.02)
    assert np.abs(np.diff(gain)).max() < 12 / (0.08 * RATE) * 1.01


def test_overlapping_ducks_do_not_add_up() -> None:
    gain = duck_gain([Span(0.5, 1.2), Span(1.1, 1.6)], 2 * RATE, RATE)
    assert 20 * np.log10(gain.min()) == pytest.approx(-12, abs=0.01)


def test_a_mix_is_scaled_down_rather_than_clipped_and_says_so() -> None:
    loud = Placed("001", tone(1, -3), 0.0)
    track = mix([loud], RATE, RATE, bed=tone(1, -3))
    ceiling = 10 ** (mixing.CEILING / 20)
    assert np.abs(track.wave).max() == pytest.approx(ceiling, abs=1e-4)
    assert track.lowered > 0 and any("lowered" in note for note in track.notes)
    shape = tone(1, -3) * 2
    assert np.allclose(track.wave / np.abs(track.wave).max(), shape / np.abs(shape).max(), atol=1e-5)
    assert mix([Placed("001", tone(1), 0.0)], RATE, RATE).notes == ()


def test_a_line_past_the_pictures_end_is_cut_with_a_note() -> None:
    track = mix([Placed("007", tone(1), 0.5)], RATE, RATE)
    assert len(track.wave) == RATE and any("007" in note and "0.50 s" in note for note in track.notes)


def test_levels_leave_pauses_out_and_do_not_depend_on_the_recording() -> None:
    pause = np.zeros(RATE, dtype=np.float32)
    for level in (-50, -30, -12):
        wave = np.concatenate([tone(1, level), pause, tone(1, level)])
        assert active_level(wave, RATE) == pytest.approx(level, abs=0.05)
        assert active_level(levelled(wave, RATE).wave, RATE) == pytest.approx(mixing.LINE_LEVEL, abs=0.05)
    assert active_level(pause, RATE) is None and active_span(pause, RATE) is None
    assert active_span(np.concatenate([pause, tone(1), pause]), RATE) == pytest.approx((1, 2), abs=0.02)


def test_a_peaky_line_stays_below_the_ceiling_and_says_so() -> None:
    wave = tone(1, -40)
    wave[100] = 0.9
    result = levelled(wave, RATE)
    assert np.abs(result.wave).max() <= 10 ** (mixing.CEILING / 20) + 1e-6 and result.notes


def test_a_figure_puts_symbols_where_they_end() -> None:
    mel = np.zeros((80, 100), dtype=np.float32)
    details = Details(mel, 0.01, np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    record = TakeRecord("001", "Ada", "hi", (2.0, 3.0), "ok", slot=(2.0, 3.0), symbols=("h", "<"), ends=(0.25, 1.0))
    figure = line_figure(record, details)
    edges = [float(x) for x in re.findall(r'class="edge" x1="([\d.]+)"', figure)]
    left, width = (float(x) for x in re.search(r'<image x="([\d.]+)"[^>]* width="([\d.]+)"', figure).groups())  # type: ignore[union-attr]
    assert [(edge - left) / width for edge in edges] == pytest.approx([0.25, 1.0], abs=0.001)
    assert "&lt;</text>" in figure


def test_a_mels_low_bands_are_drawn_below() -> None:
    mel = np.full((80, 10), -11.0, dtype=np.float32)
    mel[3, 4] = 0.0
    picture = cv2.imdecode(np.frombuffer(mel_png(mel), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None and picture.shape == (80, 10)
    assert np.unravel_index(int(picture.argmax()), picture.shape) == (76, 4)
