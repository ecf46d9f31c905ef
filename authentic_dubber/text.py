"""Text to symbols: plain words to phones, with a user's own pronunciations, and the pauses between them kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .espeak import Espeak
from .normalise import MARKS, check_language, normalise
from .symbols import PAUSES, Symbols, join, number, split_ipa, split_words

__all__ = ["VOICES", "Lexicon", "LexiconError", "TextFrontend", "UnspeakableText", "normalise"]

VOICES: Mapping[str, str] = {"en": "en-us", "pl": "pl"}
"""Language to the espeak-ng voice that reads it."""


class UnspeakableText(ValueError):
    """A text in which there is nothing to say."""


class LexiconError(ValueError):
    """A line of a pronunciation file that cannot be used."""


class Lexicon:
    """Pronunciations that win over the synthesizer's own, such as names of characters. Case does not matter.

    A file has one `word <tab> pronunciation` a line; blank lines and lines that begin with `#` are skipped. A
    pronunciation in slashes, or with a stress mark, is IPA: `Rilla<tab>/ˈɹɪlə/`; any other is text to say instead.

    Raises:
        LexiconError: a word is not one word, or its IPA has a phone that the inventory lacks.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._units: dict[str, tuple[str, ...]] = {}
        self._say: dict[str, str] = {}
        for written, spoken in entries.items():
            word = _key(written)
            if not re.fullmatch(_WORD, word) or not spoken.strip("/ "):
                raise LexiconError(f"expected one word and how it is said, got {written!r} and {spoken!r}")
            if spoken.startswith("/") or "ˈ" in spoken or "ˌ" in spoken:
                try:
                    units = split_ipa(spoken.strip("/ "))
                    number(units)
                except ValueError as error:
                    raise LexiconError(f"{written}: {error}") from error
                self._units[word] = tuple(units)
            else:
                self._say[word] = spoken

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """The lexicon of a UTF-8 file.

        Raises:
            FileNotFoundError: there is no such file.
            LexiconError: names the line that cannot be used.
        """
        entries: dict[str, str] = {}
        for place, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            word, tab, spoken = line.partition("\t")
            try:
                if not tab or _key(word) in map(_key, entries):
                    raise LexiconError("expected a word, a tab and how it is said; each word once")
                cls({word: spoken.strip()})
            except LexiconError as error:
                raise LexiconError(f"{path}:{place}: {error}, got {line!r}") from error
            entries[word] = spoken.strip()
        return cls(entries)

    def units(self, word: str) -> tuple[str, ...] | None:
        """The phones of a word given in IPA."""
        return self._units.get(_key(word))

    def say(self, word: str) -> str | None:
        """What to say for a word given in text."""
        return self._say.get(_key(word))


_WORD = rf"[^\s{MARKS}]+"


def _key(word: str) -> str:
    return unicodedata.normalize("NFKC", word).strip().replace("’", "'").casefold()


READ = ("LATIN", "MODIFIER", "HANGUL", "DEVANAGARI")
"""How Unicode's names begin of letters that the synthesizer reads as words, whatever the language. Others it spells: it
says "Chinese letter", or "alpha theta"."""


def _check_letters(word: str) -> None:
    for letter in word:
        if letter.isalpha() and not unicodedata.name(letter, "").startswith(READ):
            raise UnspeakableText(f"expected words in Latin letters or the lexicon, got {letter!r} in {word!r}")


class TextFrontend:
    """Text to symbols, with silence at both ends, pauses where the punctuation is and the stress on the vowels.

    Args:
        espeak: stays its owner's to close.
        lexicon: asked for each word before the synthesizer is.
    """

    def __init__(self, espeak: Espeak, lexicon: Lexicon | None = None) -> None:
        self._espeak, self._lexicon = espeak, lexicon or Lexicon({})

    def symbols(self, text: str, language: str = "en") -> Symbols:
        """One text as symbols.

        Raises:
            UnspeakableText: it has nothing to say, or letters that would only be spelled.
            UnknownPhone: it is spoken with a phone that the inventory lacks, as foreign scripts can be.
            ValueError: unknown language.
        """
        return self.symbols_many([text], language)[0]

    def symbols_many(self, texts: Sequence[str], language: str = "en") -> list[Symbols]:
        """Many texts at once: what `symbols` gives for each, much quicker for a corpus. Raises what it raises."""
        check_language(language)
        pieces = {text: list(self._pieces(text, language)) for text in dict.fromkeys(texts)}
        stretches = (piece for row in pieces.values() for piece in row if isinstance(piece, str))
        wanted = sorted(set(stretches).difference(PAUSES))
        ipa = dict(zip(wanted, self._espeak.phonemize(wanted, VOICES[language]), strict=True))
        spoken = {}
        for text, row in pieces.items():
            filled = [split_words(ipa[piece]) if piece in ipa else piece for piece in row]
            if all(piece in PAUSES or not piece for piece in filled):
                raise UnspeakableText(f"expected a text with words to speak, got {text!r}")
            spoken[text] = join(filled)
        return [spoken[text] for text in texts]

    def _pieces(self, text: str, language: str) -> Iterator[str | tuple[tuple[str, ...], ...]]:
        """Pauses, words for the synthesizer, and words whose phones the lexicon knows."""
        words: list[str] = []
        for token in re.findall(rf"[{MARKS}]|{_WORD}", normalise(text, language)):
            units = self._lexicon.units(token)
            if units is None and token not in PAUSES:
                said = self._lexicon.say(token)
                if said is None:
                    _check_letters(token)
                words.append(token if said is None else re.sub(f"[{MARKS}]", "", normalise(said, language)))
                continue
            if words:
                yield " ".join(words)
                words = []
            yield token if units is None else (units,)
        if words:
            yield " ".join(words)
