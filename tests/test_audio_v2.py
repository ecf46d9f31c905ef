"""The second ear: what it adds to the first, what gain may not move, and that readers are had by name and by space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from library_builder.audio import LightAudio
from library_builder.audio_v2 import LightAudioV2
from library_builder.audio_v2_norms import SHAPE
from library_builder.readers import build_reader, build_readers, readers_of
from library_builder.types import MODALITIES, Reading, space_width
from library_builder.voice import MEASURES, track_voice
from library_builder.voice_shape import SHAPES, measure_shape

RATE = 16000


def voice(gain: float = 0.1, *, arch: float = 0.0, growth: float = 0.0) -> npt.NDArray[np.float32]:
    """A second and a half of buzzing syllables; pitch makes an arch of so many semitones, level grows by so many dB."""
    t = np.arange(round(1.5 * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(150 * 2 ** (arch * np.sin(np.pi * t / 1.5) / 12)) / RATE
    buzz = sum(np.sin(k * phase) / k**1.5 for k in range(1, 20)) * 10 ** (growth * (t / 1.5 - 0.5) / 20)
    grain = np.random.default_rng(0).normal(size=len(t)) * 1e-3
    return (gain * (buzz * (0.6 - 0.4 * np.cos(2 * np.pi * 4 * t)) + grain)).astype(np.float32)


def shape(wave: npt.NDArray[np.float32]) -> dict[str, float]:
    tracks = track_voice(wave, RATE)
    assert tracks is not None
    return measure_shape(tracks)


def read(reading: Reading | None) -> Reading:
    assert reading is not None
    return reading


def test_it_hears_what_the_first_ear_hears_and_more() -> None:
    wave = voice(arch=4)
    first, second = read(LightAudio().read(wave, RATE)), read(LightAudioV2().read(wave, RATE))
    vector = second.emotion.vector
    assert second.emotion.space == LightAudioV2().space and len(vector) == space_width(second.emotion.space)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    same = vector[: len(MEASURES)]
    np.testing.assert_allclose(same / np.linalg.norm(same), first.emotion.vector, atol=1e-6)
    assert second.caption == first.caption
    tracks = track_voice(wave, RATE)
    assert tracks is not None and np.array_equal(LightAudioV2().emotion_of(tracks).vector, vector)
    assert len(set(SHAPES)) == len(SHAPES) and set(SHAPES) == set(SHAPE) and not set(SHAPES) & set(MEASURES)


def test_an_arch_of_pitch_and_a_growing_voice_are_told_from_their_opposites() -> None:
    up, down = shape(voice(arch=5)), shape(voice(arch=-5))
    assert up["f0_arc_2"] < -0.5 < 0.5 < down["f0_arc_2"]
    more, less = shape(voice(growth=12)), shape(voice(growth=-12))
    assert more["level_arc_1"] < -1 < 1 < less["level_arc_1"]


def test_gain_moves_no_shape() -> None:
    soft, loud = shape(voice(gain=0.02, arch=3)), shape(voice(gain=0.2, arch=3))
    for name in SHAPES:
        # A thousandth of what is usual among voices: float32 rounding in the resampler.
        assert loud[name] == pytest.approx(soft[name], abs=1e-3 * SHAPE[name][1] + 1e-9), name


def test_silence_has_no_feeling_and_a_whisper_a_note() -> None:
    assert LightAudioV2().read(np.zeros(RATE), RATE) is None
    t = np.arange(RATE) / RATE
    breath = np.random.default_rng(1).normal(size=RATE) * 0.05 * (1 + np.sin(2 * np.pi * 3 * t))
    reading = read(LightAudioV2().read(breath, RATE))
    assert reading.notes and reading.emotion.vector[len(MEASURES) + SHAPES.index("f0_arc_1")] == 0
    with pytest.raises(ValueError, match="finite"):
        LightAudioV2().read(np.array([0.1, np.nan] * RATE), RATE)


def test_readers_are_had_by_modality_and_name() -> None:
    for modality in MODALITIES:
        assert build_reader(modality, "light").space == build_readers("light").spaces()[modality]
    assert isinstance(build_reader("audio", "light-v2"), LightAudioV2)
    with pytest.raises(ValueError, match=r"readers of face are light, paper, face-api, got 'light-v2'"):
        build_reader("face", "light-v2")
    with pytest.raises(ValueError, match=r"scene, face, text, audio, got 'smell'"):
        build_reader("smell", "light")  # type: ignore[call-overload]


def test_readers_are_had_by_the_spaces_that_a_checkpoint_names() -> None:
    light = build_readers("light").spaces()
    assert readers_of(light).spaces() == light
    wanted = {**light, "audio": LightAudioV2().space}
    assert readers_of(wanted).spaces() == wanted
    elsewhere = {**light, "audio": "elsewhere/8"}
    assert readers_of(elsewhere, light_else=True).spaces() == light
    with pytest.raises(ValueError, match=r"expected audio in a space that a reader of ours has .*, got elsewhere/8"):
        readers_of(elsewhere)
