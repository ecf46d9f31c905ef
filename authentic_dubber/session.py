"""A dubbing session: film and script in; a WAV per line, the dubbed film and a report out. It can stop and go on."""

from __future__ import annotations

import glob
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import soxr

from library_builder.media import MediaError, read_wave
from library_builder.mux import mux, write_wave
from library_builder.types import Hertz, Modality, Seconds

from .espeak import EspeakError
from .mix import Placed, Wave, active_span, decibels, levelled, mix
from .plan import DubJob, Plan, ScriptLine, make_plan, voice_of
from .report import write_report
from .slot import LineError
from .symbols import UnknownPhone
from .takes import (
    Book,
    Details,
    Status,
    TakeRecord,
    asked_of,
    details_path,
    file_facts,
    read_book,
    still_there,
    wave_name,
    write_book,
    write_details,
)
from .text import UnspeakableText
from .types import Acting, Line, Take

if TYPE_CHECKING:
    from retrieval import Hit

    from .dubber import Dubber, Prepared

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

BATCH = 1
"""Lines spoken at once. A take does not depend on its neighbours; one at a time, a kill loses one line."""
MIX = "mix.wav"


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came out of a job.

    Attributes:
        lines: one record per line of the script.
        kept: ids of the lines whose takes an earlier run had made.
        video: the dubbed film; None when no line could be spoken.
        notes: about the job as a whole.
        problems: rows of the script that could not be read.
        seconds: wall time per stage.
    """

    out: Path
    lines: tuple[TakeRecord, ...]
    kept: tuple[str, ...]
    video: Path | None
    report: Path
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def spoken(self) -> tuple[TakeRecord, ...]:
        """The lines that have a take."""
        return tuple(record for record in self.lines if record.status == "ok")

    @property
    def complete(self) -> bool:
        """Whether every row of the script became a take."""
        return len(self.spoken) == len(self.lines) and not self.problems


def run(job: DubJob, dubber: Dubber, progress: Progress | None = None) -> JobResult:
    """Dub a film: check everything, speak what an earlier run has not, mix, and report.

    Every finished line is on disk before the next is begun, so an interrupted job goes on where it stopped.

    Raises:
        FileNotFoundError, ValueError: the job cannot be worked on; nothing was written.
    """
    tell = progress or (lambda what, done, total: None)
    clock = _Clock()
    tell("checking", 0, 1)
    plan = make_plan(job, dubber)
    clock.stamp("check")
    desk = _Desk(plan, dubber)
    for done, line in enumerate(desk.work()):
        tell(f"line {line.id}", done + 1, len(plan.lines))
    clock.stamp("lines")
    tell("mixing", len(plan.lines), len(plan.lines))
    video = _mix(plan, desk)
    clock.stamp("mix")
    tell("report", len(plan.lines), len(plan.lines))
    report = write_report(job.out, picture=job.video, footage=_footage(plan))
    clock.stamp("report")
    book = desk.book()
    return JobResult(job.out, book.lines, tuple(desk.kept), video, report, book.notes, plan.problems, clock.seconds)


class _Clock:
    """Wall time between stamps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stamp(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


class _Desk:
    """Speaks a plan's lines and keeps the book, which is written after every line."""

    def __init__(self, plan: Plan, dubber: Dubber) -> None:
        self.plan, self.dubber, self.job = plan, dubber, plan.job
        self.records: dict[str, TakeRecord] = {}
        self.kept: list[str] = []
        self.notes: list[str] = [*plan.problems, *plan.notes]
        self.made: dict[str, str] = {}
        try:
            self.earlier = {record.id: record for record in read_book(self.job.out).lines}
        except FileNotFoundError:
            self.earlier = {}
        self.job.out.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Delete the half-written waves that a killed run left; a finished one has its own name."""
        for line in self.plan.lines:
            whole = Path(wave_name(line.id, line.cue.character))
            for half in self.job.out.glob(f".{glob.escape(whole.stem)}-*{whole.suffix}"):
                half.unlink(missing_ok=True)

    def book(self) -> Book:
        """Everything so far; lines not yet reached keep what an earlier run had of them."""
        ids = [line.id for line in self.plan.lines]
        waiting = {id: self.earlier[id] for id in ids if id in self.earlier}
        records = {**waiting, **self.records}
        return Book(self._asked(), tuple(records[id] for id in ids if id in records), tuple(self.notes))

    def save(self) -> None:
        write_book(self.job.out, self.book())

    def work(self) -> Iterator[ScriptLine]:
        """Deal with every line; yields each once it is on disk."""
        waiting: list[tuple[ScriptLine, Prepared]] = []
        for line in self.plan.lines:
            prepared = self._prepare(line)
            if prepared is not None:
                waiting.append((line, prepared))
                if len(waiting) == BATCH:
                    yield from self._speak(waiting)
                    waiting = []
            else:
                self.save()
                yield line
        yield from self._speak(waiting)

    def _prepare(self, line: ScriptLine) -> Prepared | None:
        """A line to be spoken; None when it is dealt with already: skipped, failed, or kept from an earlier run."""
        cue = line.cue
        if not cue.text.strip():
            self._without(line, "skipped", "the line has no text")
            return None
        if cue.start >= self.plan.length:
            self._without(line, "skipped", f"the cue begins past the picture's end at {self.plan.length:.2f} s")
            return None
        try:
            asked = Line(line.id, cue.character, cue.text, cue.start, cue.end, self.job.video, self.job.language)
            prepared = self.dubber.prepare(
                asked,
                voice_of(cue.character, self.plan.voices),
                library=self.plan.library,
                k=self.job.k,
                seed=self.job.seed,
                acting=line.acting,
            )
        except (LineError, UnspeakableText) as error:
            self._without(line, "skipped", str(error))
            return None
        except (MediaError, UnknownPhone, EspeakError) as error:
            self._without(line, "failed", str(error))
            return None
        earlier = self.earlier.get(line.id)
        if earlier is not None and self._same(earlier, line, prepared) and still_there(self.job.out, earlier):
            # What was asked may differ where it comes to the same: a clip banned that would not have been found.
            hits = _hits(prepared.hits, line.acting)
            self.records[line.id] = replace(earlier, asked=asked_of(line.acting), hits=hits)
            self.kept.append(line.id)
            return None
        return prepared

    def _same(self, earlier: TakeRecord, line: ScriptLine, prepared: Prepared) -> bool:
        return (earlier.fingerprint, earlier.sample_rate, earlier.file) == (
            prepared.fingerprint,
            self.job.rate,
            wave_name(line.id, line.cue.character),
        )

    def _without(self, line: ScriptLine, status: Status, reason: str) -> None:
        cue, asked, seed = line.cue, asked_of(line.acting), self.job.seed
        self.records[line.id] = TakeRecord(
            line.id, cue.character, cue.text, (cue.start, cue.end), status, reason=reason, seed=seed, asked=asked
        )

    def _speak(self, waiting: Sequence[tuple[ScriptLine, Prepared]]) -> Iterator[ScriptLine]:
        takes = self.dubber.speak([prepared for _, prepared in waiting])
        for (line, prepared), take in zip(waiting, takes, strict=True):
            self.records[line.id] = self._keep(line, prepared, take)
            self.save()
            yield line

    def _keep(self, line: ScriptLine, prepared: Prepared, take: Take) -> TakeRecord:
        """Write a take's files, the book's record last."""
        rate, out = self.job.rate, self.job.out
        sound = levelled(resampled(take.wave, take.sample_rate, rate), rate)
        speech = active_span(sound.wave, rate)
        path = out / wave_name(line.id, line.cue.character)
        write_wave(path, sound.wave, rate)
        size, sha256 = file_facts(path)
        record = TakeRecord(
            id=line.id,
            character=line.cue.character,
            text=line.cue.text,
            cue=(line.cue.start, line.cue.end),
            status="ok",
            slot=(take.slot.start, take.slot.end),
            source=take.slot.source,
            speech=None if speech is None else (take.slot.start + speech.start, take.slot.start + speech.end),
            rate=take.timing.rate,
            needed=take.timing.needed,
            verdict=take.timing.verdict,
            file=path.name,
            sample_rate=rate,
            size=size,
            sha256=sha256,
            fingerprint=prepared.fingerprint,
            seed=take.seed,
            hits=_hits(take.hits, line.acting),
            captions=dict(take.captions),
            symbols=tuple(take.timing.names),
            ends=tuple(take.timing.ends),
            emotion=dict(take.emotion),
            asked=asked_of(line.acting),
            judged=_judged(take, line.acting),
            notes=(*take.notes, *_unheard_pins(take, line.acting), *sound.notes),
            seconds=dict(take.seconds),
            versions=self._versions(),
            licences=tuple(dict.fromkeys([*self.dubber.licences, *_clip_licences(take)])),
        )
        write_details(details_path(out, record), _details(take, sound.wave, rate, self.dubber.mel_config.hop_samples))
        return record

    def _versions(self) -> dict[str, Any]:
        library = self.plan.library
        return {
            "checkpoint": self.dubber.checkpoint,
            "library": library.version if library is not None else None,
            "package": version("authentic-dubber"),
        }

    def _asked(self) -> dict[str, Any]:
        job, plan = self.job, self.plan
        return {
            "video": job.video.name,
            "script": job.script.name,
            "characters": list(job.voices),
            "length": plan.length,
            "bed": plan.bed.kind,
            "sample_rate": job.rate,
            "seed": job.seed,
            "k": job.k,
            "language": job.language,
            "notice": self.dubber.notice,
            "licences": list(self.dubber.licences),
            "versions": self._versions(),
            "made": dict(self.made),
        }


def resampled(wave: Wave, rate: Hertz, wanted: Hertz) -> Wave:
    """A wave at another rate.

    Shape:
        (S,) -> (S * wanted / rate,), rounded.
    """
    if rate == wanted:
        return wave
    return np.asarray(soxr.resample(wave, rate, wanted, quality="HQ"), dtype=np.float32)


def _details(take: Take, wave: Wave, rate: Hertz, hop_samples: int) -> Details:
    step = rate // 100
    blocks = wave[: len(wave) // step * step].reshape(-1, step).astype(np.float64)
    envelope = np.array([decibels(value) for value in np.sqrt(np.mean(blocks**2, axis=1))], dtype=np.float32)
    frame: Seconds = hop_samples / take.sample_rate
    return Details(take.mel, frame, np.array(take.lips, dtype=np.float32).reshape(-1, 2), envelope)


def _judged(take: Take, acting: Acting) -> dict[str, float]:
    """The director's own judgement; where another feeling was asked for, only the take's maker knows it."""
    own = take.emotion if acting.emotion is None and acting.like is None else {}
    return dict(take.provenance.get("judged", own))


def _unheard_pins(take: Take, acting: Acting) -> list[str]:
    heard = {hit.clip.id for hits in take.hits.values() for hit in hits}
    return [f"pinned clip {id} has nothing that this line asks with" for id in acting.pin if id not in heard]


def _hits(found: Mapping[Modality, Sequence[Hit]], acting: Acting) -> dict[str, list[dict[str, Any]]]:
    """What was found, with what the library says of it, so that a report needs no library."""
    return {
        modality: [
            {
                "id": hit.clip.id,
                "rank": hit.rank,
                "score": hit.score,
                **({"pinned": True} if hit.clip.id in acting.pin else {}),
                **{key: value for key, value in hit.clip.record().items() if key not in ("id", "notes")},
            }
            for hit in hits
        ]
        for modality, hits in found.items()
    }


def _clip_licences(take: Take) -> list[str]:
    return [hit.clip.licence for hits in take.hits.values() for hit in hits if hit.clip.licence]


def _footage(plan: Plan) -> Path | None:
    """Where the library's footage lay when it was built."""
    root = plan.library.info()["source"].get("footage") if plan.library is not None else None
    return Path(root) if isinstance(root, str) else None


def _talked_over(spoken: Sequence[TakeRecord]) -> list[str]:
    """Lines too long for their slots that go on while another is spoken; other overlaps are the script's own."""
    notes = []
    for one in spoken:
        for other in spoken:
            if one.verdict and one.speech and other.slot and one.slot and one.slot[0] < other.slot[0] < one.speech[1]:
                notes.append(f"line {one.id}: goes on over line {other.id}, by {one.speech[1] - other.slot[0]:.2f} s")
    return notes


def _mix(plan: Plan, desk: _Desk) -> Path | None:
    """Write the mix and the dubbed film, and note what had to be done; None when there is no take at all."""
    job, bed = plan.job, plan.bed
    spoken = [record for record in desk.book().lines if record.status == "ok" and record.slot is not None]
    if not spoken:
        desk.notes.append("no line could be spoken: there is no dubbed film")
        desk.save()
        return None
    takes = [
        Placed(record.id, read_wave(job.out / record.file, sample_rate=job.rate), record.slot[0])
        for record in spoken
        if record.slot is not None
    ]
    under = None if bed.path is None else read_wave(bed.path, sample_rate=job.rate)
    track = mix(takes, round(plan.length * job.rate), job.rate, bed=under, duck=bed.kind == "duck")
    write_wave(job.out / MIX, track.wave, job.rate)
    video = job.out / f"{job.video.stem}_dubbed.mp4"
    try:
        mux(job.video, track.wave, job.rate, video)
    except MediaError as error:  # its codec may not fit into mp4; Matroska takes any
        video = video.with_suffix(".mkv")
        mux(job.video, track.wave, job.rate, video)
        desk.notes.append(f"the dubbed film is Matroska: {error}")
    desk.notes += [*track.notes, *_talked_over(spoken)]
    desk.made.update(mix=MIX, video=video.name)
    desk.save()
    return video
