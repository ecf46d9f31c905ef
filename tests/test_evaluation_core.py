"""The core of the evaluation: figures and their intervals, sets, runs, and a tiny checkpoint judged from end to end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.commands.evaluate import named
from authentic_dubber.evaluation.conditions import Heard, griffin_lim
from authentic_dubber.evaluation.measured import Measured, Row, Sample, difference, estimate
from authentic_dubber.evaluation.recordings import Recordings
from authentic_dubber.evaluation.references import other_references
from authentic_dubber.evaluation.scoring import whole
from authentic_dubber.evaluation.sets import Case, Content, EvaluationSet, SetError, write_set
from authentic_dubber.evaluation.suite import Suite
from authentic_dubber.evaluation.table import cell_text, clip_value, figure
from authentic_dubber.evaluation.words import Alignment, AnotherLanguage, WordErrors, whisper_listener
from authentic_dubber.training.cache import Cache
from library_builder.mux import write_wave
from library_builder.types import Clip, Emotion
from retrieval import Hit, Library, commit
from vocoder.mel import MelConfig

RATE = MelConfig().sample_rate


def buzz(seconds: float, hertz: float = 140.0, level: float = 0.1) -> np.ndarray:
    """A pulse-like tone with a moving formant: voiced, and different at every pitch."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12))
    return (level * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def measured(values: Sequence[Sequence[float]], statistic: str = "mean", **changes: object) -> Measured:
    rows = {f"c{i}": Row(tuple(map(float, row))) for i, row in enumerate(values)}
    return replace(Measured("m", "M", "%", "higher", statistic, rows), **changes)  # type: ignore[arg-type]


# Figures.


def test_figures_are_those_worked_by_hand() -> None:
    value = {
        "mean": estimate(measured([[1], [2], [6]])),
        "median": estimate(measured([[1], [2], [6]], "median")),
        "ratio": estimate(measured([[100, 4], [0, 6]], "ratio")),
        "correlation": estimate(measured([[1, 2], [2, 4], [3, 6]], "correlation")),
    }
    got = {name: None if found is None else found.value for name, found in value.items()}
    assert got == pytest.approx({"mean": 3, "median": 2, "ratio": 10, "correlation": 1})


def test_balanced_accuracy_and_macro_f1_are_those_worked_by_hand() -> None:
    """Three sad of which two are right, one happy that is right: (2/3 + 1) / 2. One of happy's two calls is wrong."""
    true = ["sad", "sad", "sad", "happy"]
    right = {str(i): Row((float(hit),), name) for i, (hit, name) in enumerate(zip([1, 1, 0, 1], true, strict=True))}
    called = {str(i): Row((float(k),), name) for i, (k, name) in enumerate(zip([0, 0, 1, 1], true, strict=True))}
    classes = ("sad", "happy")
    balanced = estimate(Measured("a", "A", "share", "higher", "balanced", right, classes=classes))
    f1 = estimate(Measured("f", "F", "share", "higher", "macro_f1", called, classes=classes))
    assert balanced is not None and balanced.value == pytest.approx((2 / 3 + 1) / 2)
    # sad: 2 hits of 2 called and 3 true; happy: 1 hit of 2 called and 1 true.
    assert f1 is not None and f1.value == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)


def test_what_was_not_measured_is_none_and_never_zero() -> None:
    nothing = measured([], missing={"c0": "silent"})
    assert estimate(nothing) is None
    cell = figure(nothing)
    assert (cell.value, cell.n, cell.missing) == (None, 0, 1)
    assert cell_text(cell) == "not measured: 0 clips, 1 missing (silent)"
    assert figure(measured([[1, 2], [2, 3]], "correlation")).value is None, "two clips have no correlation"


def test_an_interval_holds_its_figure_and_shrinks_with_clips() -> None:
    rng = np.random.default_rng(0)
    few, many = (estimate(measured(rng.normal(5, 1, (n, 1)).tolist())) for n in (20, 500))
    assert few is not None and many is not None
    assert few.low < few.value < few.high
    # Widths go as one over the root of n, a factor of 5; half of that leaves room for the draw.
    assert few.high - few.low > 2.5 * (many.high - many.low)


def test_a_difference_is_over_the_clips_that_both_have() -> None:
    a = measured([[1], [2], [100]])
    b = replace(a, rows={"c0": Row((2.0,)), "c1": Row((3.0,)), "other": Row((-50.0,))})
    gap = difference(a, b)
    assert gap is not None and (gap.value, gap.low, gap.high, gap.n) == (1.0, 1.0, 1.0, 2)
    assert difference(a, replace(a, rows={"else": Row((1.0,))})) is None
    with pytest.raises(ValueError, match="one measure on both sides"):
        difference(a, replace(a, name="other"))


def test_values_of_single_clips_are_in_the_unit_of_the_figure() -> None:
    assert clip_value(measured([[100, 4]], "ratio"), Row((100.0, 4.0))) == 25
    assert clip_value(measured([[100, 4]], "ratio"), Row((100.0, 0.0))) is None
    assert clip_value(measured([[1]], "macro_f1"), Row((1.0,), "sad")) is None


def test_no_clip_is_lost_and_no_number_made_up() -> None:
    samples = tuple(Sample(id, "x", "en", "v", buzz(0.1), RATE) for id in ("a", "b", "c", "d"))
    heard = Heard("takes", samples, {"e": "no take"}, {"c": "recording: silent"})
    rows = {"a": Row((1.0,)), "b": Row((float("nan"),))}
    answer = Measured("m", "M", "dB", "lower", "mean", rows, {"c": "no reference"})
    kept = whole(answer, heard)
    assert set(kept.rows) == {"a"}
    assert kept.missing == {
        "b": "no number came out",
        "c": "recording: silent",
        "d": "the measure gave no answer",
        "e": "no take",
    }
    absent = replace(answer, rows={}, missing={}, note="not measured: no weights; bring them")
    assert whole(absent, heard) == absent, "what could not run at all has missed no clip"


# Sets.


def content(cases: Sequence[Case], **changes: object) -> Content:
    return replace(Content("toy", "2.0", "en", "made for a test", {}, None, tuple(cases)), **changes)  # type: ignore[arg-type]


def case(id: str, **changes: object) -> Case:
    made = Case(id, f"Good evening to you {id}.", "en", "toy/ada", None, "waves/prompt.wav")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_set_comes_back_as_it_was_written(tmp_path: Path) -> None:
    cases = (case("a", reference="waves/a.wav", slot_seconds=1.5, group="g"), case("b", emotion="sad", film="film"))
    rows = np.eye(2, 4, dtype=np.float32)
    rows[1] = 0
    clip = Clip("c", "c.mp4", 0, 1, emotions={"text": Emotion("tiny/4", rows[0])})
    asked = content(cases, spaces={"text": "tiny/4"}, lip_space="lips/3", note="ąę")
    made = write_set(
        tmp_path / "set",
        asked,
        waves={"prompt.wav": buzz(1), "a.wav": buzz(0.5)},
        sample_rate=RATE,
        own={"text": rows},
        lips=[np.ones((4, 3)), np.zeros((0, 3))],
        mouth=[np.linspace(0, 1, 30), np.zeros(0)],
        libraries={"any": [clip]},
    )
    again = EvaluationSet.open(tmp_path / "set")
    assert again.content == asked and again.digest == made.digest
    felt = again.feelings(0)
    assert {m: (e.space, e.vector.tolist()) for m, e in felt.items()} == {"text": ("tiny/4", [1, 0, 0, 0])}
    assert again.feelings(1) == {}, "zeros are no feeling"
    assert again.lips is not None and [len(again.lips[i]) for i in (0, 1)] == [4, 0]
    assert again.mouth is not None and np.allclose(again.mouth[0], np.linspace(0, 1, 30))
    assert again.library(cases[0]) is None and again.library(cases[1]) == tmp_path / "set/libraries/any"
    write_wave(tmp_path / "set/waves/a.wav", buzz(0.5, 90), RATE)
    assert EvaluationSet.open(tmp_path / "set").digest != made.digest, "another recording is another set"


@pytest.mark.parametrize("path", ["../prompt.wav", "/etc/passwd", "waves/../../x.wav", "C:\\x.wav"])
def test_a_path_that_leaves_the_set_is_refused(tmp_path: Path, path: str) -> None:
    write_set(tmp_path / "set", content([case("a")]), waves={"prompt.wav": buzz(1)}, sample_rate=RATE)
    index = tmp_path / "set/set.json"
    values = json.loads(index.read_text())
    values["cases"][0]["prompt"] = path
    index.write_text(json.dumps(values))
    with pytest.raises(SetError, match="expected a relative path"):
        EvaluationSet.open(tmp_path / "set")


@pytest.mark.parametrize("id", ["../a", "a/b", ".a", "", "a\n"])
def test_an_id_that_is_no_file_name_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="expected a case id"):
        case(id)


def test_sets_that_contradict_themselves_are_refused_whole(tmp_path: Path) -> None:
    waves = {"prompt.wav": buzz(0.2)}
    with pytest.raises(SetError, match="each case id once"):
        content([case("a"), case("a")])
    with pytest.raises(SetError, match=r"known settings are 1\.0, 2\.0, 3\.0"):
        content([case("a")], setting="4.0")
    with pytest.raises(FileNotFoundError, match=r"other\.wav"):
        write_set(tmp_path / "s", content([case("a", prompt="waves/other.wav")]), waves=waves, sample_rate=RATE)
    with pytest.raises(SetError, match=r"expected finite rows \(1, 4\)"):
        wrong = content([case("a")], spaces={"face": "tiny/4"})
        write_set(tmp_path / "s", wrong, waves=waves, sample_rate=RATE, own={"face": np.ones((2, 4))})
    with pytest.raises(SetError, match="lip_space together"):
        write_set(tmp_path / "s", content([case("a")]), waves=waves, sample_rate=RATE, lips=[np.ones((2, 3))])
    with pytest.raises(SetError, match=r"case a is prompted by its own recording, which is setting 1\.0"):
        copied = {**waves, "copy.wav": waves["prompt.wav"]}
        write_set(tmp_path / "s", content([case("a", reference="waves/copy.wav")]), waves=copied, sample_rate=RATE)
    assert not (tmp_path / "s").exists(), "nothing half is left"


# References.


def test_other_references_are_as_many_true_and_drawn_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    unit = rng.standard_normal((12, 2, 4)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    vectors = [{"face": Emotion("tiny/4", face), "audio": Emotion("tiny/4", audio)} for face, audio in unit]
    clips = [Clip(f"c{i:02d}", "x.mp4", 0, 1, text=f"t{i}", emotions=v) for i, v in enumerate(vectors)]  # type: ignore[arg-type]
    commit(tmp_path, clips)
    library, own = Library.open(tmp_path), {"face": Emotion("tiny/4", unit[0, 0])}
    found = library.top_k(own, 3).hits  # type: ignore[arg-type]
    stored = tuple(library.clips())

    def drawn(mode: str, seed: int = 0) -> tuple[Hit, ...]:
        return other_references(found, own, stored, mode, np.random.default_rng(seed))["face"]  # type: ignore[arg-type]

    def ids(hits: Sequence[Hit]) -> list[str]:
        return [hit.clip.id for hit in hits]

    assert drawn("nearest") == found["face"]
    assert ids(drawn("random")) == ids(drawn("random"))
    assert any(ids(drawn("random", seed)) != ids(drawn("random")) for seed in range(1, 4))
    for hit in drawn("random"):
        assert hit.score == pytest.approx(float(own["face"].vector @ hit.emotion.vector))
    shuffled = drawn("shuffled-audio")
    assert ids(shuffled) == ids(found["face"])
    near, others = ({hit.audio.vector.tobytes() for hit in hits if hit.audio} for hits in (found["face"], shuffled))
    assert len(others) == 3 and not near & others
    with pytest.raises(ValueError, match="expected 3 other clips with sound"):
        other_references(found, own, stored[:2], "shuffled-audio", np.random.default_rng(0))  # type: ignore[arg-type]


# Words.


def test_word_errors_count_what_the_listener_got_wrong() -> None:
    class Mishearing:
        note = "made for a test"

        def hear(self, wave: np.ndarray) -> list[str]:
            return ["the", "Cat,", "sat", "down"]

    samples = [Sample(str(i), text, "en", "v", buzz(0.2), RATE) for i, text in enumerate(["The hat sat.", "!?"])]
    wer, cer = WordErrors(Mishearing)(samples)
    assert wer.rows == {"0": Row((200.0, 3.0))}, "hat for cat and an insertion, of three reference words"
    assert cer.rows == {"0": Row((100.0 * 6, 11.0))}, "one letter, and five of ' down'"
    assert set(wer.missing) == {"1"}


def test_listeners_that_are_not_there_say_what_would_cure(tmp_path: Path) -> None:
    sample = [Sample("a", "Dobry wieczór", "pl", "v", buzz(0.2), RATE)]
    for folder in (None, tmp_path):
        wer, _ = WordErrors(lambda folder=folder: whisper_listener(folder, "pl"))(sample)
        assert not wer.measured and wer.note.startswith("not measured: no Whisper weights") and "--models" in wer.note
    assert all(one.note.startswith("not measured") for one in AnotherLanguage("pl")(sample))


def test_what_cannot_be_aligned_counts_and_is_named() -> None:
    samples = [Sample("hum", "Good evening my dear friend.", "en", "v", buzz(0.15), RATE)]
    samples += [Sample("odd", "Qwrtzp.", "en", "v", buzz(0.5), RATE)]
    score_, share = Alignment()(samples)
    assert score_.rows == {"hum": Row((-99.0,))} and share.rows == {"hum": Row((0.0,))}
    assert "1 clips (hum)" in score_.note
    assert "qwrtzp" in score_.missing["odd"]


# What a corpus lends.


def test_a_corpus_lends_no_take_of_a_tested_line(tiny_cache: Path) -> None:
    cache = Cache(tiny_cache)
    voice, first = cache.entries[0].voice, cache.entries[0]
    own = [i for i, entry in enumerate(cache.entries) if entry.voice == voice]
    tested = case("a", voice=voice, text=first.text.upper(), emotion=first.emotion)
    lent = Recordings(cache, [tested])
    assert lent.of_voice(voice) == own[1:] and Recordings(cache, []).of_voice(voice) == own
    (centroid,) = lent.centroids([voice, "toy/stranger"]).values()
    table = np.asarray(cache.rows("speaker"), dtype=np.float32)[own[1:]]
    assert np.allclose(centroid, table.mean(0) / np.linalg.norm(table.mean(0)), atol=1e-3)  # stored in half precision


def test_a_voice_could_be_taken_for_any_of_its_corpus_and_for_nobody_else(tiny_cache: Path) -> None:
    lent = Recordings(Cache(tiny_cache), [])
    assert lent.company(["toy/v1"]) == ["toy/v0", "toy/v1", "toy/v2"]
    assert lent.company(["elsewhere/v1"]) == []


class Anybody:
    """A speaker encoder that knows one voice."""

    width = 2

    def embed(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        return np.array([1, 0], dtype=np.float32)


def test_waves_are_lent_of_voices_that_have_some(tiny_cache: Path) -> None:
    lent = Recordings(Cache(tiny_cache), []).waves(["toy/v0", "toy/stranger"])
    assert list(lent) == ["toy/v0"] and 0 < len(lent["toy/v0"]) <= 10
    own = {wave.tobytes() for wave in map(Cache(tiny_cache).wave, range(0, 24, 3))}
    assert all(rate == 22050 and wave.tobytes() in own for wave, rate in lent["toy/v0"])


@pytest.mark.parametrize("models", [None, Path("no such folder")])
def test_speakers_are_judged_by_wavlm_too_once_its_weights_are_there(tmp_path: Path, models: Path | None) -> None:
    write_set(tmp_path / "set", content([case("a")]), waves={"prompt.wav": buzz(1.0)}, sample_rate=RATE)
    suite = Suite(EvaluationSet.open(tmp_path / "set"), None, models, Anybody(), None)
    (family,) = suite.families(["speaker"])
    told = [m for measure in family.make() for m in measure([]) if m.name.startswith("secs_wavlm")]
    assert told and all("wavlm-base-plus-sv" in m.note and not m.measured for m in told)


def test_functionals_of_a_corpus_are_taken_once(tiny_cache: Path) -> None:
    told: list[str] = []
    lent = Recordings(Cache(tiny_cache), [], progress=lambda what, done, total: told.append(what))
    rows, labels = lent.voices(["toy/v0", "toy/v1"])
    assert len(rows) == len(labels) == len(told) == 16 and set(labels) == {"toy/v0", "toy/v1"}
    again, _ = Recordings(Cache(tiny_cache), [], progress=lambda *_: pytest.fail("taken twice")).voices(["toy/v1"])
    assert np.array_equal(again, rows[8:], equal_nan=True)


# Conditions and command line.


def test_a_griffin_lim_copy_keeps_length_level_and_spectrum() -> None:
    wave = buzz(0.15)
    copy = griffin_lim(wave, MelConfig())
    assert copy.shape == wave.shape
    # The mel keeps no phase and little above its bands: a few decibels of level is what comes back.
    assert 20 * abs(np.log10(np.std(copy) / np.std(wave))) < 3


def test_names_on_the_command_line() -> None:
    assert (named(""), named("all"), named(" words, pitch ")) == ([], [], ["words", "pitch"])
