"""Building a library: an outcome for every cue, vectors from pixels and samples alone, shards that come back whole."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from library_builder.build import BuildConfig, read_clip
from library_builder.cues import Cue
from library_builder.footage import look_and_cut
from library_builder.mux import write_video, write_wave
from library_builder.planning import Outcome, Work, plan_works
from library_builder.shards import Desk, Order, make_shard, read_outcomes
from library_builder.types import Clip, Emotion, Frame, Reading

RATE = 16000
HEIGHT, WIDTH = 48, 64


def unit(space: str, values: Sequence[float]) -> Emotion:
    vector = np.array([*values, 1.0], dtype=np.float32)  # the one keeps black and silent vectors from being zero
    return Emotion(space, vector / np.linalg.norm(vector))


@dataclass
class MeanColour:
    """The mean colour of the pictures; remembers what it was shown."""

    space: str
    shown: list[tuple[Frame, ...]] = field(default_factory=list)

    def read(self, frames: Sequence[Frame]) -> Reading:
        self.shown.append(tuple(frames))
        mean = np.mean([frame.image.mean(axis=(0, 1)) for frame in frames], axis=0) / 255
        return Reading(unit(self.space, mean), caption=f"red {mean[0]:.1f}", notes=(f"{self.space}: seen",))


@dataclass
class FaceSeen:
    reading: Reading | None
    notes: tuple[str, ...] = ()
    track: None = None


@dataclass
class MeanFace:
    """The lower half's mean colour, when it is not black."""

    space: str = "toy-face/4"

    def read(self, frames: Sequence[Frame]) -> FaceSeen:
        lower = [Frame(frame.time, frame.image[frame.image.shape[0] // 2 :]) for frame in frames]
        if max(frame.image.mean() for frame in lower) < 5:
            return FaceSeen(None, ("face: none found",))
        return FaceSeen(MeanColour(self.space).read(lower))


@dataclass
class LetterCounts:
    space: str = "toy-text/4"

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        assert set(captions) <= {"scene", "face"}, captions
        words = line + "".join(captions.values())
        if not words:
            return None
        return Reading(unit(self.space, [words.count(letter) / len(words) for letter in "aei"]))


@dataclass
class Loudness:
    space: str = "toy-audio/3"
    heard: list[int] = field(default_factory=list)

    def read(self, wave: np.ndarray, sample_rate: int) -> Reading | None:
        self.heard.append(len(wave))
        if np.abs(wave).max() < 1e-3:
            return None
        crossings = float(np.mean(np.diff(np.signbit(wave))))
        return Reading(unit(self.space, [float(np.sqrt(np.mean(wave**2))), 20 * crossings]))


@dataclass
class ToyReaders:
    scene: MeanColour = field(default_factory=lambda: MeanColour("toy-scene/4"))
    face: MeanFace = field(default_factory=MeanFace)
    text: LetterCounts = field(default_factory=LetterCounts)
    audio: Loudness = field(default_factory=Loudness)
    lips: None = None
    batch: int = 1

    def spaces(self) -> dict[str, str]:
        return {m: getattr(self, m).space for m in ("scene", "face", "text", "audio")}


def tone(seconds: float, hertz: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def film(path: Path, seconds: float = 4.0, seed: int = 0) -> Path:
    """Pictures and sound that change every second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    count = math.ceil(seconds)
    colours = random.integers(20, 235, (count, 3))
    wave = np.concatenate([tone(1, float(hertz)) for hertz in random.integers(100, 1000, count)])
    frames = (np.full((HEIGHT, WIDTH, 3), colours[i // 25], dtype=np.uint8) for i in range(round(seconds * 25)))
    write_video(path, frames, 25, wave[: round(seconds * RATE)], RATE)
    return path


CUES = (
    Cue(0.0, 1.0, "ANNA", "a plea", emotion="sad"),
    Cue(1.0, 2.0, "BO", "eerie", emotion="angry"),
    Cue(2.2, 3.9, "ANNA", "in it", emotion="happy"),
)


def clips_of(outcomes: Sequence[Outcome]) -> list[Clip]:
    return [outcome.clip for outcome in outcomes if outcome.clip is not None]


def vectors(clips: Sequence[Clip]) -> list[dict[str, list[float]]]:
    return [{modality: emotion.vector.tolist() for modality, emotion in clip.emotions.items()} for clip in clips]


def build(
    root: Path,
    cues: Mapping[Path, Sequence[Cue]],
    readers: ToyReaders | None = None,
    *,
    films: Mapping[Path, str] | None = None,
    licence: str | None = None,
    config: BuildConfig | None = None,
) -> list[Outcome]:
    """Every cue as a worker makes it, all in one shard, with nothing kept."""
    works = [work for work in plan_works(cues, root, cues.__getitem__, films) if isinstance(work, Work)]
    order = Order(tuple(works), licence=licence, config=config or BuildConfig(), cache=False)
    with tempfile.TemporaryDirectory() as folder:
        made = make_shard(order, Desk(Path(folder), readers or ToyReaders()))  # type: ignore[arg-type]
        return list(read_outcomes(Path(folder) / "shards" / made.key))


def test_every_cue_becomes_a_clip_with_its_facts(tmp_path: Path) -> None:
    path = film(tmp_path / "one" / "film.mp4")
    clips = clips_of(build(tmp_path, {path: CUES}, licence="CC BY 4.0"))
    assert [clip.id for clip in clips] == ["one/film/ANNA/0001", "one/film/BO/0001", "one/film/ANNA/0002"]
    assert [(clip.start, clip.end, clip.text, clip.label) for clip in clips] == [
        (cue.start, cue.end, cue.text, cue.emotion) for cue in CUES
    ]
    assert {(clip.media, clip.film, clip.licence) for clip in clips} == {("one/film.mp4", "one/film", "CC BY 4.0")}
    assert all(set(clip.emotions) == {"scene", "face", "text", "audio"} for clip in clips)
    assert all(set(clip.captions) == {"scene", "face"} for clip in clips)
    assert clips[0].notes == ("toy-scene/4: seen", "toy-face/4: seen")


def test_labels_names_and_files_do_not_touch_the_vectors(tmp_path: Path) -> None:
    path = film(tmp_path / "a" / "angry_scream.mp4")
    before = clips_of(build(tmp_path, {path: CUES}))
    renamed = tmp_path / "b" / "happy_song.mp4"
    renamed.parent.mkdir()
    path.rename(renamed)
    labels, people = ("happy", "sad", None), ("ZOE", "", "MAX")
    changed = [
        replace(cue, emotion=label, character=who, film="another")
        for cue, label, who in zip(CUES, labels, people, strict=True)
    ]
    after = clips_of(build(tmp_path, {renamed: changed}, films={renamed: "third"}, licence="none"))
    assert [clip.label for clip in after] == list(labels)
    assert vectors(before) == vectors(after)
    assert [clip.captions for clip in before] == [clip.captions for clip in after]
    # The same test on what must matter: other words, other pictures and sound.
    other = clips_of(build(tmp_path, {renamed: [replace(cue, text="aaaa") for cue in CUES]}))
    assert [v["text"] for v in vectors(other)] != [v["text"] for v in vectors(before)]
    second = clips_of(build(tmp_path, {film(tmp_path / "c.mp4", seed=1): CUES}))
    assert all(a[m] != b[m] for a, b in zip(vectors(before), vectors(second), strict=True) for m in a if m != "text")


def test_a_clip_is_read_from_its_own_span(tmp_path: Path) -> None:
    readers = ToyReaders()
    path = film(tmp_path / "f.mp4")
    build(tmp_path, {path: CUES}, readers, config=BuildConfig(max_height=24))
    for cue, frames, samples in zip(CUES, readers.scene.shown, readers.audio.heard, strict=True):
        assert 2 <= len(frames) <= 12
        assert all(cue.start - 1e-3 <= frame.time < cue.end for frame in frames)
        assert {frame.image.shape for frame in frames} == {(24, 32, 3)}
        assert samples == round(cue.end * RATE) - round(cue.start * RATE)


def test_a_cue_with_sound_of_its_own_is_heard_from_there(tmp_path: Path) -> None:
    path = film(tmp_path / "show" / "f.mp4")
    (tmp_path / "show" / "takes").mkdir()
    write_wave(tmp_path / "show" / "takes" / "a.wav", tone(0.7, 3000), RATE)
    readers = ToyReaders()
    cues = [CUES[0], replace(CUES[0], audio="takes/a.wav"), replace(CUES[0], audio="takes/none.wav")]
    outcomes = build(tmp_path, {path: cues}, readers)
    film_sound, own_sound = vectors(clips_of(outcomes))
    assert film_sound["scene"] == own_sound["scene"] and film_sound["audio"] != own_sound["audio"]
    assert readers.audio.heard == [RATE, round(0.7 * RATE)]
    assert "audio: heard from takes/a.wav" in clips_of(outcomes)[1].notes
    assert outcomes[2].status == "failed" and "none.wav" in outcomes[2].reason


@pytest.mark.parametrize(
    ("cue", "status", "reason"),
    [
        (Cue(9.0, 10.0, "A", "x"), "skipped", "past the footage's end"),
        (Cue(2.0, 1.0, "A", "x"), "skipped", "start < end"),
        (Cue(1.0, 1.0, "A", "x"), "skipped", "start < end"),
        (Cue(-1.0, 1.0, "A", "x"), "skipped", "start < end"),
        (Cue(float("nan"), 1.0, "A", "x"), "skipped", "start < end"),
        (Cue(1.0, float("inf"), "A", "x"), "skipped", "start < end"),
        (Cue(1.0, 1.03, "A", "x"), "skipped", "two pictures"),
        (Cue(1.01, 1.03, "A", "x"), "skipped", "two pictures"),
    ],
)
def test_unusable_cues_are_skipped_with_a_reason_and_leave_ids_alone(
    tmp_path: Path, cue: Cue, status: str, reason: str
) -> None:
    path = film(tmp_path / "f.mp4")
    bad, good = build(tmp_path, {path: [cue, Cue(1.0, 2.0, "A", "x")]})
    assert (bad.status, bad.clip) == (status, None)
    assert reason in bad.reason
    assert good.clip is not None and good.clip.id == "f/A/0002"


def test_a_cue_that_outlasts_the_footage_is_cut_with_a_note(tmp_path: Path) -> None:
    path = film(tmp_path / "f.mp4")
    near, far = clips_of(build(tmp_path, {path: [Cue(3.0, 4.05, "", "x"), Cue(3.0, 6.0, "", "x")]}))
    assert near.end == pytest.approx(4.0, abs=1e-3) == far.end
    assert not any(note.startswith("cue:") for note in near.notes)
    assert any("cut to the footage's end" in note for note in far.notes)


def test_missing_modalities_are_left_out_and_noted(tmp_path: Path) -> None:
    black = [np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)] * 50
    write_video(tmp_path / "mute.mp4", black, 25)
    write_video(tmp_path / "still.mp4", black, 25, np.zeros(2 * RATE, dtype=np.float32), RATE)
    cue = [Cue(0.0, 1.0, "", "")]
    mute, still = clips_of(build(tmp_path, {tmp_path / "mute.mp4": cue, tmp_path / "still.mp4": cue}))
    assert set(mute.emotions) == set(still.emotions) == {"scene", "text"}
    assert {"face: none found", "audio: the footage has no sound"} <= set(mute.notes)
    assert {"face: none found", "audio: silent"} <= set(still.notes)
    assert mute.id == "mute/unknown/0001"


def test_unreadable_footage_fails_alone(tmp_path: Path) -> None:
    good, torn = film(tmp_path / "good.mp4"), tmp_path / "torn.mp4"
    torn.write_bytes(good.read_bytes()[:2000])
    write_wave(tmp_path / "sound.wav", tone(1, 200), RATE)
    others = [torn, tmp_path / "sound.wav", tmp_path / "none.mp4"]
    outcomes = build(tmp_path, {path: CUES for path in [*others, good]})
    assert [outcome.status for outcome in outcomes] == ["failed"] * 9 + ["ok"] * 3
    for outcome, path in zip(outcomes, [path for path in others for _ in CUES], strict=False):
        assert outcome.media == path.name and path.name in outcome.reason


def test_footage_outside_the_root_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a" / "f.mp4")
    with pytest.raises(ValueError, match="below its root"):
        build(tmp_path / "b", {path: CUES})


def test_footage_without_cues_is_cut_into_stretches(tmp_path: Path) -> None:
    path = film(tmp_path / "f.mp4", seed=3)
    # Colours change each second, and each second is just long enough for a stretch.
    spans = look_and_cut(path, BuildConfig().cut).spans
    assert spans is not None and np.allclose(spans, [(i, i + 1) for i in range(4)], atol=0.02)


def test_films_of_one_name_share_a_count(tmp_path: Path) -> None:
    paths = [film(tmp_path / f"{name}.mp4", 1.0) for name in "xy"]
    cues = {path: [Cue(0.0, 1.0, "A / B", "x")] for path in paths}
    clips = clips_of(build(tmp_path, cues, films=dict.fromkeys(paths, "my film")))
    assert [clip.id for clip in clips] == ["my_film/A___B/0001", "my_film/A___B/0002"]
    assert {clip.film for clip in clips} == {"my film"}


def test_read_clip_has_no_door_for_labels() -> None:
    taken = set(read_clip.__annotations__)
    assert taken == {"media", "start", "end", "text", "readers", "sound", "config", "return"}
