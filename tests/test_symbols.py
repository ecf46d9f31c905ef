"""The phone inventory: frozen, whole, and loud about what it lacks."""

from __future__ import annotations

import hashlib
import random

import pytest

from authentic_dubber.symbols import (
    NAMES,
    PAUSES,
    SILENCE,
    SYMBOL_COUNT,
    UnknownPhone,
    join,
    number,
    split_ipa,
    split_words,
)


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


def test_words_in_another_language_keep_their_phones_and_lose_the_mark() -> None:
    assert split_words("tˈo (en)wˈiːkɛnd(pl) tˈak") == (("t", "ˈo"), ("w", "ˈiː", "k", "ɛ", "n", "d"), ("t", "ˈa", "k"))
    assert split_words(" (en) ") == ()


def test_foreign_phones_come_as_the_nearest_that_are_here() -> None:
    for foreign in "gɻɬɵɘyøœʎcɟ":
        ids = number(split_ipa(f"ˈ{foreign}a"))
        assert len(ids) == 2
        assert all(0 < i < SYMBOL_COUNT for i in ids)
    assert split_ipa("ˈøa") == ["ˈɛ", "a"], "stress falls on the stand-in too"


def test_an_unknown_phone_is_a_user_error_that_names_it_and_its_word() -> None:
    with pytest.raises(ValueError, match=r"phone 'ǂ' in 'kǂa' is not in the inventory ipa-v1"):
        split_words("hˈaɪ kǂa")
