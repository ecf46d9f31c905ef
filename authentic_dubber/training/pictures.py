"""Pictures for the corpora: real ones where a corpus has them, the puppet theatre's where it is sound alone.

The theatre draws what an acted recording sounds like: its mouth follows the sound, its face and scene follow the
recording's label through noise, in the convention of the film it is cast in. The label reaches the drawing and never an
extractor. The last films are kept for tests: their clips stand in a library that training never asks.
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

from authentic_dubber.extraction import looked_at
from authentic_dubber.looking import look_at_lines
from authentic_dubber.slot import evenly
from authentic_dubber.theatre.films import Film, make_film
from authentic_dubber.theatre.mouth import mouth_opening
from authentic_dubber.theatre.puppet import LABELS, Controls, Label, Puppet
from authentic_dubber.theatre.stage import mouth_crops, sample_pictures
from library_builder.build import BuildConfig
from library_builder.face import track_of
from library_builder.feeling import batch_of
from library_builder.lips import CROP_PIXELS
from library_builder.media import read_frames
from library_builder.readers import Readers
from library_builder.types import Frame, Modality, space_width

from .cache import Cache, Entry, save_ragged, save_rows

FPS = 25.0
SIZE = (144, 256)
"""Height and width that the theatre draws for training; the readers shrink pictures to about this."""
OFF_SCREEN = -1
"""Film number of a recording that nobody sees."""
FILMED = -2
"""Film number of a recording with a picture of its own."""


@dataclass(frozen=True, slots=True)
class Programme:
    """Which films there are.

    Attributes:
        films: how many; the last `kept` of them are for tests.
        natural: every so many films draws feelings with the faces people make, as most real films do.
        noise: how far drawn feelings slide from the label, see `feeling_controls`.
        drawn: at most so many recordings of each corpus without pictures are drawn, evenly spread.
        unlabelled: the same for a corpus without labels, whose recordings are drawn as neutral.
    """

    films: int = 8
    kept: int = 2
    natural: int = 3
    noise: float = 0.5
    drawn: int = 2200
    unlabelled: int = 120

    def film(self, number: int) -> Film:
        return make_film(number, natural=number % self.natural == 0)

    def is_kept(self, number: int) -> bool:
        return number >= self.films - self.kept


@dataclass(frozen=True, slots=True)
class Direction:
    """How the theatre stages one recording.

    Attributes:
        opening: of the mouth per video frame, following the sound, (V,).
        seed: of the puppet's small movements.
    """

    film: Film
    puppet: Puppet
    controls: Controls
    opening: npt.NDArray[np.floating]
    seed: int

    def pictures(self, count: int, size: tuple[int, int] = SIZE) -> list[Frame]:
        """A few pictures of the staged recording, of a height and width."""
        return sample_pictures(
            self.puppet,
            self.controls,
            self.opening,
            FPS,
            count,
            size=size,
            style=self.film.style,
            seed=self.seed,
            place=self.film.place,
        )

    def crops(self, pixels: int = CROP_PIXELS) -> npt.NDArray[np.uint8]:
        """The mouth in every frame, grey, in squares of so many pixels, (V, P, P)."""
        style = self.film.style
        crops = mouth_crops(self.opening, self.puppet, self.seed, pixels, controls=self.controls, style=style)
        return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]).astype(np.uint8)


def stage(
    film: Film, label: Label, opening: npt.NDArray[np.floating], noise: float, rng: np.random.Generator
) -> Direction:
    """Cast and light one line of a film."""
    puppet = film.puppets[int(rng.integers(len(film.puppets)))]
    controls = film.controls(label, noise, rng)
    return Direction(film, puppet, controls, opening, int(rng.integers(1 << 30)))


class Theatre:
    """Stages recordings, every one in one film.

    A recording whose label the theatre cannot act is not drawn, nor one that is held out.
    """

    def __init__(self, cache: Cache, programme: Programme, seed: int) -> None:
        self.cache, self.programme, self.seed = cache, programme, seed
        self._films = [programme.film(number) for number in range(programme.films)]
        self.numbers = self._cast()

    def _cast(self) -> npt.NDArray[np.int8]:
        """Film number of each recording, (U,)."""
        numbers = np.full(len(self.cache.entries), OFF_SCREEN, dtype=np.int8)
        by_corpus: dict[str, list[int]] = defaultdict(list)
        for i in self.cache.training_rows():
            entry = self.cache.entries[i]
            if not entry.has_picture and (entry.emotion is None or entry.emotion in LABELS):
                by_corpus[entry.corpus].append(i)
        rng = np.random.default_rng([self.seed, 29])
        for _, rows in sorted(by_corpus.items()):
            labelled = self.cache.entries[rows[0]].emotion is not None
            most = min(self.programme.drawn if labelled else self.programme.unlabelled, len(rows))
            for j in np.linspace(0, len(rows) - 1, most):
                numbers[rows[int(j)]] = rng.integers(self.programme.films)
        numbers[[i for i, entry in enumerate(self.cache.entries) if entry.has_picture]] = FILMED
        return numbers

    def direct(self, i: int) -> Direction:
        """The staging of recording `i`, the same every time; one that is off screen is drawn for its mouth alone."""
        entry, rng = self.cache.entries[i], np.random.default_rng([self.seed, i])
        film = self._films[int(self.numbers[i])] if self.numbers[i] >= 0 else self._films[i % len(self._films)]
        label = next((name for name in LABELS if name == entry.emotion), LABELS[0])
        opening = mouth_opening(self.cache.wave(i), self.cache.sample_rate, FPS)
        return stage(film, label, opening, self.programme.noise, rng)


def prepare_looks(cache: Cache, readers: Readers, theatre: Theatre, *, frames: int) -> None:
    """`film`, `own_scene`, `own_face`, `own_text`; a text vector is read with the captions, as at inference.

    `own_captions` are the captions alone, for training to join them with other words.

    Args:
        frames: pictures per utterance that light readers see; pretrained ones see as many as of a library's clip.
    """
    if cache.has("own_captions"):
        return
    spaces: dict[Modality, str] = {"scene": readers.scene.space, "face": readers.face.space, "text": readers.text.space}
    rows = {m: np.zeros((len(cache.entries), space_width(s)), dtype=np.float16) for m, s in spaces.items()}
    captions = np.zeros_like(rows["text"])
    config, size = looked_at(readers.spaces().values()), SIZE
    if config != BuildConfig():
        frames, size = config.frames_per_clip, (config.max_height, config.max_height * 16 // 9)

    def shown(i: int, entry: Entry) -> Sequence[Frame]:
        if entry.has_picture:
            return evenly(_film(entry, cache, config), frames)
        return theatre.direct(i).pictures(frames, size) if theatre.numbers[i] >= 0 else ()

    together = batch_of(readers)
    with tqdm(total=len(cache.entries), desc="pictures", unit="clip") as bar:
        for first in range(0, len(cache.entries), together):
            some = cache.entries[first : first + together]
            found = look_at_lines(
                [shown(first + n, one) for n, one in enumerate(some)], readers, [e.text for e in some]
            )
            for i, look in enumerate(found, start=first):
                for modality, emotion in look.emotions.items():
                    rows[modality][i] = emotion.vector
                if look.described is not None:
                    captions[i] = look.described.vector
            bar.update(len(some))
    save_rows(cache.folder, "film", theatre.numbers)
    for modality, values in rows.items():
        save_rows(cache.folder, f"own_{modality}", values)
    save_rows(cache.folder, "own_captions", captions)


def prepare_lips(cache: Cache, readers: Readers, theatre: Theatre) -> None:
    """`lips`: features at the video's rate over the recording; real mouths where there are, drawn ones elsewhere."""
    if cache.has("lips"):
        return
    runs, config = [], looked_at(readers.spaces().values())
    for i, entry in enumerate(tqdm(cache.entries, desc="lips", unit="clip")):
        if entry.has_picture:
            film = _film(entry, cache, config)
            features = readers.lips.read(film, track_of(readers.face, film)).features
        else:
            features = readers.lips.features(theatre.direct(i).crops(readers.lips.crop_pixels))
        runs.append(features.astype(np.float16))
    save_ragged(cache.folder, "lips", runs)


def _film(entry: Entry, cache: Cache, config: BuildConfig) -> list[Frame]:
    end = entry.start + entry.samples / cache.sample_rate
    return list(read_frames(Path(entry.media), start=entry.start, end=end, max_height=config.max_height))
