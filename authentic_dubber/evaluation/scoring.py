"""Run measures over conditions, one after another, and keep what each found: an interrupted evaluation goes on.

Here, in one place, no clip is lost: whatever a measure does not answer for is counted as missing, with a reason.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from library_builder.atomic import whole_file

from .conditions import Heard
from .manner import CONDITIONS, FAMILIES, Condition
from .measured import Measured
from .recordings import Progress
from .runs import SCORES
from .suite import AGAINST_RECORDING, Family

SCHEMA = 1
NOT_MEASURED = "not measured"
"""How the note of a measure begins that could not run at all."""


def score(
    heard: Heard, families: Sequence[Family], folder: Path, *, progress: Progress | None = None
) -> list[Measured]:
    """Every measure that means something under this condition, those kept from before included.

    Args:
        folder: of the run.

    Raises:
        ValueError: there is no sample at all.
    """
    if not heard.samples:
        reasons = sorted(set(heard.missing.values()))
        raise ValueError(f"{heard.condition}: expected a clip to measure, got none: {'; '.join(reasons[:3])}")
    asked = [family for family in families if heard.condition in family.conditions]
    content = _digest(heard)
    found: list[Measured] = []
    for done, family in enumerate(asked):
        if progress is not None:
            progress(f"{heard.condition}: {family.name}", done, len(asked))
        path = Path(folder) / SCORES / heard.condition / f"{family.name}.json"
        key = hashlib.sha256(json.dumps([SCHEMA, family.name, family.key, content]).encode()).hexdigest()
        kept = _kept(path, key)
        if kept is None:
            answers = [measured for measure in family.make() for measured in measure(heard.samples)]
            alone = heard.condition == "recordings"
            kept = [whole(one, heard) for one in answers if not (alone and one.name in AGAINST_RECORDING)]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_scores(path, key, kept)
        found += kept
    return found


def whole(measured: Measured, heard: Heard) -> Measured:
    """A measure's answer for every case: rows that are no numbers, and cases it never saw, become missing."""
    if not measured.rows and measured.note.startswith(NOT_MEASURED):
        return measured
    rows = {key: row for key, row in measured.rows.items() if all(map(math.isfinite, row.values))}
    missing = {key: heard.no_reference.get(key, reason) for key, reason in measured.missing.items()}
    missing |= dict.fromkeys(measured.rows.keys() - rows.keys(), "no number came out")
    silent = {sample.id for sample in heard.samples} - rows.keys() - missing.keys()
    missing |= dict.fromkeys(sorted(silent), "the measure gave no answer")
    return replace(measured, rows=rows, missing={**missing, **heard.missing})


def write_scores(path: Path, key: str, measured: Sequence[Measured]) -> None:
    """Keep what a family found."""
    values = {"schema": SCHEMA, "key": key, "measured": [one.to_dict() for one in measured]}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_scores(path: Path) -> tuple[str, list[Measured]]:
    """The key and content of what `write_scores` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"{path}: expected schema {SCHEMA}, got {values['schema']!r}")
        return str(values["key"]), [Measured.from_dict(one) for one in values["measured"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected scores, got {error!r}") from error


def all_scores(folder: Path) -> Mapping[Condition, list[Measured]]:
    """Everything a run has kept, by condition in the order of `CONDITIONS`; nothing is measured again."""
    found: dict[Condition, list[Measured]] = {}
    for condition in CONDITIONS:
        paths = [Path(folder) / SCORES / condition / f"{family}.json" for family in FAMILIES]
        kept = [one for path in paths if path.is_file() for one in read_scores(path)[1]]
        if kept:
            found[condition] = kept
    return found


def _kept(path: Path, key: str) -> list[Measured] | None:
    if not path.is_file():
        return None
    try:
        stored, measured = read_scores(path)
    except ValueError:
        return None
    # What could not run may be able to now, after its weights were brought.
    able = all(one.rows or not one.note.startswith(NOT_MEASURED) for one in measured)
    return measured if stored == key and able else None


def _digest(heard: Heard) -> str:
    """Of all that measures are given."""
    digest = hashlib.sha256(json.dumps([heard.condition, dict(heard.missing), dict(heard.no_reference)]).encode())
    for s in heard.samples:
        facts = [s.id, s.text, s.language, s.voice, s.emotion, s.slot, s.sample_rate, s.mouth_fps]
        digest.update(json.dumps(facts).encode())
        for array in (s.wave, s.reference, s.prompt, s.mouth):
            digest.update(b"-" if array is None else hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest())
    return digest.hexdigest()
