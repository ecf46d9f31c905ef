"""Asking a library from outside a dub: by a clip of its own, by words, a picture or a sound; and why it answers so."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from library_builder.atomic import whole_file
from library_builder.build import SOUND_RATE
from library_builder.media import probe, read_wave, sample_frames
from library_builder.types import MODALITIES, Clip, Emotion, Frame, Modality, Reading
from retrieval.library import Hit, Library, Policy, Retrieved

from .extraction import looked_at, told_absent

if TYPE_CHECKING:  # these bring torch
    from library_builder.readers import Readers

SECOND = 1.0
"""How long a still picture is shown to readers that look at motion."""


@dataclass(frozen=True, slots=True)
class Enquiry:
    """A question to a library.

    Attributes:
        query: one emotion per modality that asks.
        captions: what readers said of what was given, per modality.
        clip: the library's own clip that it is about.
        notes: what was not found in what was given, and so does not ask.
    """

    query: Mapping[Modality, Emotion]
    captions: Mapping[str, str]
    clip: Clip | None = None
    notes: tuple[str, ...] = ()


def check_question(
    *,
    clip: str | None = None,
    words: str | None = None,
    picture: Path | None = None,
    sound: Path | None = None,
    k: int = 1,
    out: Path | None = None,
) -> None:
    """What can be refused of a question before a library is opened or a reader loaded.

    Args:
        k: how many clips are asked for per modality.
        out: the file that hits are to be written to.

    Raises:
        FileNotFoundError: there is no such file, or no folder for what is written.
        ValueError: nothing was given, or too much; or a number or a name is not as expected.
    """
    if clip is not None and (words, picture, sound) != (None, None, None):
        raise ValueError("expected a clip, or words, a picture and a sound; a clip asks with all of them")
    if (clip, words, picture, sound) == (None, None, None, None):
        raise ValueError("expected --clip, --text, --picture or --sound")
    if words is not None and not words.strip():
        raise ValueError(f"expected words to search for, got {words!r}")
    for path in (picture, sound):
        if path is not None:
            _there(path)
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if out is not None and out.suffix.lower() not in (".json", ".csv"):
        raise ValueError(f"expected to dump to a .json or .csv file, got {out}")
    if out is not None and not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: expected a folder to dump to, there is none")


def enquire(
    library: Library,
    readers: Readers | None,
    *,
    clip: str | None = None,
    words: str | None = None,
    picture: Path | None = None,
    sound: Path | None = None,
) -> Enquiry:
    """A question made of whatever is given; each kind asks with modalities of its own.

    Args:
        readers: needed for everything but a clip.
        clip: an id; all its modalities ask.
        words: a line, or words for a feeling, read as a line's words are.
        picture: a still or a video; its scene and face ask.
        sound: a recording; how it sounds asks.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: a file cannot be read.
        ValueError: nothing was given, there is no such clip, or a reader found nothing.
    """
    check_question(clip=clip, words=words, picture=picture, sound=sound)
    if clip is not None:
        own = library.clip(clip)
        return Enquiry(dict(own.emotions), dict(own.captions), own)
    if readers is None:
        raise ValueError("expected readers for words, pictures and sounds, got none")
    readings: dict[Modality, Reading] = {}
    notes: tuple[str, ...] = ()
    if picture is not None:
        readings, notes = _seen(picture, readers)
    if words is not None:
        read = readers.text.read(words, {})
        if read is None:
            raise ValueError(f"expected words to search for, got {words!r}")
        readings["text"] = read
        notes += tuple(told_absent(readers, lips=False))
    if sound is not None:
        heard = readers.audio.read(read_wave(_there(sound), sample_rate=SOUND_RATE), SOUND_RATE)
        if heard is None:
            raise ValueError(f"{sound}: expected a recording of a voice, found no sound in it")
        readings["audio"] = heard
    captions = {str(m): reading.caption for m, reading in readings.items() if reading.caption}
    return Enquiry({m: reading.emotion for m, reading in readings.items()}, captions, notes=notes)


def answer(library: Library, enquiry: Enquiry, k: int, policy: Policy) -> Retrieved:
    """What the library finds. The clip that is asked about is left out, and so are other takes of its line.

    Raises:
        SpaceMismatch: the library was read by other readers.
        ValueError: as `Library.top_k`.
    """
    if enquiry.clip is not None:
        own = Library.leave_out(enquiry.clip)
        policy = replace(
            policy,
            without={*policy.without, *own.without},
            without_groups={*policy.without_groups, *own.without_groups},
        )
    return library.top_k(enquiry.query, k, policy=policy)


def scores(hit: Hit, enquiry: Enquiry) -> dict[str, float]:
    """The cosine of a found clip in every modality that asked and that it has."""
    return {
        m: float(enquiry.query[m].vector.astype(np.float64) @ hit.clip.emotions[m].vector.astype(np.float64))
        for m in MODALITIES
        if m in enquiry.query and m in hit.clip.emotions
    }


def reasons(hit: Hit, enquiry: Enquiry, policy: Policy) -> str:
    """Why a clip has its rank, in words."""
    each = scores(hit, enquiry)
    said = ", ".join(f"{m} {value:+.3f}" for m, value in each.items())
    if hit.clip.id in policy.pinned:
        return f"pinned; {said}"
    if policy.weights is None:
        return f"rank {hit.rank} by {hit.modality} alone; {said}"
    parts = [f"{policy.weights[m]:g} x {m}" for m in each if policy.weights.get(m)]  # type: ignore[index,call-overload]
    place = f"rank {hit.rank} of those left for {hit.modality}" if policy.distinct else f"rank {hit.rank}"
    return f"{place} by the weighted mean of {', '.join(parts)}: {hit.score:+.3f}; {said}"


def rows(found: Retrieved, enquiry: Enquiry, policy: Policy) -> list[dict[str, Any]]:
    """Hits for programs: rank, scores, why, and the clip itself."""
    return [
        {
            "modality": modality,
            "rank": hit.rank,
            "score": hit.score,
            "scores": scores(hit, enquiry),
            "why": reasons(hit, enquiry, policy),
            **hit.clip.record(),
        }
        for modality, hits in found.hits.items()
        for hit in hits
    ]


def dump(path: Path, found: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    """Write hits as JSON or, by the file's name, as CSV with a column per modality's score.

    Raises:
        FileNotFoundError: the file's folder does not exist.
        ValueError: the name ends in neither.
    """
    match path.suffix.lower():
        case ".json":
            with whole_file(path) as temporary:
                text = json.dumps({"hits": list(found), "notes": list(notes)}, ensure_ascii=False, indent=2)
                temporary.write_text(text + "\n", encoding="utf-8")
        case ".csv":
            with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                names = [*(f"score_{m}" for m in MODALITIES), "label", "licence", "why"]
                columns = ["modality", "rank", "score", "id", "film", "speaker", "start", "end", "text", *names]
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                for row in found:
                    writer.writerow({**row, **{f"score_{m}": value for m, value in row["scores"].items()}})
        case _:
            raise ValueError(f"expected to dump to a .json or .csv file, got {path}")


def _seen(path: Path, readers: Readers) -> tuple[dict[Modality, Reading], tuple[str, ...]]:
    """What readers see in a picture, and what they miss in it."""
    config, length = looked_at(readers.spaces().values()), probe(_there(path)).duration
    frames = list(
        sample_frames(path, start=0.0, end=length, count=config.frames_per_clip, max_height=config.max_height)
    )
    if len(frames) == 1:  # a still does not move
        frames.append(Frame(frames[0].time + SECOND, frames[0].image))
    looked = readers.face.read(frames)
    scene = readers.scene.read(frames)
    found: dict[Modality, Reading] = {}
    if scene is not None:
        found["scene"] = scene
    if looked.reading is not None:
        found["face"] = looked.reading
    if not found:
        raise ValueError(f"{path}: expected a picture that shows something, the readers found nothing")
    return found, tuple(looked.notes)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file to search with, there is none")
    return path
