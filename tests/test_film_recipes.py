"""Corpora out of films: a miniature V2C that the theatre draws, and clips of its puppets laid out as GRID."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.film_line import FilmLine
from authentic_dubber.evaluation.film_sets import carve, same_speaker
from authentic_dubber.evaluation.sets import EvaluationSet
from authentic_dubber.theatre.demo import make_demo
from authentic_dubber.training.cache import Cache
from library_builder.cues import read_cues
from library_builder.edition import check_end, check_rate
from recipes import v2c
from retrieval import Library

ROOT = Path(__file__).parents[1]
FILMS = {"1-the-empty-shelf": "Shelf", "2-behind-the-mill": "Mill"}
NUMBERS = {name: i for i, name in enumerate(v2c.EMOTIONS)}


def clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"00:{minutes:02d}:{rest // 1000:02d},{rest % 1000:03d}"


def write_srt(path: Path, rows: list[tuple[float, float, str]]) -> None:
    blocks = [f"{n}\n{clock(a)} --> {clock(b)}\n{text}\n" for n, (a, b, text) in enumerate(rows, start=1)]
    path.write_text("\n".join(blocks), encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`films/` of two drawn films and `lists/` of three, in V2C's layout; the third film is nobody's."""
    root = tmp_path_factory.mktemp("v2c")
    (root / "films").mkdir()
    (root / "lists" / "SRT").mkdir(parents=True)
    with Espeak() as espeak:
        demo = make_demo(root / "drawn", seed=3, espeak=espeak, size=(96, 160), fps=12.5, lines=9)
    speakers: dict[str, dict[str, list[str]]] = {"Lost": {"Nobody": ["0001"]}}
    emotions: dict[str, int] = {}
    for media in demo.footage:
        film = FILMS.get(media.stem)
        if film is None:
            continue
        media.rename(root / "films" / f"{film}.mp4")
        cues = read_cues(media.with_suffix(".csv")).cues
        # A sign that nobody speaks, and one without words: both count, as they do in V2C's numbers.
        rows = [(0.0, 0.1, "A SIGN"), *((cue.start, cue.end, cue.text) for cue in cues)]
        rows.insert(3, (rows[2][1], rows[2][1] + 0.01, "<i></i>"))
        write_srt(root / "lists" / "SRT" / f"{film}.srt", rows)
        for cue in cues:
            number = next(n for n, row in enumerate(rows) if row[2] == cue.text)
            # One speaker says all lines but two: the theatre's four say two or three each, too few to carve from.
            who = "Ada" if len(speakers.get(film, {}).get("Ada", [])) < len(cues) - 2 else "Ben"
            speakers.setdefault(film, {}).setdefault(who, []).append(f"{number:04d}")
            emotions[f"{film}@{who}_00_{number:04d}_00"] = NUMBERS[cue.emotion or "neutral"]
    (root / "lists" / "movie_speaker_id.json").write_text(json.dumps(speakers))
    (root / "lists" / "emotions.json").write_text(json.dumps(emotions))
    (root / "unseen").mkdir()
    for n, prompt in enumerate(demo.prompts.values()):
        (root / "unseen" / f"s{n}.wav").write_bytes(prompt.read_bytes())
    return root


def run(recipe: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes" / recipe), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.slow
def test_a_miniature_v2c_becomes_cues_a_library_and_sets_of_three_settings(tree: Path, tmp_path: Path) -> None:
    arguments = ["--unseen", tree / "unseen", "--val-share", "0.2", "--licence", "ours"]
    arguments += ["--prepare", "--aligner-steps", "3"]
    done = run("v2c.py", tree / "films", tree / "lists", tmp_path / "out", *arguments)
    assert done.returncode == 3, done.stderr
    assert "Lost: expected Lost.mp4" in done.stdout and "; skipped" in done.stdout
    portions = {}
    for name in ("train", "val", "test"):
        rows = [row for path in (tmp_path / "out" / "cues" / name).glob("*.csv") for row in csv.DictReader(path.open())]
        portions[name] = {row["id"]: row for row in rows}
    assert all(portions.values()) and sum(map(len, portions.values())) == 18
    cache = Cache(tmp_path / "out" / "cache")
    rows = {"train": cache.training_rows(), "val": cache.held_out_rows()}
    for name, own in rows.items():
        assert {cache.entries[i].id for i in own} == {clip.replace("@", "-") for clip in portions[name]}
        assert {cache.entries[i].text for i in own} == {row["text"] for row in portions[name].values()}
    assert {entry.licence for entry in cache.entries} == {"ours"} and cache.has("scores_text")
    for i, entry in enumerate(cache.entries):
        cue = {**portions["train"], **portions["val"]}[entry.id.replace("-", "@", 1)]
        assert float(cue["start"]) <= entry.start and len(cache.wave(i)) / cache.sample_rate <= float(cue["end"])
        assert cache.ragged("durations")[i].sum() == len(cache.ragged("mel")[i])
    library = Library.open(tmp_path / "out" / "library")
    assert Counter(clip.text for clip in library.clips()) == Counter(row["text"] for row in portions["train"].values())
    assert {clip.licence for clip in library.clips()} == {"ours"}
    for name, portion in (("val-2.0", "val"), ("test-1.0", "test"), ("test-2.0", "test"), ("test-3.0", "test")):
        made = EvaluationSet.open(tmp_path / "out" / "sets" / name)
        assert {case.id for case in made.cases} == {clip.replace("@", "-") for clip in portions[portion]}
        trained = {f"waves/{clip.replace('@', '-')}.wav" for clip in portions["train"]}
        match made.content.setting:
            case "1.0":
                assert all(case.prompt == case.reference for case in made.cases)
            case "2.0":
                assert {case.prompt for case in made.cases} <= trained
            case "3.0":
                assert {case.voice for case in made.cases} <= {"unseen/s0", "unseen/s1"}
                assert all(case.reference is None for case in made.cases)
        assert all(made.feelings(i).keys() >= {"scene", "text"} for i in range(len(made.cases)))
        assert made.library(made.cases[0]) is not None


def lists_of(tree: Path) -> v2c.Lists:
    return v2c.Lists.read(tree / "lists")


def test_lines_have_the_words_and_labels_that_the_theatre_spoke(tree: Path) -> None:
    """Through subtitles with a sign and a wordless row, numbers still find the line they were given for."""
    for film in FILMS.values():
        drawn = next(path for path in (tree / "drawn").rglob("*.csv") if FILMS.get(path.stem) == film)
        cues = {cue.text: cue for cue in read_cues(drawn).cues}
        lines = list(v2c.read_film(film, tree / "films" / f"{film}.mp4", lists_of(tree)))
        assert {line.text for line in lines} == set(cues)
        for line in lines:
            assert line.emotion == cues[line.text].emotion and line.start == pytest.approx(
                cues[line.text].start, abs=1e-3
            )


@pytest.mark.parametrize(("made", "runs"), [(24000 / 1001, 25.0), (25.0, 24000 / 1001)])
def test_subtitles_of_another_frame_rate_are_refused(tree: Path, tmp_path: Path, made: float, runs: float) -> None:
    media = tree / "films" / "Shelf.mp4"
    spans = [row[:2] for row in v2c.subtitle_rows(tree / "lists" / "SRT" / "Shelf.srt") if row is not None]
    check_rate(spans, media, Path("Shelf.srt"))
    stretched = [(start * runs / made, end * runs / made) for start, end in spans]
    with pytest.raises(ValueError, match=rf"such as a print at .*: {str(made / runs)[:4]}\d\d times as late") as caught:
        check_rate(stretched, media, Path("Shelf.srt"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"expected subtitles within .* the last ends at"):
        check_end([(start * 3, end * 3) for start, end in spans], media, Path("Shelf.srt"))


def test_another_edition_and_lists_of_another_form_are_refused(tree: Path, tmp_path: Path) -> None:
    lists = lists_of(tree)
    further = replace(lists, speakers={**lists.speakers, "Mill": {"Ada": [4000]}})
    with pytest.raises(ValueError, match="expected 4001 subtitles or more, got 11: they are of another edition"):
        list(v2c.read_film("Mill", tree / "films" / "Mill.mp4", further))
    for name, text in (("movie_speaker_id.json", '{"Mill": ["0001"]}'), ("emotions.json", '{"a": 12}')):
        folder = tmp_path / name.removesuffix(".json")
        folder.mkdir()
        for other in ("movie_speaker_id.json", "emotions.json"):
            (folder / other).write_text(text if other == name else "{}")
        with pytest.raises(ValueError, match=r"expected \{film: \{speaker"):
            v2c.Lists.read(folder)
    with pytest.raises(FileNotFoundError, match="expected one of V2C's public lists"):
        v2c.Lists.read(tmp_path)
    with pytest.raises(ValueError, match="expected films named Shelf"):
        v2c.find_films(tree / "unseen", ["Shelf"])


@pytest.mark.slow
def test_grid_goes_from_raw_clips_to_a_table(tree: Path, tmp_path: Path) -> None:
    """Clips cut out of the drawn films, with alignments in the corpus's ticks, of two speakers with like names."""
    from library_builder.media import read_frames, read_wave
    from library_builder.mux import write_video

    cues = read_cues(next(path for path in (tree / "drawn").rglob("1-*.csv"))).cues[:6]
    for speaker in ("s1", "s2"):
        (tmp_path / "grid" / speaker / "align").mkdir(parents=True)
        for n, cue in enumerate(cues):
            media, (start, end) = tree / "films" / "Shelf.mp4", (cue.start - 0.2, cue.end + 0.2)
            frames = [frame.image for frame in read_frames(media, start=start, end=end)]
            wave = read_wave(media, sample_rate=16_000, start=start, end=start + len(frames) / 12.5)
            write_video(tmp_path / "grid" / speaker / f"clip{n}.mp4", iter(frames), 12.5, wave, 16_000)
            stop = round((0.2 + cue.end - cue.start) * 25_000)
            words = f"0 5000 sil\n5000 {stop} {cue.text.replace(' ', '_')}\n{stop} {stop + 5000} sil\n"
            (tmp_path / "grid" / speaker / "align" / f"clip{n}.align").write_text(words.replace("_", "-"))
    (tmp_path / "grid" / "s1" / "align" / "clip5.align").unlink()
    done = run("grid.py", tmp_path / "grid", tmp_path / "out", "--test-share", "0.4", "--settings", "1.0,2.0")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "left out: clip5.mp4" in done.stdout and "11 clips found" in done.stdout and "minutes" in done.stdout
    for setting in ("1.0", "2.0"):
        scores = json.loads((tmp_path / "out" / "runs" / f"test-{setting}" / "scores.json").read_text())
        assert scores["conditions"]["takes"]["mcd_dtw"]["n"] == 4
    trained = {clip.id for clip in Library.open(tmp_path / "out" / "library").clips()}
    assert len(trained) == 7


# The split.


def lines(films: dict[str, dict[str, int]]) -> list[FilmLine]:
    return [
        FilmLine(f"{film}-{who}-{n}", film, who, "", None, Path(f"{film}.mp4"), n, n + 0.5 + n / 4)
        for film, cast in films.items()
        for who, count in cast.items()
        for n in range(count)
    ]


def test_a_share_is_carved_from_every_speaker_of_every_film_and_from_no_small_one() -> None:
    kept, taken = carve(lines({"A": {"x": 20, "y": 10, "z": 2}, "B": {"x": 40}}), 0.2, seed=1)
    assert Counter((line.film, line.speaker) for line in taken) == {("A", "x"): 4, ("A", "y"): 2, ("B", "x"): 8}
    assert not {line.id for line in kept} & {line.id for line in taken} and len(kept) + len(taken) == 72
    assert [line.id for line in taken] != [line.id for line in carve(kept + taken, 0.2, seed=2)[1]]
    with pytest.raises(ValueError, match="expected a share of 0 or more, below 1, got 1"):
        carve(kept, 1.0, seed=0)


def test_a_missing_film_or_another_order_changes_no_other_films_split() -> None:
    whole = lines({"A": {"x": 20}, "B": {"x": 40, "y": 9}})
    wanted = {line.id for line in carve(whole, 0.25, seed=4)[1] if line.film == "B"}
    alone = [line for line in reversed(whole) if line.film == "B"]
    assert {line.id for line in carve(alone, 0.25, seed=4)[1]} == wanted


def test_a_prompt_is_another_line_of_the_speaker_of_fair_length() -> None:
    training = lines({"A": {"x": 12}, "B": {"y": 1}})
    prompt = same_speaker(training, seed=0)
    asked = [FilmLine(f"t{n}", "A", "x", "", None, Path("A.mp4"), 0, 1) for n in range(30)]
    lent = [prompt(line) for line in asked]
    assert len({line.id for line in lent if isinstance(line, FilmLine)}) > 3
    assert all(isinstance(line, FilmLine) and line.speaker == "x" and line.end - line.start >= 1 for line in lent)
    assert [prompt(line) for line in asked] == lent
    assert prompt(replace(asked[0], speaker="nobody")) is None
    short = prompt(replace(asked[0], speaker="y"))
    assert isinstance(short, FilmLine) and short.id == "B-y-0", "a short one is better than none"
