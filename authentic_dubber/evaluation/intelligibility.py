"""Can the intended sentence be heard in a wave? Two answers of PocketSphinx and its bundled US-English model.

`Recogniser` writes down what it hears, helped by a language model made of the very sentences under test: its word error
rate says whether *this* sentence is acoustically recoverable among them. It is not a word error rate in the
literature's sense and must not be quoted as one. `alignment_score` is finer: how well the sound of each frame fits the
sentence's phones. Both measure likeness to natural US speech, so a voice is compared with its own recordings only.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pocketsphinx import Decoder, get_model_path

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hertz. The acoustic model's own."""
SHORTEST = 0.1
"""Seconds. Below this the model's analysis has too few frames for a single word."""
FAILED_ALIGNMENT = -99.0
"""What a clip that cannot be aligned counts as in a mean: about what recordings score against a wrong sentence."""
DISCOUNT = 0.7
"""Taken from every bigram count and given to words that were not seen to follow."""
UNIGRAM_FLOOR = 0.5
"""Added to every unigram count, so that a word said once is not much rarer than one said twice."""
PRONUNCIATIONS: Mapping[str, str] = {
    "brodie's": "B R OW D IY Z",
    "refraction": "R IY F R AE K SH AH N",
    "roadmate": "R OW D M EY T",
    "woodcutters": "W UH D K AH T ER Z",
}
"""Words of common test sentences that the bundled dictionary lacks, in its phones."""

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Errors:
    """What separates a hypothesis from its reference, in words. Errors of several sentences add up.

    Attributes:
        substitutions: reference words heard as another.
        deletions: reference words not heard.
        insertions: words heard that the reference lacks.
        reference_words: words in the reference.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_words: int = 0

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Word error rate as a share, above one when much is inserted; None without reference words."""
        return self.total / self.reference_words if self.reference_words else None

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_words + other.reference_words,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over clips with its 95 % percentile bootstrap interval. Clips are resampled, speakers are not."""

    value: float
    low: float
    high: float
    n: int


def words(text: str) -> list[str]:
    """Words as the dictionary spells them: lower case, hyphens part words, only a-z and inner apostrophes stay.

    >>> words("The 'well-known' Brodie's smile.")
    ['the', 'well', 'known', "brodie's", 'smile']
    """
    kept = re.sub(r"[^a-z' ]", "", re.sub(r"[-‐-―\s]", " ", text.lower().replace("’", "'")))
    return [word for word in (part.strip("'") for part in kept.split()) if word]


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """The fewest edits that turn the reference into the hypothesis; among equals, those that leave most words right.

    >>> word_errors("the cat sat".split(), "the hat sat down".split())
    Errors(substitutions=1, deletions=0, insertions=1, reference_words=3)
    """
    # Cells hold (edits, substitutions). Both minimal, deletions and insertions follow from the lengths.
    above = [(j, 0) for j in range(len(hypothesis) + 1)]
    for i, word in enumerate(reference, 1):
        row = [(i, 0)]
        for j, heard in enumerate(hypothesis, 1):
            differs = int(word != heard)
            diagonal = (above[j - 1][0] + differs, above[j - 1][1] + differs)
            row.append(min(diagonal, (above[j][0] + 1, above[j][1]), (row[j - 1][0] + 1, row[j - 1][1])))
        above = row
    edits, substitutions = above[-1]
    surplus = len(reference) - len(hypothesis)
    deletions = (edits - substitutions + surplus) // 2
    return Errors(substitutions, deletions, deletions - surplus, len(reference))


def ratio_of_sums(
    numerators: Sequence[float], denominators: Sequence[float] | None = None, *, seed: int = 0, draws: int = 2000
) -> Estimate:
    """Sum over sum, one pair per clip: a corpus-level rate, or a mean where there are no denominators.

    Raises:
        ValueError: no clips, lengths that disagree, or denominators that sum to zero.
    """
    above = np.asarray(numerators, dtype=np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if not above.size or above.shape != below.shape or not below.sum() > 0:
        raise ValueError(f"expected as many numerators as positive denominators, got {above.size} and {below.size}")
    drawn = np.random.default_rng(seed).integers(len(above), size=(draws, len(above)))
    low, high = np.percentile(above[drawn].sum(1) / np.maximum(below[drawn].sum(1), 1e-12), [2.5, 97.5])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high), len(above))


def bigram_arpa(sentences: Iterable[Sequence[str]]) -> str:
    """A bigram language model of some sentences, in ARPA format.

    Seen bigrams are discounted by a constant, and what that frees goes to all other words in proportion to smoothed
    unigrams; after every word the probabilities of all words and of the sentence's end sum to one.

    Raises:
        ValueError: there are no words.
    """
    following: dict[str, Counter[str]] = defaultdict(Counter)
    unigrams: Counter[str] = Counter()
    for sentence in sentences:
        if sentence:
            unigrams.update([*sentence, "</s>"])
            for word, next_word in zip(["<s>", *sentence], [*sentence, "</s>"], strict=True):
                following[word][next_word] += 1
    if not unigrams:
        raise ValueError("expected sentences with words for a language model, got none")
    total = sum(unigrams.values()) + UNIGRAM_FLOOR * len(unigrams)
    chance = {word: (count + UNIGRAM_FLOOR) / total for word, count in unigrams.items()}
    singles, pairs = [], []
    for word in ["<s>", *sorted(unigrams)]:
        after = following[word]
        unseen = 1 - sum(chance[other] for other in after)
        # Where every word has been seen to follow, nothing is left to back off to.
        discount = DISCOUNT if unseen > 1e-9 else 0.0
        seen = sum(after.values())
        weight = discount * len(after) / seen / unseen if discount and seen else 1.0
        own = -99.0 if word == "<s>" else math.log10(chance[word])
        singles.append(f"{own:.7f}\t{word}" + ("" if word == "</s>" else f"\t{math.log10(weight):.7f}"))
        pairs += [f"{math.log10((n - discount) / seen):.7f}\t{word} {other}" for other, n in sorted(after.items())]
    head = [f"ngram 1={len(singles)}", f"ngram 2={len(pairs)}"]
    return "\n".join(["\\data\\", *head, "", "\\1-grams:", *singles, "", "\\2-grams:", *pairs, "", "\\end\\", ""])


class Recogniser:
    """Writes down what it hears, expecting something like the sentences it was made from.

    Args:
        sentences: texts as written; they give the language model and the vocabulary.
        pronunciations: of words the bundled dictionary lacks, in its phones.

    Raises:
        ValueError: there are no words, or one has no pronunciation.
    """

    def __init__(self, sentences: Iterable[str], pronunciations: Mapping[str, str] = PRONUNCIATIONS) -> None:
        parted = [words(sentence) for sentence in sentences]
        model = bigram_arpa(parted)
        vocabulary = {word for sentence in parted for word in sentence}
        with tempfile.TemporaryDirectory() as scratch:
            lm, dictionary = Path(scratch, "sentences.arpa"), Path(scratch, "words.dict")
            lm.write_text(model, encoding="ascii")
            dictionary.write_text("\n".join(_entries(vocabulary, pronunciations)) + "\n", encoding="ascii")
            self._decoder = _decoder(lm=str(lm), dict=str(dictionary))

    def hear(self, wave: Wave) -> list[str]:
        """The likeliest words of a whole utterance at 16 kHz; none in silence.

        Shape:
            (S,) -> words.

        Raises:
            ValueError: the wave has another shape or is not finite.
        """
        pcm = _pcm(wave)
        if pcm is None:
            return []
        _decode(self._decoder, pcm)
        heard = self._decoder.hyp()
        return heard.hypstr.split() if heard is not None else []


def alignment_score(wave16k: Wave, text: str, pronunciations: Mapping[str, str] = PRONUNCIATIONS) -> float | None:
    """Acoustic score per frame of the text's phones laid along the whole wave; higher fits better, raw units.

    One aligner serves all calls of a process, so calls must not overlap in threads. That a text aligns proves nothing,
    wrong sentences often do: the score tells them apart.

    Args:
        wave16k: an utterance at 16 kHz.
        pronunciations: of words the bundled dictionary lacks, in its phones.

    Returns:
        None when the text cannot be aligned.

    Shape:
        (S,) -> ().

    Raises:
        ValueError: the text has no words, a word has no pronunciation, or the wave is not a finite (S,).
    """
    spoken = words(text)
    if not spoken:
        raise ValueError(f"expected a text with words to align, got {text!r}")
    pcm, aligner = _pcm(wave16k), _aligner()
    for word in dict.fromkeys(spoken):
        if aligner.lookup_word(word) is None:
            aligner.add_word(word, _by_hand(word, pronunciations))
    if pcm is None:
        return None
    aligner.set_align_text(" ".join(spoken))
    try:
        _decode(aligner, pcm)
        if aligner.hyp() is None:
            return None
        aligner.set_alignment()
        _decode(aligner, pcm)  # the second pass scores phones inside the words of the first
    except RuntimeError as error:  # how PocketSphinx says that no path reaches the end
        logger.info("not aligned: %s: %s", text, error)
        return None
    phones = [(phone.score, phone.duration) for phone in aligner.get_alignment().phones()]
    frames = sum(duration for _, duration in phones)
    return sum(score for score, _ in phones) / frames if frames else None


def _decoder(**settings: Any) -> Decoder:
    """The bundled acoustic model; the mean of the whole utterance is taken off, so that its level does not matter."""
    return Decoder(hmm=str(Path(get_model_path("en-us"), "en-us")), cmn="batch", loglevel="FATAL", **settings)


@lru_cache(maxsize=1)
def _aligner() -> Decoder:
    # With the best-path search on, the phone pass fails on ordinary recordings.
    return _decoder(lm=None, dict=str(_dictionary_path()), compallsen=True, bestpath=False)


def _decode(decoder: Decoder, pcm: bytes) -> None:
    decoder.start_utt()
    try:
        decoder.process_raw(pcm, full_utt=True)
    finally:
        decoder.end_utt()


def _pcm(wave: Wave) -> bytes | None:
    """16-bit samples, or None when there are too few."""
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise ValueError(f"expected a finite wave (S,) at {SAMPLE_RATE} Hz, got shape {wave.shape}")
    if len(wave) < SHORTEST * SAMPLE_RATE:
        return None
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype("<i2").tobytes()


def _dictionary_path() -> Path:
    return Path(get_model_path("en-us"), "cmudict-en-us.dict")


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, tuple[str, ...]]:
    """Lines of the bundled dictionary by word; further pronunciations are spelled `word(2)`."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in _dictionary_path().read_text(encoding="utf-8").splitlines():
        found[line.split(maxsplit=1)[0].partition("(")[0]].append(line)
    return {word: tuple(lines) for word, lines in found.items()}


def _entries(vocabulary: Iterable[str], pronunciations: Mapping[str, str]) -> list[str]:
    known = _dictionary()
    lines: list[str] = []
    for word in sorted(vocabulary):
        lines += known.get(word) or [f"{word} {_by_hand(word, pronunciations)}"]
    return lines


def _by_hand(word: str, pronunciations: Mapping[str, str]) -> str:
    if word not in pronunciations:
        raise ValueError(f"expected a pronunciation for {word!r}, which the bundled dictionary lacks; got none")
    return pronunciations[word]
