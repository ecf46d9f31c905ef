"""V2C-Animation out of your own films and the public lists: cues, a library of the training portion, evaluation sets.

    python recipes/v2c.py FILMS LISTS OUT --test val.txt --unseen GRID_PROMPTS

FILMS holds `<film>.mp4` (or mkv, mov, avi), named as the lists name them. LISTS holds what the corpus's authors publish
in place of the films: `SRT/<film>.srt`, `movie_speaker_id.json` (who speaks which subtitle, counted from 0) and
`emotions.json`. `--test` is a list of the clips to test on, one per line, as `val.txt` of the StyleDubber line of work;
the validation portion, which those lists lack, is carved out of the rest within every film and speaker.

OUT gets `cues/train|val|test/`, `library/` of the training portion alone, and `sets/`: `val-2.0` and `test-SETTING` in
settings 1.0 (the target itself lends the voice: it leaks), 2.0 (another line of the speaker, of the training portion)
and 3.0 (recordings of `--unseen`, of speakers from elsewhere; it has no recording to be compared with). Then:

    dub train OUT/cache RUN --size paper
    dub train-vocoder OUT/cache SOUND
    dub package RUN SOUND OUT/cache CHECKPOINT
    dub evaluate RUNS/test-2.0 --set OUT/sets/test-2.0 --checkpoint CHECKPOINT --corpus OUT/cache

`--prepare` makes that `cache/`, a prepared corpus of the training portion, with the validation portion kept aside to
watch a training by; `--extractors paper --model-dir MODELS` has library, sets and corpus read by the published models.

A film that is not on this disk is named and skipped, subtitles made for another frame rate are refused by name; either
ends in exit code 3, with the rest done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.emotion import constant_baseline
from authentic_dubber.evaluation.film_line import FilmLine
from authentic_dubber.evaluation.film_sets import (
    Prompts,
    Splits,
    Stopwatch,
    build_training_library,
    carve,
    make_set,
    recordings,
    same_speaker,
    write_sheets,
)
from authentic_dubber.evaluation.sets import Setting
from authentic_dubber.evaluation.sight import Sight
from authentic_dubber.exits import OK, PARTIAL
from authentic_dubber.extraction import add_reader_options, chosen_extraction, told
from authentic_dubber.speaker import GE2E
from authentic_dubber.text import TextFrontend
from authentic_dubber.training.corpora import FILMS
from authentic_dubber.training.film_corpus import write_film_corpus
from authentic_dubber.training.prepare import PrepareConfig, prepare
from library_builder.cues import read_cues
from library_builder.edition import check_end, check_rate
from library_builder.media import MediaError
from library_builder.readers import Readers

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".m4v")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg")
EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised", "other")
"""V2C's eight classes in the order of its numbers, by the names that this engine's readers have for six of them."""


@dataclass(frozen=True, slots=True)
class Lists:
    """The public lists.

    Attributes:
        speakers: film, speaker, numbers of subtitles.
        emotions: class by clip.
    """

    folder: Path
    speakers: Mapping[str, Mapping[str, Sequence[int]]]
    emotions: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Lists:
        """The lists in a folder.

        Raises:
            FileNotFoundError: `movie_speaker_id.json` or `emotions.json` is missing.
            ValueError: one of them is of another form.
        """
        speakers, emotions = _json(folder / "movie_speaker_id.json"), _json(folder / "emotions.json")
        try:
            numbered = {
                film: {who: sorted({int(number) for number in own}) for who, own in cast.items()}
                for film, cast in speakers.items()
            }
            named = {clip: EMOTIONS[int(label)] for clip, label in emotions.items()}
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            form = f"{{film: {{speaker: [numbers]}}}} and {{clip: 0 to {len(EMOTIONS) - 1}}}"
            raise ValueError(f"{folder}: expected {form}, got {error}") from error
        return cls(folder, numbered, named)

    def subtitles(self, film: str) -> Path:
        """The subtitles of a film."""
        beside = self.folder / "SRT" / f"{film}.srt"
        return beside if beside.is_file() else self.folder / f"{film}.srt"


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected one of V2C's public lists, there is none")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def read_film(film: str, media: Path, lists: Lists) -> Iterator[FilmLine]:
    """The lines of one film that the lists give to somebody, named as the corpus names clips.

    Raises:
        FileNotFoundError: there are no subtitles.
        ValueError: they cannot be read, were made for another frame rate, or are fewer than the lists count.
    """
    rows = subtitle_rows(lists.subtitles(film))
    spans = [row[:2] for row in rows if row is not None]
    check_rate(spans, media, lists.subtitles(film))
    check_end(spans, media, lists.subtitles(film))
    for speaker, numbers in lists.speakers[film].items():
        beyond = [number for number in numbers if number >= len(rows)]
        if beyond:
            raise ValueError(
                f"{lists.subtitles(film)}: expected {max(beyond) + 1} subtitles or more, got {len(rows)}: they are of "
                "another edition than the lists"
            )
        for number in numbers:
            row = rows[number]
            if row is not None:  # the lists give wordless subtitles to nobody; another edition may have some
                clip = f"{film}@{speaker}_00_{number:04d}_00"
                yield FilmLine(clip, film, f"{film}@{speaker}", row[2], lists.emotions.get(clip), media, row[0], row[1])


def subtitle_rows(path: Path) -> list[tuple[float, float, str] | None]:
    """Start, end and words of every subtitle in order, None where one cannot be used: numbers count those too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no subtitle is usable, or it is not UTF-8.
    """
    sheet = read_cues(path)
    arrows = [n for n, line in enumerate(_lines(path), start=1) if "-->" in line]
    # A problem names the line of its time; what is left are the usable ones, in the same order.
    bad = {int(problem.split(":")[0].removeprefix("line ")) for problem in sheet.problems}
    good = iter(sheet.cues)
    rows: list[tuple[float, float, str] | None] = []
    for line in arrows:
        cue = None if line in bad else next(good, None)
        rows.append(None if cue is None else (cue.start, cue.end, cue.text))
    return rows


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def find_films(films: Path, wanted: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Films that are here, and the names of those that are not.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: none of them is here.
    """
    if not films.is_dir():
        raise FileNotFoundError(f"{films}: expected a folder of films, there is none")
    here = {path.stem.casefold(): path for path in sorted(films.iterdir()) if path.suffix.lower() in SUFFIXES}
    found = {film: here[film.casefold()] for film in wanted if film.casefold() in here}
    if not found:
        raise ValueError(f"{films}: expected films named {', '.join(wanted[:5])} and so on, got none of {len(wanted)}")
    return found, [film for film in wanted if film not in found]


def split(
    lines: Sequence[FilmLine], test: set[str] | None, *, val_share: float, test_share: float, seed: int
) -> Splits:
    """Train, val and test; without a list the test portion is drawn as the validation portion is.

    Raises:
        ValueError: there is nothing to train on or to test.
    """
    if test is None:
        rest, tested = carve(lines, test_share, seed)
    else:
        rest = [line for line in lines if line.id not in test]
        tested = [line for line in lines if line.id in test]
    train, val = carve(rest, val_share, seed + 1)
    if not train or not tested:
        raise ValueError(f"expected lines to train and to test on, got {len(train)} and {len(tested)}")
    return Splits(train, val, tested)


def read_ids(path: Path) -> set[str]:
    """Clips of a list: what stands before the first `|` of each line.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a list of clips, there is none")
    return {line.split("|")[0].strip() for line in _lines(path) if line.strip()}


def gather(films: Path, lists: Lists) -> tuple[list[FilmLine], list[str]]:
    """Every line of the films that are here and whole, and what is missing, with the reason.

    Raises:
        FileNotFoundError, ValueError: as `find_films`.
    """
    found, missing = find_films(films, list(lists.speakers))
    lines, troubles = [], [f"{film}: expected {film}.mp4 in {films}, there is none; skipped" for film in missing]
    for film, media in found.items():
        try:
            lines += list(read_film(film, media, lists))
        except (ValueError, FileNotFoundError, MediaError) as error:
            troubles.append(f"{film}: {error}; skipped")
    return lines, troubles


def run(given: argparse.Namespace) -> int:
    """All of it; returns the exit code."""
    watch, lists = Stopwatch(), Lists.read(given.lists)
    extraction = chosen_extraction(given)
    readers = extraction.load()
    for line in told(readers, lips=True):
        print(line)
    with watch.stage("cues"):
        lines, troubles = gather(given.films, lists)
        test = None if given.test is None else read_ids(given.test)
        splits = split(lines, test, val_share=given.val_share, test_share=given.test_share, seed=given.seed)
        sheets = {name: write_sheets(given.out / "cues" / name, own) for name, own in splits.portions().items()}
    for name, own in splits.portions().items():
        print(f"{name}: {len(own)} lines of {len({line.speaker for line in own})} speakers{_constant(own)}")
    with watch.stage("library"):
        library, unread = build_training_library(
            given.out / "library", splits.train, sheets["train"], given.licence, extraction, readers
        )
        troubles += unread
    seen: dict[str, Sight] = {}
    for portion, setting, prompt in _sets(given, splits):
        with watch.stage("sets"):
            _, lost = make_set(
                given.out / "sets" / f"{portion}-{setting}", setting, splits.portions()[portion], prompt, library,
                readers, corpus="v2c", note=f"V2C-Animation, {portion} portion", seen=seen,
            )  # fmt: skip
        troubles += [f"{portion}-{setting}: {one}" for one in lost]
    if given.prepare:
        with watch.stage("corpus"):
            troubles += prepare_corpus(given, splits, readers)
    print("\n".join([*troubles, f"{len(lines)} lines; {watch.told()}"]))
    return PARTIAL if troubles else OK


def prepare_corpus(given: argparse.Namespace, splits: Splits, readers: Readers) -> list[str]:
    """`OUT/corpus`, the lines to learn from where they lie, and `OUT/cache`, ready for `dub train`; and what could not
    be used, with the reason.
    """
    with Espeak() as espeak:
        unused = write_film_corpus(given.out / "corpus", splits, given.licence, TextFrontend(espeak), GE2E())
    config = PrepareConfig(corpora=(FILMS,), aligner_steps=given.aligner_steps, seed=given.seed)
    made = prepare(given.out / "corpus", given.out / "cache", config, readers)
    print(f"cache: {len(made.training_rows())} lines to train on, {len(made.held_out_rows())} to watch it by")
    return unused


def _sets(given: argparse.Namespace, splits: Splits) -> Iterator[tuple[str, Setting, Prompts]]:
    another = same_speaker(splits.train, given.seed)
    if splits.val:
        yield "val", "2.0", another
    yield "test", "1.0", lambda line: line
    yield "test", "2.0", another
    if given.unseen is not None:
        yield "test", "3.0", recordings(sorted(p for p in given.unseen.rglob("*") if p.suffix.lower() in SOUNDS))
    else:
        print("setting 3.0: left out, it needs --unseen with recordings of other speakers")


def _constant(lines: Sequence[FilmLine]) -> str:
    labels = [line.emotion for line in lines if line.emotion is not None]
    if not labels:
        return ", no emotion labels"
    found = constant_baseline(labels)
    return f"; always {found.answer} would be right {100 * found.plain:.2f} % of the time"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path, metavar="FILMS", help="folder of your films")
    parser.add_argument("lists", type=Path, metavar="LISTS", help="folder of the public lists")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for cues, library and sets")
    parser.add_argument("--test", type=Path, help="clips to test on, one per line; drawn by the seed without")
    parser.add_argument("--test-share", type=float, default=0.3, help="of every speaker, without --test")
    parser.add_argument("--val-share", type=float, default=0.05, help="of every speaker's training lines")
    parser.add_argument("--unseen", type=Path, help="recordings of speakers from elsewhere, for setting 3.0")
    parser.add_argument("--licence", default=None, help="of the films, kept in every clip")
    parser.add_argument("--seed", type=int, default=0, help="of the splits and prompts")
    add_reader_options(parser)
    parser.add_argument("--prepare", action="store_true", help="also make OUT/cache, for dub train")
    parser.add_argument("--aligner-steps", type=int, default=800, help="updates of the aligner of phones and sound")
    given = parser.parse_args()
    try:
        return run(given)
    except (OSError, ValueError, ImportError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    sys.exit(main())
