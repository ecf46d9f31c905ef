"""A voice director's wishes, carried out: feelings as shares of the taxonomy, pinned and banned references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from library_builder.media import read_wave
from library_builder.types import Emotion, Modality
from retrieval import Library, Policy, Retrieved

from .types import Acting

if TYPE_CHECKING:  # these bring torch, and a slip of the pen is refused without it
    from library_builder.readers import Readers

    from .synthesizer import Synthesizer


def parse_emotion(text: str) -> tuple[str, float]:
    """`angry:0.7` or `angry` as a name and a share.

    Raises:
        ValueError: not of this form.
    """
    name, colon, share = text.strip().partition(":")
    try:
        weight = float(share) if colon else 1.0
    except ValueError as error:
        raise ValueError(f"expected an emotion as NAME or NAME:SHARE, got {text!r}") from error
    if not name or not 0 <= weight <= 1:
        raise ValueError(f"expected an emotion as NAME or NAME:SHARE with a share from 0 to 1, got {text!r}")
    return name.strip().casefold(), weight


def feeling_of(
    acting: Acting, model: Synthesizer, readers: Readers, *, device: str = "cpu"
) -> npt.NDArray[np.float32] | None:
    """The shares of the taxonomy that acting asks for; None when it leaves the feeling to picture and words.

    Shape:
        -> (E,), sums to one.

    Raises:
        ValueError: the taxonomy lacks the emotion, the recording holds no sound, or the model cannot be told.
        library_builder.media.MediaError: the recording cannot be read.
    """
    import torch

    from .director import NEUTRAL

    names = model.config.emotions
    if not model.config.felt and (acting.emotion is not None or acting.like is not None):
        raise ValueError(
            "this checkpoint takes feelings from its graph alone: expected a line without a told feeling, got one"
        )
    if acting.emotion is not None:
        if acting.emotion not in names:
            raise ValueError(f"this checkpoint feels {', '.join(names)}; got {acting.emotion!r}")
        shares = np.zeros(len(names), dtype=np.float32)
        shares[names.index(NEUTRAL)] = 1 - acting.weight
        shares[names.index(acting.emotion)] += acting.weight
        return shares
    if acting.like is None:
        return None
    rate = model.config.mel.sample_rate
    reading = readers.audio.read(read_wave(acting.like, sample_rate=rate), rate)
    if reading is None:
        raise ValueError(f"{acting.like}: expected a recording of a voice, found no sound in it")
    with torch.inference_mode():
        heard = model.director.listen(torch.tensor(reading.emotion.vector)[None].to(device))
    result: npt.NDArray[np.float32] = heard[0].float().softmax(0).cpu().numpy()
    return result


def find_references(library: Library, query: Mapping[Modality, Emotion], k: int, acting: Acting) -> Retrieved:
    """The k nearest clips per modality, with pinned clips first and banned ones absent.

    Raises:
        ValueError: a pinned clip is not in the library, or as `Library.top_k`.
    """
    return library.top_k(query, k, policy=Policy(pinned=acting.pin, without=acting.ban))
