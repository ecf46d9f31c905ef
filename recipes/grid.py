"""GRID, from raw clips to an evaluation table in one command.

    python recipes/grid.py DATA OUT

DATA holds a speaker's clips as the corpus lies on disk (`video/` or the clips themselves, `align/`), or folders of
speakers (`s1/`, `grid_s1/`). OUT gets `cues/` by portion, `library/` of the training portion alone, `sets/` of the test
portion in settings 1.0 (the target's own recording lends the voice: it leaks) and 2.0 (another recording of the speaker
does), and `runs/` with a table each. `--extractors paper --model-dir MODELS` has library and sets read by the published
models; lines are then spoken by a `--checkpoint` that was trained for their vectors, and without one the recipe ends
with the sets. What is there already is gone on with. The test portion is what no training of the
starter may see, or drawn by the seed with `--test-share`; the validation portion is carved from the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from authentic_dubber.checkpoint import load_acoustic, packaged_checkpoint
from authentic_dubber.commands.evaluate import describe
from authentic_dubber.dubber import Dubber
from authentic_dubber.evaluation.evaluate import evaluate
from authentic_dubber.evaluation.film_line import FilmLine
from authentic_dubber.evaluation.film_sets import (
    Splits,
    Stopwatch,
    build_training_library,
    carve,
    make_set,
    same_speaker,
    write_sheets,
)
from authentic_dubber.evaluation.manner import Manner
from authentic_dubber.evaluation.sets import Setting
from authentic_dubber.exits import OK, PARTIAL
from authentic_dubber.extraction import Extraction, add_reader_options, chosen_extraction, told
from authentic_dubber.training.corpora import Utterance
from authentic_dubber.training.heldout import is_held_out
from library_builder.cues import read_cues
from library_builder.readers import Readers

LICENCE = "CC-BY-4.0"
SUFFIXES = (".mpg", ".mp4", ".avi", ".mov")
MEASURES = ("words", "speaker", "timing", "spectral", "pitch")


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the corpus is used.

    Attributes:
        clips: at most so many of all clips, spread evenly; None is all.
        test_share: of the clips; None takes the recordings that no training of the starter may see.
        val_share: of what is left.
    """

    clips: int | None = None
    test_share: float | None = None
    val_share: float = 0.1
    seed: int = 0


def find_lines(data: Path, links: Path) -> tuple[list[FilmLine], list[str]]:
    """Every clip that has an alignment, and the others with the reason.

    Args:
        links: where clips of several speakers, who share names of sentences, are linked under names of their own.

    Raises:
        FileNotFoundError: the folder, or any clip with an alignment, is missing.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: expected a folder of GRID clips, there is none")
    lines, dropped = [], []
    folders = list(_speakers(data))
    for folder in folders:
        speaker = folder.name.removeprefix("grid_")
        for clip in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
            align = folder / "align" / f"{clip.stem}.align"
            try:
                cue = read_cues(align).cues[0]
            except (FileNotFoundError, ValueError) as error:
                dropped.append(f"{clip.name}: {error}")
                continue
            media = clip if len(folders) == 1 else _linked(clip, links / f"{speaker}-{clip.name}")
            lines.append(
                FilmLine(f"{speaker}-{clip.stem}", speaker, speaker, cue.text, None, media, cue.start, cue.end)
            )
    if not lines:
        raise FileNotFoundError(f"{data}: expected GRID clips with align/NAME.align, found none; {dropped[:1]}")
    return lines, dropped


def _linked(clip: Path, link: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(clip.resolve())
    return link


def _speakers(data: Path) -> Iterator[Path]:
    if (data / "align").is_dir():
        yield data
    else:
        yield from sorted(path.parent for path in data.glob("*/align"))


def split(lines: Sequence[FilmLine], choice: Choice) -> Splits:
    """Train, val and test.

    Raises:
        ValueError: a portion that is needed is empty.
    """
    if choice.test_share is None:
        test = [line for line in lines if _held_out(line)]
        rest = [line for line in lines if not _held_out(line)]
    else:
        rest, test = carve(lines, choice.test_share, choice.seed)
    if choice.clips is not None and choice.clips < len(lines):
        # The test portion keeps its share, but never fewer than ten lines: a table of three says nothing.
        tested = min(len(test), max(10, round(choice.clips * len(test) / len(lines))))
        test, rest = _spread(test, tested), _spread(rest, choice.clips - tested)
    train, val = carve(rest, choice.val_share, choice.seed + 1)
    if not train or not test:
        raise ValueError(
            f"expected clips to train and to test on, got {len(train)} and {len(test)}; see --clips and --test-share"
        )
    return Splits(train, val, test)


def _held_out(line: FilmLine) -> bool:
    name = line.id.removeprefix(f"{line.speaker}-")
    return is_held_out(Utterance(name, "grid", line.speaker, "en", line.text, None, line.media, has_picture=True))


def _spread(lines: Sequence[FilmLine], count: int) -> list[FilmLine]:
    if count >= len(lines):
        return list(lines)
    return [lines[int((i + 0.5) * len(lines) / count)] for i in range(count)]


def find_dubber(checkpoint: Path | None, extraction: Extraction, readers: Readers) -> Dubber | None:
    """The checkpoint, if it was trained for what reads; None where the starter was not, and no other was given.

    Raises:
        ValueError: the checkpoint that was given was trained for other vectors.
    """
    config = load_acoustic((checkpoint or packaged_checkpoint()) / "acoustic").config
    known, got = {**config.spaces, "lips": config.lip_space}, {**readers.spaces(), "lips": readers.lips.space}
    other = next((what for what in known if known[what] != got[what]), None)
    if other is None:
        return Dubber.load(checkpoint, device=extraction.device, models=extraction.models)
    if checkpoint is not None:
        raise ValueError(
            f"{checkpoint}: was trained for {other} in space {known[other]}, got extractors of {got[other]}"
        )
    return None


def run(
    data: Path, out: Path, choice: Choice, settings: Sequence[Setting], checkpoint: Path | None, extraction: Extraction
) -> int:
    """All of it; returns the exit code."""
    watch, readers = Stopwatch(), extraction.load()
    for line in told(readers, lips=True):
        print(line)
    dubber, seen = find_dubber(checkpoint, extraction, readers), {}
    with watch.stage("cues"):
        lines, dropped = find_lines(data, out / "clips")
        splits = split(lines, choice)
        sheets = {name: write_sheets(out / "cues" / name, own) for name, own in splits.portions().items()}
    print(", ".join(f"{name} {len(own)}" for name, own in splits.portions().items()))
    with watch.stage("library"):
        library, troubles = build_training_library(
            out / "library", splits.train, sheets["train"], LICENCE, extraction, readers
        )
        dropped += troubles
    for setting in settings:
        prompt = same_speaker(splits.train, choice.seed) if setting == "2.0" else lambda line: line
        with watch.stage("sets"):
            cases, lost = make_set(
                out / "sets" / f"test-{setting}", setting, splits.test, prompt, library, readers,
                corpus="grid", note="GRID, recordings that no training saw", seen=seen,
            )  # fmt: skip
        dropped += lost
        if dubber is None:
            print(f"setting {setting}, {len(cases.cases)} lines; not spoken: the starter was trained for other vectors")
            continue
        with watch.stage("evaluation"):
            found = evaluate(out / "runs" / f"test-{setting}", cases, dubber, Manner(), measures=MEASURES)
        print(f"\nsetting {setting}, {len(cases.cases)} lines\n{describe(found)}")
        dropped += [f"{id}: {reason}" for id, reason in found.run.failed.items()]
    print("\n".join(["", *(f"left out: {one}" for one in dropped), f"{len(lines)} clips found; {watch.told()}"]))
    return PARTIAL if dropped else OK


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="a speaker's clips, or folders of speakers")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for cues, library, sets and runs")
    parser.add_argument("--clips", type=int, help="at most so many clips; all of them by default")
    parser.add_argument("--test-share", type=float, help="draw the test portion by the seed")
    parser.add_argument("--val-share", type=float, default=0.1, help="of what is not tested")
    parser.add_argument("--settings", default="2.0", help="comma-separated: 1.0,2.0")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder; the starter by default")
    parser.add_argument("--seed", type=int, default=0, help="of the splits and prompts")
    add_reader_options(parser)
    given = parser.parse_args()
    settings = given.settings.split(",")
    if unknown := [one for one in settings if one not in ("1.0", "2.0")]:
        parser.error(
            f"known settings are 1.0 and 2.0, got {unknown[0]!r}; GRID has no unseen speaker of another corpus"
        )
    try:
        choice = Choice(given.clips, given.test_share, given.val_share, given.seed)
        return run(given.data, given.out, choice, settings, given.checkpoint, chosen_extraction(given))
    except (OSError, ValueError, ImportError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    sys.exit(main())
