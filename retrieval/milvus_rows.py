"""Clips as rows of a Milvus collection, and a search policy as its filter expression.

Names are stored as 64-bit numbers made from them: a filter then needs no quoting and no dictionary, and names may be
of any length. Two of a thousand million names share a number with a chance of 3 %; the record keeps them in full.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from library_builder.types import MODALITIES, Clip, Emotion, Modality, space_width

from .policy import Policy, spoken, text_group

COLUMNS = ("name", "speaker", "film", "licence", "line", "words")
"""Numbers of the id, the speaker, the film, the licence, the pair of speaker and text, and the text."""
HEADER_ROW = -1
"""Row of the collection's header. It claims no modality, so no search finds it."""
TEXT_BYTES = 65_535
"""The longest string Milvus stores."""
NOTHING = "row < -1"
"""An expression that no row meets."""


def number(*names: str) -> int:
    """A signed 64-bit number for a name, or for several in this order."""
    text = json.dumps(names).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)


def row_of(clip: Clip, row: int, spaces: Mapping[Modality, str]) -> dict[str, Any]:
    """A clip as a row; what it lacks is a zero vector that `has_<modality>` hides.

    Raises:
        ValueError: its record is longer than Milvus stores.
    """
    record = clip.record()
    record["start"], record["end"] = float(clip.start), float(clip.end)
    header = {"record": record, "spaces": {modality: emotion.space for modality, emotion in clip.emotions.items()}}
    values: dict[str, Any] = {
        "row": row,
        "name": number(clip.id),
        "speaker": number(clip.speaker),
        "film": number(clip.film),
        "licence": number(clip.licence or ""),
        "line": number(clip.speaker, spoken(clip.text)),
        "words": text_group(clip.text),
        "record": json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False),
    }
    if len(values["record"]) > TEXT_BYTES:
        raise ValueError(
            f"clip {clip.id}: expected a record of at most {TEXT_BYTES} bytes, as Milvus stores, "
            f"got {len(values['record'])}"
        )
    return values | _vectors(clip.emotions, spaces)


def header_row(header: Mapping[str, Any], spaces: Mapping[Modality, str]) -> dict[str, Any]:
    """What a collection says about itself, as the row that no search finds.

    Raises:
        ValueError: it is longer than Milvus stores.
    """
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    if len(text) > TEXT_BYTES:
        raise ValueError(
            f"expected a header of at most {TEXT_BYTES} bytes, got {len(text)}: shorten the source's facts"
        )
    return {"row": HEADER_ROW, "record": text, **dict.fromkeys(COLUMNS, 0), **_vectors({}, spaces)}


def clip_of(entity: Mapping[str, Any]) -> Clip:
    """The clip of `row_of`, equal to the last bit."""
    header = json.loads(entity["record"])
    spaces: Mapping[Modality, str] = header["spaces"]
    emotions = {m: Emotion(spaces[m], np.asarray(entity[m], dtype=np.float32)) for m in stored(spaces)}
    return Clip.from_record(header["record"], emotions)


def stored(spaces: Mapping[Modality, str]) -> tuple[Modality, ...]:
    """The modalities that have a column of vectors: all there are, for Milvus takes four."""
    return tuple(modality for modality in MODALITIES if modality in spaces)


def expression(policy: Policy) -> str:
    """The filter of a policy; `""` when everything may be found. Pinned clips are left out: they come by themselves."""
    parts = [
        *_scope("speaker", policy.scope, policy.speaker),
        *_scope("film", policy.film_scope, policy.film),
    ]
    if policy.licences is not None:
        parts.append(among("licence", map(number, policy.licences)))
    left = {number(id) for id in (*policy.without, *policy.pinned)}
    lines = {number(speaker, spoken(text)) for speaker, text in policy.without_groups}
    parts += [f"{column} not in {sorted(values)}" for column, values in (("name", left), ("line", lines)) if values]
    return " and ".join(parts)


def both(*expressions: str) -> str:
    """An expression that holds where all of these do."""
    return " and ".join(expression for expression in expressions if expression)


def among(column: str, numbers: Iterable[int]) -> str:
    """An expression that holds where a column has one of these numbers."""
    values = sorted(set(numbers))
    return f"{column} in {values}" if values else NOTHING


def _scope(column: str, scope: str, name: str | None) -> list[str]:
    match scope:
        case "same":
            return [f"{column} == {number(name or '')}"]
        case "other":
            return [f"{column} not in {sorted({number(name or ''), number('')})}"]
        case _:
            return []


def _vectors(emotions: Mapping[Modality, Emotion], spaces: Mapping[Modality, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for modality in stored(spaces):
        has = modality in emotions
        values[f"has_{modality}"] = has
        width = space_width(spaces[modality])
        values[modality] = emotions[modality].vector if has else np.zeros(width, dtype=np.float32)
    return values
