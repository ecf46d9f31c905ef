"""Pictures for the corpora: real ones where a corpus has them, the puppet theatre's where it is sound alone.

The theatre draws what an acted recording sounds like: its mouth follows the sound, its face and scene follow the
recording's label through noise. The label reaches the drawing and never an extractor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from authentic_dubber.slot import evenly
from authentic_dubber.theatre.mouth import mouth_opening
from authentic_dubber.theatre.puppet import Controls, Puppet, cast, feeling_controls
from authentic_dubber.theatre.sets import PLACES
from authentic_dubber.theatre.stage import mouth_crops, sample_pictures
from authentic_dubber.theatre.style import FilmStyle
from library_builder.lips import CROP_PIXELS, crop_features
from library_builder.media import read_frames
from library_builder.readers import Readers
from library_builder.types import Frame, Modality, Reading, space_width

from .cache import Cache, Entry, save_ragged, save_rows

FPS = 25.0
SIZE = (144, 256)
"""Height and width that the theatre draws for training; the readers shrink pictures to about this."""
VOICES_PER_FILM = 5
_AS_FELT = {"calm": ("neutral", 0.5), "disgust": ("angry", 0.6)}
"""The theatre acts six feelings; two labels of the acted corpora are drawn as their nearest."""


@dataclass(frozen=True, slots=True)
class Direction:
    """How the theatre stages one recording.

    Attributes:
        opening: of the mouth per video frame, following the sound, (V,).
        place, seed: of the set and of the puppet's small movements.
    """

    puppet: Puppet
    style: FilmStyle
    controls: Controls
    opening: npt.NDArray[np.floating]
    place: int
    seed: int


class Theatre:
    """Stages recordings: one puppet per voice, a few voices per film, each film with its own manner of drawing.

    Args:
        noise: how far drawn feelings slide from the label, see `feeling_controls`.
    """

    def __init__(self, cache: Cache, noise: float, seed: int) -> None:
        self.cache, self.noise, self.seed = cache, noise, seed
        voices = sorted({entry.voice for entry in cache.entries})
        self.puppets = dict(zip(voices, cast(seed, len(voices)), strict=True))
        self.films = {voice: FilmStyle.of_film(n // VOICES_PER_FILM) for n, voice in enumerate(voices)}

    def direct(self, i: int) -> Direction:
        """The staging of recording `i`, the same every time."""
        entry, rng = self.cache.entries[i], np.random.default_rng([self.seed, i])
        felt = entry.emotion or "neutral"
        label, intensity = _AS_FELT.get(felt, (felt, 1.0))
        return Direction(
            puppet=self.puppets[entry.voice],
            style=self.films[entry.voice],
            controls=feeling_controls(label, intensity, self.noise, rng),  # type: ignore[arg-type]
            opening=mouth_opening(self.cache.wave(i), self.cache.sample_rate, FPS),
            place=int(rng.integers(len(PLACES))),
            seed=int(rng.integers(1 << 30)),
        )

    def pictures(self, i: int, count: int) -> list[Frame]:
        """A few pictures of the staged recording."""
        d = self.direct(i)
        return sample_pictures(
            d.puppet, d.controls, d.opening, FPS, count, size=SIZE, style=d.style, seed=d.seed, place=PLACES[d.place]
        )

    def crops(self, i: int) -> npt.NDArray[np.uint8]:
        """The mouth in every frame, grey, (V, h, w)."""
        d = self.direct(i)
        crops = mouth_crops(d.opening, d.puppet, d.seed, CROP_PIXELS, controls=d.controls, style=d.style)
        return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]).astype(np.uint8)


def prepare_looks(cache: Cache, readers: Readers, theatre: Theatre, *, frames: int, drawn: int) -> None:
    """`own_scene`, `own_face`, `own_text`; a text vector is read with the captions, as at inference.

    Args:
        frames: pictures per utterance that the readers see.
        drawn: at most so many recordings of each corpus without pictures are drawn, evenly spread; the face readers
            cost a third of a second each. The others keep their words alone, as off-screen lines do.
    """
    if cache.has("own_text"):
        return
    spaces: dict[Modality, str] = {"scene": readers.scene.space, "face": readers.face.space, "text": readers.text.space}
    rows = {m: np.zeros((len(cache.entries), space_width(s)), dtype=np.float16) for m, s in spaces.items()}
    staged = _spread(cache, drawn)
    for i, entry in enumerate(tqdm(cache.entries, desc="pictures", unit="clip")):
        shown: Sequence[Frame] = ()
        if entry.has_picture:
            shown = evenly(_film(entry, cache), frames)
        elif i in staged:
            shown = theatre.pictures(i, frames)
        for modality, reading in _readings(shown, readers, entry.text).items():
            rows[modality][i] = reading.emotion.vector
    for modality, values in rows.items():
        save_rows(cache.folder, f"own_{modality}", values)


def prepare_lips(cache: Cache, readers: Readers, theatre: Theatre) -> None:
    """`lips`: features at the video's rate over the recording; real mouths where there are, drawn ones elsewhere."""
    if cache.has("lips"):
        return
    runs = []
    for i, entry in enumerate(tqdm(cache.entries, desc="lips", unit="clip")):
        if entry.has_picture:
            film = _film(entry, cache)
            features = readers.lips.read(film, readers.face.read(film).track).features
        else:
            features = crop_features(theatre.crops(i))
        runs.append(features.astype(np.float16))
    save_ragged(cache.folder, "lips", runs)


def _spread(cache: Cache, most: int) -> set[int]:
    by_corpus: dict[str, list[int]] = defaultdict(list)
    for i, entry in enumerate(cache.entries):
        if not entry.has_picture:
            by_corpus[entry.corpus].append(i)
    return {rows[int(j)] for rows in by_corpus.values() for j in np.linspace(0, len(rows) - 1, min(most, len(rows)))}


def _film(entry: Entry, cache: Cache) -> list[Frame]:
    end = entry.start + entry.samples / cache.sample_rate
    return list(read_frames(Path(entry.media), start=entry.start, end=end, max_height=270))


def _readings(frames: Sequence[Frame], readers: Readers, text: str) -> dict[Modality, Reading]:
    found: dict[Modality, Reading | None] = {}
    if frames:
        found = {"scene": readers.scene.read(frames), "face": readers.face.read(frames).reading}
    captions: dict[str, str] = {modality: reading.caption for modality, reading in found.items() if reading is not None}
    found["text"] = readers.text.read(text, captions)
    return {modality: reading for modality, reading in found.items() if reading is not None}
