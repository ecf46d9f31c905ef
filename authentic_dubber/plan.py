"""Everything about a dubbing job that can be refused is refused here, before any line is spoken."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from library_builder.cues import Cue, read_cues
from library_builder.edition import check_edition
from library_builder.media import MediaError, MediaInfo, probe, read_wave
from library_builder.types import QUERY_MODALITIES, Hertz, Seconds
from retrieval.library import Library
from retrieval.versions import current_version, read_manifest

from .acting import feeling_of
from .mix import SILENCE, amplitude
from .types import Acting, Voice
from .wishes import Wishes, sheet_wish

if TYPE_CHECKING:
    from .dubber import Dubber

logger = logging.getLogger(__name__)

BedKind: TypeAlias = Literal["keep", "duck", "none", "file"]
RATES = (8_000, 96_000)
"""Lowest and highest sample rate of the takes, in hertz."""
LANGUAGES = ("en", "pl")
LISTEN_RATE: Hertz = 16_000


@dataclass(frozen=True, slots=True)
class DubJob:
    """What is to be dubbed, with what, and where to.

    Attributes:
        video: the film.
        script: a cue sheet of the lines.
        voices: a prompt per character; names are compared without case. A single voice also speaks the lines that
            name no character.
        library: the reference library; None only with k = 0.
        out: folder for everything that comes out; an earlier run's takes in it are gone on with.
        bed: what lies under the lines: `keep` the film's sound, `duck` it, `none`, or a sound file. None is fine for a
            film that is silent under the lines.
        rate: hertz of the takes and the mix.
        k: references per modality.
        wishes: what is asked of the lines' acting beside the script's own columns, which it overrules.
    """

    video: Path
    script: Path
    voices: Mapping[str, Path]
    library: Path | None
    out: Path
    bed: str | None = None
    rate: Hertz = 48_000
    seed: int = 0
    k: int = 3
    language: str = "en"
    wishes: Wishes = field(default_factory=Wishes)


@dataclass(frozen=True, slots=True)
class Bed:
    """What lies under the lines.

    Attributes:
        path: the file it is read from; None for `none`.
    """

    kind: BedKind
    path: Path | None


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """A cue with its number in the script, three digits, and what is asked of it."""

    id: str
    cue: Cue
    acting: Acting = field(default_factory=Acting)

    def __str__(self) -> str:
        return f"line {self.id} ({self.cue.start:.2f} to {self.cue.end:.2f} s)"


class Script(NamedTuple):
    """A film, the lines to be spoken over it and what lies under them; rows that could not be read are problems."""

    info: MediaInfo
    lines: tuple[ScriptLine, ...]
    bed: Bed
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that may begin.

    Attributes:
        length: seconds of the picture.
        voices: by casefolded character.
        notes: what the user should know beforehand.
        problems: rows of the script that could not be read.
    """

    job: DubJob
    info: MediaInfo
    length: Seconds
    lines: tuple[ScriptLine, ...]
    voices: Mapping[str, Voice]
    library: Library | None
    bed: Bed
    notes: tuple[str, ...]
    problems: tuple[str, ...] = ()


def make_plan(job: DubJob, dubber: Dubber) -> Plan:
    """Look at everything a job needs, and refuse what cannot be worked on.

    Raises:
        FileNotFoundError: a file of the job is missing.
        BadPrompt: a prompt is silent or too short.
        ValueError: one line that says what, where, what was expected and what was found.
    """
    info, lines, bed, problems = check_script(job)
    notes = _unused(lines, job)
    if not info.has_audio:
        notes.append("the film has no sound of its own")
    library = _library(job, dubber)
    if library is not None and len(library) < job.k:
        notes.append(f"the library holds {len(library)} clips, fewer than the {job.k} references asked for")
    _check_acting(lines, dubber, library)
    voices = {name.casefold(): _voice(name, prompt, dubber) for name, prompt in job.voices.items()}
    return Plan(job, info, picture_length(info), lines, voices, library, bed, tuple(notes), problems)


def check_script(job: DubJob) -> Script:
    """The part of the checks that needs no model, so that a slip of the pen is refused before one is loaded.

    Raises:
        FileNotFoundError: the video or the script is missing.
        ValueError: as `make_plan`.
    """
    _check_numbers(job)
    if job.library is not None and job.k > 0:
        read_manifest(job.library, current_version(job.library), verify=False)
    info = probe(job.video)
    if not info.has_video:
        raise MediaError(f"{job.video}: expected pictures to dub, found sound alone")
    sheet = read_cues(job.script, fps=info.fps, check=lambda cue: sheet_wish(cue, job.script.parent))
    if info.has_audio:
        check_edition(job.script, sheet.cues, job.video)
    lines = tuple(_script_line(f"{number:03d}", cue, job) for number, cue in enumerate(sheet.cues, start=1))
    job.wishes.check_lines([line.id for line in lines])
    _check_voices(lines, job)
    _check_overlaps(lines)
    return Script(
        info, lines, _bed(job, info, lines), tuple(f"{job.script.name}: {problem}" for problem in sheet.problems)
    )


def _script_line(id: str, cue: Cue, job: DubJob) -> ScriptLine:
    """A line with the script's and the job's wishes joined, as far as they can be judged without a model."""
    line = ScriptLine(id, cue)
    try:
        acting = job.wishes.acting(id, sheet_wish(cue, job.script.parent))
    except ValueError as error:
        raise ValueError(f"{line}: {error}") from error
    if acting.like is not None and not acting.like.is_file():
        raise FileNotFoundError(f"{line}: {acting.like}: expected a recording to feel like, there is no such file")
    if len(acting.pin) > job.k:
        raise ValueError(f"{line}: expected at most {job.k} pinned clips, as -k says, got {len(acting.pin)}")
    return ScriptLine(id, cue, acting)


def _check_acting(lines: Sequence[ScriptLine], dubber: Dubber, library: Library | None) -> None:
    """Refuses feelings that the checkpoint does not know, recordings it cannot hear, and pins the library lacks."""
    known: set[tuple[str | None, Path | None]] = {(None, None)}
    for line in lines:
        acting = line.acting
        try:
            if (acting.emotion, acting.like) not in known:
                feeling_of(acting, dubber.model, dubber.readers, device=dubber.device)
                known.add((acting.emotion, acting.like))
            if library is not None:
                _check_pins(acting.pin, library)
        except ValueError as error:
            raise ValueError(f"{line}: {error}") from error


def _check_pins(pins: Sequence[str], library: Library) -> None:
    for id in pins:
        if not set(QUERY_MODALITIES) & set(library.clip(id).emotions):
            raise ValueError(f"expected to pin a clip that shows or says something, {id} only sounds")


def picture_length(info: MediaInfo) -> Seconds:
    """Seconds for which a file shows pictures; its sound may be longer or shorter."""
    if info.frames and info.fps:
        return info.frames / info.fps
    return info.duration


def voice_of(character: str, voices: Mapping[str, Voice]) -> Voice:
    """The voice of a character; a plan's only voice speaks the lines that name none."""
    return voices[character.casefold()] if character else next(iter(voices.values()))


def _check_numbers(job: DubJob) -> None:
    if job.k < 0:
        raise ValueError(f"expected k >= 0 references per modality, got {job.k}")
    if job.library is None and job.k > 0:
        raise ValueError("expected --library, or -k 0 to speak without references")
    if not RATES[0] <= job.rate <= RATES[1]:
        raise ValueError(f"expected a rate from {RATES[0]} to {RATES[1]} Hz, got {job.rate}")
    if job.seed < 0:
        raise ValueError(f"expected a seed >= 0, got {job.seed}")
    if job.language not in LANGUAGES:
        raise ValueError(f"known languages are {' and '.join(LANGUAGES)}, got {job.language!r}")
    if not job.voices:
        raise ValueError("expected at least one voice, as --voice CHARACTER=prompt.wav")
    if job.out.exists() and not job.out.is_dir():
        raise ValueError(f"{job.out}: expected a folder to write to, it is a file")


def _check_voices(lines: Sequence[ScriptLine], job: DubJob) -> None:
    known = {name.casefold() for name in job.voices}
    if len(known) < len(job.voices):
        raise ValueError(f"expected each character once, names are compared without case: {', '.join(job.voices)}")
    for line in lines:
        name = line.cue.character
        if not name and len(known) > 1:
            raise ValueError(f"{line} names no character, and there are {len(known)} voices: name one in {job.script}")
        if name and name.casefold() not in known:
            raise ValueError(
                f"{line} is spoken by {name!r}, who has no voice; given are {', '.join(job.voices)}: "
                f"add --voice '{name}=prompt.wav'"
            )


def _check_overlaps(lines: Sequence[ScriptLine]) -> None:
    by_character: dict[str, list[ScriptLine]] = {}
    for line in lines:
        by_character.setdefault(line.cue.character.casefold(), []).append(line)
    for name, own in by_character.items():
        for first, second in pairwise(sorted(own, key=lambda line: (line.cue.start, line.cue.end))):
            if second.cue.start < first.cue.end - 1e-6:
                who = first.cue.character if name else "the one voice"
                raise ValueError(f"{who} would speak two lines at once: {first} and {second}")


def _unused(lines: Sequence[ScriptLine], job: DubJob) -> list[str]:
    speaking = {line.cue.character.casefold() for line in lines}
    if "" in speaking:
        return []
    return [f"{name} has a voice but no line" for name in job.voices if name.casefold() not in speaking]


def _voice(name: str, prompt: Path, dubber: Dubber) -> Voice:
    """A character's voice; a refusal says whose prompt it is about."""
    from .speaker import BadPrompt

    try:
        return dubber.voice(name, prompt)
    except BadPrompt as error:
        raise BadPrompt(f"voice of {name}, {prompt}: {error}") from error


def _library(job: DubJob, dubber: Dubber) -> Library | None:
    if job.library is None or job.k == 0:
        return None
    library = Library.open(job.library)
    library.check_spaces({m: space for m, space in dubber.spaces.items() if m in library.spaces})  # type: ignore[misc]
    return library


def _bed(job: DubJob, info: MediaInfo, lines: Sequence[ScriptLine]) -> Bed:
    match job.bed:
        case "none":
            return Bed("none", None)
        case "keep" | "duck" as kind:
            if not info.has_audio:
                raise ValueError(f"{job.video} has no sound to {kind}: use --bed none or a sound file")
            return Bed(kind, job.video)
        case None:
            if not info.has_audio:
                return Bed("none", None)
            line = _first_sounding(job.video, lines)
            if line is not None:
                raise ValueError(
                    f"{job.video.name} has sound of its own under {line}: choose --bed keep (leave it), duck (lower it "
                    "under the lines), none (drop it) or FILE (music and effects without the old voices)"
                )
            return Bed("keep", job.video)
    path = Path(job.bed)
    if not path.is_file():
        raise ValueError(f"expected --bed keep, duck, none or a sound file, got {job.bed!r}, which is no file")
    if not probe(path).has_audio:
        raise ValueError(f"{path}: expected a bed with sound, found none")
    return Bed("file", path)


def _first_sounding(video: Path, lines: Sequence[ScriptLine]) -> ScriptLine | None:
    """The first line under which the film is not silent."""
    for line in lines:
        if line.cue.start >= line.cue.end:
            continue
        wave = read_wave(video, sample_rate=LISTEN_RATE, start=line.cue.start, end=line.cue.end)
        if len(wave) and float(np.abs(wave).max()) > amplitude(SILENCE):
            return line
    return None
