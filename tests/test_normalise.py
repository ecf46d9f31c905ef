"""Normalising: readings that a speaker of the language would give, and that nothing but words and pauses is left."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from authentic_dubber.symbols import PAUSES
from authentic_dubber.text import normalise

READINGS = [
    ("en", "Dr. Smith and Mrs. Jones, etc. They left.", "Doctor Smith and Missus Jones, et cetera. They left."),
    ("en", "cats, dogs, etc. and so on", "cats, dogs, et cetera and so on"),
    ("en", "St. Louis, 5 Main St.", "Saint Louis, five Main Street."),
    ("en", "No. 5! No. Never.", "number five! No. Never."),
    ("en", "It cost $5.50, not £1.", "It cost five dollars and fifty cents, not one pound."),
    ("en", "$0.01 or $3 million", "one cent or three million dollars"),
    ("en", "in 1984, the 1990s and the '80s", "in nineteen eighty-four, the nineteen nineties and the eighties"),
    ("en", "the 21st, the 3rd", "the twenty-first, the third"),
    ("en", "at 10:30 a.m. or 5:00", "at ten thirty AM or five o'clock"),
    ("en", "R&B, 50% at -5°C", "R and B, fifty percent at minus five degrees Celsius"),
    ("en", "3.14 and 10-20", "three point one four and ten to twenty"),
    ("en", "agent 007", "agent zero zero seven"),
    ("en", "½ or 1/3", "one half or one third"),
    ("en", "the U.S. Army", "the US Army"),
    ("en", "“Don’t” -- he said... really?!", "Don't— he said… really?"),
    ("en", "STOP RIGHT THERE!", "stop right there!"),
    ("en", "ｆｕｌｌ １２ (ﬁne)", "full twelve, fine"),
    ("pl", "Mam 5 kotów, np. rude itd.", "Mam pięć kotów, na przykład rude i tak dalej."),
    ("pl", "5 maja 1990 r. było", "piątego maja tysiąc dziewięćset dziewięćdziesiątego roku było"),
    ("pl", "w 2024 r.", "w dwa tysiące dwudziestym czwartym roku."),
    ("pl", "10:30, o 14:05", "dziesiąta trzydzieści, o czternastej zero pięć"),
    (
        "pl",
        "1 zł, 2 zł, 5,50 zł, 112 zł",
        "jeden złoty, dwa złote, pięć złotych pięćdziesiąt groszy, sto dwanaście złotych",
    ),
    ("pl", "5 mln zł", "pięć milionów złotych"),
    ("pl", "3,14 i 50%", "trzy przecinek czternaście i pięćdziesiąt procent"),
    ("pl", "„Tak” – rzekł dr Nowak, m.in. tak…", "Tak— rzekł doktor Nowak, między innymi tak…"),
    ("en", "Is that a no. I said no.", "Is that a no. I said no."),
    ("en", "See Nos. 3 and 4, or № 5.", "See numbers three and four, or number five."),
    ("en", "Off Main St. It was St. John.", "Off Main Street. It was Saint John."),
    ("en", "12 Long Oak St. Ann lives there", "twelve Long Oak Street. Ann lives there"),
    (
        "en",
        "J. R. Smith and plan B. He left at 9 a.m. They stayed.",
        "J R Smith and plan B. He left at nine AM. They stayed.",
    ),
    ("en", "at 13:45, 0:00, 18:00 and 5:05", "at thirteen forty-five, midnight, eighteen hundred and five oh five"),
    (
        "en",
        "-5, -$5, $-1.50 and -.5",
        "minus five, minus five dollars, minus one dollar and fifty cents and minus point five",
    ),
    ("en", "$5 and €6, £2m, 7€, 50¢", "five dollars and six euros, two million pounds, seven euros, fifty cents"),
    (
        "en",
        "1984–85, 3:16-18, 2024-05-06",
        "nineteen eighty-four to eighty-five, three sixteen to eighteen, May sixth, twenty twenty-four",
    ),
    ("en", "May 5, 1990", "May fifth, nineteen ninety"),
    ("en", "call 555-123-4567", "call five five five, one two three, four five six seven"),
    (
        "en",
        "version 1.2.3 for 5 km in 1 ft. deep snow",
        "version one point two point three for five kilometers in one foot deep snow",
    ),
    ("en", "1½ or 3 1/2, x²", "one and one half or three and one half, x squared"),
    ("en", "Louis XIV and Chapter IV.", "Louis XIV and Chapter IV."),
    ("en", r"{\an8}<i>Hi</i>, <b>you", "Hi, you"),
    ("pl", "Dr Nowak i nr 5, Nr 6", "doktor Nowak i numer pięć, numer sześć"),
    ("pl", "o godz. 17:30, od 8:00 do godz. 16", "o siedemnastej trzydzieści, od ósmej do szesnastej"),
    ("pl", "01.02.2024 r. było", "pierwszego lutego dwa tysiące dwudziestego czwartego roku było"),
    ("pl", "5. piętro, 3. klasa, 12. dzień, 3-go maja", "piąte piętro, trzecia klasa, dwunasty dzień, trzeciego maja"),
    ("pl", "1 km, 2 km, 5 km, 2,5 km", "jeden kilometr, dwa kilometry, pięć kilometrów, dwa przecinek pięć kilometra"),
    ("pl", "2 mln ludzi i 5 tys. zł", "dwa miliony ludzi i pięć tysięcy złotych"),
    ("pl", "-5 zł, 1/2 litra, 1½", "minus pięć złotych, pół litra, jeden i pół"),
    (
        "pl",
        "+48 123 456 789",
        "plus czterdzieści osiem, sto dwadzieścia trzy, czterysta pięćdziesiąt sześć, siedemset osiemdziesiąt dziewięć",
    ),
]


@pytest.mark.parametrize(("language", "written", "read"), READINGS)
def test_readings(language: str, written: str, read: str) -> None:
    assert normalise(written, language) == read


def scribbles(count: int) -> list[str]:
    """Words, numbers, signs and marks in random order, glued or apart."""
    rng = random.Random(3)
    parts = [written for _, written, _ in READINGS for written in written.split()]
    parts += [
        "-",
        "'",
        "/",
        "...",
        "—",
        "№5",
        "²",
        "😀",
        "e.g.",
        "i.e.",
        "U.S.S.R.",
        "a.m",
        "x.y",
        "ł",
        "٣",
        "\ud800",
        "12:3",
    ]
    return [
        "".join(rng.choice(parts) + rng.choice([" ", " ", ""]) for _ in range(rng.randint(1, 9))) for _ in range(count)
    ]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_normalising_twice_changes_nothing_and_leaves_only_words_and_single_pauses(language: str) -> None:
    for text in [written for _, written, _ in READINGS] + scribbles(400):
        once = normalise(text, language)
        assert normalise(once, language) == once, text
        assert all(c.isalpha() or c in " '-" or c in PAUSES for c in once.replace("\u0303", "")), (text, once)
        marks = once.replace(" ", "")
        assert not any(a in PAUSES and b in PAUSES for a, b in pairwise(marks)), (text, once)
        assert once == " ".join(once.split())


ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ENGLISH_VALUES = {w: i for i, w in enumerate([*ENGLISH.split(), "eighteen", "nineteen"])} | {
    w: 10 * i for i, w in enumerate(ENGLISH_TENS.split(), 2)
}
POLISH = (
    "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście trzynaście czternaście"
)
POLISH_TENS = (
    "dwadzieścia trzydzieści czterdzieści pięćdziesiąt sześćdziesiąt siedemdziesiąt osiemdziesiąt dziewięćdziesiąt"
)
POLISH_HUNDREDS = "sto dwieście trzysta czterysta pięćset sześćset siedemset osiemset dziewięćset"
POLISH_VALUES = (
    {w: i for i, w in enumerate([*POLISH.split(), "piętnaście", "szesnaście", "siedemnaście", "osiemnaście"])}
    | {"dziewiętnaście": 19}
    | {w: 10 * i for i, w in enumerate(POLISH_TENS.split(), 2)}
    | {w: 100 * i for i, w in enumerate(POLISH_HUNDREDS.split(), 1)}
)


def heard(words: str) -> int:
    """The number that words name, summed up as a listener would."""
    total = group = 0
    for word in words.replace("-", " ").split():
        if word == "hundred":
            group *= 100
        elif word in ("thousand", "tysiąc", "tysiące", "tysięcy"):
            total, group = total + 1000 * max(group, 1), 0
        else:
            group += (ENGLISH_VALUES | POLISH_VALUES)[word]
    return total + group


@pytest.mark.parametrize("language", ["en", "pl"])
def test_a_number_is_heard_as_what_was_written(language: str) -> None:
    rng = random.Random(5)
    # From 1100 to 2099 English reads years, so those are left out.
    for value in [*range(130), *(rng.randrange(2100, 1_000_000) for _ in range(200))]:
        assert heard(normalise(str(value), language)) == value
    grouped = "123,456" if language == "en" else "123 456"
    assert heard(normalise(grouped, language)) == 123456


def test_unknown_languages_are_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match=r"en, pl.*'de'"):
        normalise("hallo", "de")


@pytest.mark.parametrize("language", ["en", "pl"])
@pytest.mark.parametrize(
    "piece",
    ["a", " ", "1", "1,", "1.", "1 000", ") ", "?!", "-", "'", "a.", "A. ", "<a", "St. ", "$ ", "\0", "5. a", "1:"],
)
def test_time_grows_with_the_length_of_a_text_and_no_faster(piece: str, language: str) -> None:
    """Backtracking makes a pattern quadratic, and 10 000 pieces would take it many seconds."""
    started = time.process_time()
    normalise("x" + piece * 10_000 + "x", language)
    assert time.process_time() - started < 4


def test_every_number_and_its_negative_differ_by_one_word() -> None:
    for language, amounts in (
        ("en", ("5", "$5", "€2.50", "3.14", "20%")),
        ("pl", ("5", "5 zł", "2,50 €", "3,14", "20%")),
    ):
        for amount in amounts:
            assert normalise(f"-{amount}", language) == f"minus {normalise(amount, language)}"


def test_every_minute_of_the_day_is_read_and_no_two_alike() -> None:
    clock = [f"{hour}:{minute:02d}" for hour in range(24) for minute in range(60)]
    for language in ("en", "pl"):
        read = {normalise(f"at {time}!", language) for time in clock}
        assert len(read) == len(clock)
        assert all(len(one.split()) <= 6 and one.endswith("!") for one in read)


def test_control_characters_and_lone_surrogates_part_words() -> None:
    assert normalise("a\0b\x07c \ud800 d\u00adsoft", "en") == "a b c dsoft"
