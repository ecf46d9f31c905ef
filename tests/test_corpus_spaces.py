"""A prepared corpus knows whose vectors it holds, a user's films are one, and a model is made for what is there."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from authentic_dubber.extraction import PAPER_FRAMES, PAPER_HEIGHT, looked_at
from authentic_dubber.theatre.mouth import mouth_opening
from authentic_dubber.training.cache import Cache, ReadBy, save_index
from authentic_dubber.training.corpora import FILM_COLUMNS, read_corpora
from authentic_dubber.training.heldout import is_held_out
from authentic_dubber.training.pack import pack
from authentic_dubber.training.pictures import Programme, stage
from authentic_dubber.training.prepare import vocabulary_of
from authentic_dubber.training.sound import prepare_waves
from authentic_dubber.training.start import STARTER_SHARES, AcousticRun, run_config, shares_of
from authentic_dubber.training.unpack import unpack
from library_builder.build import BuildConfig
from library_builder.lips import LIGHT_LIPS, LightLips, crop_features
from library_builder.mux import write_wave
from library_builder.readers import build_readers, readers_of
from library_builder.types import MODALITIES

WIDTHS = {"scene": 1024, "face": 1024, "text": 2048, "audio": 768}
PUBLISHED = ReadBy({m: f"paper-{m}/0badcafe/{WIDTHS[m]}" for m in MODALITIES}, "resnet-tcn-lips-boxed-0badcafe/512", {})


def read_by(folder: Path, whose: ReadBy | None) -> Cache:
    cache = Cache(folder)
    save_index(folder, cache.sample_rate, cache.entries, whose)
    return Cache(folder)


def test_a_model_has_the_widths_of_what_the_corpus_holds(tiny_cache: Path) -> None:
    config = run_config(AcousticRun(size="paper"), read_by(tiny_cache, PUBLISHED))
    assert {m: config.graph.in_widths[m] for m in MODALITIES} == WIDTHS and config.lip_width == 512
    assert dict(config.spaces) == dict(PUBLISHED.spaces) and config.lip_space == PUBLISHED.lip_space


def test_a_corpus_that_does_not_say_was_read_by_the_light_readers(tiny_cache: Path) -> None:
    words = vocabulary_of(read_by(tiny_cache, None))
    assert dict(words.spaces) == build_readers("light").spaces() and words.lip_space == LIGHT_LIPS


def test_a_pack_carries_whose_vectors_it_holds(tiny_cache: Path, tmp_path: Path) -> None:
    read_by(tiny_cache, PUBLISHED)
    pack(tiny_cache, tmp_path / "pack")
    assert unpack(tmp_path / "pack", tmp_path / "back").read_by == PUBLISHED


def test_shares_are_those_of_corpora_that_are_there(tiny_cache: Path) -> None:
    cache = Cache(tiny_cache)
    assert shares_of(cache, None) == {"toy": 24.0}
    assert shares_of(cache, {"toy": 2.0, "grid": 1.0}) == {"toy": 2.0, "grid": 1.0}
    with pytest.raises(ValueError, match=r"expected weights of corpora that are there \(toy\), got grid"):
        shares_of(cache, {"grid": 1.0})
    save_index(tiny_cache, cache.sample_rate, [replace(entry, corpus="grid") for entry in cache.entries])
    assert shares_of(Cache(tiny_cache), None) == STARTER_SHARES


def films(root: Path, **changed: str) -> Path:
    """Two lines of one film in a folder of data: a tone from 1.0 s to 1.6 s, a lower one until the end."""
    (root / "v2c").mkdir(parents=True)
    time = np.arange(2 * 16_000) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * np.where(time < 1.6, 400, 200) * time) * (time > 1.0)
    write_wave(root / "v2c" / "film.wav", wave.astype(np.float32), 16_000)
    row = dict(zip(FILM_COLUMNS, ("a", "train", "Ada", "en", 'So "you" say', "disgusted", "film.wav"), strict=False))
    row |= {"start": "0.5", "end": "1.6", "licence": "", **changed}
    other = {**row, "id": "b", "split": "val", "emotion": "other", "start": "1.6", "end": "2.0", "licence": "ours"}
    with (root / "v2c" / "metadata.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, FILM_COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        rows.writeheader()
        rows.writerows([row, other])
    return root


def test_a_users_films_are_a_corpus_of_stretches_in_portions(tmp_path: Path) -> None:
    lines = read_corpora(films(tmp_path), ("v2c",))
    assert [(line.emotion, line.text, is_held_out(line)) for line in lines] == [
        ("disgust", 'So "you" say', False),
        (None, 'So "you" say', True),
    ]
    prepare_waves(lines, tmp_path / "cache", 16_000, PUBLISHED)
    cache = Cache(tmp_path / "cache")
    assert cache.training_rows() == [0] and cache.held_out_rows() == [1] and cache.read_by == PUBLISHED
    assert [entry.licence for entry in cache.entries] == ["films of your own", "ours"]
    # What is silent before the tone is cut, and the time of what is kept is the film's.
    assert cache.entries[0].start == pytest.approx(1.0, abs=0.1) and cache.entries[1].start == pytest.approx(1.6)
    for i, hertz in enumerate((400, 200)):
        spectrum = np.abs(np.fft.rfft(cache.wave(i)))
        assert spectrum.argmax() * 16_000 / len(cache.wave(i)) == pytest.approx(hertz, rel=0.02)


def test_a_film_that_is_gone_and_a_row_of_another_form_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"away.mp4: expected the film of line a, there is none"):
        read_corpora(films(tmp_path / "gone", media="away.mp4"), ("v2c",))
    with pytest.raises(ValueError, match=r"metadata.tsv: row 2: expected id, split, .* got could not convert .*'soon'"):
        read_corpora(films(tmp_path / "odd", start="soon"), ("v2c",))


def test_drawn_mouths_are_cut_as_large_as_a_reader_looks_at() -> None:
    rng = np.random.default_rng(3)
    opening = mouth_opening(rng.standard_normal(16_000).astype(np.float32), 16_000, 25.0)
    staged = stage(Programme().film(0), "happy", opening, 0.1, rng)
    lips = LightLips()
    assert np.array_equal(lips.features(staged.crops(lips.crop_pixels)), crop_features(staged.crops()))
    large = staged.crops(96)
    assert large.shape == (len(opening), 96, 96)
    # The same mouth in the same place, but for the grain, which is drawn anew at every size.
    small, shrunk = staged.crops().mean(axis=0), large.mean(axis=0).reshape(32, 3, 32, 3).mean(axis=(1, 3))
    here, beside = (np.corrcoef(small.ravel(), np.roll(shrunk, rows, 0).ravel())[0, 1] for rows in (0, 3))
    assert here > 0.85 and here > beside + 0.15
    assert staged.pictures(2, (64, 96))[0].image.shape == (64, 96, 3)


def test_lines_are_looked_at_as_the_clips_of_their_readers() -> None:
    readers = build_readers("light")
    assert looked_at(readers.spaces().values()) == BuildConfig()

    class Captioned:
        space = PUBLISHED.spaces["scene"]

    told = looked_at(replace(readers, scene=Captioned()).spaces().values())  # type: ignore[arg-type]
    assert (told.frames_per_clip, told.max_height) == (PAPER_FRAMES, PAPER_HEIGHT)


def test_spaces_that_need_models_are_refused_by_name() -> None:
    light = build_readers("light").spaces()
    for modality, space in PUBLISHED.spaces.items():
        with pytest.raises(ValueError, match=rf"models that read {modality} in space {space} \(--model-dir DIR\), got"):
            readers_of({**light, modality: space})
    with pytest.raises(ValueError, match=r"models that read lips in space resnet-tcn-lips-.* \(--model-dir DIR\), got"):
        readers_of(light, PUBLISHED.lip_space)
    with pytest.raises(ValueError, match="expected lips in a space that a reader of ours has, got toy/5"):
        readers_of(light, "toy/5")
    assert readers_of(light, "toy/5", light_else=True).lips.space == LIGHT_LIPS
