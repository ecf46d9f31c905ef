"""Films, each with its own code; who is cast in which; and lines that say what they feel."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.config import DubberConfig
from authentic_dubber.theatre import sayings as texts
from authentic_dubber.theatre.films import CAST, Film, make_film
from authentic_dubber.theatre.puppet import LABELS, Controls, feeling_controls
from authentic_dubber.training import sayings as spoken
from authentic_dubber.training.cache import Cache, save_index
from authentic_dubber.training.corpora import EMOTIONS, SAYINGS, read_corpora
from authentic_dubber.training.pictures import FILMED, OFF_SCREEN, Programme, Theatre, stage

SCENE = ("tint_x", "tint_y", "light")


def exact(film: Film, label: str) -> Controls:
    return film.controls(label, 0.0, np.random.default_rng(0))  # type: ignore[arg-type]


def face(controls: Controls) -> dict[str, float]:
    return {name: getattr(controls, name) for name in Controls.__slots__ if name not in SCENE}


# Films


def test_a_film_is_the_same_every_time_and_two_films_differ() -> None:
    programme = Programme()
    films = [programme.film(number) for number in range(programme.films)]
    assert films == [programme.film(number) for number in range(programme.films)]
    for a, b in combinations(films, 2):
        assert a.name != b.name and a.style != b.style and a.puppets != b.puppets
        # Two films may share a face for a feeling, but not their whole code of lights and palette.
        assert (dict(a.lights), a.turn) != (dict(b.lights), b.turn)
    drawn = [film for film in films if dict(film.faces) != {label: label for label in LABELS}]
    assert all(dict(a.faces) != dict(b.faces) for a, b in combinations(drawn, 2))


def test_a_films_code_shows_each_feeling_by_a_look_of_its_own() -> None:
    """A code that gave two feelings one face could not be read even with references."""
    for number in range(20):
        film = make_film(number)
        assert sorted(film.faces) == sorted(film.faces.values()) == sorted(LABELS)
        assert sorted(film.lights) == sorted(film.lights.values()) == sorted(LABELS)
        assert len({p.name for p in film.puppets}) == CAST


def test_natural_films_keep_the_faces_people_make() -> None:
    programme = Programme()
    natural = [programme.film(number) for number in range(0, programme.films, programme.natural)]
    assert natural
    for film in natural:
        for label in LABELS:
            assert face(exact(film, label)) == face(feeling_controls(label))
    coded = programme.film(1)
    assert any(face(exact(coded, label)) != face(feeling_controls(label)) for label in LABELS)


def test_a_film_draws_the_face_and_the_light_of_its_code() -> None:
    film = make_film(4)
    for label in LABELS:
        drawn, light = exact(film, label), feeling_controls(film.lights[label])
        assert face(drawn) == face(feeling_controls(film.faces[label]))
        assert drawn.light == light.light
        # The palette is turned: as strong as the light it comes from, by the film's angle around the circle.
        was, now = complex(light.tint_x, light.tint_y), complex(drawn.tint_x, drawn.tint_y)
        assert now == pytest.approx(was * np.exp(2j * np.pi * film.turn), abs=1e-12)


def test_noise_blurs_a_films_looks_and_a_seed_repeats_them() -> None:
    film = make_film(2)
    one, again, other = (film.controls("sad", 0.5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == again != other and one != exact(film, "sad")


def test_the_last_films_are_kept() -> None:
    programme = Programme(films=5, kept=2)
    assert [programme.is_kept(number) for number in range(5)] == [False, False, False, True, True]


# Casting


@pytest.fixture
def cache(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The last four rows are held out, one row is filmed."""
    entries = list(Cache(tiny_cache).entries)
    entries[5] = type(entries[5])(
        **{n: getattr(entries[5], n) for n in type(entries[5]).__slots__} | {"has_picture": True}
    )
    save_index(tiny_cache, 22050, entries)
    monkeypatch.setattr(Cache, "training_rows", lambda self: list(range(20)))
    return Cache(tiny_cache)


def test_only_training_lines_the_theatre_can_act_are_cast(cache: Cache) -> None:
    theatre = Theatre(cache, Programme(films=4, kept=1), seed=3)
    for i, (entry, number) in enumerate(zip(cache.entries, theatre.numbers, strict=True)):
        if entry.has_picture:
            assert number == FILMED
        elif i >= 20 or entry.emotion in set(EMOTIONS) - set(LABELS):
            assert number == OFF_SCREEN
        else:
            assert 0 <= number < 4
    assert np.array_equal(theatre.numbers, Theatre(cache, Programme(films=4, kept=1), seed=3).numbers)
    assert not np.array_equal(theatre.numbers, Theatre(cache, Programme(films=4, kept=1), seed=4).numbers)


@pytest.mark.parametrize("most", [0, 3, 100])
def test_no_more_of_a_corpus_is_drawn_than_asked(cache: Cache, most: int) -> None:
    numbers = Theatre(cache, Programme(drawn=most, unlabelled=0), seed=0).numbers
    able = sum(not e.has_picture and (e.emotion is None or e.emotion in LABELS) for e in cache.entries[:20])
    assert (numbers >= 0).sum() == min(most, able)


def test_a_line_is_staged_the_same_every_time_in_its_film(cache: Cache) -> None:
    theatre = Theatre(cache, Programme(films=4, kept=1), seed=3)
    row = int(np.flatnonzero(theatre.numbers >= 0)[0])
    once, again = theatre.direct(row), Theatre(cache, Programme(films=4, kept=1), seed=3).direct(row)
    assert once.film.number == theatre.numbers[row] and once.puppet in once.film.puppets
    assert (once.puppet, once.controls, once.seed) == (again.puppet, again.controls, again.seed)
    for a, b in zip(once.pictures(2), again.pictures(2), strict=True):
        assert np.array_equal(a.image, b.image)
    off = int(np.flatnonzero(theatre.numbers == OFF_SCREEN)[0])
    crops = theatre.direct(off).crops()
    assert crops.ndim == 3 and crops.dtype == np.uint8 and len(crops) == len(theatre.direct(off).opening)


def test_the_same_line_looks_different_in_another_film() -> None:
    opening, rng = np.zeros(10), np.random.default_rng
    here, there = (stage(make_film(n), "angry", opening, 0.0, rng(5)) for n in (1, 2))
    assert here.controls != there.controls
    assert not np.array_equal(here.pictures(1)[0].image, there.pictures(1)[0].image)


# Lines whose words carry a feeling


def test_every_feeling_has_as_many_lines_and_no_line_is_said_in_two() -> None:
    assert set(texts.SAYINGS) == set(LABELS)
    assert len({len(lines) for lines in texts.SAYINGS.values()}) == 1
    counts = Counter(" ".join(line.casefold().split()) for lines in texts.SAYINGS.values() for line in lines)
    assert max(counts.values()) == 1


def test_sayings_are_written_as_a_corpus_and_a_second_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_config: DubberConfig
) -> None:
    monkeypatch.setattr(spoken, "SAYINGS", {"happy": ("Hooray!",), "sad": ("Alas, no.",)})
    folder = spoken.make_sayings(tmp_path, voices=1, seed=1)
    waves = {path: path.read_bytes() for path in (folder / "audio").iterdir()}
    read = list(read_corpora(tmp_path, (SAYINGS,)))
    assert [(u.text, u.emotion, u.speaker, u.corpus) for u in read] == [
        ("Hooray!", "happy", "v0", SAYINGS),
        ("Alas, no.", "sad", "v0", SAYINGS),
    ]
    assert all(u.media.is_file() and u.emotion in tiny_config.emotions for u in read)
    first = min(waves)
    first.unlink()
    spoken.make_sayings(tmp_path, voices=1, seed=1)
    assert {path: path.read_bytes() for path in (folder / "audio").iterdir()} == waves
