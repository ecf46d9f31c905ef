"""The readers of emotion and of speakers: what is there is read, what cannot be is missing, and chance is chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from authentic_dubber.evaluation.emotion import (
    EmotionMeasure,
    EmotionReader,
    by_own_statistics,
    confusion,
    constant_baseline,
)
from authentic_dubber.evaluation.functionals import KNOWS_LEVEL, NAMES, Unmeasurable
from authentic_dubber.evaluation.measured import Measured, Row, Sample, estimate
from authentic_dubber.evaluation.periodicity import SAMPLE_RATE
from authentic_dubber.evaluation.speaker_identity import (
    SpeakerClassifier,
    SpeakerFunctionals,
    SpeakerSimilarity,
    WavlmEncoder,
    WavlmSimilarity,
    centroid,
)
from authentic_dubber.speaker import BadPrompt

Wave = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
CLASSES = ("neutral", "angry", "sad")
OFFSET = {"neutral": 0.0, "angry": 2.0, "sad": -2.0}
RATE = 8000
"""Of the toy samples, whose few numbers are functionals already: see `as_given`."""


# Normalisation and readers.


def test_own_statistics_undo_any_shift_and_scale_of_a_voice() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6))
    rows[3, 2] = np.nan
    voices = ["a", "b"] * 20
    scale = np.where(np.array(voices)[:, None] == "a", 3.0, 0.2)
    shift = np.where(np.array(voices)[:, None] == "a", 100.0, -7.0)
    plain = by_own_statistics(rows, voices)
    np.testing.assert_allclose(by_own_statistics(rows * scale + shift, voices), plain, atol=1e-9)
    np.testing.assert_allclose(np.nanmean(plain[::2], axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(plain[::2], axis=0), 1)
    assert np.isnan(plain[3, 2]) and np.isnan(plain).sum() == 1


def test_what_does_not_vary_in_a_voice_is_zero() -> None:
    rows = np.column_stack([np.full(5, 0.1 + 0.2), np.full(5, np.nan), np.arange(5.0)])
    found = by_own_statistics(rows, ["a"] * 5)
    np.testing.assert_array_equal(found[:, 0], 0)
    assert np.isnan(found[:, 1]).all()


def acted(voice: int, clips: int = 24) -> tuple[Values, list[str]]:
    """Twelve figures of a voice with its own mean and spread; emotion moves two of them."""
    rng = np.random.default_rng(voice)
    labels = [CLASSES[i % 3] for i in range(clips)]
    rows = rng.normal(size=(clips, 12))
    rows[:, 0] += [OFFSET[label] for label in labels]
    rows[:, 1] += [abs(OFFSET[label]) for label in labels]
    return rows * rng.uniform(0.5, 2, 12) + rng.normal(0, 5, 12), labels


def as_given(wave: Wave, sample_rate: int) -> Values:
    """A toy's wave is its functionals; a zero wave is silent."""
    if not wave.any():
        raise Unmeasurable("expected sound, got digital silence")
    return wave.astype(np.float64)


def samples_of(voice: int, *, shuffled: bool = False) -> list[Sample]:
    rows, labels = acted(voice)
    if shuffled:
        labels = np.random.default_rng(voice).permutation(labels).tolist()
    return [
        Sample(f"{voice}/{i}", "", "en", f"toy/{voice}", row.astype(np.float32), RATE, label)
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]


def toy_measure(voices: range = range(6), **settings: object) -> EmotionMeasure:
    train = {f"toy/{voice}": acted(voice) for voice in voices}
    return EmotionMeasure(train, classes=CLASSES, take=as_given, **settings)  # type: ignore[arg-type]


def value(measured: Measured) -> float:
    found = estimate(measured, draws=20)
    assert found is not None
    return found.value


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_a_reader_of_other_voices_tells_what_differs(kind: str) -> None:
    samples = [sample for voice in range(3) for sample in samples_of(voice)]
    accuracy, f1 = toy_measure(kind=kind)(samples)
    # The classes lie two or more spreads apart in two figures: about one in ten is ambiguous.
    assert value(accuracy) > 0.75
    assert value(f1) == pytest.approx(value(accuracy), abs=0.05)
    assert len(accuracy.rows) == len(samples) and not accuracy.missing
    table = confusion(f1)
    assert table.sum(axis=1).tolist() == [24, 24, 24]
    assert np.trace(table) == sum(row.values[0] for row in accuracy.rows.values())


def test_shuffled_labels_are_read_at_chance() -> None:
    samples = [sample for voice in range(6) for sample in samples_of(voice, shuffled=True)]
    accuracy, _ = toy_measure()(samples)
    # 144 clips at one in three: the spread is 0.04, and 0.12 is three of it.
    assert value(accuracy) == pytest.approx(1 / 3, abs=0.12)


def test_the_answer_is_the_same_each_time_and_in_any_order() -> None:
    samples = [sample for voice in range(2) for sample in samples_of(voice)]
    first, again = toy_measure()(samples)[0], toy_measure()(samples[::-1])[0]
    assert first.rows == again.rows


def test_no_reader_judges_a_voice_it_was_trained_on() -> None:
    measure = toy_measure(range(12))
    for voice in range(12):
        assert f"toy/{voice}" not in measure._reader(f"toy/{voice}").voices
    assert len(measure._readers) <= 5
    assert len(measure._reader("elsewhere/1").voices) == 12
    samples = samples_of(0)
    accuracy, _ = toy_measure(leave_voice_out=False)(samples)
    assert not accuracy.measured
    assert set(accuracy.missing.values()) == {"the reader was trained on this voice"}
    assert accuracy.note.startswith("not measured")


def test_another_corpus_is_read_by_one_reader_under_its_own_name() -> None:
    accuracy, f1 = toy_measure(leave_voice_out=False, label="other")(samples_of(77))
    assert (accuracy.name, f1.name) == ("emotion_accuracy_other", "emotion_macro_f1_other")
    assert value(accuracy) > 0.75


def test_clips_that_cannot_be_read_are_missing_with_the_reason() -> None:
    odd = [
        Sample("silent", "", "en", "toy/0", np.zeros(12, dtype=np.float32), RATE, "sad"),
        Sample("unasked", "", "en", "toy/0", np.ones(12, dtype=np.float32), RATE),
        Sample("bored", "", "en", "toy/0", np.ones(12, dtype=np.float32), RATE, "bored"),
        Sample("lonely", "", "en", "toy/99", np.ones(12, dtype=np.float32), RATE, "sad"),
    ]
    for measured in toy_measure()([*samples_of(0), *odd]):
        assert set(measured.missing) == {sample.id for sample in odd}
        assert "silence" in measured.missing["silent"]
        assert len(measured.rows) == 24


def test_a_voice_of_few_clips_is_measured_with_a_warning() -> None:
    accuracy, _ = toy_measure()([*samples_of(0)[:11], *samples_of(1)])
    assert len(accuracy.rows) == 35
    assert "toy/0" in accuracy.note and "toy/1" not in accuracy.note


def test_figures_that_could_not_be_taken_do_not_stop_a_reader() -> None:
    rows, labels = acted(0)
    rows[:, 5] = np.nan
    rows[::3, 7] = np.nan
    reader = EmotionReader.fit(by_own_statistics(rows, ["a"] * 24), labels, ["a"] * 24)
    assert set(reader.predict(np.full((2, 12), np.nan))) <= set(CLASSES)


def test_readers_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="2 voices or more"):
        toy_measure(range(1))
    rows, labels = acted(0)
    with pytest.raises(ValueError, match="two classes"):
        EmotionReader.fit(rows, ["sad"] * 24, ["a"] * 24)
    with pytest.raises(ValueError, match="kind"):
        EmotionReader.fit(rows, labels, ["a"] * 24, kind="forest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="predicted classes"):
        confusion(toy_measure()([])[0])


def test_a_constant_answer_scores_what_the_baseline_says() -> None:
    emotions = ["sad"] * 5 + ["happy"] * 3 + ["angry"] * 2
    baseline = constant_baseline(emotions)
    rows = {str(i): Row((float(emotion == baseline.answer),), emotion) for i, emotion in enumerate(emotions)}
    constant = Measured("emotion_accuracy", "", "share", "higher", "balanced", rows)
    assert baseline.balanced == pytest.approx(value(constant))
    assert (baseline.answer, baseline.plain) == ("sad", 0.5)
    with pytest.raises(ValueError, match="got none"):
        constant_baseline([])


# Speakers.


class ToyEncoder:
    """The first numbers of a wave are its voice."""

    width = 3

    def embed(self, wave: Wave, sample_rate: int) -> Wave:
        if not wave.any():
            raise BadPrompt("expected a prompt, got digital silence")
        return wave[:3] / np.linalg.norm(wave[:3])


def said(key: str, voice: str, *numbers: float) -> Sample:
    return Sample(key, "", "en", voice, np.array(numbers, dtype=np.float32), RATE)


def test_similarity_is_the_cosine_to_the_own_centroid_and_the_nearest_is_found() -> None:
    centroids = {"b": np.array([0, 5, 0], np.float32), "a": np.array([2, 0, 0], np.float32)}
    samples = [
        said("near", "a", 4, 3, 0),
        said("far", "a", 3, 4, 0),
        said("silent", "b", 0, 0, 0),
        said("unknown", "c", 1, 0, 0),
    ]
    secs, identification = SpeakerSimilarity(ToyEncoder(), centroids)(samples)
    assert {key: row.values[0] for key, row in secs.rows.items()} == pytest.approx({"near": 0.8, "far": 0.6})
    assert {key: row.values[0] for key, row in identification.rows.items()} == {"near": 100, "far": 0}
    assert set(secs.missing) == set(identification.missing) == {"silent", "unknown"}
    assert "flatter" in secs.note or "conditions" in secs.note


def test_one_voice_cannot_be_mistaken() -> None:
    secs, identification = SpeakerSimilarity(ToyEncoder(), {"a": np.ones(3, np.float32)})([said("x", "a", 1, 1, 1)])
    assert value(secs) == pytest.approx(1)
    assert not identification.measured and "not measured" in identification.note


def test_an_encoder_that_is_not_installed_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resemblyzer", None)
    for measured in SpeakerSimilarity(None, {"a": np.ones(3, np.float32)})([said("x", "a", 1, 1, 1)]):
        assert not measured.measured
        assert "pip install" in measured.note


def test_a_centroid_counts_each_recording_alike() -> None:
    found = centroid(np.array([[100, 0], [0, 1]], dtype=np.float32))
    np.testing.assert_allclose(found, [np.sqrt(0.5)] * 2, rtol=1e-6)
    for wrong in (np.zeros((0, 2)), np.zeros((1, 2)), np.array([[1.0, 0.0], [-1.0, 0.0]])):
        with pytest.raises(ValueError, match="expected embeddings"):
            centroid(wrong.astype(np.float32))


def test_the_classifier_knows_voices_by_all_but_their_level() -> None:
    rng = np.random.default_rng(0)
    voices = [f"v{i % 3}" for i in range(60)]
    rows = rng.normal(size=(60, len(NAMES)))
    rows[:, ~KNOWS_LEVEL] += np.array([3.0 * int(voice[1]) for voice in voices])[:, None]
    classifier = SpeakerClassifier.fit(rows[:30], voices[:30])
    # A hundred figures three spreads apart leave no doubt.
    assert classifier.predict(rows[30:]) == voices[30:]
    rows[30:, KNOWS_LEVEL] += 1e6
    samples = [
        Sample(str(i), "", "en", voice, row.astype(np.float32), RATE)
        for i, (voice, row) in enumerate(zip(voices[30:], rows[30:], strict=True))
    ]
    odd = [said("silent", "v0", 0), said("stranger", "v9", 1)]
    (measured,) = SpeakerFunctionals(classifier, take=as_given)([*samples, *odd])
    assert value(measured) == 100
    assert set(measured.missing) == {"silent", "stranger"}
    with pytest.raises(ValueError, match="two voices"):
        SpeakerClassifier.fit(rows[:2], ["v0", "v0"])


@pytest.mark.parametrize("folder", [None, Path("no such folder")])
def test_without_its_weights_wavlm_is_not_measured_and_says_what_cures_it(folder: Path | None) -> None:
    for measured in WavlmSimilarity(folder, {})([said("x", "a", 1)]):
        assert not measured.measured
        assert measured.note.startswith("not measured") and "wavlm-base-plus-sv" in measured.note


@pytest.mark.slow
def test_a_tiny_wavlm_is_a_speaker_encoder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        tdnn_dim=(8,) * 5, xvector_output_dim=6, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.WavLMForXVector(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, SAMPLE_RATE)).astype(np.float32)
    encoder = WavlmEncoder(tmp_path)
    vector = encoder.embed(noise[0], 22050)
    assert vector.shape == (encoder.width,) == (6,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    with pytest.raises(BadPrompt):
        encoder.embed(np.zeros(22050, dtype=np.float32), 22050)
    recordings = {voice: [(wave, SAMPLE_RATE)] for voice, wave in zip("ab", noise, strict=True)}
    sample = Sample("x", "", "en", "a", noise[0], SAMPLE_RATE)
    secs, identification = WavlmSimilarity(tmp_path, recordings)([sample])
    # The very recording.
    assert value(secs) == pytest.approx(1, abs=1e-4)
    assert identification.measured
