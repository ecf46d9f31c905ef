"""One modality of clips read again: only the streams of footage that its extractor needs, nothing twice.

What was read is kept clip by clip among `readings`, by the footage's bytes and the extractor, so that whoever is
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .ahead import ahead
from .build import HEARD_FROM, Seen, clip_end, listen, watch
from .cue import Cue
from .extractors import decisive
from .feeling import batch_of, feel_some_again
from .footage import Footage
from .media import MediaError
from .planning import Work
from .readings import Readings, look_settings
from .shards import CHANGED, Desk, Order, look_at_files
from .types import Clip, Modality


@dataclass(frozen=True, slots=True)
class AgainOrder(Order):
    """Clips to be read again in one modality.

    Attributes:
        modality: which.
        extractor: what the manifest says of its reader; another extractor's readings are not taken for its own.
        captions: of each clip's scene and face by its id, which words are read with.
    """

    modality: Modality = "scene"
    extractor: Mapping[str, str] = field(default_factory=dict)
    captions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What became of an order.

    Attributes:
        keys: under which each clip's reading is kept.
        failed: why the others have none, by their ids.
        read: clips that the extractor was shown this time.
        known: of the footage's files, by path.
    """

    keys: Mapping[str, str]
    failed: Mapping[str, str]
    read: int
    known: Mapping[str, Footage]


@dataclass(frozen=True, slots=True)
class _Asked:
    work: Work
    known: Footage
    order: AgainOrder
    key: str


def work_of(clip: Clip, footage: Any) -> Work:
    """What a clip was made from: its stretch, its words, and the sound of its own if it was heard from one.

    Args:
        footage: the folder that media paths start from, a Path.
    """
    heard = [note.removeprefix(HEARD_FROM) for note in clip.notes if note.startswith(HEARD_FROM)]
    cue = Cue(clip.start, clip.end, clip.speaker, clip.text, audio=heard[0] if heard else None)
    return Work(clip.id, footage / clip.media, clip.media, cue, clip.film)


def read_again(order: AgainOrder, desk: Desk) -> ReadAgain:
    """Read the clips of an order that were not read yet, and keep the readings.

    Raises:
        OSError: the work folder cannot be written; what was read stays.
    """
    if order.modality != "text":  # words need no footage
        order = look_at_files(order)
    readings = Readings(desk.work / "readings")
    keys, failed, asked = dict[str, str](), dict[str, str](), list[_Asked]()
    for work in order.works:
        known = order.known.get(str(work.path), Footage(0, 0, ""))
        try:
            key = _key(work, known, order)
        except ValueError as error:
            failed[work.id] = str(error)
            continue
        if readings.get(key) is not None:
            keys[work.id] = key
        elif order.lost:
            failed[work.id] = order.lost
        else:
            asked.append(_Asked(work, known, order, key))
    desk.tell(len(keys) + len(failed))
    pairs = zip(asked, ahead(_look, asked), strict=True)
    while some := list(islice(pairs, batch_of(desk.readers))):
        told = [order.captions.get(one.work.id, {}) for one, _ in some]
        lines = [one.work.cue.text for one, _ in some]
        read = feel_some_again(order.modality, [seen for _, seen in some], lines, told, desk.readers)
        for (one, _), felt in zip(some, read, strict=True):
            if isinstance(felt, Exception):
                failed[one.work.id] = str(felt) or type(felt).__name__
            else:
                readings.put(one.key, felt)
                keys[one.work.id] = one.key
            desk.tell(1)
    return ReadAgain(keys, failed, len(asked), order.known)


def _key(work: Work, known: Footage, order: AgainOrder) -> str:
    """A name for everything that decides the reading.

    Raises:
        ValueError: the footage cannot be read, or is shorter than it was.
    """
    parts: list[Any] = ["again", order.modality, dict(sorted(decisive(order.extractor).items()))]
    if order.modality == "text":
        parts += [work.cue.text, dict(sorted(order.captions.get(work.id, {}).items()))]
    else:
        end, late = clip_end(work.cue, known)
        if late:
            raise MediaError(f"{work.path}: expected footage up to {work.cue.end:.3f} s, it ends at {end:.3f} s now")
        sound = None if work.sound is None or order.modality != "audio" else order.known[str(work.sound)].sha256
        parts += [known.sha256, work.cue.start, work.cue.end, sound, *look_settings(order.config)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _look(asked: _Asked) -> Seen | Exception:
    """Decode what the one extractor is shown, and nothing else."""
    work, order = asked.work, asked.order
    try:
        match order.modality:
            case "text":
                return Seen((), None)
            case "audio":
                has = asked.known.has_audio
                seen = Seen((), listen(work.path, work.cue.start, work.cue.end, sound=work.sound, has_audio=has))
            case _:
                seen = Seen(watch(work.path, work.cue.start, work.cue.end, order.config), None)
        return seen if asked.known.is_still(work.path) else ValueError(CHANGED)
    except (ValueError, OSError, RuntimeError) as error:
        return error
