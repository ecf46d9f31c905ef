"""The text front end: normalising, the phone inventory, the lexicon, and the border to espeak-ng."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.espeak import Espeak, EspeakError
from authentic_dubber.symbols import NAMES, PAUSES, SILENCE, SYMBOL_COUNT, UnknownPhone, join, number, split_ipa
from authentic_dubber.text import Lexicon, LexiconError, TextFrontend, UnspeakableText, normalise

ROOT = Path(__file__).parents[1]

READINGS = [
    ("en", "Dr. Smith and Mrs. Jones, etc.", "Doctor Smith and Missus Jones, et cetera."),
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
]


@pytest.fixture(scope="module")
def espeak() -> Iterator[Espeak]:
    with Espeak() as client:
        yield client


@pytest.fixture(scope="module")
def frontend(espeak: Espeak) -> TextFrontend:
    return TextFrontend(espeak)


# Normalising.


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


def test_unknown_languages_are_refused_with_the_known_ones_named(frontend: TextFrontend) -> None:
    for act in (lambda: normalise("hallo", "de"), lambda: frontend.symbols("hallo", "de")):
        with pytest.raises(ValueError, match=r"en, pl.*'de'"):
            act()


# The inventory.


def test_the_inventory_is_frozen_under_its_name() -> None:
    digest = hashlib.sha256("\n".join(NAMES).encode()).hexdigest()
    assert digest[:16] == "f6fd26848722ea4a", "checkpoints depend on the order: a changed inventory needs a new name"
    assert len(set(NAMES)) == SYMBOL_COUNT == len(NAMES)


def test_units_joined_are_the_word_that_was_split() -> None:
    rng = random.Random(7)
    units = [name for name in NAMES[2 + len(PAUSES) :] if len(name) > 1]
    for _ in range(300):
        word = "".join(rng.choice(units) for _ in range(rng.randint(1, 6)))
        again = split_ipa(word)
        assert "".join(again) == word
        assert min(number(again)) >= 1


def test_an_unknown_phone_is_named() -> None:
    with pytest.raises(UnknownPhone, match="ǃ"):
        split_ipa("aǃa")
    for name in ("<pad>", "q"):
        with pytest.raises(UnknownPhone, match=name):
            number(["a", name])


def test_pauses_that_meet_are_one_and_none_comes_first() -> None:
    symbols = join([".", [["a"]], ",", "!", [["b", "a"]], "?"])
    assert symbols.names == (SILENCE, "a", ",", "b", "a", "?", SILENCE)
    assert symbols.words == ((1, 2), (3, 5))


# The front end.

TEXTS = {
    "en": ["Kids are talking by the door.", "Well, hello there! Is it 5 o'clock?", "No — wait… please.", "A"],
    "pl": ["Lubię czytać przed snem.", "Gżegżółka, źdźbło i chrząszcz?", "„Weekend” w Chicago!"],
}


@pytest.mark.parametrize("language", ["en", "pl"])
def test_symbols_are_silence_words_and_the_pauses_as_written(frontend: TextFrontend, language: str) -> None:
    for text in TEXTS[language]:
        symbols = frontend.symbols(text, language)
        assert min(symbols.ids) >= 1
        assert [NAMES[i] for i in symbols.ids] == list(symbols.names)
        assert symbols.names[0] == symbols.names[-1] == SILENCE
        assert [n for n in symbols.names if n in PAUSES] == [c for c in normalise(text, language) if c in PAUSES]
        inside = [i for first, last in symbols.words for i in range(first, last)]
        phones = [i for i, name in enumerate(symbols.names) if name not in (*PAUSES, SILENCE)]
        assert inside == phones
        assert all(first < last for first, last in symbols.words)


def test_longer_words_carry_stress_on_a_vowel(frontend: TextFrontend) -> None:
    for text, language, stressed in (("banana", "en", "ˈæ"), ("czytanie", "pl", "ˈa"), ("understand", "en", "ˈæ")):
        assert stressed in frontend.symbols(text, language).names


def test_languages_read_the_same_letters_each_in_its_own_way(frontend: TextFrontend) -> None:
    assert frontend.symbols("cena", "pl").names == (SILENCE, "ts", "ˈɛ", "n", "a", SILENCE)
    assert frontend.symbols("cena", "en").names != frontend.symbols("cena", "pl").names
    assert {"ʒ", "tʃ", "ɕ", "ɲ", "ˈɔ̃"} <= set(frontend.symbols("żaba, czas, ślimak, koń, wąż", "pl").names)


@pytest.mark.parametrize("language", ["en", "pl"])
def test_many_at_once_are_the_same_as_one_by_one(frontend: TextFrontend, language: str) -> None:
    texts = [*TEXTS[language], *reversed(TEXTS[language])]
    assert frontend.symbols_many(texts, language) == [frontend.symbols(text, language) for text in texts]
    assert frontend.symbols_many([], language) == []


@pytest.mark.parametrize("text", ["", "  ", "?!…", "🙂", "--"])
def test_a_text_without_words_is_unspeakable(frontend: TextFrontend, text: str) -> None:
    with pytest.raises(UnspeakableText, match="words to speak"):
        frontend.symbols_many(["hello", text])


# The lexicon.


def test_the_lexicon_wins_whatever_the_case(espeak: Espeak, frontend: TextFrontend) -> None:
    frontend_with = TextFrontend(espeak, Lexicon({"Rilla": "/ˈɹiːlə/", "xyzzy": "ex why"}))
    first, last = frontend_with.symbols("Hello, RILLA!").words[-1]
    assert frontend_with.symbols("Hello, RILLA!").names[first:last] == ("ɹ", "ˈiː", "l", "ə")
    assert frontend_with.symbols("say Xyzzy now") == frontend.symbols("say ex why now")
    assert frontend_with.symbols("no such word") == frontend.symbols("no such word")


def test_a_lexicon_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("# the cast\n\nRilla\t/ˈɹiːlə/\nGeralt\tGérald\n", encoding="utf-8")
    lexicon = Lexicon.read(path)
    assert lexicon.units("rilla") == ("ɹ", "ˈiː", "l", "ə")
    assert (lexicon.say("GERALT"), lexicon.units("Geralt"), lexicon.say("Rilla")) == ("Gérald", None, None)
    with pytest.raises(FileNotFoundError):
        Lexicon.read(tmp_path / "none.tsv")


@pytest.mark.parametrize("line", ["Rilla /ˈɹiːlə/", "Rilla\t", "Rilla\t/ǃ/", "two words\tone", "fine\tno"])
def test_a_bad_line_of_a_lexicon_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "names.tsv"
    path.write_text(f"fine\tyes\n{line}\n", encoding="utf-8")
    with pytest.raises(LexiconError, match=r"names\.tsv:2: "):
        Lexicon.read(path)


# The border.


def maps(pid: int | str) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_espeak_is_loaded_in_the_worker_and_never_here(espeak: Espeak) -> None:
    espeak.phonemize(["hello"])
    assert espeak.pid is not None
    assert "libespeak-ng" in maps(espeak.pid)
    assert "libespeak-ng" not in maps("self")
    assert "espeakng_loader" not in sys.modules


def test_a_killed_worker_is_replaced_and_answers_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with Espeak() as espeak:
        assert espeak.pid is None
        before = espeak.phonemize(["good morning"])
        killed = espeak.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        assert espeak.phonemize(["good morning"]) == before
        assert espeak.pid not in (None, killed)
        assert "died" in caplog.text


def test_a_worker_that_cannot_live_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with Espeak() as espeak, pytest.raises(EspeakError, match="died twice"):
        espeak.phonemize(["hello"])


def test_close_ends_the_worker_and_a_later_request_starts_another() -> None:
    espeak = Espeak()
    espeak.phonemize(["one"])
    pid = espeak.pid
    assert pid is not None
    espeak.close()
    assert espeak.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert espeak.phonemize(["one"])
    espeak.close()


def test_what_native_code_prints_does_not_mix_with_the_answers() -> None:
    noisy = (
        "import os, authentic_dubber.espeak_worker as w\n"
        "quiet = w.Engine.phonemize\n"
        "w.Engine.phonemize = lambda *a, **k: (os.write(1, b'native noise'), quiet(*a, **k))[1]\n"
        "w.main()\n"
    )
    request = json.dumps({"do": "phonemize", "voice": "pl", "texts": ["tak"]}) + "\n"
    done = subprocess.run(
        [sys.executable, "-c", noisy], input=request, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert json.loads(done.stdout) == {"ipa": ["tˈak"]}
    assert "native noise" in done.stderr


def test_every_clause_is_phonemized(espeak: Espeak) -> None:
    whole = espeak.phonemize(["Hello. Goodbye! Again? Yes, yes; no: never..."])[0]
    assert len(whole.split()) == 7


def test_unknown_voices_are_refused_and_the_worker_lives_on(espeak: Espeak) -> None:
    espeak.phonemize(["hello"])
    pid = espeak.pid
    for voice in ("xx-none", "en-us+nobody"):
        with pytest.raises(EspeakError, match="voice"):
            espeak.phonemize(["hello"], voice)
    assert espeak.pid == pid


def test_speech_is_the_same_whatever_was_spoken_before_and_obeys_its_settings(espeak: Espeak) -> None:
    wave, rate = espeak.speak("good morning everyone", "en-us+f2")
    espeak.speak("something else, hissing", "pl+m3")
    time.sleep(1.1)  # left to itself, espeak-ng draws its breath from the clock's second
    again, _ = espeak.speak("good morning everyone", "en-us+f2")
    np.testing.assert_array_equal(again, wave)
    assert wave.dtype == np.float32
    assert 0.01 < np.abs(wave).max() <= 1
    assert 0.5 < len(wave) / rate < 5
    quick, _ = espeak.speak("good morning everyone", "en-us+f2", rate=300)
    assert len(quick) < 0.8 * len(wave)
    quiet, _ = espeak.speak("good morning everyone", "en-us+f2", volume=40)
    assert np.abs(quiet).max() < 0.6 * np.abs(wave).max()
    with pytest.raises(ValueError, match=r"rate: expected 80 to 450, got 9"):
        espeak.speak("hello", rate=9)
