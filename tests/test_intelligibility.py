"""Intelligibility and speed: counting word errors, the language model, what PocketSphinx says, and the arithmetic."""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soxr
import torch

from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.intelligibility import (
    DISCOUNT,
    FAILED_ALIGNMENT,
    SAMPLE_RATE,
    UNIGRAM_FLOOR,
    Errors,
    Recogniser,
    alignment_score,
    bigram_arpa,
    ratio_of_sums,
    word_errors,
    words,
)
from authentic_dubber.training.corpora import Utterance
from library_builder.mux import write_wave
from recipes import bench, intelligibility

RIGHT = "he turned and faced the others"
WRONG = "seven green bottles on a wall"

# Words and their errors


def test_words_are_spelled_as_the_dictionary_spells_them() -> None:
    assert words("“Well-known” rock 'n' roll: don't  PANIC!") == [
        "well",
        "known",
        "rock",
        "n",
        "roll",
        "don't",
        "panic",
    ]
    assert words("Brodie’s — the actors' \n 42") == ["brodie's", "the", "actors"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "substitutions", "deletions", "insertions"),
    [
        ("a b c", "a b c", 0, 0, 0),
        ("a b c", "a x c", 1, 0, 0),
        ("a b c", "a c", 0, 1, 0),
        ("a c", "a b c", 0, 0, 1),
        ("a b c", "", 0, 3, 0),
        ("", "a b", 0, 0, 2),
        ("the cat sat on the mat", "the hat sat the mat there", 1, 1, 1),
        ("a b", "b c", 0, 1, 1),  # two substitutions cost the same, but leave no word right
    ],
)
def test_word_errors_worked_by_hand(
    reference: str, hypothesis: str, substitutions: int, deletions: int, insertions: int
) -> None:
    errors = word_errors(reference.split(), hypothesis.split())
    assert errors == Errors(substitutions, deletions, insertions, len(reference.split()))


def alignments(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> Iterator[tuple[int, int, int]]:
    """Substitutions, deletions and insertions of every way to lay one sentence beside the other."""
    if not reference and not hypothesis:
        yield 0, 0, 0
    if reference and hypothesis:
        for s, d, i in alignments(reference[1:], hypothesis[1:]):
            yield s + (reference[0] != hypothesis[0]), d, i
    if reference:
        for s, d, i in alignments(reference[1:], hypothesis):
            yield s, d + 1, i
    if hypothesis:
        for s, d, i in alignments(reference, hypothesis[1:]):
            yield s, d, i + 1


def test_word_errors_are_the_best_of_all_alignments() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        reference, hypothesis = (tuple(rng.choice(list("abc"), size=rng.integers(6))) for _ in range(2))
        best = min(alignments(reference, hypothesis), key=lambda counts: (sum(counts), counts[0]))
        assert word_errors(reference, hypothesis) == Errors(*best, len(reference)), (reference, hypothesis)


def test_errors_add_up_to_a_corpus_rate_and_nothing_has_no_rate() -> None:
    total = sum([Errors(1, 0, 0, 2), Errors(0, 1, 2, 8)], Errors())
    assert (total.total, total.reference_words, total.rate) == (4, 10, 0.4)
    assert Errors(0, 0, 3, 0).rate is None


# Estimates


def test_an_estimate_is_the_ratio_of_sums_and_not_the_mean_of_ratios() -> None:
    estimate = ratio_of_sums([1, 0], [1, 9])
    assert estimate.value == pytest.approx(0.1)  # the mean of ratios would be one half
    assert estimate.low <= estimate.value <= estimate.high and estimate.n == 2


def test_the_interval_of_many_clips_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).standard_normal(400).tolist()
    estimate, half = ratio_of_sums(values, draws=4000), 1.96 * np.std(values) / math.sqrt(400)
    # A percentile of 4000 draws is itself known to about 4 % of the half width.
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.12)
    assert estimate.value - estimate.low == pytest.approx(half, rel=0.12)
    assert ratio_of_sums([-30.5] * 5).low == ratio_of_sums([-30.5] * 5).high == pytest.approx(-30.5)


@pytest.mark.parametrize(("above", "below"), [([], None), ([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_an_estimate_of_nothing_is_refused(above: list[float], below: list[float] | None) -> None:
    with pytest.raises(ValueError, match="expected as many numerators"):
        ratio_of_sums(above, below)


# The language model


def read_arpa(text: str) -> tuple[dict[str, float], dict[str, float], dict[tuple[str, str], float]]:
    """Unigrams, backoff weights and bigrams as probabilities; the counts in the header are checked."""
    one, two = re.split(r"\\[12]-grams:\n", text)[1:]
    rows = [line.split("\t") for line in one.split("\n\n")[0].splitlines()]
    single = {row[1]: 10 ** float(row[0]) for row in rows}
    backoff = {row[1]: 10 ** float(row[2]) for row in rows if len(row) == 3}
    lines = [line.split("\t") for line in two.split("\n\n")[0].splitlines()]
    pairs = {(row[1].split()[0], row[1].split()[1]): 10 ** float(row[0]) for row in lines}
    assert text.startswith("\\data\\\n") and text.endswith("\\end\\\n")
    assert f"ngram 1={len(single)}\nngram 2={len(pairs)}\n" in text
    return single, backoff, pairs


@pytest.mark.parametrize(
    "sentences",
    [
        ["the cat sat", "the dog sat on the cat", "a dog"],
        ["a"],
        ["a a", "a a a"],  # after "a" everything has been seen: nothing is left to back off to
        ["", "one two", ""],
    ],
)
def test_after_every_word_the_probabilities_sum_to_one(sentences: list[str]) -> None:
    single, backoff, pairs = read_arpa(bigram_arpa([sentence.split() for sentence in sentences]))
    vocabulary = set(single) - {"<s>"}
    assert sum(single[word] for word in vocabulary) == pytest.approx(1, abs=1e-6)
    for history in set(single) - {"</s>"}:
        total = sum(pairs.get((history, w), backoff[history] * single[w]) for w in vocabulary)
        assert total == pytest.approx(1, abs=1e-5), history  # seven decimals of a logarithm are written
    assert not any(after == "<s>" or before == "</s>" for before, after in pairs)


def test_the_language_model_worked_by_hand() -> None:
    single, backoff, pairs = read_arpa(bigram_arpa([["a", "b"], ["a", "c"]]))
    # Counts: a 2, b 1, c 1, </s> 2; four kinds of six tokens.
    of_six = 6 + 4 * UNIGRAM_FLOOR
    assert single["a"] == pytest.approx((2 + UNIGRAM_FLOOR) / of_six)
    assert pairs["a", "b"] == pairs["a", "c"] == pytest.approx((1 - DISCOUNT) / 2)
    assert pairs["<s>", "a"] == pytest.approx((2 - DISCOUNT) / 2)
    freed, unseen = 2 * DISCOUNT / 2, single["a"] + single["</s>"]
    assert backoff["a"] == pytest.approx(freed / unseen, rel=1e-5)


def test_a_language_model_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="sentences with words"):
        bigram_arpa([[], []])


# PocketSphinx

Wave = npt.NDArray[np.float32]


@lru_cache(maxsize=1)
def spoken() -> tuple[Wave, int]:
    with Espeak() as espeak:
        return espeak.speak(RIGHT, "en-us", rate=150)


@lru_cache(maxsize=1)
def spoken_16k() -> Wave:
    wave, rate = spoken()
    return soxr.resample(wave, rate, SAMPLE_RATE).astype(np.float32)


def test_the_right_text_aligns_better_than_a_wrong_one() -> None:
    right, wrong = (alignment_score(spoken_16k(), text) for text in (RIGHT, WRONG))
    assert right is not None
    assert right > (FAILED_ALIGNMENT if wrong is None else wrong) + 10
    assert alignment_score(spoken_16k(), RIGHT) == right, "a score depends on what was aligned before"


def test_noise_lowers_the_score() -> None:
    rng, wave = np.random.default_rng(0), spoken_16k()
    noise = rng.standard_normal(len(wave)).astype(np.float32) * float(np.sqrt(np.mean(wave**2)))
    clean, noisy = alignment_score(wave, RIGHT), alignment_score(wave + noise, RIGHT)
    assert clean is not None and (noisy is None or noisy < clean)


def test_level_does_not_matter_to_the_score() -> None:
    loud, soft = (alignment_score(spoken_16k() * gain, RIGHT) for gain in (1.0, 0.1))
    # Not exactly: sixteen bits are coarser for the soft one, and silence has its own floor.
    assert loud == pytest.approx(soft, abs=3)


def test_what_cannot_be_aligned_has_no_score() -> None:
    assert alignment_score(np.zeros(100, dtype=np.float32), "hello") is None
    assert alignment_score(spoken_16k()[: SAMPLE_RATE // 5], RIGHT) is None, "six words do not fit into 0.2 s"


def test_the_recogniser_hears_only_words_of_its_sentences_and_the_right_sentence_best() -> None:
    recogniser = Recogniser([RIGHT.capitalize() + ".", WRONG])
    heard = recogniser.hear(spoken_16k())
    assert set(heard) <= set(words(RIGHT) + words(WRONG))
    assert word_errors(words(RIGHT), heard).total < word_errors(words(WRONG), heard).total
    assert recogniser.hear(np.zeros(100, dtype=np.float32)) == []
    assert recogniser.hear(spoken_16k()) == heard, "what is heard depends on what was heard before"


def test_a_word_without_pronunciation_is_named_and_one_given_by_hand_is_taken() -> None:
    with pytest.raises(ValueError, match="'zyxxyq'"):
        Recogniser(["the zyxxyq sat"])
    with pytest.raises(ValueError, match="'zyxxyq'"):
        alignment_score(spoken_16k(), "the zyxxyq sat")
    assert Recogniser(["the zyxxyq sat"], {"zyxxyq": "Z IH K S IY K"})


@pytest.mark.parametrize("wave", [np.full(SAMPLE_RATE, np.nan, np.float32), np.zeros((1, SAMPLE_RATE), np.float32)])
def test_what_is_no_wave_is_refused(wave: Wave) -> None:
    with pytest.raises(ValueError, match="expected a finite wave"):
        alignment_score(wave, "hello")


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="words to align"):
        alignment_score(spoken_16k(), "... 42")


# The recipe


def heard(alignment: float | None, errors: Errors, text: str = "a b") -> intelligibility.Heard:
    return intelligibility.Heard("x", text, "a", errors, alignment, None, 1.0, "synthetic/x.wav")


def test_a_clip_that_does_not_align_counts_as_a_wrong_sentence() -> None:
    summary = intelligibility.summarise([heard(-31.0, Errors(0, 0, 0, 2)), heard(None, Errors(1, 0, 0, 2))], seed=0)
    assert summary.alignment.value == pytest.approx((-31 + FAILED_ALIGNMENT) / 2)
    assert (summary.failed, summary.wer.value, summary.similarity) == (1, 0.25, None)
    assert list(intelligibility.bars(summary).values()) == [True, False]


def test_the_page_shows_text_as_text() -> None:
    clips = {"synthetic": [heard(None, Errors(2, 0, 0, 2), "<b>a</b> & b")]}
    page = intelligibility.page(clips, {"synthetic": intelligibility.summarise(clips["synthetic"], 0)}, {"seed": 0})
    assert "&lt;b&gt;a&lt;/b&gt; &amp; b" in page and "<b>a" not in page
    assert 'src="synthetic/x.wav"' in page and "not aligned" in page


def test_the_prompt_is_a_training_recording_and_no_target() -> None:
    def utterance(id: str) -> Utterance:
        return Utterance(id, "kathleen", "kathleen", "en", "a b", None, Path("x.flac"))

    prompt = utterance(intelligibility.PROMPT)
    assert intelligibility.choose_prompt([utterance("arctic_b0221"), prompt]) == prompt
    with pytest.raises(ValueError, match="training recordings"):
        intelligibility.choose_prompt([utterance("arctic_b0221")])


def toy_corpus(root: Path) -> None:
    """Two held-out sentences and the prompt, in a synthetic voice."""
    folder = root / "kathleen"
    (folder / "audio").mkdir(parents=True)
    texts = {intelligibility.PROMPT: RIGHT, "arctic_b0221": "the cat sat on the mat", "arctic_b0223": WRONG}
    table = ["id\ttext", *(f"{id}\t{text}" for id, text in texts.items())]
    (folder / "metadata.tsv").write_text("\n".join(table) + "\n", encoding="utf-8")
    with Espeak() as espeak:
        for id, text in texts.items():
            write_wave(folder / "audio" / "new.wav", *espeak.speak(text))
            (folder / "audio" / "new.wav").rename(folder / "audio" / f"{id}.flac")  # FFmpeg goes by content


def test_an_untrained_voice_is_spoken_heard_and_found_wanting(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    toy_corpus(tmp_path)
    checkpoint = bench.untrained_checkpoint(tmp_path / "checkpoint", "starter")
    settings = {"checkpoint": checkpoint, "limit": None, "copies": ["vocoder"], "device": "cpu", "seed": 0}
    options = argparse.Namespace(data=tmp_path, out=tmp_path / "out", recordings_only=False, json=True, **settings)
    assert intelligibility.run(options) == 1
    report = json.loads((tmp_path / "out" / "intelligibility.json").read_text(encoding="utf-8"))
    assert list(report["clips"]) == ["synthetic", "recording", "vocoder"]
    assert report["about"]["prompt"] == f"kathleen/{intelligibility.PROMPT}"
    for clips in report["clips"].values():
        assert [clip["id"] for clip in clips] == ["arctic_b0221", "arctic_b0223"]
        assert all((tmp_path / "out" / clip["file"]).is_file() for clip in clips)
    lengths = [clip["seconds"] for clip in report["clips"]["synthetic"]]
    assert lengths != [clip["seconds"] for clip in report["clips"]["recording"]], "a recording's length was used"
    wer = {name: summary["wer"]["value"] for name, summary in report["summaries"].items()}
    assert wer["recording"] < wer["synthetic"]
    assert "arctic_b0223" in (tmp_path / "out" / "intelligibility.html").read_text(encoding="utf-8")


# The bench


def test_a_timing_is_minimum_median_and_their_real_time_factors() -> None:
    found = bench.timing([0.5, 0.25, 1.0, 0.75], sound=2.5)
    assert (found.minimum, found.median, found.runs) == (0.25, 0.625, 4)
    assert found.rtf == pytest.approx((0.1, 0.25))
    assert bench.timing([1.0]).rtf is None
    with pytest.raises(ValueError, match="at least one run"):
        bench.timing([])
    with pytest.raises(ValueError, match="positive length"):
        bench.timing([1.0], sound=0.0)


def test_warm_up_runs_are_not_timed() -> None:
    called: list[int] = []

    def work(run: int) -> None:
        called.append(run)
        time.sleep(0.3 if len(called) == 1 else 0)

    assert max(bench.times(work, 3)) < 0.3
    assert called == [0, 0, 1, 2]


def test_the_stopwatch_adds_up_calls_of_its_modules_alone() -> None:
    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return x

    timed, other = Slow(), Slow()
    watch = bench.Stopwatch([timed])
    begun = time.perf_counter()
    timed(other(timed(torch.zeros(1))))
    assert 0.04 <= watch.total <= time.perf_counter() - begun - 0.02


def test_a_bench_survives_the_pipe_and_its_table_names_every_thread_count() -> None:
    times = {name: bench.timing([0.1, 0.2]) for name in ("build", "built", "random")}
    sound = {name: bench.timing([0.1, 0.2], 2.5) for name in ("mel", "vocoder")}
    one = bench.Bench(threads=1, clips=4, footage_seconds=9.5, **times, **sound, graph_share=0.2, sizes={"symbols": 30})
    assert bench.parse(json.loads(json.dumps(asdict(one)))) == one
    assert one.clips_per_second == pytest.approx(40)
    shown = bench.table([one, bench.parse(asdict(one) | {"threads": 2})])
    assert "1 thread(s)" in shown and "2 thread(s)" in shown
    assert "0.0400 / 0.0600" in shown and "100.00 / 150.00" in shown and "20.0%" in shown


def test_random_clips_are_unit_and_come_again() -> None:
    spaces = {"scene": "made/8", "text": "made/5"}
    first, again = (list(bench.random_clips(6, spaces, seed=3)) for _ in range(2))
    assert len({clip.id for clip in first}) == 6
    for clip, same in zip(first, again, strict=True):
        for modality, emotion in clip.emotions.items():
            assert emotion.space == spaces[modality]
            assert np.array_equal(emotion.vector, same.emotions[modality].vector)
