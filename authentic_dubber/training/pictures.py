"""Pictures for the corpora: real ones where a corpus has them, the puppet theatre's where it is sound alone.

The theatre draws what an acted recording sounds like: its mouth follows the sound, its face and scene follow the
recording's label through noise. The label reaches the drawing and never an extractor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.lips import crop_features
from library_builder.media import read_frames
from library_builder.readers import Readers
from library_builder.types import Frame, Modality, Reading, space_width

from ..theatre.mouth import mouth_opening
from ..theatre.puppet import Puppet, cast, feeling_controls
from ..theatre.sets import PLACES
from ..theatre.stage import mouth_crops, sample_pictures
from ..theatre.style import FilmStyle
from .cache import Cache, Entry, save_ragged, save_rows

FPS = 25.0
SIZE = (144, 256)
"""Height and width that the theatre draws for training: extractors shrink pictures further."""
CROP = 48
VOICES_PER_FILM = 5
_AS_FELT = {"calm": ("neutral", 0.5), "disgust": ("angry", 0.6)}
"""The theatre acts six feelings; two labels of the acted corpora are drawn as their nearest."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read from an utterance's picture and words."""

    readings: dict[Modality, Reading]
    lips: npt.NDArray[np.float32]


def prepare_pictures(cache: Cache, readers: Readers, *, noise: float, frames: int, seed: int) -> None:
    """`own_scene`, `own_face`, `own_text` and `lips`, with the captions that the text vector was read with.

    Args:
        noise: how far drawn feelings slide from the label, see `feeling_controls`.
        frames: pictures per utterance that the scene and face readers see.
    """
    if cache.has("lips"):
        return
    spaces: dict[Modality, str] = {"scene": readers.scene.space, "face": readers.face.space, "text": readers.text.space}
    rows = {m: np.zeros((len(cache.entries), space_width(s)), dtype=np.float16) for m, s in spaces.items()}
    lips = []
    for i, seen in enumerate(_all(cache, readers, noise, frames, seed)):
        for modality, reading in seen.readings.items():
            rows[modality][i] = reading.emotion.vector
        lips.append(seen.lips.astype(np.float16))
    for modality, values in rows.items():
        save_rows(cache.folder, f"own_{modality}", values)
    save_ragged(cache.folder, "lips", lips)


def _all(cache: Cache, readers: Readers, noise: float, frames: int, seed: int) -> Iterator[Seen]:
    voices = sorted({entry.voice for entry in cache.entries})
    puppets = dict(zip(voices, cast(seed, len(voices)), strict=True))
    films = {voice: FilmStyle.of_film(n // VOICES_PER_FILM) for n, voice in enumerate(voices)}
    for i, entry in enumerate(tqdm(cache.entries, desc="pictures", unit="clip")):
        if entry.has_picture:
            yield _filmed(entry, cache, readers, frames)
        else:
            rng = np.random.default_rng([seed, i])
            yield _drawn(cache, i, readers, puppets[entry.voice], films[entry.voice], (noise, frames), rng)


def _with_text(entry: Entry, readers: Readers, readings: dict[Modality, Reading]) -> dict[Modality, Reading]:
    captions = {modality: reading.caption for modality, reading in readings.items()}
    text = readers.text.read(entry.text, captions)
    return readings if text is None else {**readings, "text": text}


def _filmed(entry: Entry, cache: Cache, readers: Readers, count: int) -> Seen:
    end = entry.start + entry.samples / cache.sample_rate
    frames = list(read_frames(Path(entry.media), start=entry.start, end=end, max_height=270))
    readings, track = _look(frames, frames[:: max(1, -(-len(frames) // count))], readers)
    return Seen(_with_text(entry, readers, readings), readers.lips.read(frames, track).features)


def _look(frames: Sequence[Frame], few: Sequence[Frame], readers: Readers):  # type: ignore[no-untyped-def]
    readings: dict[Modality, Reading] = {}
    scene, face = readers.scene.read(few), readers.face.read(frames)
    if scene is not None:
        readings["scene"] = scene
    if face.reading is not None:
        readings["face"] = face.reading
    return readings, face.track


def _drawn(
    cache: Cache,
    i: int,
    readers: Readers,
    puppet: Puppet,
    film: FilmStyle,
    settings: tuple[float, int],
    rng: np.random.Generator,
) -> Seen:
    entry, (noise, count) = cache.entries[i], settings
    label, intensity = _AS_FELT.get(entry.emotion or "neutral", (entry.emotion or "neutral", 1.0))
    controls = feeling_controls(label, intensity, noise, rng)  # type: ignore[arg-type]
    opening = mouth_opening(cache.wave(i), cache.sample_rate, FPS)
    seed, place = int(rng.integers(1 << 30)), PLACES[int(rng.integers(len(PLACES)))]
    frames = sample_pictures(
        puppet, controls, opening, FPS, count, size=SIZE, style=film, seed=seed, place=place
    )
    readings, _ = _look(frames, frames, readers)
    crops = mouth_crops(opening, puppet, seed, CROP, controls=controls, style=film)
    return Seen(_with_text(entry, readers, readings), crop_features(crops))
