"""Text to symbols: written English or Polish to plain words, words to phones, and the pauses between them kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from num2words import num2words

from .espeak import Espeak
from .symbols import PAUSES, Symbols, join, number, split_ipa, split_words

VOICES: Mapping[str, str] = {"en": "en-us", "pl": "pl"}
"""Language to the espeak-ng voice that reads it."""

LONGEST_NUMBER = 15
"""Digits; a longer run is an account or a serial number and is read digit by digit."""


class UnspeakableText(ValueError):
    """A text in which there is nothing to say."""


class LexiconError(ValueError):
    """A line of a pronunciation file that cannot be used."""


def normalise(text: str, language: str) -> str:
    """Written text to plain words and pauses; applying it twice changes nothing.

    What comes out holds letters, inner apostrophes and hyphens, single spaces and single `PAUSES`: numbers, money,
    times, years, ordinals, abbreviations and signs are words. Four digits from 1100 to 2099 are read as a year in
    English. Polish numbers stand in the nominative except in dates, years and clock times, where the form is certain.

    >>> normalise("Dr. Smith paid $5.50 in 1984 ...", "en")
    'Doctor Smith paid five dollars and fifty cents in nineteen eighty-four…'

    Raises:
        ValueError: unknown language.
    """
    check_language(language)
    while (read := _read(text, language)) != text:  # what came apart from a number may itself be a short form
        text = read
    return read


def _read(text: str, language: str) -> str:
    text = _typography(text)
    text = _english(text) if language == "en" else _polish(text)
    signs = _ENGLISH_SIGNS if language == "en" else _POLISH_SIGNS
    text = re.sub("|".join(map(re.escape, signs)), lambda match: f" {signs[match[0]]} ", _digits(text, language))
    return _plain(text)


def check_language(language: str) -> None:
    """Raises ValueError for a language that no voice reads."""
    if language not in VOICES:
        raise ValueError(f"known languages are {', '.join(VOICES)}; got {language!r}")


# Signs.

_BEFORE_NFKC = str.maketrans({**dict.fromkeys("™®©", ""), "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 "})
_AFTER_NFKC = str.maketrans(
    {
        **dict.fromkeys("‘’‛`´ʼ′", "'"),
        **dict.fromkeys('“”„‟«»‹›"″*_~^', " "),
        **dict.fromkeys("‐‑−", "-"),
        **dict.fromkeys("‒–—―", "—"),
        **dict.fromkeys(";:()[]{}|", ","),
        "⁄": "/",
        "\u00ad": "",
    }
)
_STRENGTH = " ,—….!?"
_MARKS = "".join(map(re.escape, PAUSES))


def _typography(text: str) -> str:
    text = unicodedata.normalize("NFKC", re.sub(r"[)\]}]+(?=\W*$)", "", text).translate(_BEFORE_NFKC))
    text = re.sub(r"(?<=\d):(?=\d\d)", "\0", text).translate(_AFTER_NFKC).replace("\0", ":")
    text = re.sub(r"(?<=\d)\s*—\s*(?=\d)", "-", text)
    text = re.sub(r"\.{2,}", "…", text)
    text = re.sub(r"--+|(?<=\s)-(?=\s)", "—", text)
    text = re.sub(r"\b(?!e\.g|i\.e|m\.in)(?:[^\W\d_]\.){2,}(?=(\s*$)?)", _acronym, text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[^\W\d_])\.(?=[^\W\d_A-Z])(?!(?<=m\.)in\.|(?<=[ei]\.)[ge]\.)", " dot ", text)
    words = re.findall(r"[^\W\d_]+", text)
    if len(words) > 1 and all(word.isupper() for word in words) and max(map(len, words)) > 3:
        return text.lower()  # a shouted line would be spelled letter by letter
    return text


def _acronym(match: re.Match[str]) -> str:
    return match[0].replace(".", "").upper() + ("." if match[1] is not None else " ")


def _plain(text: str) -> str:
    kept = (c if unicodedata.category(c)[0] in "LM" or c in "'-" or c in PAUSES else " " for c in text)
    text = re.sub(r"(?<![^\W\d_])['-]+|['-]+(?![^\W\d_])", " ", "".join(kept))
    # Of pauses in a row the strongest is kept: `?!` asks.
    text = re.sub(rf"\s*([{_MARKS}][{_MARKS}\s]*)", lambda m: max(m[1], key=_STRENGTH.find) + " ", text)
    return re.sub(rf"^[{_MARKS}\s]+", "", re.sub(r"\s+", " ", text)).strip()


def _abbreviations(text: str, words: Mapping[str, str], closing: tuple[str, ...]) -> str:
    """Short forms with their dot to words; the dot stays as a full stop where it also ends the sentence."""

    def write(match: re.Match[str]) -> str:
        ends = match[3] is not None or (match[1].lower() in closing and match[4] is not None)
        return words[match[1].lower()] + ("." if ends else " ")

    pattern = rf"(?<![^\W\d_])(?<!')({'|'.join(map(re.escape, words))})(\.)(?=(\s*$)?)(?=(\s+(?-i:[A-ZĄĆĘŁŃÓŚŹŻ]))?)"
    return re.sub(pattern, write, text, flags=re.IGNORECASE)


# Numbers.


def _replace(text: str, pattern: str, write: Callable[[re.Match[str]], str]) -> str:
    """Every match written out, with spaces about it so that what was glued to it comes apart."""
    return re.sub(pattern, lambda match: f" {write(match)} ", text)


@lru_cache(maxsize=4096)
def _cardinal(digits: str, language: str, form: str = "cardinal") -> str:
    if len(digits) > LONGEST_NUMBER or (len(digits) > 1 and int(digits[0]) == 0):
        return " ".join(_cardinal(digit, language) for digit in digits)
    return str(num2words(int(digits), lang=language, to=form)).replace(",", "").replace(" and ", " ")


def _decimal(whole: str, part: str, language: str) -> str:
    by_digit = " ".join(_cardinal(digit, language) for digit in part)
    if language == "en":
        return f"{_cardinal(whole, 'en')} point {by_digit}"
    return f"{_cardinal(whole, 'pl')} przecinek {by_digit if len(part) > 2 else _cardinal(part, 'pl')}"


def _digits(text: str, language: str) -> str:
    """Numbers that no rule of the language has claimed."""
    point = r"\." if language == "en" else "[.,]"
    text = re.sub(r"(?<=\d)-(?=\d)", " to " if language == "en" else " ", text)
    text = re.sub(r"(?<![\w.,])-(?=\d)", " minus ", text)
    text = _replace(text, rf"(?<![\d.,])(\d+){point}(\d+)(?![.,]\d)", lambda m: _decimal(m[1], m[2], language))
    return _replace(text, r"\d+", lambda m: _cardinal(m[0], language))


# English.

_ENGLISH_SHORT = {
    **{"mr": "Mister", "mrs": "Missus", "ms": "Miz", "dr": "Doctor", "prof": "Professor", "jr": "Junior"},
    **{"sr": "Senior", "lt": "Lieutenant", "col": "Colonel", "gen": "General", "capt": "Captain", "sgt": "Sergeant"},
    **{"gov": "Governor", "rev": "Reverend", "mt": "Mount", "vs": "versus", "approx": "approximately", "ave": "Avenue"},
    **{"blvd": "Boulevard", "rd": "Road", "ltd": "Limited", "etc": "et cetera"},
    **{"e.g": "for example,", "i.e": "that is,", "st": "Street"},
}
_ENGLISH_SIGNS = {
    **{"°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees", "%": "percent", "&": "and", "+": "plus"},
    **{"=": "equals", "@": "at", "#": "number", "×": "times", "÷": "divided by", "$": "dollars", "€": "euros"},
}
_ENGLISH_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}


def _english(text: str) -> str:
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)", lambda m: m[0].replace(",", ""), text)
    text = _replace(text, r"(?<![\d.])(\d{1,15})(?i:st|nd|rd|th)\b", lambda m: _cardinal(m[1], "en", "ordinal"))
    text = re.sub(r"\bSt\.(?=\s+[A-Z])", "Saint", text)
    text = re.sub(r"\bNos?\.\s*(?=\d)", "number ", text)
    text = re.sub(r"\betc\b(?!\.)", "et cetera", _abbreviations(text, _ENGLISH_SHORT, ("etc", "st")))
    text = _replace(text, r"\b(\d{1,2}):([0-5]\d)\b(?:\s*([AaPp])\.?[Mm]\b)?", _english_time)
    text = _replace(text, r"\b(\d{1,2})()\s*([AaPp])\.?[Mm]\b", _english_time)
    money = r"([$£€])\s?(\d{1,15})(?:\.(\d+))?(?:\s(thousand|million|billion|trillion)\b)?"
    text = _replace(text, money, _english_money)
    text = _replace(text, r"'?\b((?:1\d|20)\d0|[2-9]0)'?s\b", lambda m: _decade(m[1]))
    text = _replace(text, r"(?<![\d/.])([123]/[234])(?![\d/])", lambda m: _FRACTIONS.get(m[1], m[1]))
    year = r"(?<![\w.,])(1[1-9]\d\d|20\d\d)(?![\w%°]|[.,]\d)"
    return _replace(text, year, lambda m: _cardinal(m[1], "en", "year"))


def _decade(digits: str) -> str:
    words = _cardinal(digits, "en", "year") if len(digits) == 4 else _cardinal(digits, "en")
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _english_time(match: re.Match[str]) -> str:
    hour, minute, half = match[1].lstrip("0") or "0", int(match[2] or 0), match[3]
    past = f"{'oh ' if minute < 10 else ''}{_cardinal(str(minute), 'en')}" if minute else "" if half else "o'clock"
    return " ".join([_cardinal(hour, "en"), past, f"{half.upper()}M" if half else ""])


def _english_money(match: re.Match[str]) -> str:
    one, many, small, smalls = _ENGLISH_MONEY[match[1]]
    whole, part, scale = match[2], match[3], match[4]
    if scale or (part and len(part) > 2):
        return f"{_decimal(whole, part, 'en') if part else _cardinal(whole, 'en')} {scale or ''} {many}"
    cents = int((part or "0").ljust(2, "0"))
    words = [f"{_cardinal(whole, 'en')} {one if int(whole) == 1 else many}"] if int(whole) or not cents else []
    return " and ".join(words + ([f"{_cardinal(str(cents), 'en')} {small if cents == 1 else smalls}"] if cents else []))


# Polish.

_POLISH_SHORT = {
    **{"np": "na przykład", "itd": "i tak dalej", "itp": "i tym podobne", "tzn": "to znaczy", "tj": "to jest"},
    **{"m.in": "między innymi", "ul": "ulica", "godz": "godzina", "prof": "profesor", "inż": "inżynier"},
    **{"św": "święty", "tzw": "tak zwany", "dr": "doktor", "nr": "numer", "al": "aleja", "gen": "generał"},
}
_POLISH_BARE = {
    **{"dr": "doktor", "mgr": "magister", "nr": "numer", "wg": "według", "km": "kilometrów"},
    **{"tys.": "tysięcy", "mln": "milionów", "mld": "miliardów"},
}
_POLISH_SIGNS = {
    **{"°C": "stopni Celsjusza", "°": "stopni", "%": "procent", "&": "i", "+": "plus", "=": "równa się", "@": "małpa"},
    **{"#": "numer", "×": "razy", "$": "dolarów", "€": "euro", "£": "funtów"},
}
_POLISH_MONEY = {
    "zł": ("złoty", "złote", "złotych", "grosz", "grosze", "groszy"),
    "€": ("euro", "euro", "euro", "cent", "centy", "centów"),
    "$": ("dolar", "dolary", "dolarów", "cent", "centy", "centów"),
    "£": ("funt", "funty", "funtów", "pens", "pensy", "pensów"),
}
_MONTHS = "stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia"
_POLISH_ENDINGS = {"genitive": ("ego", "iego"), "locative": ("ym", "im"), "feminine": ("a", "a"), "at": ("ej", "iej")}
"""What `-y` and `-i` of an ordinal become."""


def _polish(text: str) -> str:
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:[ .]\d{3})+(?![\d,.]\d|\d)", lambda m: re.sub("[ .]", "", m[0]), text)
    day = rf"(?<![\d.,])([1-9]|[12]\d|3[01])\s+(?={_MONTHS})"
    year = r"([12]\d{3})\s*(?:roku\b|r\b\.?(?!\s*$)|r(?=\.\s*$))"
    text = _replace(text, day, lambda m: _polish_ordinal(m[1], "genitive"))
    text = _replace(text, rf"\b([wWoO])\s+{year}", lambda m: f"{m[1]} {_polish_ordinal(m[2], 'locative')} roku")
    text = _replace(text, rf"\b{year}", lambda m: f"{_polish_ordinal(m[1], 'genitive')} roku")
    text = re.sub(r"\b[Oo]k\.\s*(?=\d)", "około ", text)  # elsewhere it agrees
    text = _abbreviations(text, _POLISH_SHORT, ("itd", "itp"))
    bare = "|".join(map(re.escape, _POLISH_BARE))
    text = re.sub(rf"(?<![^\W\d_]|')({bare})(?![\w'])", lambda m: f" {_POLISH_BARE[m[1]]}", text)
    clock = r"(?:\b(o|od|do|po|około)\s+)?\b([01]?\d|2[0-4]):([0-5]\d)\b"
    text = _replace(text, clock, _polish_time)
    text = re.sub(r"([$€£])\s?(\d+(?:[.,]\d+)?)", r"\2 \1", text)
    text = _replace(text, r"(?<![\d.,])(\d{1,15})(?:[.,](\d\d))?\s?(zł(?!\w)|[€$£])", _polish_money)
    return re.sub(r"\bzł\b", "złotych", text)


def _polish_ordinal(digits: str, case: str) -> str:
    """The ordinal of 1 to 9999, masculine nominative but for its endings."""
    after_y, after_i = _POLISH_ENDINGS[case]
    words = str(num2words(int(digits), lang="pl", to="ordinal"))
    words = re.sub(r"(sz|t|m|n)y\b", rf"\1{after_y}", words)  # `trzy` and `cztery` stay
    feminine = case == "feminine" and words.endswith("ci")
    return re.sub(r"(?<=[gc])i\b", "ia" if feminine else after_i, words)


def _polish_time(match: re.Match[str]) -> str:
    before, hour, minute = match[1], int(match[2]), int(match[3])
    words = _polish_ordinal(str(hour), "at" if before else "feminine") if hour else "zero"
    past = f"{'zero ' if minute < 10 else ''}{_cardinal(str(minute), 'pl')}" if minute else ""
    return " ".join([before or "", words, past])


def _polish_money(match: re.Match[str]) -> str:
    one, few, many, small_one, small_few, small_many = _POLISH_MONEY[match[3]]
    whole, small = int(match[1]), int(match[2] or 0)
    words = [f"{_cardinal(str(whole), 'pl')} {_polish_form(whole, one, few, many)}"] if whole or not small else []
    if small:
        words.append(f"{_cardinal(str(small), 'pl')} {_polish_form(small, small_one, small_few, small_many)}")
    return " ".join(words)


def _polish_form(count: int, one: str, few: str, many: str) -> str:
    if count == 1:
        return one
    return few if count % 10 in (2, 3, 4) and count % 100 not in (12, 13, 14) else many


# Words to phones.


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


_WORD = rf"[^\s{_MARKS}]+"


def _key(word: str) -> str:
    return unicodedata.normalize("NFKC", word).strip().replace("’", "'").casefold()


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
            UnspeakableText: it has nothing to say.
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
        for token in re.findall(rf"[{_MARKS}]|{_WORD}", normalise(text, language)):
            units = self._lexicon.units(token)
            if units is None and token not in PAUSES:
                said = self._lexicon.say(token)
                words.append(token if said is None else re.sub(f"[{_MARKS}]", "", normalise(said, language)))
                continue
            if words:
                yield " ".join(words)
                words = []
            yield token if units is None else (units,)
        if words:
            yield " ".join(words)
