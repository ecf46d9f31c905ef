"""What a director is shown in training: films it may see, references of the same film, and answers it could know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.director import NEUTRAL
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.theatre.puppet import LABELS
from authentic_dubber.training import evidence as evidence_module
from authentic_dubber.training.cache import Cache, Entry, save_index, save_rows
from authentic_dubber.training.corpora import SAYINGS
from authentic_dubber.training.directing import _staged, judge, teach_director
from authentic_dubber.training.evidence import PLAIN, REWORDED, Evidence
from authentic_dubber.training.pictures import FILMED, OFF_SCREEN, Programme
from authentic_dubber.training.references import prepare_references
from graphs import DialogueGraph
from library_builder.types import QUERY_MODALITIES

from .conftest import SEED, SPACES

PROGRAMME = Programme(films=4, kept=1)
KEPT = [3]
MOST = 4
ACTED, FILMED_ROWS, SAID, OFF, HELD = range(144), range(144, 150), range(150, 156), range(156, 160), range(160, 164)
"""Rows: acted lines in films, lines filmed for real, telling words, lines nobody sees, held-out acted lines."""


def write_corpus(folder: Path) -> Cache:
    """Acted lines of six feelings by four voices in four films; every vector is unlike every other."""
    rng, entries, film = np.random.default_rng(SEED), [], []
    for i in range(HELD.stop):
        corpus = SAYINGS if i in SAID else "toy"
        emotion = None if i in OFF else LABELS[i % 6]
        text = f"words {i % 18}" if i in ACTED or i in HELD else f"other words {i}"
        voice = f"v{i % 4}"
        entries.append(Entry(f"u{i}", corpus, voice, "en", text, emotion, "CC0-1.0", "x.wav", False, 0.0, 0, 22050))
        film.append(i // 6 % 4 if i in ACTED else FILMED if i in FILMED_ROWS or i in HELD[2:] else OFF_SCREEN)
    save_index(folder, 22050, entries)
    save_rows(folder, "film", np.array(film, dtype=np.int8))
    for modality, space in SPACES.items():
        rows = rng.standard_normal((len(entries), int(space.split("/")[1])))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if modality in ("scene", "face"):
            rows[np.array(film) == OFF_SCREEN] = 0
        save_rows(folder, f"own_{modality}", rows.astype(np.float16))
    captions = rng.standard_normal((len(entries), int(SPACES["text"].split("/")[1])))
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    captions[np.array(film) == OFF_SCREEN] = 0
    save_rows(folder, "own_captions", captions.astype(np.float16))
    return Cache(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus with the hits that a real library finds."""
    made = tmp_path_factory.mktemp("evidence")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cache, "training_rows", training_rows)
        readers: Any = SimpleNamespace(**{m: SimpleNamespace(space=space) for m, space in SPACES.items()})
        prepare_references(write_corpus(made), readers, PROGRAMME, MOST)
    return made


def training_rows(cache: Cache) -> list[int]:
    return [i for i in range(len(cache.entries)) if i not in HELD]


@pytest.fixture
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(Cache, "training_rows", training_rows)
    return Cache(folder)


@pytest.fixture
def config(tiny_config: DubberConfig) -> DubberConfig:
    """As many references as were prepared."""
    return replace(tiny_config, train=replace(tiny_config.train, max_references=MOST))


@pytest.fixture
def evidence(cache: Cache, config: DubberConfig, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Without foreign films, whose vectors nobody could find again."""
    monkeypatch.setattr(evidence_module, "FOREIGN", 0.0)
    return Evidence(cache, config, KEPT)


class Finder:
    """Which row a vector of a graph came from; of words that were joined with captions, whose words they are.

    Of two random unit vectors at 0.7 and 0.3 the mixture's cosine to the first is .92 when they are orthogonal.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.rows = {
            m: {rows[i].astype(np.float32).tobytes(): i for i in range(len(rows)) if rows[i].any()}
            for m, rows in evidence.own.items()
        }
        self.text = evidence.own["text"].astype(np.float32)

    def __call__(self, modality: str, vector: torch.Tensor) -> int:
        key = vector.numpy().tobytes()
        if modality != "text" or key in self.rows[modality]:
            return self.rows[modality][key]
        cosines = self.text @ vector.numpy()
        assert cosines.max() > 0.7, "neither a row nor anybody's words"
        return int(cosines.argmax())


def draws(evidence: Evidence, rows: npt.NDArray[np.int64], times: int = 6) -> list[DialogueGraph]:
    k = np.full(len(rows), MOST)
    return [evidence.graph(rows, k, np.random.default_rng(seed)) for seed in range(times)]


def rows_of(*parts: range) -> npt.NDArray[np.int64]:
    return np.array([i for part in parts for i in part], dtype=np.int64)


# Hits


def test_a_line_finds_its_own_film_and_neither_itself_nor_its_words_nor_held_out_lines(cache: Cache) -> None:
    film = cache.rows("film")
    found = 0
    for modality in QUERY_MODALITIES:
        hits, scores, own = (np.asarray(cache.rows(f"{n}_{modality}")) for n in ("hits", "scores", "own"))
        for i, entry in enumerate(cache.entries):
            got = [int(row) for row in hits[i] if row >= 0]
            found += len(got)
            assert i not in got and not set(got) & set(HELD) and len(set(got)) == len(got)
            assert not any(
                (cache.entries[j].speaker, cache.entries[j].text) == (entry.speaker, entry.text) for j in got
            )
            films = {int(film[j]) for j in got}
            assert films <= ({int(film[i])} if film[i] != OFF_SCREEN else {0, 1, 2})
            expected = own[got].astype(np.float64) @ own[i].astype(np.float64)
            # Scores are stored in half precision.
            np.testing.assert_allclose(scores[i, : len(got)], expected, atol=2e-3)
            assert (np.diff(scores[i, : len(got)].astype(float)) <= 0).all()
            if modality == "text":
                assert len({cache.entries[j].text for j in got}) == len(got)
            assert own[i].any() or not got
    assert found > 1000


def test_prepared_hits_are_not_asked_for_again(cache: Cache) -> None:
    prepare_references(cache, None, PROGRAMME, MOST)  # type: ignore[arg-type]  # would fail if it read them


# What is shown


def test_kept_films_and_held_out_lines_are_never_shown_in_training(evidence: Evidence, cache: Cache) -> None:
    """Neither a look, nor a reference, nor how one sounds; whatever the line and however often it comes."""
    film, finder = np.asarray(cache.rows("film")), Finder(evidence)
    hidden = set(np.flatnonzero(np.isin(film, KEPT))) | set(HELD)
    seen = set()
    for graph in draws(evidence, rows_of(ACTED, FILMED_ROWS, SAID, OFF)):
        for i, m in enumerate(QUERY_MODALITIES):
            seen |= {finder(m, v) for v in graph.own[m][graph.own_mask[:, i]]}
            seen |= {finder(m, v) for v in graph.references[m][graph.reference_mask[:, i]]}
            seen |= {finder("audio", v) for v in graph.audio[m][graph.audio_mask[:, i]]}
    assert len(seen) > 100 and not seen & hidden


def test_a_line_of_a_kept_film_shows_no_picture_and_brings_nothing_to_mind(evidence: Evidence, cache: Cache) -> None:
    rows = np.flatnonzero(np.isin(cache.rows("film"), KEPT))[:5]
    graph = evidence.graph(rows, np.full(5, MOST), None)
    assert not graph.own_mask[:, :2].any() and graph.own_mask[:, 2].all() and not graph.reference_mask.any()
    shown = Evidence(cache, evidence.config).graph(rows, np.full(5, MOST), None)
    assert shown.own_mask.all() and shown.reference_mask.any()


def test_a_line_in_whose_feeling_no_film_is_shown_shows_nothing(staged: Evidence, cache: Cache) -> None:
    """Its words would tell on its picture, whose captions were read with them."""
    row = next(i for i in ACTED if cache.entries[i].emotion == "sad")
    staged.wardrobe = {label: rows for label, rows in staged.wardrobe.items() if label != staged.labels[row]}
    graph = staged.graph(np.array([row]), np.array([MOST]), np.random.default_rng(0))
    assert not graph.own_mask.any() and not graph.reference_mask.any()
    assert staged.answers(np.array([row]), graph).tolist() == [staged.neutral]


def test_k_is_a_lines_own(evidence: Evidence) -> None:
    rows, k = np.arange(4), np.array([0, 1, 2, MOST])
    graph = evidence.graph(rows, k, None)
    assert (graph.reference_mask.sum(2) <= torch.from_numpy(k)[:, None]).all() and graph.k == MOST
    assert not graph.reference_mask[0].any() and graph.reference_mask[3].sum() > graph.reference_mask[1].sum()
    assert evidence.graph(rows, np.zeros(4, dtype=np.int64), None).k == 0


def test_without_a_generator_everything_is_the_lines_own(evidence: Evidence, cache: Cache) -> None:
    rows, finder = rows_of(ACTED)[:18], Finder(evidence)
    graph = evidence.graph(rows, np.full(18, MOST), None)
    for b, row in enumerate(rows):
        for i, m in enumerate(QUERY_MODALITIES):
            assert finder(m, graph.own[m][b]) == row
            hits = [int(h) for h in np.asarray(cache.rows(f"hits_{m}"))[row] if h >= 0]
            assert [finder(m, v) for v in graph.references[m][b, graph.reference_mask[b, i]]] == hits
            assert [finder("audio", v) for v in graph.audio[m][b, graph.audio_mask[b, i]]] == hits


# Restaging


@pytest.fixture
def staged(cache: Cache, config: DubberConfig, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Nothing hidden at random and no film foreign, so that every line can be followed."""
    monkeypatch.setattr(evidence_module, "FOREIGN", 0.0)
    bare = replace(config, train=replace(config.train, own_drop=0.0))
    return Evidence(cache, bare, KEPT)


def test_other_words_are_joined_with_the_captions_of_the_picture_they_are_said_under(staged: Evidence) -> None:
    """Solved for: a reworded line's text vector is seven parts words to three parts captions, and nothing else."""
    finder, rows = Finder(staged), rows_of(ACTED)
    joined = 0
    for graph in draws(staged, rows):
        for b in range(len(rows)):
            words, look = finder("text", graph.own["text"][b]), finder("scene", graph.own["scene"][b])
            if words == look:
                continue
            parts = np.stack([staged.own["text"][words], staged.captions[look]], axis=1).astype(np.float64)
            shares, left, *_ = np.linalg.lstsq(parts, graph.own["text"][b].numpy().astype(np.float64), rcond=None)
            # Stored in half precision.
            assert left.sum() < 1e-4
            assert shares[1] / shares[0] == pytest.approx(3 / 7, abs=0.01)
            joined += 1
    assert joined > 50


def test_in_a_foreign_film_all_is_as_near_as_it_was_and_nothing_as_it_looked(
    staged: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores were taken before the turn; they are the cosines after it too. Stored in half precision."""
    monkeypatch.setattr(evidence_module, "FOREIGN", 1.0)
    rows, turned = rows_of(ACTED), 0
    for graph in draws(staged, rows):
        for m in ("scene", "face"):
            i = QUERY_MODALITIES.index(m)
            cosines = torch.einsum("bd,bkd->bk", graph.own[m], graph.references[m])
            there = graph.reference_mask[:, i]
            torch.testing.assert_close(cosines[there], graph.similarity[:, i][there], atol=3e-3, rtol=0)
            known = torch.from_numpy(staged.own[m].astype(np.float32))
            turned += int(((graph.own[m] @ known.T).max(1).values < 0.98).sum())
    # Half of the lines keep their film's code and are never turned.
    assert turned == pytest.approx(len(rows) * 6, rel=0.25)


def test_a_restaged_lines_answer_is_what_references_of_its_look_sound_like(staged: Evidence) -> None:
    """The heart of it: look j stands for the line's label, so references that look as j does sound of that label."""
    finder, rows = Finder(staged), rows_of(range(0, 60))
    told = renamed = 0
    for graph in draws(staged, rows):
        answers = staged.answers(rows, graph)
        for b in range(len(rows)):
            look, code = finder("scene", graph.own["scene"][b]), {}
            assert finder("face", graph.own["face"][b]) == look
            words = finder("text", graph.own["text"][b])
            assert words == look or words in OFF
            for i, m in enumerate(QUERY_MODALITIES):
                for r in graph.audio_mask[b, i].nonzero()[:, 0].tolist():
                    reference = finder(m, graph.references[m][b, r])
                    voice = finder("audio", graph.audio[m][b, r])
                    # One look, one meaning, and another look, another.
                    meant = code.setdefault(int(staged.labels[reference]), int(staged.labels[voice]))
                    assert meant == staged.labels[voice]
            assert len(set(code.values())) == len(code)
            if staged.labels[look] in code:
                told += 1
                assert code[int(staged.labels[look])] == int(answers[b])
            renamed += staged.labels[look] != staged.labels[rows[b]]
    assert told > 50, "hardly any line had a reference of its own look, so nothing was shown"
    # A shuffled code leaves one label in six where it was. 360 throws: five standard deviations.
    assert renamed / (6 * len(rows)) == pytest.approx((1 - PLAIN) * 5 / 6, abs=0.13)


def test_a_restaged_line_finds_what_its_look_and_its_words_find(staged: Evidence, cache: Cache) -> None:
    finder, rows = Finder(staged), rows_of(range(0, 60))
    for graph in draws(staged, rows, times=2):
        for b in range(len(rows)):
            for i, m in enumerate(QUERY_MODALITIES):
                asks = finder(m, graph.own[m][b])
                hits = [int(h) for h in np.asarray(cache.rows(f"hits_{m}"))[asks] if h not in (-1, rows[b])]
                assert [finder(m, v) for v in graph.references[m][b, graph.reference_mask[b, i]]] == hits


def test_no_line_ever_meets_itself(staged: Evidence) -> None:
    """In another's clothes it could be found by its own look's neighbours, or lend its own voice to a reference."""
    finder, rows = Finder(staged), rows_of(ACTED)
    for graph in draws(staged, rows, times=8):
        for i, m in enumerate(QUERY_MODALITIES):
            for b, r in graph.reference_mask[:, i].nonzero().tolist():
                assert finder(m, graph.references[m][b, r]) != rows[b]
            for b, r in graph.audio_mask[:, i].nonzero().tolist():
                assert finder("audio", graph.audio[m][b, r]) != rows[b]


def test_some_restaged_lines_say_a_plain_sentence(staged: Evidence) -> None:
    finder, rows = Finder(staged), rows_of(range(0, 60))
    plain = [finder("text", v) in OFF for graph in draws(staged, rows) for v in graph.own["text"]]
    # 360 throws: five standard deviations.
    assert np.mean(plain) == pytest.approx(REWORDED, abs=0.13)


def test_filmed_lines_and_telling_words_are_not_restaged(staged: Evidence) -> None:
    finder, rows = Finder(staged), rows_of(FILMED_ROWS, SAID)
    for graph in draws(staged, rows, times=3):
        for b, row in enumerate(rows):
            assert finder("text", graph.own["text"][b]) == row
            for i, m in enumerate(QUERY_MODALITIES):
                for r in graph.audio_mask[b, i].nonzero()[:, 0].tolist():
                    assert finder("audio", graph.audio[m][b, r]) == finder(m, graph.references[m][b, r])


def test_the_dice_decide_alone(evidence: Evidence) -> None:
    rows, k = rows_of(ACTED), np.full(len(ACTED), MOST)
    one, again, other = (evidence.graph(rows, k, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one.own["scene"], again.own["scene"]) and torch.equal(one.audio["face"], again.audio["face"])
    assert not torch.equal(one.own["scene"], other.own["scene"])


# Answers


def test_a_line_that_shows_nothing_is_neutral_unless_its_words_tell(evidence: Evidence) -> None:
    rows = rows_of(ACTED, SAID, OFF)
    for graph in draws(evidence, rows, times=4):
        for b, (row, answer) in enumerate(zip(rows, evidence.answers(rows, graph).tolist(), strict=True)):
            seen = bool(graph.own_mask[b, :2].any()) or (row in SAID and bool(graph.own_mask[b, 2]))
            assert answer == (evidence.labels[row] if seen else evidence.neutral)
    everything = evidence.graph(rows, np.full(len(rows), 1), None)
    answers = evidence.answers(rows, everything)
    acted = rows_of(ACTED)
    shown = ~np.isin(acted // 6 % 4, KEPT)
    assert (answers[: len(ACTED)].numpy()[shown] == evidence.labels[acted[shown]]).all()
    assert (answers[: len(ACTED)].numpy()[~shown] == evidence.neutral).all()


def test_reading_aloud_is_neutral(evidence: Evidence, config: DubberConfig) -> None:
    assert {config.emotions[int(label)] for label in evidence.labels[list(OFF)]} == {NEUTRAL}


# Teaching the director


def test_the_director_is_taught_every_feeling_alike_and_no_kept_film(evidence: Evidence, cache: Cache) -> None:
    rows, chance = _staged(cache, evidence, KEPT, ("toy", SAYINGS))
    assert chance.sum() == pytest.approx(1)
    labels = evidence.labels[rows]
    assert [chance[labels == label].sum() for label in np.unique(labels)] == pytest.approx([1 / 6] * 6)
    assert not set(rows) & (set(HELD) | set(OFF)) and not np.isin(np.asarray(cache.rows("film"))[rows], KEPT).any()
    only, _ = _staged(cache, evidence, KEPT, (SAYINGS,))
    assert set(only) == set(SAID)


def test_teaching_moves_graph_and_director_and_nothing_else(cache: Cache, config: DubberConfig) -> None:
    def taught(seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        torch.manual_seed(SEED)
        model = Synthesizer(config)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        teach_director(model, cache, kept_films=KEPT, steps=3, seed=seed, corpora=("toy", SAYINGS))
        assert not model.training
        return before, model.state_dict()

    before, after = taught(1)
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"graph", "director"}
    assert all(torch.equal(after[name], again) for name, again in taught(1)[1].items())
    assert not all(torch.equal(after[name], other) for name, other in taught(2)[1].items())


def test_lines_are_judged_per_k_and_shuffled_sounds_are_other_sounds(cache: Cache, config: DubberConfig) -> None:
    torch.manual_seed(SEED)
    model, rows = Synthesizer(config).eval(), rows_of(range(12))
    plain, shuffled = judge(model, cache, rows, [0, 3]), judge(model, cache, rows, [0, 3], shuffle=1)
    assert plain[0].shape == (12, len(config.emotions))
    assert torch.equal(plain[0], shuffled[0]) and not torch.equal(plain[3], shuffled[3])
