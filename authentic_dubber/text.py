"""Text to symbols: written English or Polish to plain words, words to phones, and the pauses between them kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from num2words import num2words

from .espeak import Espeak
from .symbols import PAUSES, SILENCE, Symbols, number, split_ipa

Case: TypeAlias = Literal["genitive", "locative", "feminine", "feminine locative"]

VOICES: Mapping[str, str] = {"en": "en-us", "pl": "pl"}
"""Language to the espeak-ng voice that reads it."""

LONGEST_NUMBER = 15
"""Digits; a longer run is an account or a serial number and is read digit by digit."""


class UnspeakableText(ValueError):
    """A text in which there is nothing to say."""


class LexiconError(ValueError):
    """A line of a pronunciation file that cannot be used."""


# --- Signs ---------------------------------------------------------------------------------------------------------

_BEFORE_NFKC = str.maketrans({"™": "", "®": "", "©": "", "²": " squared ", "³": " cubed ", "½": " 1/2 ", "¼": " 1/4 "})
_AFTER_NFKC = str.maketrans(
    {
        **dict.fromkeys("‘’‛`´ʼ′＇", "'"),
        **dict.fromkeys("“”„‟«»‹›\"″*_~^", " "),
        **dict.fromkeys("‐‑−", "-"),
        **dict.fromkeys("‒–—―", "—"),
        **dict.fromkeys(";:()[]{}¿¡|", ","),
        "⁄": "/",
        "\u00ad": "",
    }
)
_STRENGTH = "—,….!?"
"""Of pauses in a row the strongest is kept: `?!` asks."""


def _typography(text: str) -> str:
    text = unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC))
    text = re.sub(r"(?<=\d):(?=\d\d)", "\0", text).translate(_AFTER_NFKC).replace("\0", ":")
    text = re.sub(r"(?<=\d)\s*—\s*(?=\d)", "-", text)
    text = re.sub(r"\.{2,}", "…", text)
    text = re.sub(r"--+|(?<=\s)-(?=\s)", "—", text)
    words = re.findall(r"[^\W\d_]+", text)
    if len(words) > 1 and all(word.isupper() for word in words) and max(map(len, words)) > 3:
        return text.lower()  # a shouted line would be spelled letter by letter
    return text


def _plain(text: str) -> str:
    """What is left after every rule: words with inner apostrophes and hyphens, single spaces, single pauses."""
    kept = (c if unicodedata.category(c)[0] in "LM" or c in "'-" or c in PAUSES else " " for c in text)
    text = re.sub(r"(?<![^\W_])['-]+|['-]+(?![^\W_])", " ", "".join(kept))
    marks = "".join(map(re.escape, PAUSES))
    text = re.sub(rf"\s*([{marks}][{marks}\s]*)", lambda m: max(m[1].split()[0] + m[1], key=_rank) + " ", text)
    return re.sub(rf"^[{marks}\s]+", "", re.sub(r"\s+", " ", text)).strip()


def _rank(mark: str) -> int:
    return _STRENGTH.find(mark)


# --- Numbers -------------------------------------------------------------------------------------------------------


def _cardinal(digits: str, language: str) -> str:
    """Digits, with or without a leading zero, as words."""
    if len(digits) > LONGEST_NUMBER or (len(digits) > 1 and digits[0] == "0"):
        return " ".join(_cardinal(digit, language) for digit in digits)
    words = str(num2words(int(digits), lang=language))
    return words.replace(",", "").replace(" and ", " ") if language == "en" else words


def _decimal(whole: str, part: str, language: str) -> str:
    by_digit = " ".join(_cardinal(digit, language) for digit in part)
    if language == "en":
        return f"{_cardinal(whole, 'en')} point {by_digit}"
    read = by_digit if part[0] == "0" or len(part) > 2 else _cardinal(part, "pl")
    return f"{_cardinal(whole, 'pl')} przecinek {read}"


def _replace(text: str, pattern: str, write: Callable[[re.Match[str]], str]) -> str:
    """Every match written out, with spaces about it so that `5kg` comes apart."""
    return re.sub(pattern, lambda match: f" {write(match)} ", text)


def _spoken_numbers(text: str, language: str) -> str:
    """The rules that both languages share, after their own."""
    point = r"\." if language == "en" else ","
    text = _replace(text, r"(?<!\d)(?:\d{3}-)?\d{3}-\d{4}(?!\d)", lambda m: ", ".join(_spelled(m[0], language)))
    between = "to" if language == "en" else " "
    text = re.sub(r"(?<=\d)-(?=\d)", f" {between} ", text)
    text = re.sub(r"(?<![\w.,])-(?=\d)", " minus ", text)
    text = _replace(text, rf"(\d+){point}(\d+)", lambda m: _decimal(m[1], m[2], language))
    return _replace(text, r"\d+", lambda m: _cardinal(m[0], language))


def _spelled(groups: str, language: str) -> list[str]:
    return [" ".join(_cardinal(digit, language) for digit in group) for group in groups.split("-")]


# --- English -------------------------------------------------------------------------------------------------------

_ENGLISH_SHORT = {
    **{"Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor", "Jr": "Junior"},
    **{"Sr": "Senior", "Lt": "Lieutenant", "Col": "Colonel", "Gen": "General", "Capt": "Captain", "Sgt": "Sergeant"},
    **{"Gov": "Governor", "Rev": "Reverend", "Mt": "Mount", "vs": "versus", "approx": "approximately"},
    **{"Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ltd": "Limited", "Inc": "Incorporated"},
}
_ENGLISH_SIGNS = {
    **{"°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees", "%": "percent", "&": "and", "+": "plus"},
    **{"=": "equals", "@": "at", "#": "number", "×": "times", "÷": "divided by", "km/h": "kilometers per hour"},
}
_ENGLISH_UNITS = {"km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "lb": "pound"}
_ENGLISH_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}


def _english_money(match: re.Match[str]) -> str:
    unit, small = _ENGLISH_MONEY[match[1]]
    whole, part, scale = match[2], match[3], match[4]
    if scale:
        amount = _decimal(whole, part, "en") if part else _cardinal(whole, "en")
        return f"{amount} {scale} {unit}s"
    words = f"{_cardinal(whole, 'en')} {unit}{'' if int(whole) == 1 else 's'}"
    if part is None or int(part) == 0:
        return words
    cents = int(part[:2].ljust(2, "0"))
    many = "pence" if small == "penny" else "cents"
    words_small = f"{_cardinal(str(cents), 'en')} {small if cents == 1 else many}"
    return words_small if int(whole) == 0 else f"{words} and {words_small}"


def _english_time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2] or 0)
    half = f" {match[3].upper()}M" if match[3] else ""
    past = "" if not minute else f" oh {num2words(minute)}" if minute < 10 else f" {num2words(minute)}"
    return f"{num2words(hour)}{past}{half}" if minute or half else f"{num2words(hour)} o'clock"


def _english_year(digits: str) -> str:
    return str(num2words(int(digits), to="year")).replace(" and ", " ")


def _decade(digits: str) -> str:
    words = _english_year(digits) if len(digits) == 4 else str(num2words(int(digits)))
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _english(text: str) -> str:
    text = re.sub(r"\bSt\.(?=\s+[A-Z])", "Saint", text)
    text = re.sub(r"\bSt\.", "Street.", text)
    text = re.sub(r"\bNos?\.\s*(?=\d)", "number ", text)
    text = re.sub(r"\betc\.?(?=\s+[a-z]|,)|\betc\b(?!\.)", "et cetera", text)
    text = re.sub(r"\betc\.", "et cetera.", text)
    text = re.sub(r"\be\.\s?g\.,?", "for example,", text)
    text = re.sub(r"\bi\.\s?e\.,?", "that is,", text)
    text = re.sub(rf"\b({'|'.join(_ENGLISH_SHORT)})\.", lambda m: _ENGLISH_SHORT[m[1]], text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = _replace(text, r"\b(\d{1,2}):([0-5]\d)(?:\s*([ap])\.?m\b\.?)?", _english_time)
    text = _replace(text, r"\b(\d{1,2})()\s*([ap])\.?m\b\.?", _english_time)
    text = _replace(
        text, r"([$£€])\s?(\d+)(?:\.(\d+))?(?:\s(thousand|million|billion|trillion)\b)?", _english_money
    )
    text = _replace(text, r"(?<!\d)(\d{1,15})(?:st|nd|rd|th)\b", lambda m: _english_ordinal(m[1]))
    text = _replace(text, r"'?\b((?:1\d|20)?[1-9]0)'?s\b", lambda m: _decade(m[1]))
    text = _replace(text, r"(?<![\d/.])([123]/[234])(?![\d/])", lambda m: _FRACTIONS.get(m[1], m[1]))
    text = re.sub(r"(?<=\d)\s?km/h", " kilometers per hour", text)
    units = "|".join(_ENGLISH_UNITS)
    text = re.sub(
        rf"\b(\d+(?:\.\d+)?)\s?({units})s?\b\.?(?!\w)",
        lambda m: f"{m[1]} {_ENGLISH_UNITS[m[2]]}{'' if m[1] == '1' else 's'}",
        text,
    )
    text = _replace(text, r"(?<![\w.,$-])(1[1-9]\d\d|20\d\d)(?![\w%°]|[.,-]\d)", lambda m: _english_year(m[1]))
    return text


def _english_ordinal(digits: str) -> str:
    return str(num2words(int(digits), to="ordinal")).replace(",", "").replace(" and ", " ")
