"""Speak a set: every case through the dubber, from the set's own stored vectors, into takes that a run can keep."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from authentic_dubber.dubber import Dubber, Prepared
from authentic_dubber.slot import Look
from authentic_dubber.text import UnspeakableText
from authentic_dubber.types import Acting, Line, Slot, Take, Voice
from library_builder.checksum import file_digest
from library_builder.media import probe
from library_builder.mux import write_wave
from library_builder.types import Clip, Emotion, Modality, space_width
from retrieval import Library

from .manner import Manner
from .references import Hits, other_references
from .runs import TAKES, Run, TakeFacts, intact, same_run, take_path, write_run
from .sets import MOUTH_FPS, Case, EvaluationSet

BATCH = 8
LONGEST_LINE = 60.0
"""Seconds; a line without a slot needs a cue, but takes no length from it."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""What is being done, how much is done, how much there is."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What lines are shown in place of their own vectors and of what the manner would find for them.

    Attributes:
        name: tells two of them apart.
        of: from the number of a case to its own vectors and its hits.
    """

    name: str
    of: Callable[[int], tuple[Mapping[Modality, Emotion], Hits]]


@dataclass(slots=True)
class _Stage:
    """What the cases of one set share while they are spoken."""

    cases: EvaluationSet
    dubber: Dubber
    manner: Manner
    shown: Shown | None = None
    voices: dict[tuple[str, str], Voice] = field(default_factory=dict)
    libraries: dict[Path, tuple[Library, tuple[Clip, ...]]] = field(default_factory=dict)

    def library(self, case: Case) -> tuple[Library, tuple[Clip, ...]] | None:
        root = self.cases.library(case) if self.manner.k and self.shown is None else None
        if root is None:
            return None
        if root not in self.libraries:
            library = Library.open(root)
            self.libraries[root] = library, tuple(library.clips()) if self.manner.references != "nearest" else ()
        return self.libraries[root]

    def voice(self, case: Case) -> Voice:
        key = case.voice, case.prompt
        if key not in self.voices:
            self.voices[key] = self.dubber.voice(case.voice, self.cases.prompt(case))
        return self.voices[key]


def speak_set(
    cases: EvaluationSet,
    folder: Path,
    dubber: Dubber,
    manner: Manner,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    shown: Shown | None = None,
) -> Run:
    """Speak the cases into a run folder. Takes that are there already are kept, so an interrupted run goes on.

    A case that cannot be spoken is recorded with the reason, and the others go on.

    Args:
        limit: only the first so many cases; a later call may speak the rest.
        shown: what lines are shown instead of what the manner finds; the manner's K and references then stand for
            nothing.

    Raises:
        RunError: the folder holds a run of another set, checkpoint or manner.
        ValueError: the set's vectors live in other spaces than the checkpoint's.
    """
    stage = _Stage(cases, dubber, manner, shown)
    _check_spaces(cases, dubber)
    identity = _identity(stage)
    found = same_run(folder, identity)
    (Path(folder) / TAKES).mkdir(parents=True, exist_ok=True)
    kept = found.takes if found is not None else {}
    takes = {
        case.id: kept[case.id] for case in cases.cases if case.id in kept and intact(folder, case.id, kept[case.id])
    }
    failed = {id: reason for id, reason in (found.failed if found is not None else {}).items() if id not in takes}
    todo = [i for i, case in enumerate(cases.cases[:limit]) if case.id not in takes]
    run = Run(identity, _run_facts(stage), takes, failed)
    write_run(folder, run)
    for first in range(0, len(todo), BATCH):
        if progress is not None:
            progress("speaking", first, len(todo))
        for id, outcome in _speak(stage, todo[first : first + BATCH], Path(folder)):
            if isinstance(outcome, TakeFacts):
                takes[id] = outcome
                failed.pop(id, None)
            else:
                failed[id] = outcome
        write_run(folder, run)
    return run


def _identity(stage: _Stage) -> dict[str, Any]:
    """Everything a take depends on besides its case; libraries are told by their versions."""
    cases, used = stage.cases, {}
    for case in cases.cases:
        shelf = stage.library(case)
        if shelf is not None:
            used[str(case.film)] = shelf[0].version
    return {
        "set": cases.content.name,
        "set_digest": cases.digest,
        "checkpoint": stage.dubber.checkpoint,
        **asdict(stage.manner),
        "libraries": used,
        **({} if stage.shown is None else {"shown": stage.shown.name}),
    }


def _run_facts(stage: _Stage) -> dict[str, Any]:
    dubber, content = stage.dubber, stage.cases.content
    return {
        "checkpoint_name": dubber.card.name,
        "licences": list(dubber.licences),
        "notice": dubber.notice,
        "engine": version("authentic-dubber"),
        "setting": content.setting,
        "language": content.language,
        "set_note": content.note,
    }


def _check_spaces(cases: EvaluationSet, dubber: Dubber) -> None:
    content = cases.content
    asked: dict[str, tuple[str, str]] = {m: (dubber.spaces[m], space) for m, space in content.spaces.items()}
    if content.lip_space is not None:
        asked["lips"] = dubber.model.config.lip_space, content.lip_space
    for name, (expected, got) in asked.items():
        if expected != got:
            raise ValueError(f"set {content.name}: the checkpoint expects {name} of space {expected}, got {got}")


def _speak(stage: _Stage, rows: Sequence[int], folder: Path) -> Iterator[tuple[str, TakeFacts | str]]:
    """A batch; each case gives its facts or the reason why there are none."""
    prepared: dict[str, Prepared] = {}
    for i in rows:
        case = stage.cases.cases[i]
        try:
            prepared[case.id] = _prepare(stage, i)
        # All that a case's own text, prompt and references can be refused for; spaces were checked before.
        except (ValueError, FileNotFoundError) as error:
            kind = "text" if isinstance(error, UnspeakableText) else type(error).__name__
            yield case.id, " ".join(f"{kind}: {error}".split())
    takes = stage.dubber.speak(list(prepared.values()))
    for (id, ready), take in zip(prepared.items(), takes, strict=True):
        if not np.isfinite(take.wave).all():
            yield id, "the take has samples that are not finite"
            continue
        write_wave(take_path(folder, id), take.wave, take.sample_rate)
        yield id, _facts(take, ready, take_path(folder, id))


def _facts(take: Take, ready: Prepared, path: Path) -> TakeFacts:
    return TakeFacts(
        sha256=file_digest(path),
        source=take.slot.source,
        needed=take.timing.needed,
        hits=sum(len(found) for found in take.hits.values()),
        seconds=len(take.wave) / take.sample_rate,
        fingerprint=ready.fingerprint,
        notes=take.notes,
    )


def _prepare(stage: _Stage, i: int) -> Prepared:
    case, manner = stage.cases.cases[i], stage.manner
    line = Line(case.id, case.voice, case.text, 0.0, case.slot_seconds or LONGEST_LINE, None, case.language)
    shelf = stage.library(case)
    seen, hits = _look(stage, i), None
    if stage.shown is not None:
        own, hits = stage.shown.of(i)
        seen = replace(seen, own=dict(own))
    ready = stage.dubber.prepare(
        line,
        stage.voice(case),
        library=shelf[0] if shelf is not None else None,
        k=manner.k,
        seed=manner.seed,
        slot=_oracle(stage.cases, case) if manner.oracle_length else None,
        seen=seen,
        acting=Acting(strength=manner.strength),
    )
    if hits is None and (shelf is None or manner.references == "nearest"):
        return ready
    if hits is None:
        assert shelf is not None
        rng = np.random.default_rng([manner.seed, zlib.crc32(case.id.encode())])
        hits = other_references(ready.hits, seen.own, shelf[1], manner.references, rng)
    parts = [ready.fingerprint, manner.references, {m: [hit.clip.id for hit in found] for m, found in hits.items()}]
    return replace(ready, hits=hits, fingerprint=hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def _oracle(cases: EvaluationSet, case: Case) -> Slot:
    path = cases.reference(case)
    if path is None:
        raise ValueError(f"case {case.id}: expected a recording to take the length from, got none")
    length = probe(path).duration
    return Slot(0.0, length, "oracle")


def _look(stage: _Stage, i: int) -> Look:
    """What the set stored of a case's picture. Its words are read here where the set has no vectors of words."""
    cases, dubber = stage.cases, stage.dubber
    case, own = cases.cases[i], cases.feelings(i)
    if "text" not in cases.content.spaces:
        reading = dubber.readers.text.read(case.text, {})
        if reading is not None:
            own["text"] = reading.emotion
    slot = Slot(0.0, LONGEST_LINE, "free") if case.slot_seconds is None else Slot(0.0, case.slot_seconds, "cue")
    width = space_width(dubber.model.config.lip_space)
    lips = np.zeros((0, width), dtype=np.float32) if cases.lips is None else cases.lips[i].astype(np.float32)
    mouth: Sequence[float] = () if cases.mouth is None else cases.mouth[i].tolist()
    opening = tuple((frame / MOUTH_FPS, x) for frame, x in enumerate(mouth))
    return Look(own, {}, slot, lips, opening, ())
