"""The phone inventory: IPA units of English and Polish as espeak-ng writes them, numbered from 1. 0 is padding.

A unit is a sound with its length, palatalisation and nasality, diphthongs and affricates whole, and a vowel with its
stress, so that every symbol is something that takes time. Pauses are punctuation marks; silence stands at both ends.
The list is frozen under its name: a checkpoint carries the name and refuses another inventory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

INVENTORY_NAME = "ipa-v1"
SILENCE = "sil"
PAUSES = (",", ".", "?", "!", "…", "—")
"""Comma, full stop, question, exclamation, ellipsis, dash: prosody follows them and speech often rests there."""

_VOWELS = (
    *(
        "i",
        "iː",
        "ɪ",
        "e",
        "ɛ",
        "æ",
        "a",
        "aː",
        "ɑ",
        "ɑː",
        "ɒ",
        "ɔ",
        "ɔː",
        "o",
        "oː",
        "ʊ",
        "u",
        "uː",
        "ʌ",
        "ɐ",
        "ə",
        "ɚ",
    ),
    *("ɜ", "ɜː", "ᵻ", "ɨ", "eɪ", "aɪ", "ɔɪ", "oʊ", "aʊ", "iə", "ɛ̃", "ɔ̃"),
)
_CONSONANTS = (
    *("p", "b", "t", "d", "k", "ɡ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ", "h", "x", "ɣ", "ç", "m", "n", "ŋ", "ɲ"),
    *("l", "ɫ", "r", "ɹ", "ɾ", "j", "w", "ʔ", "ɕ", "ʑ", "tʃ", "dʒ", "ts", "dz", "tɕ", "dʑ", "n̩", "l̩", "m̩"),
    *("pʲ", "bʲ", "tʲ", "dʲ", "kʲ", "ɡʲ", "fʲ", "vʲ", "sʲ", "zʲ", "xʲ", "mʲ", "nʲ", "lʲ", "rʲ", "ɹʲ", "ʃʲ", "ʒʲ"),
)
_STRESSES = ("", "ˈ", "ˌ")
NAMES: tuple[str, ...] = (
    "<pad>",
    SILENCE,
    *PAUSES,
    *_CONSONANTS,
    *(stress + vowel for vowel in _VOWELS for stress in _STRESSES),
)
SYMBOL_COUNT = len(NAMES)
"""With padding."""

_IDS = {name: i for i, name in enumerate(NAMES) if i > 0}
_NEAR = {
    "g": "ɡ",
    "ɻ": "ɹ",
    "ɬ": "l",
    "ɵ": "ə",
    "ɘ": "ə",
    "y": "iː",
    "ø": "ɛ",
    "œ": "ɛ",
    "ʎ": "lʲ",
    "c": "kʲ",
    "ɟ": "ɡʲ",
}
"""Phones of neither language that espeak-ng may write for foreign names, and the nearest one that is here."""
_UNITS = sorted({*_VOWELS, *_CONSONANTS, *_NEAR}, key=len, reverse=True)
_SCAN = re.compile("|".join([*map(re.escape, _UNITS), "[ˈˌ]"]))
_IGNORED = re.compile(r"[\s\-ˑ͡‿\u0329ʲː\u0303]")
"""White space, ties, and marks left over from a unit that is not in the inventory with them."""


class UnknownPhone(ValueError):
    """A phone that the inventory lacks."""


@dataclass(frozen=True, slots=True)
class Symbols:
    """A sentence as symbols.

    Attributes:
        ids: from 1, (N,).
        names: the same as phones and pauses.
        words: first and one-past-last symbol of each word.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    words: tuple[tuple[int, int], ...]


def number(names: Iterable[str]) -> tuple[int, ...]:
    """Symbol names to ids.

    Raises:
        UnknownPhone: names the first one that is not in the inventory.
    """
    try:
        return tuple(_IDS[name] for name in names)
    except KeyError as error:
        raise UnknownPhone(f"phone {error.args[0]!r} is not in the inventory {INVENTORY_NAME}") from error


def split_ipa(word: str) -> list[str]:
    """A word in IPA to units, stress carried to the next vowel.

    >>> split_ipa("dˈeɪndʒɚ")
    ['d', 'ˈeɪ', 'n', 'dʒ', 'ɚ']

    Raises:
        UnknownPhone: a sign that is neither a phone nor a mark.
    """
    word = unicodedata.normalize("NFD", word).replace("c\u0327", "ç")
    units: list[str] = []
    stress, place = "", 0
    while place < len(word):
        match = _SCAN.match(word, place)
        if match is None:
            if not _IGNORED.match(word[place]):
                raise UnknownPhone(f"phone {word[place]!r} in {word!r} is not in the inventory {INVENTORY_NAME}")
            place += 1
            continue
        unit, place = _NEAR.get(match[0], match[0]), match.end()
        if unit in ("ˈ", "ˌ"):
            stress = unit
        elif unit in _VOWELS:
            units.append(stress + unit)
            stress = ""
        else:
            units.append(unit)
    return units


def split_words(ipa: str) -> tuple[tuple[str, ...], ...]:
    """What espeak-ng writes for a stretch of text as units, word by word. Its `(en)` at a change of language goes.

    Raises:
        UnknownPhone: a sign that is neither a phone nor a mark.
    """
    words = (_split_often(word) for word in re.sub(r"\([a-z-]+\)", " ", ipa).split())
    return tuple(word for word in words if word)


@lru_cache(maxsize=1 << 16)
def _split_often(word: str) -> tuple[str, ...]:
    return tuple(split_ipa(word))


def join(pieces: Iterable[str | Sequence[Sequence[str]]]) -> Symbols:
    """Pauses (str) and stretches of words to one sentence with silence at both ends.

    Of pauses that meet the first is kept, and none stands before the first word.

    Raises:
        UnknownPhone: names the first one that is not in the inventory.
    """
    names: list[str] = [SILENCE]
    words: list[tuple[int, int]] = []
    for piece in pieces:
        if isinstance(piece, str):
            names += [piece] if words and names[-1] not in PAUSES else []
            continue
        for word in piece:
            words.append((len(names), len(names) + len(word)))
            names += word
    names.append(SILENCE)
    return Symbols(number(names), tuple(names), tuple(words))
