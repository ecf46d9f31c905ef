"""Other references than the nearest: what is left of a figure when retrieval finds anything, or the wrong voice.

`random` asks whether feeling alike matters, `shuffled-audio` whether how the found clips sound matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from library_builder.types import Clip, Emotion, Modality
from retrieval import Hit

from .manner import References

Hits: TypeAlias = Mapping[Modality, tuple[Hit, ...]]


def other_references(
    hits: Hits, own: Mapping[Modality, Emotion], clips: Sequence[Clip], mode: References, rng: np.random.Generator
) -> Hits:
    """As many hits as were found, but of another kind.

    Args:
        hits: the nearest, per modality that asked.
        own: the line's own vectors, for the scores of random clips: they stay true cosines.
        clips: the whole library.

    Raises:
        ValueError: the mode is unknown, or the library has no other clip with sound.
    """
    match mode:
        case "nearest":
            return hits
        case "random":
            return {
                modality: _random(own[modality], modality, len(found), clips, rng) for modality, found in hits.items()
            }
        case "shuffled-audio":
            return {modality: _shuffled(found, clips, rng) for modality, found in hits.items()}
        case _:
            raise ValueError(f"known references are nearest, random and shuffled-audio, got {mode!r}")


def _random(
    own: Emotion, modality: Modality, k: int, clips: Sequence[Clip], rng: np.random.Generator
) -> tuple[Hit, ...]:
    able = [clip for clip in clips if modality in clip.emotions]
    drawn = [able[int(i)] for i in rng.permutation(len(able))[:k]]
    scored = sorted(
        ((float(own.vector @ clip.emotions[modality].vector), clip.id, clip) for clip in drawn), reverse=True
    )
    return tuple(
        Hit(clip, modality, rank, score, clip.emotions[modality], clip.emotions.get("audio"))
        for rank, (score, _, clip) in enumerate(scored, start=1)
    )


def _shuffled(found: tuple[Hit, ...], clips: Sequence[Clip], rng: np.random.Generator) -> tuple[Hit, ...]:
    near = {hit.clip.id for hit in found}
    sounds = [clip.emotions["audio"] for clip in clips if clip.id not in near and "audio" in clip.emotions]
    heard = sum(hit.audio is not None for hit in found)
    if heard > len(sounds):
        raise ValueError(f"expected {heard} other clips with sound to take it from, got {len(sounds)}")
    drawn = iter(rng.permutation(len(sounds)))
    # A silent hit stays silent: only what is heard is exchanged.
    return tuple(hit if hit.audio is None else replace(hit, audio=sounds[int(next(drawn))]) for hit in found)
