"""A run on disk: one set, spoken by one checkpoint in one manner, and what was measured of it.

run.json                            what spoke, and what became of every case
takes/<case>.wav                    as the model gave them, at no other level
copies/<condition>/<case>.wav       recordings through mel and back
scores/<condition>/<measure>.json   rows per clip
scores.json, scores.html, clips.csv the same for programs, people and spreadsheets
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from library_builder.atomic import whole_file
from library_builder.checksum import file_digest

SCHEMA = 1
RUN = "run.json"
TAKES, COPIES, SCORES = "takes", "copies", "scores"


class RunError(ValueError):
    """A run folder that cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class TakeFacts:
    """What is known of a take besides its sound.

    Attributes:
        sha256: of its file.
        source: what decided its length, see `types.Slot`.
        needed: seconds at the model's own rate.
        hits: how many references were found, over all modalities.
        seconds: of the take.
    """

    sha256: str
    source: str
    needed: float
    hits: int
    seconds: float
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder holds.

    Attributes:
        identity: set, checkpoint, libraries and manner; a folder keeps to one.
        facts: name and licences of the checkpoint, what its owner asks, version of the engine.
        takes: by case.
        failed: why a case has no take.
    """

    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    takes: Mapping[str, TakeFacts] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        FileNotFoundError: there is none.
        RunError: the file is of another schema, or no run.
    """
    path = Path(folder) / RUN
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a run of `dub evaluate`, there is none")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise RunError(f"{path}: expected schema {SCHEMA}, got {values['schema']!r}; choose another folder")
        takes = {id: TakeFacts(**{**facts, "notes": tuple(facts["notes"])}) for id, facts in values["takes"].items()}
        return Run(values["identity"], values["facts"], takes, values["failed"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{path}: expected a run, got {error!r}; choose another folder") from error


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json`: the old one stays until the new one is whole."""
    text = json.dumps({"schema": SCHEMA, **asdict(run)}, ensure_ascii=False, indent=1, allow_nan=False)
    with whole_file(Path(folder) / RUN) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def same_run(folder: Path, identity: Mapping[str, Any]) -> Run | None:
    """The run to go on with, or None where the folder has none.

    Raises:
        RunError: the folder holds a run of something else; says of what.
    """
    if not (Path(folder) / RUN).is_file():
        return None
    run = read_run(folder)
    for name in [*identity, *run.identity]:
        if run.identity.get(name) != identity.get(name):
            had, asked = run.identity.get(name), identity.get(name)
            raise RunError(
                f"{folder}: expected the run of {name} {had} that is there, got {asked}; choose another folder"
            )
    return run


def take_path(folder: Path, case: str) -> Path:
    """Where the take of a case lies."""
    return Path(folder) / TAKES / f"{case}.wav"


def intact(folder: Path, case: str, facts: TakeFacts) -> bool:
    """Whether a take's file is as it was written."""
    path = take_path(folder, case)
    return path.is_file() and file_digest(path) == facts.sha256
