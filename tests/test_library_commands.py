"""`dub library`: what its commands do to a library on disk, what they print, and how they end."""

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.commands.library_search import parse_weights
from authentic_dubber.exits import FAILED, PARTIAL, REFUSED
from library_builder.mux import write_video, write_wave
from library_builder.types import Clip, Emotion
from retrieval import commit
from retrieval.library import Library, Policy
from retrieval.lock import builder_lock
from retrieval.versions import current_version, version_names

LINES = {
    "dawn": (
        "I heard something in the dark, I am so scared.",
        "We won! What a wonderful day!",
        "The train leaves at nine.",
    ),
    "dusk": ("Please do not go in there, I am terrified.", "I love this, thank you, my friend!"),
}
COLOURS = {"dawn": (230, 200, 60), "dusk": (20, 20, 90)}


def dub(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["library", *map(str, words)])
    return done.exit_code, done.output


def facts(*words: object) -> dict:
    code, output = dub(*words, "--json")
    assert code == 0, output
    return json.loads(output)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of one colour each, whose lines are a second long, and a picture and a sound to search with."""
    folder = tmp_path_factory.mktemp("films")
    for film, lines in LINES.items():
        frames = [np.full((48, 64, 3), COLOURS[film], dtype=np.uint8) for _ in range(10 * len(lines))]
        write_video(folder / f"{film}.mp4", frames, 10)
        rows = [f'{i},{i}.95,Ada,"{line}"' for i, line in enumerate(lines)]
        (folder / f"{film}.csv").write_text("\n".join(["start,end,character,text", *rows]) + "\n")
    write_video(folder / "night.mp4", [np.full((48, 64, 3), (10, 10, 80), dtype=np.uint8)] * 5, 10)
    write_wave(folder / "still.wav", np.zeros(16_000, dtype=np.float32), 16_000)
    return folder


@pytest.fixture(scope="module")
def built(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the first film, to which the second was added without publishing it at first."""
    root = tmp_path_factory.mktemp("lib") / "library"
    assert dub("build", root, "--footage", films / "dawn.mp4", "--licence", "ours")[0] == 0
    first = current_version(root)
    added = facts("add", root, "--footage", films / "dusk.mp4", "--licence", "CC0", "--no-publish")
    assert added["added"] == 2 and current_version(root) == first
    assert facts("publish", root, added["version"]) == {"current": added["version"]}
    assert facts("add", root, "--footage", films / "dusk.mp4", "--licence", "CC0")["unchanged"] == 2
    return root


def test_adding_says_what_failed_and_keeps_to_the_footage_it_knows(built: Path, films: Path, tmp_path: Path) -> None:
    (films / "broken.mp4").write_bytes(b"no film")
    code, output = dub(
        "add", built, "--footage", films / "dusk.mp4", "--footage", films / "broken.mp4", "--licence", "CC0"
    )
    assert code == PARTIAL and "broken.mp4" in output
    (films / "broken.mp4").unlink()
    write_video(tmp_path / "far.mp4", [np.zeros((48, 64, 3), dtype=np.uint8)] * 20, 10)
    code, output = dub("add", built, "--footage", tmp_path / "far.mp4")
    assert code == REFUSED and f"expected footage below {films}" in output
    assert dub("add", tmp_path / "none", "--footage", films / "dusk.mp4")[0] == REFUSED
    assert not (tmp_path / "none").exists()


def test_words_for_a_feeling_find_clips_that_feel_so(built: Path) -> None:
    found = facts("search", built, "--text", "frightened, in the dark", "-k", 2)
    assert [hit["text"] for hit in found["text"]] == [LINES["dawn"][0], LINES["dusk"][0]]
    assert found["text"][0]["scores"]["text"] == pytest.approx(found["text"][0]["score"], abs=1e-6)
    only = facts("search", built, "--text", "frightened, in the dark", "--licence", "CC0")["text"]
    assert {hit["film"] for hit in only} == {"dusk"}
    code, output = dub("search", built, "--text", "so scared", "--film", "dusk", "-k", 1, "--explain", "--minimum", -1)
    assert (
        code == 0
        and "rank 1 by text alone; text +" in output
        and "scene: a dark" in output
        and "licence: CC0" in output
    )


def test_hits_are_dumped_with_their_scores(built: Path, tmp_path: Path) -> None:
    asking = next(Library.open(built).clips()).id
    code, output = dub("search", built, "--clip", asking, "--minimum", 0.9999)
    assert code == 0 and "score below 0.9999" in output
    for name in ("hits.json", "hits.csv"):
        assert dub("search", built, "--clip", asking, "--dump", tmp_path / name)[0] == 0
    hits = json.loads((tmp_path / "hits.json").read_text())["hits"]
    with (tmp_path / "hits.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == [hit["id"] for hit in hits] and len(hits) == 6
    assert float(table[0]["score_text"]) == pytest.approx(hits[0]["scores"]["text"])


def test_a_picture_asks_by_its_scene_and_weights_join_it_with_words(built: Path, films: Path) -> None:
    found = facts("search", built, "--picture", films / "night.mp4", "-k", 2)
    assert any("no face" in note for note in found["notes"]), "a face that nobody found does not ask, and that is said"
    assert {hit["film"] for hit in found["scene"]} == {"dusk"}
    night = ("--picture", films / "night.mp4", "--text", "What a wonderful day!", "-k", 1)
    by_words = facts("search", built, *night, "--weights", "text=1")
    assert {by_words[m][0]["text"] for m in ("scene", "text")} == {LINES["dawn"][1]}
    apart = facts("search", built, *night, "--weights", "scene=.5,text=1", "--distinct")
    assert apart["scene"][0]["id"] != apart["text"][0]["id"]
    assert "0.5 x scene, 1 x text" in apart["scene"][0]["why"]
    asking, far = (clip.id for n, clip in enumerate(Library.open(built).clips()) if n in (0, 4))
    pinned = facts("search", built, "--clip", asking, "--pin", far, "-k", 2)["text"]
    assert pinned[0]["id"] == far and pinned[0]["why"].startswith("pinned")


def test_a_clip_asks_with_all_it_has_and_does_not_find_itself(built: Path) -> None:
    ids = [clip.id for clip in Library.open(built).clips()]
    found = facts("search", built, "--clip", ids[0], "--without", ids[1], "-k", 9)
    assert set(found) == {"scene", "text", "notes"}
    assert not {hit["id"] for hit in found["scene"]} & set(ids[:2]) and len(found["scene"]) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "expected --clip, --text, --picture or --sound"),
        (("--clip", "x", "--text", "y"), "a clip asks with all of them"),
        (("--clip", "nobody"), "no clip 'nobody'"),
        (("--text", " "), "expected words"),
        (("--text", "x", "--weights", "text"), "such as scene=1,face=.5, got 'text'"),
        (("--text", "x", "--weights", "smell=1"), "got 'smell'"),
        (("--text", "x", "--dump", "hits.txt"), ".json or .csv"),
        (("--picture", "gone.png"), "gone.png"),
        (("--sound", "{}/still.wav"), "no sound"),
    ],
)
def test_searches_that_cannot_be_made_are_refused_in_a_line(
    built: Path, films: Path, options: tuple[str, ...], expected: str
) -> None:
    code, output = dub("search", built, *(option.format(films) for option in options))
    assert code == REFUSED and expected in output and len(output.strip().splitlines()) == 1


def test_weights_are_read() -> None:
    assert parse_weights("scene=1, face=.5") == {"scene": 1.0, "face": 0.5}


def test_versions_come_and_go_by_command(films: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    for film in ("dawn", "dusk"):
        assert (
            dub("build" if film == "dawn" else "add", root, "--footage", films / f"{film}.mp4", "--film", film)[0] == 0
        )
    first, second = version_names(root)
    removed = facts("remove", root, "--film", "dawn")
    assert removed["removed"] == 3 and len(Library.open(root)) == 2
    code, output = dub("remove", root, "--film", "down")
    assert code == REFUSED and "none that meet this" in output
    assert facts("keep", root, first) == {"kept": [first]}
    listed = json.loads(dub("list", root, "--json")[1])
    assert [one["version"] for one in listed] == [first, second, removed["version"]]
    assert [one["kept"] for one in listed] == [True, False, False]
    assert facts("rollback", root) == {"current": second, "missed": None}
    assert facts("gc", root, "--keep", 1, "--dry-run")["versions"] == []
    assert facts("publish", root, first) and facts("gc", root, "--keep", 1)["versions"] == [second]
    assert facts("publish", root, removed["version"])
    assert facts("rollback", root) == {"current": first, "missed": second}, "what it was made from is gone, and told"
    code, output = dub("list", root)
    assert code == 0 and f"{first}" in output and "current, kept" in output
    with builder_lock(root, "testing the lock"), ThreadPoolExecutor() as another:
        code, output = another.submit(dub, "gc", root).result()
        assert code == REFUSED and re.search(r"testing the lock, for \d+ seconds?: wait", output)
        assert len(output.splitlines()) == 1
        status = facts("status", root)
        assert status["current"] == first and status["owner"]["purpose"] == "testing the lock"
    assert facts("keep", root, first, "--no-more") == {"kept": []}
    assert facts("verify", root) == {"problems": []} and facts("migrate", root, root) == {str(root): None}
    path = next((root / first).glob("*_names.json"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"Ada", b"Eda"))
    code, output = dub("verify", root)
    assert code == FAILED and path.name in output


def test_a_clip_without_words_says_so_and_without_a_vector_of_words_none_asks_for_it(tmp_path: Path) -> None:
    def feeling(name: str, x: float) -> Emotion:
        return Emotion(f"{name}/2", np.array([x, np.sqrt(1 - x * x)], dtype=np.float32))

    said = {"audio": feeling("sound", 0.6), "text": feeling("words", 0.6)}
    clips = [
        Clip("said", "a.mp4", 0.0, 1.0, "Ada", "Hello.", "film", emotions=said),
        Clip("described", "a.mp4", 1.0, 2.0, "", "", "film", emotions={**said, "audio": feeling("sound", 0.9)}),
        Clip("silent", "a.mp4", 2.0, 3.0, "Ada", " ", "film", emotions={"audio": feeling("sound", 0.5)}),
    ]
    commit(tmp_path, clips)
    asked = {"text": feeling("words", 0.7)}
    for policy in (Policy(), Policy(pinned=("silent",)), Policy(weights={"text": 1.0, "audio": 1.0})):
        found = Library.open(tmp_path).top_k(asked, 3, policy=policy)  # type: ignore[arg-type]
        # A caption may give a clip without words a vector of words; one without that vector cannot be near any.
        assert [hit.clip.id for hit in found.hits["text"]] in (["said", "described"], ["described", "said"]), policy
    _, output = dub("search", tmp_path, "--clip", "said")
    assert "  described  (no words)\n" in output and "  silent  Ada: (no words)\n" in output
