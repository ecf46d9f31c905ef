"""The puppet theatre: alike for a seed, mouths that follow sound, feelings hidden by noise, a demo that reads back."""

from __future__ import annotations

import time
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import librosa
import numpy as np
import pytest

from authentic_dubber.espeak import Espeak
from authentic_dubber.theatre.demo import LEAD, TAIL, make_demo
from authentic_dubber.theatre.face import Pose
from authentic_dubber.theatre.mouth import MOUTH_Y, mouth_opening
from authentic_dubber.theatre.puppet import LABELS, Controls, Feeling, Puppet, cast, feeling_controls
from authentic_dubber.theatre.screenplay import EPISODES, PROMPTS, SCENE
from authentic_dubber.theatre.sets import PLACES
from authentic_dubber.theatre.stage import CROP_WIDTH, Shot, Stage, mouth_crops, pose_at, render, sample_pictures
from authentic_dubber.theatre.style import FilmStyle
from authentic_dubber.theatre.voices import Actor, acted, voice_of
from library_builder.cues import find_cues, read_cues
from library_builder.media import probe, read_frames, read_wave

SIZE = (90, 160)
RATE = 16000


class Buzz:
    """A synthesizer of pulses: pitch sets F0, rate the length, volume the level, and words are bumps of loudness."""

    def speak(
        self, text: str, voice: str = "", *, rate: int, pitch: int, pitch_range: int, volume: int
    ) -> tuple[np.ndarray, int]:
        words = len(text.split())
        t = np.arange(round(words * 60 / rate * RATE)) / RATE
        bumps = np.abs(np.sin(np.pi * t * rate / 60)) ** 0.5
        pulses = sum(np.sin(2 * np.pi * (80 + 2 * pitch) * k * t) / k for k in range(1, 12))
        return (0.002 * volume * bumps * pulses).astype(np.float32), RATE


def opening_wave(frames: int, seed: int = 0) -> np.ndarray:
    """A smooth opening that uses the whole range."""
    slow = np.sin(np.arange(frames) * 0.7 + seed) + np.sin(np.arange(frames) * 0.31)
    return ((slow - slow.min()) / np.ptp(slow)).astype(np.float32)


def darkness(picture: np.ndarray) -> float:
    return 255 - float(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).mean())


def head_view(picture: np.ndarray, size: tuple[int, int], puppet: Puppet, pose: Pose, seed: int) -> np.ndarray:
    """The mouth's surroundings with the head held still, cut from a full picture by an affine map: another road."""
    stage = Stage(size)
    scale, (rest_x, rest_y) = stage.scale(puppet), stage.centre(puppet, seed)
    half, side = CROP_WIDTH / 2, 48
    corners = np.array([[-half, -half], [half, -half], [-half, half]]) + np.array([0.16 * pose.turn, MOUTH_Y + 0.06])
    cosine, sine = np.cos(pose.tilt), np.sin(pose.tilt)
    rest = np.array([rest_x + pose.x * scale, rest_y + pose.y * scale])
    pixels = corners @ np.array([[cosine, sine], [-sine, cosine]]) * scale + rest
    target = np.array([[0, 0], [side, 0], [0, side]])
    matrix = cv2.getAffineTransform(pixels.astype(np.float32), target.astype(np.float32))
    return cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_pixels_and_another_does_not():
    def film(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        shot = Shot(cast(seed, 3)[1], feeling_controls("sad", 1.0, 0.3, rng), opening_wave(6), "forest", seed)
        return np.stack(list(render(shot, Stage(SIZE, 25, FilmStyle.of_film(seed)))))

    assert np.array_equal(film(4), film(4))
    assert not np.array_equal(film(4), film(5))


@pytest.mark.parametrize("place", PLACES)
def test_only_the_shots_seed_changed_changes_the_picture(place):
    puppet, controls, stage = cast(1, 1)[0], Feeling("happy").controls(), Stage(SIZE)
    one, again, other = (stage.draw(puppet, controls, 0.5, 0.4, seed, place=place) for seed in (1, 1, 2))
    assert one.shape == (*SIZE, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_crops_and_casts_follow_their_seeds():
    puppet, opening = cast(1, 1)[0], opening_wave(5)
    assert np.array_equal(mouth_crops(opening, puppet, 3), mouth_crops(opening, puppet, 3))
    assert not np.array_equal(mouth_crops(opening, puppet, 3), mouth_crops(opening, puppet, 4))
    assert cast(7, 9) == cast(7, 9)
    assert cast(7, 9) != cast(8, 9)


def test_sampled_pictures_are_the_rendered_ones():
    puppet, controls, style = cast(2, 1)[0], Feeling("angry").controls(), FilmStyle.of_film(2)
    opening = opening_wave(20)
    frames = sample_pictures(puppet, controls, opening, 25, 4, size=SIZE, style=style, seed=9)
    whole = list(render(Shot(puppet, controls, opening, "room", 9), Stage(SIZE, 25, style)))
    assert [round(frame.time * 25) for frame in frames] == [2, 7, 12, 17]
    assert all(np.array_equal(frame.image, whole[round(frame.time * 25)]) for frame in frames)
    assert len(sample_pictures(puppet, controls, opening[:3], 25, 8, size=SIZE, style=style, seed=9)) == 3


# --- mouths ----------------------------------------------------------------------------------------------------------


def test_a_mouth_opens_in_a_burst_and_nowhere_else():
    wave = np.random.default_rng(0).normal(0, 1e-4, 2 * RATE)
    wave[RATE // 2 : RATE] += 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    opening = mouth_opening(wave, RATE, 25.0)
    assert opening.shape == (50,)
    # One frame of smoothing may reach over each edge (12.5 and 25).
    assert opening[14:23].min() > 0.9
    assert opening[:10].max() == 0
    assert opening[28:].max() == 0


def test_opening_follows_the_envelope_that_made_the_sound():
    t = np.arange(4 * RATE) / RATE
    envelope = np.clip(np.sin(2 * np.pi * 1.3 * t) + 0.6 * np.sin(2 * np.pi * 0.5 * t), 0, None)
    wave = envelope * np.random.default_rng(1).normal(0, 0.1, len(t))
    known = envelope.reshape(100, -1).mean(axis=1)
    assert np.corrcoef(mouth_opening(wave, RATE, 25.0), known)[0, 1] > 0.9


def test_opening_ignores_level_and_rumble_and_keeps_shut_in_silence():
    wave, _ = Buzz().speak("one two three four", rate=160, pitch=50, pitch_range=50, volume=100)
    opening = mouth_opening(wave, RATE, 25.0)
    np.testing.assert_allclose(mouth_opening(wave * 0.1, RATE, 25.0), opening, atol=1e-5)
    rumble = 0.5 * np.sin(2 * np.pi * 30 * np.arange(len(wave)) / RATE)
    assert np.abs(mouth_opening(wave + rumble, RATE, 25.0) - opening).mean() < 0.08
    assert not mouth_opening(np.zeros(RATE), RATE, 25.0).any()
    assert 0 <= opening.min() <= opening.max() <= 1


@pytest.mark.parametrize("fps", [12, 23.976, 25, 60])
def test_there_is_one_opening_per_video_frame(fps):
    assert len(mouth_opening(np.ones(3 * RATE), RATE, fps)) == round(3 * fps)


@pytest.mark.parametrize("label", LABELS)
def test_an_opening_mouth_darkens_every_drawn_face(label):
    controls, opening = Feeling(label).controls(), opening_wave(24)
    size = (180, 320)
    for puppet in cast(11, 8):
        drawn = [darkness(crop) for crop in mouth_crops(opening, puppet, 0, 32, controls=controls)]
        assert np.corrcoef(drawn, opening)[0, 1] > 0.8, puppet.name
    for puppet in cast(12, 3):
        stage, views = Stage(size, 25.0, FilmStyle(grain=0)), []
        for frame, value in enumerate(opening):
            picture = stage.draw(puppet, controls, float(value), frame / 25, 5)
            pose = pose_at(controls, float(value), frame / 25, 5)
            # The mouth itself: eyes blink above it and the collar sways below.
            views.append(darkness(head_view(picture, size, puppet, pose, 5)[14:40, 6:42]))
        assert np.corrcoef(views, opening)[0, 1] > 0.8, puppet.name


def test_a_mouth_crop_looks_like_the_full_pictures_mouth():
    size, controls, style = (360, 640), Controls(motion=0.1), FilmStyle(grain=0)
    opening = np.array([0.0, 0.5, 1.0])
    players = cast(3, 4)
    cut, drawn = [], []
    for puppet in players:
        stage = Stage(size, 25.0, style)
        for i, value in enumerate(opening):
            picture = stage.draw(puppet, controls, float(value), i / 25, 1)
            cut.append(head_view(picture, size, puppet, pose_at(controls, float(value), i / 25, 1), 1))
        drawn.extend(mouth_crops(opening, puppet, 0, 48, controls=controls, style=style))
    # The middle: eyes glance and blink above it, and a crop has a plain colour for the set below the chin.
    # Softened by the pixel that crops drift and that the cut, which skips pixels, rounds away.
    soft_cut, soft_drawn = (
        [cv2.GaussianBlur(a, (0, 0), 1.5)[12:36].astype(int) for a in many] for many in (cut, drawn)
    )
    gap = np.array([[np.abs(a - b).mean() for b in soft_drawn] for a in soft_cut])
    assert np.array_equal(gap.argmin(axis=1), np.arange(len(cut)))
    # Grey levels. A pixel of drift along an open mouth's rim, 70 pixels long and 200 levels deep, is 12 on average.
    assert np.diag(gap).max() < 15


# --- feelings --------------------------------------------------------------------------------------------------------


def nearest_centroid_accuracy(noise: float, draws: int = 150) -> float:
    rng = np.random.default_rng(0)
    vectors = np.array([[feeling_controls(label, 1.0, noise, rng).vector() for _ in range(draws)] for label in LABELS])
    train, test = vectors[:, : draws // 2], vectors[:, draws // 2 :]
    spread = vectors.reshape(-1, vectors.shape[-1]).std(axis=0)
    distance = np.linalg.norm((test[:, :, None] - train.mean(axis=1)) / spread, axis=-1)
    return float((distance.argmin(axis=-1) == np.arange(len(LABELS))[:, None]).mean())


def test_noise_makes_feelings_harder_to_read(record_property):
    accuracy = [nearest_centroid_accuracy(noise) for noise in (0.0, 0.5, 1.0, 2.0)]
    record_property("nearest_centroid_accuracy", accuracy)
    assert accuracy[0] == 1
    # Chance is 1/6. Steps of a few points lie well beyond the error of 450 draws (about two points).
    assert all(later < earlier - 0.02 for earlier, later in pairwise(accuracy)), accuracy
    assert accuracy[-1] < 0.7


def test_intensity_leads_from_the_neutral_face_to_the_full_one():
    rest = Feeling("neutral").controls().vector()
    for label in LABELS[1:]:
        reach = [np.linalg.norm(Feeling(label, strength).controls().vector() - rest) for strength in (0, 0.3, 0.6, 1.0)]
        assert reach[0] == 0
        assert reach == sorted(reach)
        assert reach[-1] > 1


def test_scene_light_is_a_hue_and_a_strength():
    warm, cold = Feeling("angry").controls(), Feeling("sad").controls()
    assert min(warm.hue, 1 - warm.hue) < 0.02  # red
    assert abs(cold.hue - 0.6) < 0.02  # blue
    stage, puppet = Stage(SIZE), cast(0, 1)[0]
    red, blue = (stage.draw(puppet, c, 0.0, 0.0, 0).mean(axis=(0, 1)) for c in (warm, cold))
    assert red[0] - red[2] > 20
    assert blue[2] - blue[0] > 20


def test_every_two_characters_look_different():
    stage, controls = Stage(SIZE, 25.0, FilmStyle(grain=0)), Controls()
    players = cast(5, 12)
    assert len({puppet.name for puppet in cast(5, 60)}) == 60
    pictures = [stage.draw(puppet, controls, 0.0, 0.0, 3).astype(int) for puppet in players]
    empty = [np.abs(a - b).mean() for a, b in combinations(pictures, 2)]
    # The set is the same behind both; a face fills a quarter of the picture, so 2 overall is 8 levels of face.
    assert min(empty) > 2, min(empty)


def test_user_mistakes_are_named():
    puppet, rng = cast(0, 1)[0], np.random.default_rng(0)
    with pytest.raises(ValueError, match="known feelings are neutral"):
        Feeling("bored")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="intensity from 0 to"):
        Feeling("sad", 2)
    with pytest.raises(ValueError, match="noise >= 0"):
        feeling_controls("sad", 1.0, -1.0, rng)
    with pytest.raises(ValueError, match="random generator"):
        feeling_controls("sad", 1.0, 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Shot(puppet, Controls(), np.array([0.0, 1.5]))
    with pytest.raises(ValueError, match="known places are room"):
        Shot(puppet, Controls(), np.zeros(3), "moon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 32"):
        Stage((16, 160))
    with pytest.raises(ValueError, match=r"mono wave \(S,\)"):
        mouth_opening(np.zeros((2, RATE)), RATE, 25)
    with pytest.raises(ValueError, match="16 to 256"):
        mouth_crops(np.zeros(2), puppet, 0, 8)
    with pytest.raises(ValueError, match="expected words"):
        Actor(Buzz()).perform(puppet, "  ", Feeling("sad"))


def test_the_time_a_picture_takes_is_reported(record_property):
    puppet, controls, opening = cast(0, 1)[0], Feeling("happy").controls(), opening_wave(60)
    shot, stage = Shot(puppet, controls, opening), Stage((180, 320))
    start = time.process_time()
    pictures = sum(1 for _ in render(shot, stage))
    record_property("frame_ms", 1000 * (time.process_time() - start) / pictures)
    start = time.process_time()
    crops = mouth_crops(opening, puppet, 0, 32)
    record_property("crop_ms", 1000 * (time.process_time() - start) / len(crops))
    assert pictures == len(crops) == 60


# --- voices and the demo ---------------------------------------------------------------------------------------------


def test_acting_follows_the_rules_and_characters_keep_their_order():
    low, high = sorted(cast(0, 4), key=lambda puppet: puppet.timbre)[::3]
    assert voice_of(low).pitch < voice_of(high).pitch
    base = voice_of(low)
    said = {label: acted(base, Feeling(label)) for label in LABELS}
    assert said["neutral"] == base
    assert acted(base, Feeling("angry", 0.0)) == base
    assert said["sad"].rate < base.rate < said["angry"].rate < said["fearful"].rate
    assert said["sad"].volume < base.volume < said["angry"].volume
    assert said["sad"].pitch_range < base.pitch_range < said["surprised"].pitch_range
    noisy = {acted(base, Feeling("sad"), 0.3, np.random.default_rng(seed)) for seed in range(5)}
    assert len(noisy) == 5


def test_a_real_synthesizer_speaks_feelings_apart():
    puppet = max(cast(0, 4), key=lambda one: one.timbre)
    with Espeak() as espeak:
        said = {
            label: Actor(espeak).perform(puppet, "The lantern is gone.", Feeling(label))
            for label in ("sad", "surprised")
        }
    pitch = {
        label: np.median(librosa.yin(one.wave, fmin=60, fmax=600, sr=one.sample_rate)) for label, one in said.items()
    }
    assert pitch["surprised"] > 1.2 * pitch["sad"]
    assert said["sad"].duration > 1.1 * said["surprised"].duration
    assert "synthetic" in said["sad"].licence
    opening = mouth_opening(said["sad"].wave, said["sad"].sample_rate, 25.0)
    assert opening.max() > 0.8
    assert np.ptp(opening) > 0.7


def test_the_screenplay_is_balanced():
    lines = [line for episode in EPISODES for line in episode.lines]
    assert set(Counter(line.label for line in lines).values()) == {6}
    assert {(line.character, line.label) for line in lines} == {(c, label) for c in range(4) for label in LABELS}
    texts = [*(line.text for line in (*lines, *SCENE.lines)), *(text for _, prompt in PROMPTS for text in prompt)]
    assert len(set(texts)) == len(texts)
    assert {line.character for line in SCENE.lines} == {character for character, _ in PROMPTS}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return make_demo(folder, seed=1, espeak=Buzz(), size=(48, 64), fps=12.5, lines=2)


def test_the_demo_reads_back_with_its_declared_durations(demo):
    assert len(demo.footage) == 4
    for path in demo.footage:
        cues = read_cues(find_cues(path))
        info = probe(path)
        assert not cues.problems
        assert [cue.emotion in LABELS for cue in cues.cues] == [True, True]
        assert (info.width, info.height, info.has_audio) == (64, 48, True)
        frames = list(read_frames(path))
        # A line's shot ends a tail after its last sound, rounded up to whole frames.
        assert 0 <= len(frames) / 12.5 - (cues.cues[-1].end + TAIL) < 0.2
        assert cues.cues[0].start == pytest.approx(LEAD, abs=0.05)
        assert info.duration == pytest.approx(len(frames) / 12.5, abs=0.1)


def test_demo_cues_lie_where_the_sound_is(demo):
    for path in demo.footage:
        wave = read_wave(path, sample_rate=RATE)
        spoken = np.zeros(len(wave), dtype=bool)
        for cue in read_cues(find_cues(path)).cues:
            spoken[round(cue.start * RATE) : round(cue.end * RATE)] = True
        inside, outside = np.square(wave[spoken]).mean(), np.square(wave[~spoken]).mean()
        assert inside > 100 * outside  # 20 dB: the coder smears a little over the edges


def test_the_demo_scene_is_silent_and_its_characters_have_prompts(demo):
    scene = probe(demo.scene)
    assert scene.has_video
    assert not scene.has_audio
    cues = read_cues(demo.script).cues
    assert len(cues) == 3
    assert {cue.character for cue in cues} == set(demo.prompts)
    assert scene.duration >= cues[-1].end
    for prompt in demo.prompts.values():
        assert 4 <= probe(prompt).duration <= 6
    pictures = np.stack([frame.image for frame in read_frames(demo.scene)]).astype(int)
    assert np.abs(np.diff(pictures, axis=0)).mean() > 0.3  # something moves


def test_the_same_seed_makes_the_same_demo(demo, tmp_path: Path):
    again = make_demo(tmp_path / "new", seed=1, espeak=Buzz(), size=(48, 64), fps=12.5, lines=2)
    assert again.script.read_text() == demo.script.read_text()
    pairs = zip(read_frames(again.footage[0]), read_frames(demo.footage[0]), strict=True)
    assert all(np.array_equal(a.image, b.image) for a, b in pairs)
    assert "synthetic" in (tmp_path / "new" / "LICENCE.txt").read_text()
