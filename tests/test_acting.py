"""What a voice director asks of lines: read from sheet and command line, refused before work, spoken, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from authentic_dubber import checkpoint as checkpoints
from authentic_dubber.checkpoint import Card, choose_checkpoint, packaged_checkpoint
from authentic_dubber.config import Vocabulary, build_config
from authentic_dubber.dubber import Dubber
from authentic_dubber.espeak import Espeak
from authentic_dubber.plan import DubJob, check_script, make_plan
from authentic_dubber.session import run
from authentic_dubber.slot import Look
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.takes import asked_of, read_book
from authentic_dubber.text import TextFrontend
from authentic_dubber.training.corpora import EMOTIONS
from authentic_dubber.types import Acting, Line, Slot, Voice
from authentic_dubber.wishes import Wish, Wishes, parse_wishes, sheet_wish
from library_builder.cue import Cue
from library_builder.cues import CueError, read_cues
from library_builder.mux import write_video, write_wave
from library_builder.readers import build_readers
from library_builder.types import Clip, Emotion
from retrieval.library import commit
from vocoder.generator import IstftConfig, IstftGenerator

from .conftest import SEED

RATE = 16_000
SAID = Line("001", "Ada", "Good evening to you.", 0.0, 1.0)


def tone(seconds: float, hertz: float = 200.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * hertz * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


class Bands:
    """A toy speaker encoder: the mean spectrum of a wave, in 256 bands."""

    width = 256

    def embed(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(wave, 16384))[: 256 * 16].reshape(256, 16).mean(1) + 1e-9
        return (spectrum / np.linalg.norm(spectrum)).astype(np.float32)


@pytest.fixture(scope="module")
def dubber() -> Iterator[Dubber]:
    """The real dubber around a tiny untrained model, shaken: untrained weights are zero where feelings pass."""
    torch.manual_seed(SEED)
    readers = build_readers("light")
    words = Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, dict(readers.spaces()), readers.lips.space, EMOTIONS)
    model = Synthesizer(build_config("tiny", words)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.feeling.weight.normal_()
    vocoder = IstftGenerator(IstftConfig.tiny(), model.config.mel).eval()
    with Espeak() as espeak:
        yield Dubber(model, vocoder, TextFrontend(espeak), Bands(), readers, Card("toy", ("CC0-1.0",), "", "0123"))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, dubber: Dubber) -> Path:
    """A silent film of three seconds, a prompt, recordings good and bad, and a library of four clips, one mute-eyed."""
    folder = tmp_path_factory.mktemp("studio")
    write_video(folder / "film.mp4", [np.full((48, 64, 3), 40 + i, dtype=np.uint8) for i in range(30)], 10)
    write_wave(folder / "ada.wav", tone(1), RATE)
    write_wave(folder / "rage.wav", tone(1, 330.0), RATE)
    write_wave(folder / "still.wav", np.zeros(RATE, dtype=np.float32), RATE)
    (folder / "broken.wav").write_bytes(b"no sound")
    rng = np.random.default_rng(SEED)

    def unit(modality: str) -> Emotion:
        space = dubber.spaces[modality]
        vector = rng.standard_normal(int(space.rpartition("/")[2]))
        return Emotion(space, (vector / np.linalg.norm(vector)).astype(np.float32))

    clips = [
        Clip(f"film/ada/{i}", "film.mp4", i, i + 1, "Ada", f"clip {i}", "film", emotions=emotions)
        for i in range(4)
        for emotions in [{m: unit(m) for m in (("scene", "text", "audio") if i < 3 else ("audio",))}]
    ]
    commit(folder / "library", clips, source={"footage": str(folder)})  # type: ignore[arg-type]
    return folder


def sheet(path: Path, columns: str, *cells: str) -> Path:
    """A script of one-second lines by Ada with further columns."""
    rows = [f"{i},{i}.9,Ada,Line number {i},{more}" for i, more in enumerate(cells)]
    path.write_text("\n".join([f"start,end,character,text,{columns}", *rows]) + "\n")
    return path


def job(studio: Path, script: Path, out: Path, **changes: Any) -> DubJob:
    usual = DubJob(studio / "film.mp4", script, {"Ada": studio / "ada.wav"}, studio / "library", out, rate=RATE, k=2)
    return replace(usual, **changes)


# --- what is asked ---


def test_a_sheet_asks_by_its_columns_and_an_empty_cell_asks_nothing(studio: Path) -> None:
    script = sheet(
        studio / "asks.csv",
        "emotion,emotion_from,strength,pin,ban",
        "Angry:0.7,,1.5,film/ada/1,film/ada/0 film/ada/2",
        ",rage.wav,,,a;b; c",
        ",,,,",
    )
    asked = [line.acting for line in check_script(job(studio, script, studio / "out")).lines]
    assert asked == [
        Acting("angry", 0.7, None, 1.5, ("film/ada/1",), ("film/ada/0", "film/ada/2")),
        Acting(like=studio / "rage.wav", ban=("a", "b", "c")),
        Acting(),
    ]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("emotion", "angry:much", "NAME:SHARE"),
        ("emotion", "angry:1.2", "from 0 to 1"),
        ("strength", "loud", "as a number"),
        ("strength", "3", "from 0 to 2"),
        ("strength", "nan", "from 0 to 2"),
        ("emotion_from", "../rage.wav", "relative path"),
        ("emotion,emotion_from", "angry,rage.wav", "emotion or a recording"),
        ("pin,ban", "a b,b", "pinned or banned"),
        ("slot", "lips", "mouth or cue, got 'lips'"),
    ],
)
def test_a_bad_value_costs_its_row_alone_and_is_named(
    studio: Path, tmp_path: Path, column: str, value: str, expected: str
) -> None:
    script = sheet(tmp_path / "s.csv", column, value, "," * column.count(","))
    found = check_script(job(studio, script, tmp_path / "out"))
    assert [line.cue.text for line in found.lines] == ["Line number 1"]
    (problem,) = found.problems
    assert problem.startswith("s.csv: line 2: ") and expected in problem and "\n" not in problem


def test_a_library_takes_the_same_columns_as_its_corpus_means_them(tmp_path: Path) -> None:
    """Elsewhere `emotion` is any label, and a column `strength` may hold words."""
    found = read_cues(sheet(tmp_path / "s.csv", "emotion,strength", "mood: grim,strong"))
    assert [(cue.emotion, cue.strength) for cue in found.cues] == [("mood: grim", "strong")]
    with pytest.raises(CueError, match="line 2: expected an emotion"):
        read_cues(tmp_path / "s.csv", check=lambda cue: sheet_wish(cue, tmp_path))


def test_options_are_for_a_line_or_for_all() -> None:
    wishes = parse_wishes(
        emotion=["3=angry:0.7", "calm"],
        emotion_from=["012=a=b.wav"],
        strength=["1.2", "3=0.5"],
        pin=["3=x", "003=y"],
        ban=["q", "3=z"],
    )
    assert wishes.anyone == Wish(emotion=("calm", 1.0), strength=1.2, ban=("q",))
    assert wishes.lines == {
        "003": Wish(emotion=("angry", 0.7), strength=0.5, pin=("x", "y"), ban=("z",)),
        "012": Wish(like=Path("a=b.wav")),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"emotion": ["3=sad", "003=angry"]}, "one --emotion for line 003, got sad and angry"),
        ({"strength": ["1", "2"]}, "one --strength for every line"),
        ({"strength": ["3="]}, "--strength LINE=VALUE"),
        ({"strength": ["3=9"]}, "line 003: expected an emotion strength from 0 to 2, got 9"),
        ({"emotion": ["sad"], "emotion_from": ["a.wav"]}, "every line: expected an emotion or a recording"),
        ({"pin": ["film/ada/1"]}, "--pin LINE=CLIP"),
    ],
)
def test_options_that_say_nothing_clear_are_refused(given: dict[str, list[str]], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_wishes(**given)


def test_line_beats_sheet_beats_all_field_by_field() -> None:
    wishes = Wishes(
        Wish(emotion=("calm", 1.0), strength=0.5, ban=("everywhere",)),
        {"001": Wish(like=Path("a.wav")), "002": Wish(strength=2.0, ban=("here",))},
    )
    asked = Wish(emotion=("angry", 0.7), strength=1.5, pin=("p",), ban=("there",))
    # A recording takes the place of the sheet's emotion, share and all; what it leaves open the sheet decides.
    assert wishes.acting("001", asked) == Acting(
        like=Path("a.wav"), strength=1.5, pin=("p",), ban=("there", "everywhere")
    )
    assert wishes.acting("002", asked) == Acting("angry", 0.7, None, 2.0, ("p",), ("here", "everywhere"))
    assert wishes.acting("003", Wish(strength=1.0)) == Acting("calm", strength=1.0, ban=("everywhere",))
    with pytest.raises(ValueError, match="pinned or banned, got everywhere"):
        wishes.acting("003", Wish(pin=("everywhere",)))


# --- what is refused before work ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"emotion": ["001=jolly"]}, r"line 001 .*neutral, .*surprised; got 'jolly'"),
        ({"emotion": ["jolly"]}, r"line 001 .*got 'jolly'"),
        ({"emotion": ["007=sad"]}, r"from 001 to 002, got 007"),
        ({"emotion_from": ["002={}/still.wav"]}, r"line 002 .*still\.wav.*no sound"),
        ({"emotion_from": ["002={}/broken.wav"]}, r"line 002 .*broken\.wav"),
        ({"emotion_from": ["002={}/gone.wav"]}, r"line 002 .*gone\.wav.*no such file"),
        ({"pin": ["001=film/ada/9"]}, r"line 001 .*no clip 'film/ada/9'"),
        ({"pin": ["001=film/ada/3"]}, r"line 001 .*film/ada/3 only sounds"),
        ({"pin": [f"001=film/ada/{i}" for i in range(3)]}, r"line 001 .*at most 2 pinned clips.*got 3"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_line(
    options: dict[str, list[str]], expected: str, studio: Path, tmp_path: Path, dubber: Dubber
) -> None:
    given = {name: [value.replace("{}", str(studio)) for value in values] for name, values in options.items()}
    asked = job(studio, sheet(tmp_path / "s.csv", "emotion", "", ""), tmp_path / "out", wishes=parse_wishes(**given))
    with pytest.raises((ValueError, FileNotFoundError), match=expected) as caught:
        run(asked, dubber)
    assert not (tmp_path / "out").exists() and "\n" not in str(caught.value)


def test_a_ban_of_what_is_not_there_is_no_error(studio: Path, tmp_path: Path, dubber: Dubber) -> None:
    script = sheet(tmp_path / "s.csv", "ban", "nobody/knows/1")
    (line,) = make_plan(job(studio, script, tmp_path / "out"), dubber).lines
    assert line.acting.ban == ("nobody/knows/1",)


# --- what is spoken ---


@pytest.fixture(scope="module")
def voice(studio: Path, dubber: Dubber) -> Voice:
    return dubber.voice("Ada", studio / "ada.wav")


def test_asking_for_nothing_is_the_default_to_the_bit(dubber: Dubber, voice: Voice) -> None:
    plain, asked = (dubber.prepare(SAID, voice, library=None, acting=acting) for acting in (None, Acting()))
    assert plain.fingerprint == asked.fingerprint
    first, second = (dubber.speak([prepared])[0] for prepared in (plain, asked))
    assert np.array_equal(first.wave, second.wave) and first.emotion == second.emotion


def test_neutral_is_asked_for_and_not_the_default(dubber: Dubber, voice: Voice) -> None:
    makings = [Acting(), Acting("neutral"), Acting("angry"), Acting("angry", 0.5), Acting("angry", strength=2.0)]
    prepared = [dubber.prepare(SAID, voice, library=None, acting=acting) for acting in makings]
    assert len({p.fingerprint for p in prepared}) == len(makings)
    assert prepared[1].feeling is not None
    takes = [dubber.speak([p])[0] for p in prepared]
    assert takes[1].emotion["neutral"] == 1
    # Where feelings pass no weight is zero, so other shares are another mel.
    mels = [take.mel for take in takes]
    assert all(a.shape != b.shape or not np.allclose(a, b) for i, a in enumerate(mels) for b in mels[i + 1 :])


def test_at_no_strength_every_feeling_is_neutral(dubber: Dubber, voice: Voice) -> None:
    still = [
        dubber.say(SAID, voice, acting=Acting(name, strength=strength)).wave
        for name, strength in (("angry", 0.0), ("sad", 0.0), ("neutral", 1.0))
    ]
    # The melody at strength 0 is full + (still - full), which differs from still itself by a rounding.
    assert all(wave.shape == still[2].shape and np.allclose(wave, still[2], atol=1e-4) for wave in still[:2])


def test_a_mouth_too_brief_for_the_words_gives_way_to_the_cue(dubber: Dubber, voice: Voice) -> None:
    lips = np.zeros((25, dubber.model.config.lip_width), dtype=np.float32)
    seen = Look({}, {}, Slot(0.1, 0.12, "mouth"), lips[:1], (), (), (Slot(0.0, 1.0, "cue"), lips))
    ready = dubber.prepare(SAID, voice, library=None, seen=seen)
    (take,) = dubber.speak([ready])
    assert ready.slot.source == "mouth" and (take.slot.start, take.slot.end, take.slot.source) == (0.0, 1.0, "cue")
    assert any("too short for the words" in note for note in take.notes)
    asked = dubber.prepare(SAID, voice, library=None, seen=seen, acting=Acting(slot="cue"))
    assert (asked.slot, asked.notes) == (take.slot, voice.notes)


# --- what is told ---


def test_the_book_and_the_report_tell_what_was_asked_where_it_was(studio: Path, tmp_path: Path, dubber: Dubber) -> None:
    script = sheet(
        studio / "told.csv",
        "emotion,emotion_from,strength,pin,ban",
        "angry:0.7,,1.5,film/ada/1,film/ada/0",
        ",rage.wav,,,",
        ",,,,",
    )
    out = tmp_path / "out"
    result = run(job(studio, script, out), dubber)
    assert result.complete and read_book(out).lines == result.lines
    first, second, third = result.lines
    assert first.asked == {
        "emotion": "angry", "share": 0.7, "strength": 1.5, "pinned": ["film/ada/1"], "banned": ["film/ada/0"],
    }  # fmt: skip
    assert (second.asked, third.asked) == ({"recording": "rage.wav"}, {})
    assert first.emotion == pytest.approx({**dict.fromkeys(EMOTIONS, 0), "angry": 0.7, "neutral": 0.3})
    assert third.judged == third.emotion and sum(third.judged.values()) == pytest.approx(1)
    for hits in first.hits.values():
        assert [(hit["id"], hit.get("pinned", False)) for hit in hits] == [("film/ada/1", True), ("film/ada/2", False)]
    assert not any("pinned" in hit for record in (second, third) for hits in record.hits.values() for hit in hits)
    sections = result.report.read_text(encoding="utf-8").split("<section")[1:]
    for words in ("angry, 70 %", "<dd>1.5</dd>", "<dd>film/ada/1</dd>", "<dd>film/ada/0</dd>", ">pinned</span>"):
        assert [words in section for section in sections] == [True, False, False], words
    assert ["rage.wav" in section for section in sections] == [False, True, False]
    assert [">asked<" in section for section in sections] == [True, True, False]
    assert "director judged" in sections[2] and "Asked" not in sections[2]


def test_a_kept_take_tells_what_was_asked_this_time(studio: Path, tmp_path: Path, dubber: Dubber) -> None:
    """Scene and words find a clip each, of three: to ban the third changes no sound."""
    script, out = sheet(tmp_path / "s.csv", "ban", ""), tmp_path / "out"
    (before,) = run(job(studio, script, out, k=1), dubber).lines
    unheard = min({f"film/ada/{i}" for i in range(3)} - {hits[0]["id"] for hits in before.hits.values()})
    again = run(job(studio, script, out, k=1, wishes=parse_wishes(ban=[unheard])), dubber)
    assert again.kept == ("001",) and again.lines[0].asked == {"banned": [unheard]}
    assert read_book(out).lines[0].sha256 == before.sha256
    angry = run(job(studio, script, out, k=1, wishes=parse_wishes(emotion=["angry"])), dubber)
    assert angry.kept == () and angry.lines[0].asked == {"emotion": "angry", "share": 1.0}


def test_only_what_was_asked_is_told() -> None:
    assert asked_of(Acting()) == {}
    assert asked_of(Acting("sad")) == {"emotion": "sad", "share": 1.0}
    assert asked_of(Acting(strength=0.0)) == {"strength": 0.0}


def test_the_command_asks(studio: Path, tmp_path: Path, dubber: Dubber, monkeypatch: pytest.MonkeyPatch) -> None:
    from authentic_dubber.cli import app

    monkeypatch.setattr(Dubber, "load", classmethod(lambda cls, *args, **options: dubber))
    (tmp_path / "s.srt").write_text("1\n00:00:00,000 --> 00:00:00,900\nGood evening\n")
    words = ["say", studio / "film.mp4", "--script", tmp_path / "s.srt", "--voice", f"Ada={studio / 'ada.wav'}"]
    words += ["--library", studio / "library", "--out", tmp_path / "out", "-k", "1", "--rate", RATE, "--json"]
    asked = ["--emotion", "001=angry:0.7", "--strength", "1.3", "--pin", "1=film/ada/2", "--ban", "film/ada/0"]
    done = CliRunner().invoke(app, [str(word) for word in [*words, *asked]])
    assert done.exit_code == 0, done.output
    (line,) = json.loads(done.stdout)["lines"]
    assert line["asked"] == {
        "emotion": "angry", "share": 0.7, "strength": 1.3, "pinned": ["film/ada/2"], "banned": ["film/ada/0"],
    }  # fmt: skip
    refused = CliRunner().invoke(app, [str(word) for word in [*words, "--emotion", "001=jolly"]])
    assert refused.exit_code == 2 and "got 'jolly'" in refused.output and "Traceback" not in refused.output


# --- whose recordings it learned from ---


def make_checkpoint(folder: Path, *licences: str) -> Path:
    for part in ("acoustic", "vocoder"):
        (folder / part).mkdir(parents=True)
        (folder / part / "model.safetensors").write_bytes(b"")
        (folder / part / "config.json").write_text("{}")
    (folder / "card.json").write_text(json.dumps({"name": "toy", "licences": licences, "notice": ""}))
    return folder


def test_commercial_use_asks_for_the_permissive_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="permissive: expected a checkpoint for commercial use"):
        packaged_checkpoint(commercial_only=True)
    permissive = make_checkpoint(tmp_path / "checkpoints" / "permissive", "CC-BY-4.0", "CC0-1.0")
    assert choose_checkpoint(commercial_only=True) == packaged_checkpoint(commercial_only=True) == permissive
    assert choose_checkpoint() == packaged_checkpoint() == tmp_path / "checkpoints" / "starter"


def test_a_checkpoint_of_ones_own_must_allow_commercial_use(tmp_path: Path) -> None:
    free = make_checkpoint(tmp_path / "free", "CC-BY-4.0", "CC0-1.0")
    bound = make_checkpoint(tmp_path / "bound", "CC-BY-NC-SA-4.0", "CC0-1.0")
    unknown = make_checkpoint(tmp_path / "unknown")
    assert choose_checkpoint(free, commercial_only=True) == free
    assert choose_checkpoint(bound) == bound
    with pytest.raises(ValueError, match=r"bound: .*allow commercial use, got CC-BY-NC-SA-4\.0"):
        choose_checkpoint(bound, commercial_only=True)
    with pytest.raises(ValueError, match="names none"):
        choose_checkpoint(unknown, commercial_only=True)


def test_a_cue_says_nothing_of_acting_by_itself(tmp_path: Path) -> None:
    assert sheet_wish(Cue(0, 1, "Ada", "hm"), tmp_path) == Wish()
