"""One modality of a library read again: it alone changes, nothing is read twice, and lost footage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from authentic_dubber.commands.library_reextract import parse_modalities
from authentic_dubber.librarian import BuildJob, build_library
from authentic_dubber.reextraction import AgainOptions, FootageLost, reextract
from library_builder.mux import write_video
from library_builder.types import Emotion, Frame, Modality, Reading
from retrieval.library import Library
from retrieval.versions import current_version, version_names

from . import toy_readers


def unit(space: str, values: Sequence[float]) -> Emotion:
    vector = np.array([*values, 1.0], dtype=np.float32)
    return Emotion(space, vector / np.linalg.norm(vector))


@dataclass
class Toy:
    """Extractors that count what they are shown, and may be stopped by the n-th clip."""

    scene_space: str = "hue/4"
    shade: str = "red"
    seen: list[str] = field(default_factory=list)
    die_at: int = 0

    def readers(self) -> Any:
        return SimpleNamespace(
            spaces=lambda: {"scene": self.scene_space, "text": "words/4", "audio": "loud/2"},
            scene=SimpleNamespace(read=self._scene),
            face=SimpleNamespace(read=lambda frames: SimpleNamespace(reading=None, notes=("face: none",))),
            text=SimpleNamespace(read=self._text),
            audio=SimpleNamespace(read=self._audio),
        )

    def _scene(self, frames: Sequence[Frame]) -> Reading:
        self.seen.append("scene")
        if self.die_at and len(self.seen) == self.die_at:
            raise KeyboardInterrupt
        mean = np.mean([frame.image.mean(axis=(0, 1)) for frame in frames], axis=0) / 255
        return Reading(unit(self.scene_space, mean), f"{self.shade} {mean[0]:.2f}", ("scene: plain",))

    def _text(self, line: str, captions: Any) -> Reading:
        self.seen.append("text")
        said = line + captions.get("scene", "")
        return Reading(unit("words/4", [said.count(letter) / len(said) for letter in "aeo"]))

    def _audio(self, wave: Any, rate: int) -> Reading | None:
        self.seen.append("audio")
        return Reading(unit("loud/2", [float(np.abs(wave).mean())]))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two films of three lines each; one clip more was read at the first build than any later reading may show."""
    films = toy_readers.draw_films(tmp_path / "films", 2)
    build_library(BuildJob(tmp_path / "lib", (films,)), Toy().readers())
    return tmp_path / "lib"


def others(library: Path, version: str, modality: Modality) -> list[Any]:
    """Everything but one modality, vectors as bytes."""
    return [
        (
            clip.with_(emotions={}, captions={m: c for m, c in clip.captions.items() if m != modality}),
            {m: (e.space, e.vector.tobytes()) for m, e in clip.emotions.items() if m != modality},
        )
        for clip in Library.open(library, version).clips()
    ]


def test_that_modality_alone_changes_and_waits_to_be_published(library: Path) -> None:
    before = current_version(library)
    toy = Toy("tint/4", "pink")
    done = reextract(library, "scene", toy.readers())
    assert toy.seen == ["scene"] * 6, "no other extractor is asked"
    assert current_version(library) == before == done.parent and (done.clips, done.read, done.captions) == (6, 6, 6)
    assert others(library, before, "scene") == others(library, done.version, "scene")
    new = Library.open(library, done.version)
    assert new.spaces["scene"] == "tint/4" and new.info()["extractors"]["scene"]["space"] == "tint/4"
    assert new.info()["extractors"]["text"] == Library.open(library).info()["extractors"]["text"]
    assert all(clip.captions["scene"].startswith("pink") for clip in new.clips())
    assert "text should follow" in done.notes[0]


def test_words_follow_with_the_new_captions_and_without_footage(library: Path) -> None:
    seen = reextract(library, "scene", Toy("tint/4", "aaaa").readers())
    shutil.rmtree(library.parent / "films")
    toy = Toy()
    done = reextract(library, "text", toy.readers(), onto=seen.version, publish=True)
    assert toy.seen == ["text"] * 6 and current_version(library) == done.version and not done.notes
    for old, new in zip(
        Library.open(library, seen.parent).clips(), Library.open(library, done.version).clips(), strict=True
    ):
        assert new.emotions["text"].vector[0] > old.emotions["text"].vector[0]


def test_the_same_extractor_again_changes_nothing(library: Path) -> None:
    done = reextract(library, "scene", Toy().readers())
    assert done.version == done.parent and (done.read, done.captions) == (6, 0) and not done.notes
    assert len(version_names(library)) == 1


def test_stopped_and_run_again_nothing_is_read_twice(library: Path) -> None:
    first = Toy("tint/4", die_at=5)
    with pytest.raises(KeyboardInterrupt):
        reextract(library, "scene", first.readers())
    second, told = Toy("tint/4"), list[int]()
    done = reextract(library, "scene", second.readers(), progress=lambda what, n, total: told.append(n))
    assert len(first.seen) == 5 and len(second.seen) == done.read == 2, "four were kept of five"
    assert told[-1] == 6 and told == sorted(told)
    assert reextract(library, "scene", Toy("tint/4").readers()).read == 0


def test_an_extractor_of_other_weights_is_not_taken_for_the_one_before(library: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"new")
    readers = Toy("tint/4").readers()
    reextract(library, "scene", readers)
    readers.scene.weight_files = (weights,)
    assert reextract(library, "scene", readers).read == 6


def test_clips_without_footage_are_named_or_keep_what_they_have(library: Path) -> None:
    films = library.parent / "films"
    (films / "film00.mp4").unlink()
    (films / "film01.mp4").write_bytes(b"no film")
    with pytest.raises(FootageLost, match=r"clip film00/A/0001: .*film00\.mp4.*, and 5 more clips") as caught:
        reextract(library, "scene", Toy("tint/4").readers())
    assert len(caught.value.failed) == 6 and "\n" not in str(caught.value)
    keep = AgainOptions(keep_failed=True)
    with pytest.raises(FootageLost, match=r"of space tint/4 to keep, got those of hue/4"):
        reextract(library, "scene", Toy("tint/4").readers(), options=keep)
    assert len(version_names(library)) == 1
    colours = (np.full((48, 64, 3), 200, dtype=np.uint8) for _ in range(24))
    write_video(films / "film01.mp4", colours, 8)
    done = reextract(library, "scene", Toy(shade="grey").readers(), options=keep)
    assert set(done.kept) == {"film00/A/0001", "film00/A/0002", "film00/B/0001"} and done.captions == 3
    old, new = (list(Library.open(library, version).clips()) for version in (done.parent, done.version))
    assert [a.record() == b.record() for a, b in zip(old, new, strict=True)] == [True] * 3 + [False] * 3


def test_footage_that_got_shorter_is_named(library: Path) -> None:
    frames = (np.full((48, 64, 3), 90, dtype=np.uint8) for _ in range(20))
    write_video(library.parent / "films" / "film01.mp4", frames, 8)
    with pytest.raises(FootageLost, match=r"clip film01/A/0002: .*footage up to 2\.900 s, it ends at 2\.500 s now"):
        reextract(library, "scene", Toy("tint/4").readers())


def test_what_an_extractor_finds_no_more_is_gone_with_its_caption(library: Path) -> None:
    readers = Toy().readers()
    readers.scene.read = lambda frames: None
    done = reextract(library, "scene", readers)
    new = list(Library.open(library, done.version).clips())
    assert all("scene" not in clip.emotions and "scene" not in clip.captions for clip in new)
    assert {clip.notes for clip in new} == {("face: none", "audio: the footage has no sound")}


def test_workers_make_the_same_version_though_one_is_killed(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(toy_readers.LOG, str(tmp_path / "log"))
    monkeypatch.setenv(toy_readers.DEATHS, str(tmp_path / "deaths"))
    (tmp_path / "deaths").mkdir()
    (tmp_path / "deaths" / "first").touch()
    options = AgainOptions(workers=2, order_clips=3, load=toy_readers.load)
    done = reextract(library, "scene", toy_readers.load(), options=options)
    assert toy_readers.seen() == 7 and len(Library.open(library, done.version)) == 6, "the clip it died of came again"
    shutil.rmtree(library / "work")
    assert reextract(library, "scene", toy_readers.load(), onto=done.parent).version == done.version


def test_modalities_are_read_in_the_order_they_feed_one_another() -> None:
    assert parse_modalities("text, face") == ["face", "text"]
    for wrong in ("smell", "face,face", ""):
        with pytest.raises(ValueError, match="each once"):
            parse_modalities(wrong)


def test_a_sound_of_its_own_is_heard_again(tmp_path: Path) -> None:
    from library_builder.mux import write_wave

    films = toy_readers.draw_films(tmp_path / "films", 1, clips=1)
    write_wave(films / "line.wav", np.full(8000, 0.5, dtype=np.float32), 16_000)
    (films / "film00.csv").write_text("start,end,character,text,audio\n0,0.9,A,hello,line.wav\n")
    build_library(BuildJob(tmp_path / "lib", (films,)), Toy().readers())
    again = reextract(tmp_path / "lib", "audio", Toy().readers())
    assert again.version == again.parent, json.dumps([clip.notes for clip in Library.open(tmp_path / "lib").clips()])
    (films / "line.wav").unlink()
    with pytest.raises(FootageLost, match=r"line\.wav"):
        reextract(tmp_path / "lib", "audio", Toy().readers())
