"""A tiny checkpoint judged from end to end: runs that go on, are refused, reported and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from authentic_dubber.checkpoint import Card
from authentic_dubber.config import Vocabulary, build_config
from authentic_dubber.dubber import Dubber
from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.compare import compare, describe
from authentic_dubber.evaluation.conditions import Listening
from authentic_dubber.evaluation.evaluate import evaluate
from authentic_dubber.evaluation.manner import Manner
from authentic_dubber.evaluation.measured import Measured, Row, Sample
from authentic_dubber.evaluation.runs import RunError, TakeFacts, read_run, take_path
from authentic_dubber.evaluation.scoring import all_scores, score
from authentic_dubber.evaluation.sets import Case, Content, EvaluationSet, write_set
from authentic_dubber.evaluation.speak import speak_set
from authentic_dubber.evaluation.suite import Family
from authentic_dubber.evaluation.table import figure
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.text import TextFrontend
from authentic_dubber.training.corpora import EMOTIONS
from library_builder.media import read_wave
from library_builder.mux import write_wave
from library_builder.readers import build_readers
from library_builder.types import Clip, Emotion
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.mel import MelConfig

RATE = MelConfig().sample_rate


def buzz(seconds: float, hertz: float = 140.0, level: float = 0.1) -> np.ndarray:
    """A pulse-like tone with a moving formant: voiced, and different at every pitch."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12))
    return (level * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def content(cases: Sequence[Case], **changes: object) -> Content:
    return replace(Content("toy", "2.0", "en", "made for a test", {}, None, tuple(cases)), **changes)  # type: ignore[arg-type]


def case(id: str, **changes: object) -> Case:
    made = Case(id, f"Good evening to you {id}.", "en", "toy/ada", None, "waves/prompt.wav")
    return replace(made, **changes)  # type: ignore[arg-type]


class Bands:
    """A toy speaker encoder: the mean spectrum of a wave, in 256 bands."""

    width = 256

    def embed(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        spectrum = np.abs(np.fft.rfft(wave, 16384))[: 256 * 16].reshape(256, 16).mean(1) + 1e-9
        return (spectrum / np.linalg.norm(spectrum)).astype(np.float32)


@pytest.fixture(scope="module")
def dubber() -> Dubber:
    torch.manual_seed(0)
    readers = build_readers("light")
    vocabulary = Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, dict(readers.spaces()), readers.lips.space, EMOTIONS)
    model = Synthesizer(build_config("tiny", vocabulary)).eval()
    with torch.no_grad():  # untrained, it would hurry: about as many frames per symbol as people need
        model.durations.out.bias.fill_(1.65)
    vocoder = IstftGenerator(IstftConfig.tiny(), model.config.mel).eval()
    card = Card("toy", ("CC0-1.0",), "made for a test", "0123")
    return Dubber(model, vocoder, TextFrontend(Espeak()), Bands(), readers, card)


@pytest.fixture(scope="module")
def cases(dubber: Dubber, tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """Three lines that can be spoken, one in a slot, and two that cannot: no words, and a silent prompt."""
    rng = np.random.default_rng(1)
    width = int(dubber.spaces["face"].rpartition("/")[2])
    faces = rng.standard_normal((11, width)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    sound = rng.standard_normal(64)
    audio = Emotion(dubber.spaces["audio"], (sound / np.linalg.norm(sound)).astype(np.float32))
    clips = [
        Clip(f"k{i}", "x.mp4", 0, 1, emotions={"face": Emotion(dubber.spaces["face"], faces[5 + i]), "audio": audio})
        for i in range(6)
    ]
    made = (
        case("a", reference="waves/a.wav", film="film"),
        case("b", reference="waves/b.wav", film="film", slot_seconds=1.2, voice="toy/bo"),
        case("c", reference="waves/short.wav"),
        case("mute", text="..."),
        case("nobody", prompt="waves/silent.wav"),
    )
    words = rng.standard_normal((5, int(dubber.spaces["text"].rpartition("/")[2]))).astype(np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    silence = np.zeros(RATE, dtype=np.float32)
    sounds = {"prompt.wav": buzz(1), "a.wav": buzz(1.1, 120), "b.wav": buzz(1.3, 220), "silent.wav": silence}
    return write_set(
        tmp_path_factory.mktemp("sets") / "toy",
        content(made, spaces={"face": dubber.spaces["face"], "text": dubber.spaces["text"]}),
        waves={**sounds, "short.wav": buzz(0.02)},
        sample_rate=RATE,
        own={"face": faces[:5], "text": words},
        mouth=[np.zeros(0), np.abs(np.sin(np.arange(30))), *[np.zeros(0)] * 3],
        libraries={"film": clips},
    )


@pytest.fixture(scope="module")
def run(dubber: Dubber, cases: EvaluationSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "nearest"
    chosen = {"measures": ["pitch", "timing", "spectral"], "conditions": ["takes", "recordings"]}
    found = evaluate(folder, cases, dubber, Manner(k=2), **chosen)  # type: ignore[arg-type]
    assert found.missing == 2
    return folder


def test_a_set_is_spoken_and_judged(run: Path, cases: EvaluationSet) -> None:
    told = read_run(run)
    assert set(told.takes) == {"a", "b", "c"} and set(told.failed) == {"mute", "nobody"}
    assert "silence" in told.failed["nobody"] and told.failed["mute"].startswith("text")
    assert (told.takes["a"].source, told.takes["b"].source) == ("free", "cue")
    # A slot is kept to one frame of the mel.
    assert told.takes["b"].seconds == pytest.approx(1.2, abs=2 * 256 / RATE)
    # Words ask too, but no clip of the library has any.
    assert (told.takes["a"].hits, told.takes["c"].hits) == (2, 0)
    table = json.loads((run / "scores.json").read_text())
    energy = table["conditions"]["takes"]["energy"]
    assert energy["n"] + energy["missing"] == len(cases.cases) and energy["missing"] >= 2
    mcd = {one.name: one for one in all_scores(run)["takes"]}["mcd_dtw"]
    assert mcd.missing["c"].startswith("recording: expected a frame"), "the recording is too short, and says so"
    assert mcd.missing["mute"].startswith("no take: text")
    assert set(all_scores(run)["recordings"][0].rows) <= {"a", "b"}
    assert "mcd" not in table["conditions"]["recordings"], "a recording is not held against itself"


def test_the_report_stands_alone_but_for_sounds(run: Path) -> None:
    page = (run / "scores.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert 'src="takes/a.wav"' in page and "waves/a.wav" in page
    assert "2 failed" in page and "not measured" in page
    lines = (run / "clips.csv").read_text().splitlines()
    assert any("mute" in line and "no take" in line for line in lines)


def test_an_evaluation_goes_on_where_it_was(run: Path, dubber: Dubber, cases: EvaluationSet) -> None:
    before = {path: path.stat().st_mtime_ns for path in [*run.glob("takes/*"), *run.glob("scores/*/*")]}
    evaluate(run, cases, dubber, Manner(k=2), measures=["spectral"], conditions=["takes"])
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing is spoken or measured twice"
    spoken, sound = read_run(run).takes, read_wave(take_path(run, "a"), sample_rate=RATE)
    take_path(run, "a").write_bytes(b"cut off")
    told = speak_set(cases, run, dubber, Manner(k=2))
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} == {"a.wav"}
    assert told.takes.keys() == spoken.keys() and told.takes["a"].fingerprint == spoken["a"].fingerprint
    # Alone and in a batch a line differs by at most one step of 16 bits.
    assert np.abs(read_wave(take_path(run, "a"), sample_rate=RATE) - sound).max() <= 1.5 / 32768


def test_a_folder_keeps_to_one_manner_and_one_set(run: Path, dubber: Dubber, cases: EvaluationSet) -> None:
    with pytest.raises(RunError, match="run of k 2 that is there, got 0; choose another folder"):
        speak_set(cases, run, dubber, Manner(k=0))
    with pytest.raises(RunError, match="references"):
        speak_set(cases, run, dubber, Manner(k=2, references="random"))
    elsewhere = replace(cases, digest="another")
    with pytest.raises(RunError, match="set_digest"):
        speak_set(elsewhere, run, dubber, Manner(k=2))


def test_vectors_of_another_space_are_refused_before_anything_is_spoken(
    dubber: Dubber, cases: EvaluationSet, tmp_path: Path
) -> None:
    heavy = replace(cases, content=replace(cases.content, spaces={"face": "heavy/9"}))
    with pytest.raises(ValueError, match="expects face of space"):
        speak_set(heavy, tmp_path / "run", dubber, Manner())
    assert not (tmp_path / "run").exists()


def test_a_run_beside_itself_differs_by_nothing(run: Path) -> None:
    found = compare(run, run)
    assert (found.shared, found.only_a, found.only_b, found.differing) == (3, 0, 0, ())
    gaps = [gap.gap for gap in found.gaps if gap.gap is not None]
    assert gaps and all((gap.value, gap.low, gap.high) == (0, 0, 0) for gap in gaps)
    assert {gap.verdict for gap in found.gaps} <= {"no difference shown", "not compared"}
    assert "3 shared cases of toy" in describe(found)


def test_runs_of_other_references_are_compared_over_what_they_share(
    run: Path, dubber: Dubber, cases: EvaluationSet, tmp_path: Path
) -> None:
    other = tmp_path / "random"
    oracle = Manner(k=2, references="random", oracle_length=True)
    evaluate(other, cases, dubber, oracle, measures=["pitch"], conditions=["takes"], limit=2)
    found = compare(run, other)
    assert (found.shared, found.only_a, found.only_b) == (2, 1, 0)
    assert ("references", "nearest", "random") in found.differing
    told = read_run(other)
    assert told.takes["b"].source == "oracle"
    assert told.takes["b"].seconds == pytest.approx(1.3, abs=2 * 256 / RATE)
    assert "oracle length" in (other / "scores.html").read_text()
    verdicts = {gap.name: gap for gap in found.gaps}
    assert verdicts["mcd"].note == "only A has it"
    assert json.dumps(asdict(found))


def test_runs_that_cannot_be_compared_are_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    def changed(name: str, **identity: str) -> Path:
        values = json.loads((run / "run.json").read_text())
        values["identity"] |= identity
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(values))
        return tmp_path / name

    with pytest.raises(ValueError, match="two runs of one set, got toy and other"):
        compare(run, changed("a", set="other"))
    with pytest.raises(ValueError, match="two contents of it"):
        compare(run, changed("b", set_digest="other"))
    with pytest.raises(ValueError, match="takes were measured"):
        compare(run, changed("c"))
    nothing = changed("d")
    values = json.loads((nothing / "run.json").read_text())
    values["takes"] = {"else": values["takes"]["a"]}
    (nothing / "run.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="share a case, got 3 and 1 other takes"):
        compare(run, nothing)
    with pytest.raises(FileNotFoundError, match="expected a run of `dub evaluate`"):
        compare(run, tmp_path)


def test_silent_and_missing_takes_are_counted(run: Path, cases: EvaluationSet, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "takes").mkdir(parents=True)
    write_wave(take_path(folder, "a"), np.zeros(RATE, dtype=np.float32), RATE)
    write_wave(take_path(folder, "b"), buzz(1), RATE)
    facts = TakeFacts("", "free", 1.0, 0, 1.0, "")
    told = replace(read_run(run), takes=dict.fromkeys("abc", facts))
    heard = Listening(cases, folder, told, None).heard("takes")
    assert [sample.id for sample in heard.samples] == ["b"]
    assert heard.missing["a"].startswith("take: silent") and heard.missing["c"] == "no take"

    def loudness(samples: Sequence[Sample]) -> list[Measured]:
        rows = {s.id: Row((float(np.abs(s.wave).max()),)) for s in samples}
        return [Measured("peak", "Peak", "share", "none", "mean", rows)]

    family = Family("peak", frozenset({"takes"}), lambda: [loudness])
    (found,) = score(heard, [family], folder)
    assert figure(found).n == 1 and figure(found).missing == 4
    assert figure(found).value == pytest.approx(float(np.abs(buzz(1)).max()), abs=1 / 16384)  # 16-bit steps
    with pytest.raises(ValueError, match="takes: expected a clip to measure, got none"):
        score(replace(heard, samples=()), [family], folder)


def test_recordings_are_judged_by_wrong_texts_and_voices_too(run: Path, cases: EvaluationSet) -> None:
    listening = Listening(cases, run, read_run(run), None)
    texts = {s.id: s.text for s in listening.heard("wrong-text").samples}
    assert texts == {"a": cases.cases[1].text, "b": cases.cases[0].text}
    assert {s.id: s.voice for s in listening.heard("wrong-speaker").samples} == {"a": "toy/bo", "b": "toy/ada"}
    with pytest.raises(ValueError, match="known conditions are"):
        listening.heard("whispers")  # type: ignore[arg-type]
