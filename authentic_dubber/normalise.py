"""Written text to plain words: numbers, money, times, dates, short forms and signs, in English and Polish.

Each rule takes what it knows and leaves the rest to those after it, so their order matters: what holds digits together
(thousands, dates, telephone numbers) goes first, and a digit that no rule has claimed is read as a number last.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache

from num2words import num2words

from .symbols import PAUSES

LANGUAGES = ("en", "pl")
LONGEST_NUMBER = 15
"""Digits; a longer run is an account or a serial number and is read digit by digit."""
MARKS = "".join(map(re.escape, PAUSES))
"""The pauses, for use between the brackets of a pattern."""


def normalise(text: str, language: str) -> str:
    """Written text to plain words and pauses; applying it twice changes nothing.

    What comes out holds letters, inner apostrophes and hyphens, single spaces and single `PAUSES`: numbers, money,
    times, dates, years, ordinals, abbreviations and signs are words. Four digits from 1100 to 2099 are read as a year
    in English. Polish numbers stand in the nominative except in dates, years and clock times, where the form is
    certain. Roman numerals are left as they are.

    >>> normalise("Dr. Smith paid $5.50 in 1984 ...", "en")
    'Doctor Smith paid five dollars and fifty cents in nineteen eighty-four…'

    Raises:
        ValueError: unknown language.
    """
    check_language(language)
    while (read := _read(text, language)) != text:  # what came apart from a number may itself be a short form
        text = read
    return read


def check_language(language: str) -> None:
    """Raises ValueError for a language that no voice reads."""
    if language not in LANGUAGES:
        raise ValueError(f"known languages are {', '.join(LANGUAGES)}; got {language!r}")


def _read(text: str, language: str) -> str:
    text = _telephones(_typography(text, language), language)
    text = _digits(_english(text) if language == "en" else _polish(text), language)
    signs = _ENGLISH_SIGNS if language == "en" else _POLISH_SIGNS
    return _plain(re.sub("|".join(map(re.escape, signs)), lambda match: f" {signs[match[0]]} ", text))


# Signs.

_ANY_LANGUAGE = {**dict.fromkeys("™®©\u00ad\ufeff", ""), "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 "}
_BEFORE_NFKC = {  # which would make of `x²` an `x2`, and of `№` a `No`
    "en": str.maketrans({**_ANY_LANGUAGE, "²": " squared ", "³": " cubed ", "№": " number "}),
    "pl": str.maketrans({**_ANY_LANGUAGE, "²": " do kwadratu ", "³": " do sześcianu ", "№": " numer "}),
}
_AFTER_NFKC = str.maketrans(
    {
        **dict.fromkeys("‘’‛`´ʼ′", "'"),
        **dict.fromkeys('“”„‟«»‹›"″*_~^', " "),
        **dict.fromkeys("‐‑−", "-"),
        **dict.fromkeys("‒–—―", "—"),
        **dict.fromkeys(";:()[]{}|", ","),
        "⁄": "/",
    }
)
_CLOSING = str.maketrans("", "", ")]}")
_STRENGTH = " ,—….!?"
_OPENERS = (
    "He|She|It|We|They|You|The|This|That|These|Those|There|But|And|So|Then|When|Where|What|Why|How|Who|My|His|Her|Our"
    "|Your|Their|If|Yes|Now"
)
"""Words whose capital says that a sentence begins, and not that a name goes on, after a dot that might be either's."""


def _typography(text: str, language: str) -> str:
    text = " ".join(re.sub(r"</?[A-Za-z][^<>]*>|\{\\[^{}]*\}|[\x00-\x1f\x7f-\x9f]", " ", text).split())  # subtitle tags
    body = text.rstrip(" )]}.,;:?!…—-\"'”’»")
    text = body + text[len(body) :].translate(_CLOSING)  # a bracket that ends the text is no pause
    text = unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC[language]))
    text = re.sub(r"(?<=\d):(?=\d\d)", "\0", text).translate(_AFTER_NFKC).replace("\0", ":")
    text = re.sub(r"(?<=\d)\s*—\s*(?=\d)", "-", text)
    text = re.sub(r"\.{2,}", "…", text)
    text = re.sub(r"--+|(?<=\s)-(?=\s)", "—", text)
    acronym = rf"\b(?!e\.g|i\.e|m\.in)(?:[^\W\d_]\.){{2,}}(?=(\s*$|\s+(?-i:{_OPENERS})\b)?)"
    text = re.sub(acronym, _acronym, text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[^\W\d_])\.(?=[^\W\d_A-Z])(?!(?<=m\.)in\.|(?<=[ei]\.)[ge]\.)", " dot ", text)
    words = re.findall(r"[^\W\d_]+", text)
    if len(words) > 1 and all(word.isupper() for word in words) and max(map(len, words)) > 3:
        return text.lower()  # a shouted line would be spelled letter by letter
    return text


def _acronym(match: re.Match[str]) -> str:
    return match[0].replace(".", "").upper() + ("." if match[1] is not None else " ")


def _plain(text: str) -> str:
    kept = (c if unicodedata.category(c)[0] in "LM" or c in "'-" or c in PAUSES else " " for c in text)
    text = " ".join("".join(kept).split())
    text = re.sub(r"(?<![^\W\d_])['-]+|['-]+(?![^\W\d_])", " ", text)
    # Of pauses in a row the strongest is kept: `?!` asks.
    text = re.sub(rf"\s*([{MARKS}][{MARKS}\s]*)", lambda m: max(m[1], key=_STRENGTH.find) + " ", text)
    return re.sub(rf"^[{MARKS}\s]+", "", " ".join(text.split()))


def _abbreviations(text: str, words: Mapping[str, str], closing: tuple[str, ...]) -> str:
    """Short forms with their dot to words; the dot stays as a full stop where it also ends the sentence.

    Args:
        closing: those that may end a sentence when a capital follows; after a title it begins a name.
    """

    def write(match: re.Match[str]) -> str:
        short = match[1].lower()
        # Checkpoints of this inventory were trained on an `etc.` that gave no stop where the whole text ends.
        ends = (match[3] is not None and short != "etc") or (match[4] is not None and short in closing)
        return words[short] + ("." if ends else " ")

    pattern = rf"(?<![^\W\d_])(?<!')({'|'.join(map(re.escape, words))})(\.)(?=(\s*$)?)(?=(\s+(?-i:[A-ZĄĆĘŁŃÓŚŹŻ]))?)"
    return re.sub(pattern, write, text, flags=re.IGNORECASE)


# Numbers.


def _replace(text: str, pattern: str, write: Callable[[re.Match[str]], str]) -> str:
    """Every match written out, with spaces about it so that what was glued to it comes apart."""
    return re.sub(pattern, lambda match: f" {write(match)} ", text)


@lru_cache(maxsize=4096)
def _cardinal(digits: str, language: str, form: str = "cardinal") -> str:
    if len(digits) > LONGEST_NUMBER or (len(digits) > 1 and int(digits[0]) == 0):
        return _one_by_one(digits, language)
    return str(num2words(int(digits), lang=language, to=form)).replace(",", "").replace(" and ", " ")


def _one_by_one(digits: str, language: str) -> str:
    return " ".join(_cardinal(digit, language) for digit in digits)


def _decimal(whole: str, part: str, language: str) -> str:
    if language == "en":
        return f"{_cardinal(whole, 'en')} point {_one_by_one(part, 'en')}"
    return f"{_cardinal(whole, 'pl')} przecinek {(_one_by_one if len(part) > 2 else _cardinal)(part, 'pl')}"


def _telephones(text: str, language: str) -> str:
    """Group by group: English spells a group, Polish counts it."""
    read = _one_by_one if language == "en" else _cardinal
    number = r"(?<![\w-])(?:\+\d{1,3}(?:[ -]\d{2,4}){2,4}|(?:1-)?\d{3}-\d{3}-\d{4})(?![\w-])"

    def write(match: re.Match[str]) -> str:
        groups = ", ".join(read(group, language) for group in re.findall(r"\d+", match[0]))
        return "plus " + groups if match[0].startswith("+") else groups

    return _replace(text, number, write)


def _minus(text: str) -> str:
    text = re.sub(r"([$£€¥])\s?-(?=\d)", r"-\1", text)
    return re.sub(r"(?<![\w.,-])-(?=[$£€¥]?\.?\d)", " minus ", text)


def _digits(text: str, language: str) -> str:
    """Numbers that no rule of the language has claimed."""
    point, dot = (r"\.", "point") if language == "en" else ("[.,]", "kropka")
    version = r"(?<![\d.,])\d+(?:\.\d+){2,}(?!\d)"
    text = _replace(text, version, lambda m: f" {dot} ".join(_cardinal(part, language) for part in m[0].split(".")))
    text = _replace(text, rf"(?<![\d.,])(\d+){point}(\d+)(?![.,]\d)", lambda m: _decimal(m[1], m[2], language))
    if language == "en":
        text = _replace(text, r"(?<![\w.,])\.(\d+)", lambda m: f"point {_one_by_one(m[1], 'en')}")
    return _replace(text, r"\d+", lambda m: _cardinal(m[0], language))


# English.

_ENGLISH_SHORT = {
    **{"mr": "Mister", "mrs": "Missus", "ms": "Miz", "dr": "Doctor", "prof": "Professor", "jr": "Junior"},
    **{"sr": "Senior", "lt": "Lieutenant", "col": "Colonel", "gen": "General", "capt": "Captain", "sgt": "Sergeant"},
    **{"gov": "Governor", "rev": "Reverend", "mt": "Mount", "vs": "versus", "approx": "approximately", "ave": "Avenue"},
    **{"blvd": "Boulevard", "rd": "Road", "ltd": "Limited", "etc": "et cetera", "ph.d": "PhD"},
    **{"e.g": "for example,", "i.e": "that is,", "st": "Street"},
}
_ENGLISH_SIGNS = {
    **{"°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees", "%": "percent", "&": "and", "+": "plus"},
    **{"=": "equals", "@": "at", "#": "number", "×": "times", "÷": "divided by"},
    **{"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "¢": "cents"},
}
_ENGLISH_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
}
_ENGLISH_SCALES = {"k": "thousand", "m": "million", "bn": "billion"}
_ENGLISH_UNITS = {
    **{"km/h": ("kilometer per hour", "kilometers per hour"), "mph": ("mile per hour", "miles per hour")},
    **{"km": ("kilometer", "kilometers"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters")},
    **{"kg": ("kilogram", "kilograms"), "lbs": ("pound", "pounds"), "lb": ("pound", "pounds"), "ft": ("foot", "feet")},
}
_FRACTIONS = {"1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters"}
_FRACTION = r"(?<![\d/.,])([123]/[234])(?![\d/])"
_ENGLISH_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAY = "0?[1-9]|[12]\\d|3[01]"


def _english(text: str) -> str:
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)", lambda m: m[0].replace(",", ""), text)
    text = _minus(_english_dates(text))
    text = re.sub(r"(?<=\d)-(?=[$£€¥]?\d)", " to ", text)
    text = _replace(text, r"(?<![\d.])(\d{1,15})(?i:st|nd|rd|th)\b", lambda m: _cardinal(m[1], "en", "ordinal"))
    # `5 Main St.` is a street, and so is what ends a sentence; before a name it is a saint.
    saint = rf"(\b\d\w*(?: [A-Z][a-z]+)+ )?\bSt\.(?=\s+(?!(?:{_OPENERS})\b)[A-Z])"
    text = re.sub(saint, lambda m: m[0] if m[1] else "Saint", text)
    text = re.sub(r"\bNo(s?)\.\s*(?=\d)", r"number\1 ", text)
    initial = rf"\b([A-HJ-Z])\.(?=\s(?:[A-Z]\.\s){{0,3}}(?!(?:{_OPENERS})\b)[A-Z][a-z]+)"
    text = re.sub(initial, r"\1", text)
    text = re.sub(r"\betc\b(?!\.)", "et cetera", _abbreviations(text, _ENGLISH_SHORT, ("etc", "st")))
    text = _replace(text, r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)\b(?:\s*([AaPp])\.?[Mm]\b)?", _english_time)
    text = _replace(text, r"\b(\d{1,2})()\s*([AaPp])\.?[Mm]\b", _english_time)
    text = _english_amounts(text)
    text = _replace(text, r"'?\b((?:1\d|20)\d0|[2-9]0)'?s\b", lambda m: _decade(m[1]))
    text = re.sub(rf"(?<=\d)\s+(?={_FRACTION})", " and ", text)
    text = _replace(text, _FRACTION, lambda m: _FRACTIONS.get(m[1], m[1]))
    year = r"(?<![\w.,])(1[1-9]\d\d|20\d\d)(?![\w%°]|[.,]\d)"
    return _replace(text, year, lambda m: _cardinal(m[1], "en", "year"))


def _english_dates(text: str) -> str:
    def iso(match: re.Match[str]) -> str:
        month, day = _ENGLISH_MONTHS.split("|")[int(match[2]) - 1], match[3].lstrip("0")
        return f"{month} {_cardinal(day, 'en', 'ordinal')}, {match[1]}"

    text = _replace(text, rf"(?<![\w-])([12]\d{{3}})-(0[1-9]|1[0-2])-({_DAY})(?![\w-])", iso)
    day = rf"\b({_ENGLISH_MONTHS}) ({_DAY})(?!\w|[:.,]\d)"
    return re.sub(day, lambda m: f"{m[1]} {_cardinal(m[2].lstrip('0'), 'en', 'ordinal')}", text)


def _english_amounts(text: str) -> str:
    text = re.sub(r"(?<![\d.,])(\d+(?:\.\d+)?)\s?([€£])(?!\s?\d)", r"\2\1", text)
    scale = r"(?:(k|m|bn)\b|\s(thousand|million|billion|trillion)\b)?"
    text = _replace(text, rf"([$£€¥])\s?(\d{{1,15}})(?:\.(\d+))?{scale}", _english_money)
    units = "|".join(map(re.escape, _ENGLISH_UNITS))
    unit = rf"(?<![\d.,])(\d+(?:\.\d+)?)\s?({units})(?!\w)(?:\.(?=\s[a-z]))?"
    return re.sub(unit, lambda m: f"{m[1]} {_ENGLISH_UNITS[m[2]][m[1] != '1']}", text)


def _decade(digits: str) -> str:
    words = _cardinal(digits, "en", "year") if len(digits) == 4 else _cardinal(digits, "en")
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _english_time(match: re.Match[str]) -> str:
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if not (minute or half or hour % 24):
        return "midnight"
    whole = "" if half else "o'clock" if hour <= 12 else "hundred"
    past = f"{'oh ' if minute < 10 else ''}{_cardinal(str(minute), 'en')}" if minute else whole
    return " ".join([_cardinal(str(hour), "en"), past, f"{half.upper()}M" if half else ""])


def _english_money(match: re.Match[str]) -> str:
    one, many, small, smalls = _ENGLISH_MONEY[match[1]]
    whole, part, scale = match[2], match[3], match[5] or _ENGLISH_SCALES.get(match[4] or "")
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
_POLISH_BARE = {"dr": "doktor", "mgr": "magister", "nr": "numer", "wg": "według", "mln": "milionów", "mld": "miliardów"}
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
_POLISH_UNITS = {
    **{"tys": ("tysiąc", "tysiące", "tysięcy", "tysiąca"), "mln": ("milion", "miliony", "milionów", "miliona")},
    **{"mld": ("miliard", "miliardy", "miliardów", "miliarda"), "m": ("metr", "metry", "metrów", "metra")},
    **{"kg": ("kilogram", "kilogramy", "kilogramów", "kilograma"), "l": ("litr", "litry", "litrów", "litra")},
    **{"km": ("kilometr", "kilometry", "kilometrów", "kilometra")},
    **{"cm": ("centymetr", "centymetry", "centymetrów", "centymetra")},
}
"""For one, for few, for many, and after a decimal fraction. All masculine, as the number before them then is."""
_POLISH_PARTS = {"1/2": "pół", "1/3": "jedna trzecia", "2/3": "dwie trzecie", "1/4": "ćwierć", "3/4": "trzy czwarte"}
_POLISH_MONTHS = "stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia"
_POLISH_ENDINGS = {
    **{"masculine": ("y", "i"), "feminine": ("a", "a"), "neuter": ("e", "ie")},
    **{"genitive": ("ego", "iego"), "locative": ("ym", "im"), "at": ("ej", "iej")},
}
"""What `-y` and `-i` of an ordinal become."""


def _polish(text: str) -> str:
    text = _minus(_polish_dates(text))
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:[ .]\d{3}){1,4}(?![\d,.]\d|\d)", lambda m: re.sub("[ .]", "", m[0]), text)
    text = _polish_ordinals(text)
    text = re.sub(r"\b([Oo]k|[Ss]tr)\.\s*(?=\d)", lambda m: {"o": "około ", "s": "strona "}[m[1][0].lower()], text)
    clock = r"(?:\b(o|od|do|po|około)\s+(?:godz\.\s*)?)?\b([01]?\d|2[0-4]):([0-5]\d)\b"
    text = _replace(re.sub(r"\b(o|od|do|po|około)\s+godz\.\s*(\d\d?)\b(?!:)", r"\1 \2:00", text), clock, _polish_time)
    text = _abbreviations(text, _POLISH_SHORT, ("itd", "itp"))
    text = re.sub(r"([$€£])\s?(\d+(?:[.,]\d+)?)", r"\2 \1", text)
    text = _replace(text, r"(?<![\d.,])(\d{1,15})(?:[.,](\d\d))?\s?(zł(?!\w)|[€$£])", _polish_money)
    units = rf"(?<![\d.,])(\d{{1,15}})(?:[.,](\d+))?\s?({'|'.join(_POLISH_UNITS)})(?!\w)(?:\.(?=\s[^\sA-ZĄĆĘŁŃÓŚŹŻ]))?"
    text = _replace(text, units, _polish_amount)
    bare = "|".join(map(re.escape, _POLISH_BARE))
    text = re.sub(rf"(?<![^\W\d_]|')((?i:{bare}))(?![\w'])", lambda m: f" {_POLISH_BARE[m[1].lower()]}", text)
    text = re.sub(rf"(?<=\d)\s+(?={_FRACTION})", " i ", text)
    text = _replace(text, _FRACTION, lambda m: _POLISH_PARTS.get(m[1], m[1]))
    return re.sub(r"\bzł\b", "złotych", text)


def _polish_dates(text: str) -> str:
    def date(day: str, month: str, year: str) -> str:
        name = _POLISH_MONTHS.split("|")[int(month) - 1]
        return f"{_polish_ordinal(day, 'genitive')} {name} {_polish_ordinal(year, 'genitive')} roku"

    month, ends = "(0?[1-9]|1[0-2])", r"(?![\w-]|\.\d)(?:\s*r(?:oku\b|\b\.?(?!\s*$)|(?=\.\s*$)))?"
    text = _replace(text, rf"(?<![\w.-])({_DAY})\.{month}\.([12]\d{{3}}){ends}", lambda m: date(m[1], m[2], m[3]))
    text = _replace(text, rf"(?<![\w.-])([12]\d{{3}})-{month}-({_DAY}){ends}", lambda m: date(m[3], m[2], m[1]))
    day = rf"(?<![\d.,])([1-9]|[12]\d|3[01])\s+(?={_POLISH_MONTHS})"
    year = r"([12]\d{3})\s*(?:roku\b|r\b\.?(?!\s*$)|r(?=\.\s*$))"
    text = _replace(text, day, lambda m: _polish_ordinal(m[1], "genitive"))
    text = _replace(text, rf"\b([wWoO])\s+{year}", lambda m: f"{m[1]} {_polish_ordinal(m[2], 'locative')} roku")
    return _replace(text, rf"\b{year}", lambda m: f"{_polish_ordinal(m[1], 'genitive')} roku")


def _polish_ordinals(text: str) -> str:
    """`5. piętro` and `3-go`: the noun's ending, or the one written, tells the form."""
    noun = {"a": "feminine", "o": "neuter", "e": "neuter"}
    written = {"o": "genitive", "j": "at", "m": "locative", "a": "feminine", "e": "neuter"}

    def by(forms: Mapping[str, str], match: re.Match[str]) -> str:
        return _polish_ordinal(match[1], forms.get(match[2][-1], "masculine"))

    ending = r"((?:sz|t|m|n|g|ci?|gi|i)?(?:y|i|a|e|ego|ej|ym|im)|go)"
    text = _replace(text, rf"(?<![\w.,-])([1-9]\d{{0,3}})-{ending}\b", lambda m: by(written, m))
    return _replace(text, r"(?<![\w.,-])([1-9]\d{0,3})\.\s(?=([a-ząćęłńóśźż]+))", lambda m: by(noun, m))


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


def _polish_amount(match: re.Match[str]) -> str:
    one, few, many, fraction = _POLISH_UNITS[match[3]]
    if match[2]:
        return f"{_decimal(match[1], match[2], 'pl')} {fraction}"
    return f"{_cardinal(match[1], 'pl')} {_polish_form(int(match[1]), one, few, many)}"


def _polish_form(count: int, one: str, few: str, many: str) -> str:
    if count == 1:
        return one
    return few if count % 10 in (2, 3, 4) and count % 100 not in (12, 13, 14) else many
