"""Are the words there? Word and character error rates of a listener, and how well a text can be laid along a wave.

Rates are of the whole set: all errors over all reference words (characters), never a mean of clips.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr

from .intelligibility import (
    FAILED_ALIGNMENT,
    SAMPLE_RATE,
    Errors,
    Recogniser,
    alignment_score,
    word_errors,
    words,
)
from .measured import Direction, Measured, Row, Sample, Statistic, Wave

BADLY_ALIGNED = -50.0
"""Raw score per frame below which recordings of the right text hardly ever fall; such clips are named."""
NAMED = 8
"""Clips that a note names at most."""
TITLES: Mapping[str, tuple[str, str, Direction, Statistic]] = {
    "wer": ("Word error rate", "%", "lower", "ratio"),
    "cer": ("Character error rate", "%", "lower", "ratio"),
    "alignment": ("Text laid along the sound", "raw/frame", "higher", "mean"),
    "aligned_share": ("Clips that can be aligned", "%", "higher", "mean"),
}


class Deaf(ValueError):
    """A listener that cannot be had, with the reason and the cure."""


class Listener(Protocol):
    """Writes down what it hears."""

    @property
    def note(self) -> str:
        """Whose ears these are, and what helps them."""
        ...

    def hear(self, wave: Wave) -> list[str]:
        """The words of an utterance at 16 kHz, written in any way.

        Shape:
            (S,) -> words.
        """
        ...


class SphinxListener:
    """PocketSphinx, helped by a language model of the very sentences under test.

    Args:
        sentences: texts as written.

    Raises:
        Deaf: none of the sentences can be pronounced.
    """

    note = (
        "PocketSphinx with a language model of the set's own sentences: it says whether a sentence is acoustically "
        "recoverable among them, and must not be quoted beside word error rates of the literature."
    )

    def __init__(self, sentences: Sequence[str]) -> None:
        able = [sentence for sentence in sentences if not unpronounceable(sentence)]
        if not able:
            raise Deaf("not measured: PocketSphinx's dictionary has not the words of these sentences; use Whisper")
        self._recogniser = Recogniser(able)

    def hear(self, wave: Wave) -> list[str]:
        """See `Listener.hear`."""
        return self._recogniser.hear(wave)


def whisper_listener(folder: Path | None, language: str) -> Listener:
    """OpenAI's Whisper from a local folder, in the layout of transformers.

    Raises:
        Deaf: there are no weights in the folder, or transformers is missing.
    """
    cure = "give a folder with whisper/ in it, such as openai/whisper-base from huggingface.co, by --models"
    if folder is None or not (folder / "config.json").is_file():
        raise Deaf(f"not measured: no Whisper weights {'were given' if folder is None else f'lie in {folder}'}; {cure}")
    from .whisper import WhisperListener

    try:
        return WhisperListener(folder, language)
    except (ImportError, OSError) as error:
        raise Deaf(f"not measured: {error}") from error


class WordErrors:
    """`wer` and `cer` of a listener.

    Args:
        listener: made when the measure is first called.
        check: why a text cannot be judged by this listener; empty where it can. By default none is refused.
    """

    def __init__(self, listener: Callable[[], Listener], check: Callable[[str], str] = lambda _: "") -> None:
        self._make, self._check = listener, check
        self._listener: Listener | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Listen to clips."""
        try:
            self._listener = self._listener or self._make()
        except Deaf as error:
            return [_measured(name, {}, {}, str(error)) for name in ("wer", "cer")]
        by_word: dict[str, Row] = {}
        by_character: dict[str, Row] = {}
        missing: dict[str, str] = {}
        for sample in samples:
            said = plain_words(sample.text, sample.language)
            reason = self._check(sample.text) if said else "no words to be heard"
            if reason:
                missing[sample.id] = reason
                continue
            heard = plain_words(" ".join(self._listener.hear(at_16k(sample))), sample.language)
            by_word[sample.id] = _share(word_errors(said, heard))
            by_character[sample.id] = _share(word_errors(" ".join(said), " ".join(heard)))
        return [
            _measured("wer", by_word, missing, self._listener.note),
            _measured("cer", by_character, missing, self._listener.note),
        ]


class Alignment:
    """`alignment`, the acoustic score of a text laid along its clip, and `aligned_share`, how often that succeeds."""

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Align clips; one that cannot be aligned counts with the score of a wrong text."""
        scores: dict[str, Row] = {}
        aligned: dict[str, Row] = {}
        missing: dict[str, str] = {}
        for sample in samples:
            reason = unpronounceable(sample.text)
            if reason:
                missing[sample.id] = reason
                continue
            score = alignment_score(at_16k(sample), sample.text)
            scores[sample.id] = Row((FAILED_ALIGNMENT if score is None else score,))
            aligned[sample.id] = Row((0.0 if score is None else 100.0,))
        note = (
            "PocketSphinx, US English; to be compared with recordings of the same voices only. A clip that cannot be "
            f"aligned counts {FAILED_ALIGNMENT:.0f}."
        )
        low = [key for key, row in scores.items() if row.values[0] < BADLY_ALIGNED]
        if low:
            named = ", ".join(low[:NAMED]) + (", ..." if len(low) > NAMED else "")
            note += f" Below {BADLY_ALIGNED:.0f}: {len(low)} clips ({named})."
        return [_measured("alignment", scores, missing, note), _measured("aligned_share", aligned, missing, note)]


class AnotherLanguage:
    """Says that these words cannot be judged, and what could judge them.

    Args:
        language: of the set.
    """

    def __init__(self, language: str) -> None:
        self._language = language

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Nothing is measured."""
        reason = f"not measured: PocketSphinx aligns US English only, these lines are {self._language!r}"
        cure = "judge the words by Whisper"
        return [_measured(name, {}, {}, f"{reason}; {cure}") for name in ("alignment", "aligned_share")]


def plain_words(text: str, language: str) -> list[str]:
    """Words without case and punctuation, so that spelling alone is never an error.

    >>> plain_words("Gdzie są „moje” buty?", "pl")
    ['gdzie', 'są', 'moje', 'buty']
    """
    if language == "en":
        return words(text)
    return re.sub(r"[^\w\s]|_", " ", text.casefold()).split()


def unpronounceable(text: str) -> str:
    """Why PocketSphinx cannot know how a text sounds; empty where it can."""
    try:
        # Nothing is aligned with no sound, but every word is looked up first.
        alignment_score(np.zeros(0, dtype=np.float32), text)
    except ValueError as error:
        return str(error)
    return ""


def at_16k(sample: Sample) -> Wave:
    """A clip at the rate of the listeners.

    Shape:
        -> (S',).
    """
    return np.asarray(soxr.resample(sample.wave, sample.sample_rate, SAMPLE_RATE, quality="HQ"), dtype=np.float32)


def _share(errors: Errors) -> Row:
    return Row((100.0 * errors.total, float(errors.reference_words)))


def _measured(name: str, rows: Mapping[str, Row], missing: Mapping[str, str], note: str) -> Measured:
    title, unit, direction, statistic = TITLES[name]
    return Measured(name, title, unit, direction, statistic, rows, missing, note)
