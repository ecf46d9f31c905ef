"""Two versions of a library side by side, by figures that a slow search by hand makes too."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.comparison_table import text, write_page
from authentic_dubber.exits import REFUSED
from authentic_dubber.sizes import parse_size
from library_builder.types import Clip, Emotion, Modality
from retrieval import commit
from retrieval.comparison import agreement, compare
from retrieval.editing import remove, replace_modality
from retrieval.library import Library

FEELINGS = ("angry", "sad", "glad", "")


def emotion(space: str, random: np.random.Generator, width: int = 4) -> Emotion:
    vector = random.normal(size=width).astype(np.float32)
    return Emotion(f"{space}/{width}", vector / np.linalg.norm(vector))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Forty clips, ten of them takes of another's line, some silent, some without a label; and other audio vectors."""
    root, drawn = tmp_path_factory.mktemp("compared") / "lib", np.random.default_rng(5)
    clips = []
    for i in range(40):
        emotions: dict[Modality, Emotion] = {"text": emotion("words", drawn)}
        if i % 7:
            emotions["audio"] = emotion("loud", drawn)
        label = FEELINGS[i % 4] or None
        clips.append(
            Clip(f"c{i:02d}", "a.mp4", i, i + 1, "AB"[i % 2], f"Line {i % 30}", emotions=emotions, label=label)
        )
    first = commit(root, clips)
    fresh = [(clip.id, emotion("louder", drawn) if "audio" in clip.emotions else None) for clip in clips]
    return root, first, replace_modality(root, "audio", fresh).version


def by_hand(library: Library, modality: Modality) -> dict[str, list[str]]:
    """The three nearest of every clip that has the modality, in plain Python."""
    clips = [clip for clip in library.clips() if modality in clip.emotions]
    found = {}
    for asking in clips:
        scored = []
        for clip in clips:
            same_line = clip.speaker == asking.speaker and clip.text.lower() == asking.text.lower()
            if clip.id == asking.id or same_line:
                continue
            pairs = zip(asking.emotions[modality].vector.tolist(), clip.emotions[modality].vector.tolist(), strict=True)
            scored.append((-sum(a * b for a, b in pairs), clip.id, clip.text))
        nearest: list[str] = []
        said: set[str] = set()
        for _, id, words in sorted(scored):
            if len(nearest) < 3 and not (modality == "text" and words in said):
                nearest.append(id)
                said.add(words)
        found[asking.id] = nearest
    return found


def test_figures_are_those_of_a_search_by_hand(library: tuple[Path, str, str]) -> None:
    root, *versions = library
    both = [Library.open(root, version) for version in versions]
    found = compare(both[0], both[1], shuffles=200)
    audio = found.modalities["audio"]
    hits = [by_hand(one, "audio") for one in both]
    assert audio.queries == len(hits[0]) == 34 and audio.unchanged == 0
    shared = [len(set(hits[0][id]) & set(hits[1][id])) / 3 for id in hits[0]]
    assert audio.overlap == pytest.approx(sum(shared) / len(shared))
    labels = {clip.id: clip.label for clip in both[0].clips()}
    assert audio.sides is not None
    for side, one in zip(audio.sides, hits, strict=True):
        assert side.distinct == len({id for ids in one.values() for id in ids}) and side.clips == 34
        pairs = [(labels[a], labels[b]) for a, ids in one.items() for b in ids if labels[a] and labels[b]]
        assert side.agreement.pairs == len(pairs)
        assert side.agreement.share == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert [side.space for side in audio.sides] == ["loud/4", "louder/4"]


def test_a_modality_that_was_left_alone_is_the_same_throughout(library: tuple[Path, str, str]) -> None:
    root, *versions = library
    both = [Library.open(root, version) for version in versions]
    words = compare(both[0], both[1], shuffles=10).modalities["text"]
    assert (words.queries, words.unchanged, words.overlap) == (40, 40, 1.0)
    assert words.sides is not None and words.sides[0].agreement == words.sides[1].agreement
    assert words.sides[0].distinct == len({id for ids in by_hand(both[0], "text").values() for id in ids})


def test_shuffled_labels_agree_as_chance_has_it() -> None:
    draw = random.Random(1)
    labels = ["a"] * 50 + ["b"] * 50 + [None] * 5
    pairs = [(i, draw.randrange(50) + 50 * (i >= 50)) for i in range(100)] + [(100, 1), (2, 101)]
    found = agreement(labels, pairs, shuffles=400, seed=2)
    assert found.share == 1.0 and found.pairs == 100
    assert found.shuffled is not None and found.low is not None and found.high is not None
    assert found.shuffled == pytest.approx(49 / 99, abs=0.02) and found.low < found.shuffled < found.high < 0.7
    assert agreement(labels, pairs, shuffles=400, seed=2) == found


def test_labels_that_say_nothing_are_not_measured() -> None:
    assert agreement([None, ""], [(0, 1)]).reason == "no clip that asked or was found carries a label"
    assert agreement(["sad", None], [(0, 1)]).reason == "no hit and its query have both"
    alone = agreement(["sad", "sad"], [(0, 1)])
    assert alone.share is None and alone.reason == "all 2 clips carry the label 'sad'"


def test_clips_of_one_version_only_are_counted_and_do_not_ask(library: tuple[Path, str, str]) -> None:
    root, first, second = library
    less = remove(root, ids=["c01", "c02"], publish=False, onto=second).version
    found = compare(Library.open(root, first), Library.open(root, less), shuffles=10, sample=20, seed=3)
    assert (found.clips, found.only, found.sampled) == ((40, 38), (2, 0), 38)
    assert found.modalities["text"].queries == 20
    assert found.modalities["scene"].reason == f"no clip of {first} has a scene vector"
    with pytest.raises(ValueError, match="of at least one"):
        compare(Library.open(root, first), Library.open(root, less), sample=0)


def test_the_table_is_printed_written_and_handed_to_programs(library: tuple[Path, str, str], tmp_path: Path) -> None:
    root, first, second = library
    done = CliRunner().invoke(app, ["library", "compare", str(root), first, second, "--out", str(tmp_path / "c.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "c.html").read_text()
    for part in ("top-3 overlap", "distinct hits", "label agreement@3", "louder/4", first, second, "n = 34 queries"):
        assert part in done.output and part in page
    assert "<script" not in page and "http" not in page
    told = json.loads(CliRunner().invoke(app, ["library", "compare", str(root), first, second, "--json"]).output)
    assert told["modalities"]["audio"]["sides"][1]["space"] == "louder/4"
    found = compare(Library.open(root, first), Library.open(root, second), shuffles=10)
    assert "40 in both, 0 only in the first" in text(found)
    with pytest.raises(ValueError, match=r"\.html"):
        write_page(tmp_path / "c.txt", found)


@pytest.mark.parametrize(
    ("told", "size"),
    [("512MiB", 512 << 20), ("8GiB", 8 << 30), ("2GB", 2 * 10**9), ("1.5 kB", 1500), ("77", 77), ("3gib", 3 << 30)],
)
def test_sizes_are_read_as_people_write_them(told: str, size: int) -> None:
    assert parse_size(told) == size


@pytest.mark.parametrize("told", ["", "8GX", "GiB", "-1GB", "0", "0.1B", "8 Gi B", "nan"])
def test_what_is_no_size_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        parse_size(told)


def test_a_build_is_held_to_the_budget_asked_for(tmp_path: Path) -> None:
    from . import toy_readers

    films = toy_readers.draw_films(tmp_path / "films", 1)
    asked = ["library", "build", str(tmp_path / "lib"), "--footage", str(films), "--recall", "0.9"]
    assert CliRunner().invoke(app, [*asked, "--memory", "lots"]).exit_code == REFUSED
    done = CliRunner().invoke(app, [*asked, "--memory", "1MiB"])
    assert done.exit_code == 0, done.output
    manifest = json.loads(next((tmp_path / "lib").glob("v*/manifest.json")).read_text())
    assert manifest["budget"] == {"recall": 0.9, "memory_bytes": 1 << 20}
    told = CliRunner().invoke(app, ["library", "info", str(tmp_path / "lib")]).output
    assert "index: Flat, recall@3 1, exact, " in told and "bytes a vector" in told
