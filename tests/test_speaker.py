"""The speaker encoder: a voice is near itself at any level, rate and text, and prompts without a voice are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from authentic_dubber.espeak import Espeak
from authentic_dubber.speaker import GE2E, BadPrompt, SpeakerEncoder

Wave = npt.NDArray[np.float32]
RATE = 22050
TEXTS = (
    "The quick brown fox jumps over the lazy dog near the river.",
    "Nobody knew why the old house had been left empty for years.",
)
VOICES = ("en-us+f2", "en-us+m3", "en-us+f4")


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    pytest.importorskip("resemblyzer")
    return GE2E()


@pytest.fixture(scope="module")
def said() -> Iterator[Callable[[str, str], Wave]]:
    with Espeak() as espeak:

        def say(text: str, voice: str) -> Wave:
            wave, rate = espeak.speak(text, voice)
            assert rate == RATE
            return wave

        yield say


def test_a_vector_is_unit_float32_and_the_same_each_time(
    encoder: SpeakerEncoder, said: Callable[[str, str], Wave]
) -> None:
    wave = said(TEXTS[0], VOICES[0])
    kept = wave.copy()
    vector = encoder.embed(wave, RATE)
    assert vector.shape == (encoder.width,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(encoder.embed(wave, RATE), vector)
    np.testing.assert_array_equal(wave, kept)


@pytest.mark.parametrize("gain", [0.003, 0.1, 1.9])
def test_level_does_not_matter(encoder: SpeakerEncoder, said: Callable[[str, str], Wave], gain: float) -> None:
    wave = said(TEXTS[0], VOICES[1])
    louder = (wave * np.float32(gain)).astype(np.float32)
    assert encoder.embed(wave, RATE) @ encoder.embed(louder, RATE) > 0.999


def test_a_recording_at_an_ordinary_level_is_heard_as_the_published_recipe_hears_it(
    encoder: SpeakerEncoder, said: Callable[[str, str], Wave]
) -> None:
    """Voices of a corpus may have been embedded by the recipe itself, so a checkpoint has to recognise them."""
    from resemblyzer import VoiceEncoder, preprocess_wav

    wave = said(TEXTS[0], VOICES[2])
    wave = wave * np.float32(10 ** (-24 / 20) / np.sqrt(np.mean(wave**2)))
    published = VoiceEncoder("cpu", verbose=False).embed_utterance(preprocess_wav(wave, RATE))
    assert encoder.embed(wave, RATE) @ published > 0.99


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_rate_does_not_matter(encoder: SpeakerEncoder, said: Callable[[str, str], Wave], rate: int) -> None:
    wave = said(TEXTS[0], VOICES[1])
    again = soxr.resample(wave, RATE, rate)
    # Not exactly one: two resamplings round differently, and the silence cutter decides in steps of 30 ms.
    assert encoder.embed(wave, RATE) @ encoder.embed(again, rate) > 0.95


def test_a_voice_is_nearer_itself_on_another_text_than_any_other_voice(
    encoder: SpeakerEncoder, said: Callable[[str, str], Wave]
) -> None:
    first, second = (np.stack([encoder.embed(said(text, voice), RATE) for voice in VOICES]) for text in TEXTS)
    likeness = first @ second.T
    others = likeness[~np.eye(len(VOICES), dtype=bool)]
    assert likeness.diagonal().min() > others.max() + 0.05


SECOND = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "complaint"),
    [
        (SECOND[: RATE // 3], r"0\.5 s or more, got 0\.33 s"),
        (SECOND[:0], r"0\.5 s or more, got 0\.00 s"),
        (0 * SECOND, r"above -80 dBFS, got digital silence"),
        (1e-6 * SECOND, r"above -80 dBFS, got -120 dBFS"),
        (0.1 * SECOND, r"speech in it, got 1\.00 s without any"),
        (np.stack([SECOND, SECOND]), r"mono.*got shape \(2, 22050\)"),
        (np.full(RATE, np.nan, dtype=np.float32), r"finite"),
    ],
    ids=["short", "empty", "silent", "faint", "noise", "stereo", "nan"],
)
def test_prompts_without_a_voice_are_refused(encoder: SpeakerEncoder, wave: Wave, complaint: str) -> None:
    with pytest.raises(BadPrompt, match=complaint):
        encoder.embed(wave, RATE)


def test_a_click_far_above_the_speech_does_not_break_it(
    encoder: SpeakerEncoder, said: Callable[[str, str], Wave]
) -> None:
    wave = (0.001 * said(TEXTS[0], VOICES[0])).astype(np.float32)
    wave[5] = 1.0
    assert np.isfinite(encoder.embed(wave, RATE)).all()


def test_a_missing_package_names_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(ImportError, match=r"pip install --no-deps resemblyzer==0\.1\.4"):
        GE2E()
