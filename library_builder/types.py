"""The nouns of the reference library: an emotion vector that knows its space, and a clip that knows what it feels.

Standard library and NumPy only, so that manifests and `--help` stay quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Seconds: TypeAlias = float
Hertz: TypeAlias = int
Modality: TypeAlias = Literal["scene", "face", "text", "audio"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
QUERY_MODALITIES: tuple[Modality, ...] = ("scene", "face", "text")
"""A line to be dubbed has picture and words but no sound yet: these three ask, the audio vector only answers."""

UNIT_TOLERANCE = 1e-3
"""Vectors stored in half precision come back with norms this close to one."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """A unit vector and the name of the space it lives in, such as `light-audio-v1/64`.

    Attributes:
        space: `<extractor name>/<width>`.
        vector: float32, shape (D,), length one.

    Raises:
        ValueError: the width is not the one the space names, a value is not finite, or the length is not one.
    """

    space: str
    vector: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        width = space_width(self.space)
        vector = np.array(self.vector, dtype=np.float32)
        if vector.shape != (width,):
            raise ValueError(f"a vector of space {self.space} has shape ({width},), got {vector.shape}")
        if not np.isfinite(vector).all():
            raise ValueError(f"a vector of space {self.space} is finite, got NaN or infinity")
        norm = float(np.linalg.norm(vector))
        if abs(norm - 1) > UNIT_TOLERANCE:
            raise ValueError(f"a vector of space {self.space} has length 1, got {norm:.4g}")
        if abs(norm - 1) > 1e-6:  # a vector that is unit already keeps its bits, so stored and read ones are equal
            vector /= norm
        vector.setflags(write=False)
        object.__setattr__(self, "vector", vector)


def space_width(space: str) -> int:
    """The width a space names: 64 for `light-audio-v1/64`.

    Raises:
        ValueError: the name does not end in `/<positive integer>`.
    """
    name, _, width = space.rpartition("/")
    if not name or not width.isdigit() or int(width) < 1:
        raise ValueError(f"an emotion space is named '<extractor>/<width>', got {space!r}")
    return int(width)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it is shown. Times are the file's own, so a variable frame rate stays true.

    Attributes:
        time: seconds in the media.
        image: uint8 RGB, shape (H, W, 3).
    """

    time: Seconds
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one extractor saw in one modality of one clip.

    Attributes:
        emotion: the vector, in the extractor's own space.
        caption: the same in words; `""` for modalities that are not captioned.
        notes: fall-backs taken, in words.
    """

    emotion: Emotion
    caption: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A modality in which an extractor found nothing, and why."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of footage and what it feels, per modality.

    Attributes:
        id: unique within a library; ties in retrieval are broken by it.
        media: path of the footage, relative to the footage root, with forward slashes.
        start, end: seconds in the media.
        speaker: character or actor; `""` when unknown.
        text: the words spoken; `""` when unknown.
        film: the film the clip comes from.
        captions: words an extractor wrote about a modality, such as `{"scene": "a dark, blue, still shot"}`.
        emotions: one vector per modality that the clip has; a silent clip lacks `audio`.
        notes: what an extractor had to fall back to, such as `"face: no face found, moving region used"`.
        label: the corpus's emotion label if any. It travels with the clip for reports; extractors never see it.
        licence: licence of the footage, as its owner names it.

    Raises:
        ValueError: the id is empty, or the times are not 0 <= start < end.
    """

    id: str
    media: str
    start: Seconds
    end: Seconds
    speaker: str = ""
    text: str = ""
    film: str = ""
    captions: Mapping[str, str] = field(default_factory=dict)
    emotions: Mapping[Modality, Emotion] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    label: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a clip has a non-empty id")
        if not 0 <= self.start < self.end:
            raise ValueError(f"clip {self.id}: expected 0 <= start < end, got {self.start} and {self.end}")
        object.__setattr__(self, "captions", MappingProxyType(dict(self.captions)))
        object.__setattr__(self, "emotions", MappingProxyType(dict(self.emotions)))

    @property
    def duration(self) -> Seconds:
        return self.end - self.start

    def with_(self, **changes: Any) -> Clip:
        """A copy with some fields changed; mappings are never shared."""
        return replace(self, **changes)

    def record(self) -> dict[str, Any]:
        """Everything but the vectors, ready for JSON; `from_record` is its inverse."""
        return {
            "id": self.id,
            "media": self.media,
            "start": self.start,
            "end": self.end,
            "speaker": self.speaker,
            "text": self.text,
            "film": self.film,
            "captions": dict(self.captions),
            "notes": list(self.notes),
            "label": self.label,
            "licence": self.licence,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], emotions: Mapping[Modality, Emotion]) -> Clip:
        """The clip of `record()` with its vectors put back."""
        return cls(**{**record, "notes": tuple(record["notes"])}, emotions=emotions)
