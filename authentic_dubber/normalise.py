"""Written text to speakable words: numbers, abbreviations and signs, in English and Polish."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from num2words import num2words

LANGUAGES: Mapping[str, str] = {"en": "en-us", "pl": "pl"}
"""The languages spoken here, and the pronunciation voice of each."""

_ABBREVIATIONS: Mapping[str, Mapping[str, str]] = {
    "en": {
        **{"mr.": "mister", "mrs.": "missus", "ms.": "miz", "dr.": "doctor", "prof.": "professor", "st.": "saint"},
        **{"etc.": "et cetera", "e.g.": "for example", "i.e.": "that is", "vs.": "versus", "no.": "number"},
        **{"jr.": "junior", "sr.": "senior", "capt.": "captain", "lt.": "lieutenant", "col.": "colonel"},
    },
    "pl": {
        **{"np.": "na przykład", "itd.": "i tak dalej", "itp.": "i tym podobne", "tzn.": "to znaczy", "dr": "doktor"},
        **{"prof.": "profesor", "ul.": "ulica", "nr": "numer", "godz.": "godzina", "tj.": "to jest", "m.in.": "między innymi"},
    },
}
_SIGNS: Mapping[str, Mapping[str, str]] = {
    "en": {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees"},
    "pl": {"&": "i", "%": "procent", "+": "plus", "=": "równa się", "@": "małpa", "°": "stopni"},
}
_MONEY: Mapping[str, Mapping[str, str]] = {
    "en": {"$": "dollars", "€": "euros", "£": "pounds"},
    "pl": {"$": "dolarów", "€": "euro", "£": "funtów", "zł": "złotych"},
}
_PUNCTUATION = {
    **dict.fromkeys("‘’‚‛`´", "'"),
    **dict.fromkeys("“”„‟«»″", '"'),
    **dict.fromkeys("–—―−", "—"),
    "...": "…",
    ";": ",",
    ":": ",",
}
_ORDINAL = re.compile(r"\b(\d+)(st|nd|rd|th)\b", re.IGNORECASE)
_GROUPED = re.compile(r"(?<=\d)[,\u00a0 ](?=\d{3}\b)")


def normalise(text: str, language: str) -> str:
    """Text in which everything is a word or punctuation; applied twice it changes nothing more.

    >>> normalise("Dr. Lee paid $3 for 2 apples & left at 5%...", "en")
    'doctor Lee paid three dollars for two apples and left at five percent…'

    Raises:
        ValueError: the language is not one of `LANGUAGES`.
    """
    if language not in LANGUAGES:
        raise ValueError(f"known languages are {', '.join(LANGUAGES)}; got {language!r}")
    text = unicodedata.normalize("NFKC", text)
    for sign, plain in _PUNCTUATION.items():
        text = text.replace(sign, plain)
    text = re.sub(r"(?<=\s)-+(?=\s)|--+", "—", text)
    text = _abbreviations(text, _ABBREVIATIONS[language])
    text = _money(text, language)
    text = _numbers(text, language)
    for sign, word in _SIGNS[language].items():
        text = text.replace(sign, f" {word} ")
    return re.sub(r"\s+([,.?!…])", r"\1", re.sub(r"\s+", " ", text)).strip()


def _abbreviations(text: str, table: Mapping[str, str]) -> str:
    for short, long in table.items():
        # A final full stop that ends the sentence stays: "etc." before nothing, or before a capital letter.
        ends = r"(?=\W|$)"
        text = re.sub(rf"(?<!\w){re.escape(short)}{ends}", long, text, flags=re.IGNORECASE)
    return text


def _money(text: str, language: str) -> str:
    for sign, word in _MONEY[language].items():
        mark = re.escape(sign)
        text = re.sub(rf"{mark}\s?(\d[\d,.]*\d|\d)", rf"\1 {word}", text)
        text = re.sub(rf"(\d)\s?{mark}(?!\w)", rf"\1 {word}", text)
    return text


def _numbers(text: str, language: str) -> str:
    text = _GROUPED.sub("", text)
    if language == "en":
        text = _ORDINAL.sub(lambda m: _spelt(int(m[1]), language, to="ordinal"), text)
        text = re.sub(r"\b(1[1-9]\d\d|20[1-9]\d)\b", lambda m: _spelt(int(m[1]), language, to="year"), text)
    decimal = r"\d+[.,]\d+" if language == "pl" else r"\d+\.\d+"
    text = re.sub(decimal, lambda m: _spelt(float(m[0].replace(",", ".")), language), text)
    return re.sub(r"\d+", lambda m: _spelt(int(m[0]), language), text)


def _spelt(value: float, language: str, to: str = "cardinal") -> str:
    spell: Callable[..., str] = num2words
    return f" {spell(value, lang=language, to=to)} ".replace("-", " ").replace(",", "")
