"""The text front end: from text to symbols, the lexicon, and the border to espeak-ng."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.espeak import Espeak, EspeakError
from authentic_dubber.symbols import NAMES, PAUSES, SILENCE, UnknownPhone
from authentic_dubber.text import Lexicon, LexiconError, TextFrontend, UnspeakableText, normalise

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def espeak() -> Iterator[Espeak]:
    with Espeak() as client:
        yield client


@pytest.fixture(scope="module")
def frontend(espeak: Espeak) -> TextFrontend:
    return TextFrontend(espeak)


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


def test_unknown_languages_are_refused_with_the_known_ones_named(frontend: TextFrontend) -> None:
    with pytest.raises(ValueError, match=r"en, pl.*'de'"):
        frontend.symbols("hallo", "de")


@pytest.mark.parametrize("language", ["en", "pl"])
def test_foreign_words_are_spoken_with_the_phones_that_are_here(frontend: TextFrontend, language: str) -> None:
    for text in ("Zażółć gęślą jaźń, Thatcher!", "Jürgen, château, Bjørk", "안녕", "नमस्ते"):
        assert len(frontend.symbols(text, language).words) >= 1
    for text in ("Hello, 你好!", "Москва", "Ελλάδα", "שלום"):
        with pytest.raises(UnspeakableText, match="in Latin letters or the lexicon"):
            frontend.symbols(text, language)


def test_a_phone_that_the_inventory_lacks_fails_its_text_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with Espeak() as espeak:
        monkeypatch.setattr(espeak, "phonemize", lambda texts, voice: ["kǂa" for _ in texts])
        with pytest.raises(UnknownPhone, match="ǂ"):
            TextFrontend(espeak).symbols("clicks")


def test_a_very_long_text_is_read_to_its_end(frontend: TextFrontend) -> None:
    whole, sentence = frontend.symbols("Good morning, my friend. " * 2000), frontend.symbols("Good morning, my friend.")
    assert len(whole.ids) == 2 + 2000 * (len(sentence.ids) - 2)
    assert len(frontend.symbols("7" * 3000).words) == 3000


def test_odd_characters_part_words_and_are_not_spoken(frontend: TextFrontend) -> None:
    assert frontend.symbols("good\0morning \ud800 🙂") == frontend.symbols("good morning")


@pytest.mark.parametrize("text", ["", "  ", "?!…", "🙂", "--", "\0", "🙂🙃 👍", "\ud800"])
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


def test_a_worker_killed_in_the_middle_of_a_request_is_replaced_and_nothing_is_lost() -> None:
    texts = [f"a longer sentence about the number {i}, and its neighbours" for i in range(600)]
    with Espeak() as espeak:
        calm = espeak.phonemize(texts)
        killed = espeak.pid
        assert killed is not None
        with ThreadPoolExecutor(1) as pool:
            os.kill(killed, signal.SIGSTOP)  # it has taken no answer back yet when it dies
            answer = pool.submit(espeak.phonemize, texts)
            assert not wait([answer], timeout=0.2).done
            os.kill(killed, signal.SIGKILL)
            assert answer.result(timeout=60) == calm
        assert espeak.pid not in (None, killed)


def test_an_interpreter_that_ends_takes_its_worker_along_in_silence() -> None:
    code = "from authentic_dubber.espeak import Espeak; e = Espeak(); e.phonemize(['hello']); print(e.pid)"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


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
    for voice in ("xx-none", "en-us+nobody", "", "en\0us"):
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
