"""The book of takes: what became of every line of a job, kept in `takes.json` so that a job can stop and go on.

takes.json                what was asked, and one record per line
NNN_character.wav         a line's sound
details/NNN_character.npz its mel and the picture's mouth, for the report
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from library_builder.atomic import whole_file
from library_builder.types import Seconds

from .types import Acting

SCHEMA = 1
BOOK = "takes.json"
DETAILS = "details"

Status: TypeAlias = Literal["ok", "failed", "skipped"]


class TakesError(ValueError):
    """A book of takes that cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class TakeRecord:
    """What became of one line. Times are seconds of the picture.

    Attributes:
        id: the line's number in the script, three digits.
        cue: start and end as the script has them.
        status: `ok`, `skipped` where the script gave nothing to speak, `failed` where speaking it went wrong.
        reason: why there is no take; `""` with one.
        slot, source: when the line should sound and what decided so; None without a take.
        speech: when it does sound, measured in the take; None for a silent one.
        rate: speed relative to the model's own.
        needed: seconds at the model's own rate.
        verdict: `""` when the line fits its slot.
        file: the WAV, relative to the job's folder; `size` in bytes and `sha256` are its content's.
        fingerprint: of everything that the take was made from.
        hits: per modality the clips found, best first: id, score, and what the library knows of them; `pinned` where
            it was asked for.
        symbols, ends: the phones, and seconds from the take's start at which each ends.
        emotion: share per emotion that the line was spoken with, before its strength.
        asked: what was asked of the acting, see `asked_of`; empty where nothing was.
        judged: share per emotion that the director saw in picture, words and references; empty where not measured.
        versions: checkpoint, library, package.
        seconds: wall time per stage.
    """

    id: str
    character: str
    text: str
    cue: tuple[Seconds, Seconds]
    status: Status
    reason: str = ""
    slot: tuple[Seconds, Seconds] | None = None
    source: str = ""
    speech: tuple[Seconds, Seconds] | None = None
    rate: float | None = None
    needed: Seconds | None = None
    verdict: str = ""
    file: str = ""
    sample_rate: int = 0
    size: int = 0
    sha256: str = ""
    fingerprint: str = ""
    seed: int = 0
    hits: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    symbols: tuple[str, ...] = ()
    ends: tuple[Seconds, ...] = ()
    emotion: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    judged: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TakeRecord:
        """The record of `asdict`, after JSON made lists of its tuples.

        Raises:
            TypeError: a field is missing or unknown.
        """
        tuples = ("cue", "slot", "speech", "symbols", "ends", "notes", "licences")
        fixed = {name: tuple(values[name]) for name in tuples if values.get(name) is not None}
        return cls(**{**values, **fixed})


@dataclass(frozen=True, slots=True)
class Book:
    """A job's takes so far.

    Attributes:
        job: what was asked, and with which versions; ready for JSON.
        lines: one record per line that was dealt with, in the script's order.
        notes: about the job as a whole.
    """

    job: Mapping[str, Any]
    lines: tuple[TakeRecord, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Details:
    """What a report draws of a take.

    Attributes:
        mel: log mel, (F, T).
        frame: seconds per mel frame.
        lips: (seconds in the picture, opening in [0, 1]) per video frame, (V, 2).
        envelope: loudness of the take in dBFS, (E, ), one value per 10 ms.
    """

    mel: npt.NDArray[np.float32]
    frame: Seconds
    lips: npt.NDArray[np.float32]
    envelope: npt.NDArray[np.float32]


def asked_of(acting: Acting) -> dict[str, Any]:
    """What was asked of a line, ready for JSON: emotion and share, recording, strength, pinned, banned, slot.

    Only what was asked is in it: the default `Acting` gives an empty one.
    """
    asked: dict[str, Any] = {}
    if acting.emotion is not None:
        asked |= {"emotion": acting.emotion, "share": acting.weight}
    if acting.like is not None:
        asked["recording"] = acting.like.name
    if acting.strength != Acting().strength:
        asked["strength"] = acting.strength
    if acting.pin:
        asked["pinned"] = list(acting.pin)
    if acting.ban:
        asked["banned"] = list(acting.ban)
    if acting.slot != "mouth":
        asked["slot"] = acting.slot
    return asked


def write_book(folder: Path, book: Book) -> None:
    """Write `takes.json`: the old one stays until the new one is whole."""
    values = {
        "schema": SCHEMA,
        "job": dict(book.job),
        "notes": list(book.notes),
        "lines": [asdict(record) for record in book.lines],
    }
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    with whole_file(folder / BOOK) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_book(folder: Path) -> Book:
    """The takes of an earlier run.

    Raises:
        FileNotFoundError: there are none.
        TakesError: the file is of another schema, or no book of takes.
    """
    path = folder / BOOK
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the takes of a job, there are none")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values["schema"]
        if schema != SCHEMA:
            raise TakesError(f"{path}: expected schema {SCHEMA}, got {schema!r}; choose another --out")
        records = tuple(TakeRecord.from_dict(line) for line in values["lines"])
        return Book(values["job"], records, tuple(values["notes"]))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise TakesError(f"{path}: expected a book of takes, got {error!r}; choose another --out") from error


def wave_name(id: str, character: str) -> str:
    """The WAV of a line: `001_Ada.wav`; whatever a file system might not like becomes `_`."""
    name = re.sub(r"[^\w-]+", "_", character).strip("_")[:40]
    return f"{id}_{name or 'voice'}.wav"


def details_path(folder: Path, record: TakeRecord) -> Path:
    """Where a take's details lie."""
    return folder / DETAILS / f"{Path(record.file).stem}.npz"


def write_details(path: Path, details: Details) -> None:
    """Write what a report draws; the folder is made if need be. Half precision does for pictures."""
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as temporary:
        np.savez_compressed(
            temporary,
            mel=details.mel.astype(np.float16),
            frame=np.float64(details.frame),
            lips=details.lips.astype(np.float32),
            envelope=details.envelope.astype(np.float16),
        )


def read_details(path: Path) -> Details:
    """What `write_details` wrote.

    Raises:
        FileNotFoundError: there is none.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return Details(
            arrays["mel"].astype(np.float32),
            float(arrays["frame"]),
            arrays["lips"],
            arrays["envelope"].astype(np.float32),
        )


def file_facts(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()


def still_there(folder: Path, record: TakeRecord) -> bool:
    """Whether a take's files are as they were written."""
    path = folder / record.file
    if record.status != "ok" or not record.file or Path(record.file).name != record.file:
        return False
    if not path.is_file() or path.stat().st_size != record.size or not details_path(folder, record).is_file():
        return False
    return file_facts(path)[1] == record.sha256
