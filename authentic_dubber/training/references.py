"""What each training line finds: every film has its own reference library, and a line asks the one of its film."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.readers import Readers
from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Emotion, Modality
from retrieval import Library, commit

from .cache import Cache, save_rows
from .pictures import FILMED, OFF_SCREEN, Programme


def prepare_references(cache: Cache, readers: Readers, programme: Programme, most: int) -> None:
    """`hits_<modality>` and `scores_<modality>`: rows of the nearest clips of the same film, -1 where there are fewer.

    A line never finds itself nor another take of its words by its speaker. A line that nobody sees asks, by its words,
    a film that is not kept for tests; lines of a kept film ask their own, and training never draws them.

    Args:
        most: hits per modality.
    """
    if cache.has(f"scores_{QUERY_MODALITIES[-1]}"):
        return
    number = np.asarray(cache.rows("film"))
    shelf = Shelf(cache, readers)
    hits = {m: np.full((len(number), most), -1, dtype=np.int32) for m in QUERY_MODALITIES}
    scores = {m: np.zeros((len(number), most), dtype=np.float16) for m in QUERY_MODALITIES}
    asked = np.where(number == OFF_SCREEN, np.arange(len(number)) % (programme.films - programme.kept), number)
    with tqdm(total=len(number), desc="references", unit="clip") as bar:
        for film in (FILMED, *range(programme.films)):
            with shelf.library(np.flatnonzero(number == film)) as library:
                for i in np.flatnonzero(asked == film):
                    for modality, found in shelf.search(library, int(i), most).items():
                        hits[modality][i, : len(found)] = [row for row, _ in found]
                        scores[modality][i, : len(found)] = [score for _, score in found]
                    bar.update()
    for modality in QUERY_MODALITIES:
        save_rows(cache.folder, f"hits_{modality}", hits[modality])
        save_rows(cache.folder, f"scores_{modality}", scores[modality])


class Shelf:
    """Makes libraries of prepared recordings; a clip's id is its row."""

    def __init__(self, cache: Cache, readers: Readers) -> None:
        self.cache = cache
        self.spaces: dict[Modality, str] = {modality: getattr(readers, modality).space for modality in MODALITIES}
        self._vectors: Mapping[str, npt.NDArray[Any]] = {m: np.asarray(cache.rows(f"own_{m}")) for m in MODALITIES}
        self._training = set(cache.training_rows())

    def clip(self, i: int) -> Clip:
        """Recording `i` as a clip of a library."""
        entry, vectors = self.cache.entries[i], self._vectors
        emotions = {
            m: Emotion(self.spaces[m], vectors[m][i].astype(np.float32)) for m in MODALITIES if vectors[m][i].any()
        }
        seconds = entry.samples / self.cache.sample_rate
        return Clip(f"{i:06d}", entry.key, 0.0, seconds, entry.voice, entry.text, entry.corpus, emotions=emotions)

    def library(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> _Scratch:
        """A library of the training rows among these, gone when its block ends."""
        return _Scratch([self.clip(int(i)) for i in rows if int(i) in self._training])

    def search(self, library: Library | None, i: int, most: int) -> dict[Modality, list[tuple[int, float]]]:
        """The rows that recording `i` finds, with their scores, best first."""
        asking = self.clip(i)
        query = {m: e for m, e in asking.emotions.items() if m in QUERY_MODALITIES}
        if library is None or not query:
            return {}
        found = library.top_k(query, most, policy=library.leave_out(asking))
        return {m: [(int(hit.clip.id), hit.score) for hit in hits] for m, hits in found.hits.items()}


class _Scratch:
    """A library in a temporary folder; None when there is nothing to put in."""

    def __init__(self, clips: list[Clip]) -> None:
        self._clips, self._folder = clips, tempfile.TemporaryDirectory()

    def __enter__(self) -> Library | None:
        if not self._clips:
            return None
        root = Path(self._folder.name)
        commit(root, self._clips)
        return Library.open(root)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
