"""From lines of films to a library of the training portion and evaluation sets of the rest: what corpus recipes share.

A line of the training portion may be retrieved and may lend its voice; one of `val` or `test` is only ever asked. The
split is drawn within every film and speaker by names and a seed alone, so that a missing film changes no other.
"""

from __future__ import annotations

import csv
import io
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from authentic_dubber.extraction import Extraction
from authentic_dubber.librarian import BuildJob, BuildOptions, build_library
from library_builder.atomic import whole_file
from library_builder.media import MediaError, read_wave
from library_builder.readers import Readers
from library_builder.types import QUERY_MODALITIES
from retrieval import Library

from .film_line import FilmLine
from .sets import ANY_FILM, Case, Content, EvaluationSet, Setting, write_set
from .sight import Sight, look_at

RATE = 22_050
PROMPT_SECONDS = (1.0, 8.0)
"""A prompt is a line about so long where the speaker has one; very short ones say little of a voice."""

Wave = npt.NDArray[np.float32]


@dataclass(slots=True)
class Splits:
    """The three portions, and what fell out on the way, each with its reason."""

    train: list[FilmLine]
    val: list[FilmLine]
    test: list[FilmLine]
    dropped: list[str] = field(default_factory=list)

    def portions(self) -> dict[str, list[FilmLine]]:
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(slots=True)
class Stopwatch:
    """Minutes of each stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def told(self) -> str:
        parts = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()) / 60:.1f} minutes ({parts})"


def carve(lines: Sequence[FilmLine], share: float, seed: int) -> tuple[list[FilmLine], list[FilmLine]]:
    """What is left, and a share taken out of every film's every speaker who has three lines or more; in order.

    Raises:
        ValueError: not 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"expected a share of 0 or more, below 1, got {share}")
    groups: dict[tuple[str, str], list[FilmLine]] = defaultdict(list)
    for line in lines:
        groups[line.film, line.speaker].append(line)
    taken: set[str] = set()
    for (film, speaker), own in groups.items():
        count = round(share * len(own)) if len(own) >= 3 else 0
        rng = np.random.default_rng([seed, zlib.crc32(f"{film}/{speaker}".encode())])
        ids = sorted(line.id for line in own)
        taken |= {ids[int(i)] for i in rng.permutation(len(ids))[:count]}
    return [line for line in lines if line.id not in taken], [line for line in lines if line.id in taken]


def write_sheets(folder: Path, lines: Sequence[FilmLine]) -> list[Path]:
    """A cue sheet per medium, named after it: what `dub library build --cues` reads."""
    by_media: dict[Path, list[FilmLine]] = defaultdict(list)
    for line in lines:
        by_media[line.media].append(line)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for media, own in by_media.items():
        sheet = io.StringIO()
        rows = csv.writer(sheet, lineterminator="\n")
        rows.writerow(["start", "end", "character", "text", "emotion", "film", "id"])
        for line in own:
            times = [f"{line.start:.3f}", f"{line.end:.3f}"]
            rows.writerow([*times, line.speaker, line.text, line.emotion or "", line.film, line.id])
        path = folder / f"{media.stem}.csv"
        with whole_file(path) as temporary:
            temporary.write_text(sheet.getvalue(), encoding="utf-8")
        written.append(path)
    return written


def build_training_library(
    folder: Path,
    lines: Sequence[FilmLine],
    sheets: Sequence[Path],
    licence: str | None,
    extraction: Extraction | None = None,
    readers: Readers | None = None,
) -> tuple[Library, tuple[str, ...]]:
    """The library of the training portion, and of nothing else; and what could not be read, with the reason.

    Args:
        extraction: what reads; the light extractors by default.
        readers: those, where they are loaded already.

    Raises:
        ValueError: there is no line, or none of them can be read.
    """
    if not lines:
        raise ValueError("expected training lines for the library, got none")
    media = tuple(dict.fromkeys(line.media for line in lines))
    with tqdm(desc="library", unit="clip") as bar:

        def progress(_: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        using = extraction or Extraction()
        options = BuildOptions(config=using.config(), load=using.load)
        job = BuildJob(folder, media, tuple(sheets), licence=licence)
        result = build_library(job, readers, progress=progress, options=options)
    return Library.open(folder), result.troubles


Prompts = Callable[[FilmLine], FilmLine | Path | None]
"""What lends a line its voice: a line of the corpus, a recording, or None where there is none."""


def same_speaker(training: Sequence[FilmLine], seed: int) -> Prompts:
    """Another line of the speaker, of the training portion (setting 2.0)."""
    by_speaker: dict[str, list[FilmLine]] = defaultdict(list)
    for line in training:
        by_speaker[line.speaker].append(line)

    def prompt(line: FilmLine) -> FilmLine | None:
        own = by_speaker.get(line.speaker, [])
        shortest, longest = PROMPT_SECONDS
        good = [other for other in own if shortest <= other.end - other.start <= longest] or own
        rng = np.random.default_rng([seed, zlib.crc32(line.id.encode())])
        return good[int(rng.integers(len(good)))] if good else None

    return prompt


def recordings(paths: Sequence[Path]) -> Prompts:
    """Recordings of speakers from elsewhere, in turn by the line's name (setting 3.0).

    Raises:
        ValueError: there are none.
    """
    if not paths:
        raise ValueError("expected recordings of unseen speakers, got none")
    return lambda line: paths[zlib.crc32(line.id.encode()) % len(paths)]


@dataclass(slots=True)
class _Draft:
    cases: list[Case] = field(default_factory=list)
    waves: dict[str, Wave] = field(default_factory=dict)
    own: dict[str, list[Wave]] = field(default_factory=lambda: {m: [] for m in QUERY_MODALITIES})
    lips: list[Wave] = field(default_factory=list)
    mouth: list[Wave] = field(default_factory=list)


def make_set(
    folder: Path,
    setting: Setting,
    lines: Sequence[FilmLine],
    prompt: Prompts,
    library: Library,
    readers: Readers,
    *,
    corpus: str,
    note: str,
    seen: dict[str, Sight] | None = None,
) -> tuple[EvaluationSet, list[str]]:
    """An evaluation set of lines, asked of one library; and what could not be made a case, with the reason.

    Args:
        corpus: names the voices: `corpus/speaker`.
        seen: what was read of pictures before, by line; filled on the way, so that settings share it.

    Raises:
        ValueError: no line can be made a case.
    """
    draft, known = _Draft(), {} if seen is None else seen
    lent = {line.id: prompt(line) for line in lines}
    new = [line for line in lines if lent[line.id] is not None and line.id not in known]
    blind = _look_at_new(new, readers, known, folder.name)
    dropped = []
    for line in lines:
        lender = lent[line.id]
        try:
            if lender is None:
                raise ValueError(f"no other line of {line.speaker} to lend the voice")
            if line.id in blind:
                raise ValueError(blind[line.id])
            _add(draft, line, lender, setting, corpus, known[line.id])
        except (ValueError, FileNotFoundError) as error:
            dropped.append(f"{line.id}: {error}")
    if not draft.cases:
        raise ValueError(f"{folder.name}: expected a line that can be a case, got none; first reason: {dropped[:1]}")
    made = write_set(
        folder,
        _content(folder.name, setting, note, readers, draft.cases),
        waves=draft.waves,
        sample_rate=RATE,
        own={m: np.stack(rows) for m, rows in draft.own.items()},  # type: ignore[misc]
        lips=draft.lips,
        mouth=draft.mouth,
        libraries={ANY_FILM: list(library.clips())},
    )
    return made, dropped


def _look_at_new(lines: Sequence[FilmLine], readers: Readers, known: dict[str, Sight], name: str) -> dict[str, str]:
    """Fills `known`; why nothing is seen of the others, by line."""
    blind: dict[str, str] = {}
    with tqdm(total=len(lines), desc=name, unit="line") as bar:
        for line, sight in look_at(lines, readers):
            if isinstance(sight, Sight):
                known[line.id] = sight
            else:
                blind[line.id] = str(sight)
            bar.update()
    return blind


def _content(name: str, setting: Setting, note: str, readers: Readers, cases: Sequence[Case]) -> Content:
    return Content(
        name=name,
        setting=setting,
        language="en",
        note=note,
        spaces={m: getattr(readers, m).space for m in QUERY_MODALITIES},
        lip_space=readers.lips.space,
        cases=tuple(cases),
    )


def _add(draft: _Draft, line: FilmLine, lent: FilmLine | Path, setting: Setting, corpus: str, sight: Sight) -> None:
    own = f"{file_name(line.id)}.wav"
    voice, reference = f"{corpus}/{file_name(line.speaker)}", own if setting != "3.0" else None
    waves = {} if reference is None else {own: read_wave(line.media, sample_rate=RATE, start=line.start, end=line.end)}
    if isinstance(lent, Path):
        name, voice = f"{file_name(lent.stem)}.wav", f"unseen/{file_name(lent.stem)}"
        waves[name] = read_wave(lent, sample_rate=RATE)
    else:
        name = f"{file_name(lent.id)}.wav"
        waves[name] = read_wave(lent.media, sample_rate=RATE, start=lent.start, end=lent.end)
    for file, wave in waves.items():
        if not len(wave):
            raise MediaError(f"{file}: expected sound in its cue, got none")
    draft.waves.update(waves)
    draft.cases.append(
        Case(
            id=file_name(line.id),
            text=line.text,
            language="en",
            voice=voice,
            emotion=line.emotion,
            prompt=f"waves/{name}",
            reference=None if reference is None else f"waves/{reference}",
            film=file_name(line.film),
            slot_seconds=line.end - line.start,
        )
    )
    for modality, rows in draft.own.items():
        rows.append(sight.own[modality])
    draft.lips.append(sight.lips)
    draft.mouth.append(sight.mouth)


def file_name(name: str) -> str:
    """A name as a file may have it: V2C's ids hold an `@`."""
    return re.sub(r"[^\w.-]", "-", name).lstrip(".") or "unnamed"
