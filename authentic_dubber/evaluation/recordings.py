"""What a prepared corpus lends to measures: how its voices sound, and recordings with labels to learn emotion from.

The functionals of a corpus take minutes; they are kept beside its other features, where there may be written.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from authentic_dubber.training.cache import Cache, save_rows
from authentic_dubber.training.corpora import SAYINGS
from authentic_dubber.training.heldout import is_held_out

from .emotion import Labelled
from .functionals import NAMES, Unmeasurable, functionals
from .measured import Wave
from .periodicity import Values
from .sets import Case

logger = logging.getLogger(__name__)

MOST_PER_VOICE = 40
"""Recordings that tell a voice; more move neither a centroid nor a classifier of voices."""
MOST_WAVES = 10
"""Recordings of a voice that a large encoder is asked about."""
MOST_ACTED = 150
"""Acted recordings of one voice that a reader of emotion learns from."""
NOTHING_HEARD = -np.inf
"""Fills the row of a recording that was listened to in vain; one never listened to is NaN."""

Progress = Callable[[str, int, int], None]


class Recordings:
    """A prepared corpus as measures see it.

    Args:
        cases: of the set under test: takes of a case's words and feeling by its voice are never lent, for one of them
            may be the case's own recording.
        seed: chooses among a voice's recordings.
    """

    def __init__(self, cache: Cache, cases: Sequence[Case], *, seed: int = 0, progress: Progress | None = None) -> None:
        self.cache, self._seed, self._progress = cache, seed, progress
        tested = {(case.voice, case.text.casefold(), case.emotion) for case in cases}
        self._by_voice: dict[str, list[int]] = defaultdict(list)
        for i, entry in enumerate(cache.entries):
            if (entry.voice, entry.text.casefold(), entry.emotion) not in tested:
                self._by_voice[entry.voice].append(i)

    @property
    def key(self) -> str:
        """Tells two corpora apart."""
        return hashlib.sha256((self.cache.folder / "index.json").read_bytes()).hexdigest()[:16]

    def of_voice(self, voice: str) -> list[int]:
        """Rows that tell how a voice sounds: recordings a training may see, or all where the voice is held out."""
        rows = self._by_voice.get(voice, [])
        trained = [i for i in rows if not is_held_out(self.cache.entries[i].utterance())]
        return self._some(trained or rows, MOST_PER_VOICE)

    def company(self, voices: Iterable[str]) -> list[str]:
        """These voices and all others of their corpora: who a take could be taken for, recorded the same way."""
        corpora = {voice.partition("/")[0] for voice in voices}
        return sorted(voice for voice in self._by_voice if voice.partition("/")[0] in corpora)

    def centroids(self, voices: Iterable[str]) -> dict[str, Wave]:
        """Unit mean of the speaker vectors of each voice; voices without any are left out."""
        table = self.cache.rows("speaker")
        found: dict[str, Wave] = {}
        for voice in voices:
            rows = [i for i in self.of_voice(voice) if table[i].any()]
            if rows:
                mean = np.asarray(table[rows], dtype=np.float32).mean(axis=0)
                found[voice] = mean / np.linalg.norm(mean)
        return found

    def waves(self, voices: Iterable[str]) -> dict[str, list[tuple[Wave, int]]]:
        """A few recordings of each voice with their rate, for an encoder that the corpus holds no vectors of."""
        rate = self.cache.sample_rate
        rows = {voice: self._some(self.of_voice(voice), MOST_WAVES) for voice in voices}
        return {voice: [(self.cache.wave(i), rate) for i in mine] for voice, mine in rows.items() if mine}

    def voices(self, voices: Iterable[str]) -> tuple[Values, list[str]]:
        """Functionals (N, D) of recordings of these voices, and the voice of each."""
        chosen = [i for voice in voices for i in self.of_voice(voice)]
        values = self._functionals(chosen)
        kept = [i for i in chosen if i in values]
        rows = np.stack([values[i] for i in kept]) if kept else np.zeros((0, len(NAMES)))
        return rows, [self.cache.entries[i].voice for i in kept]

    def acted_corpora(self, classes: Sequence[str]) -> dict[str, str]:
        """Corpora of people whose recordings have two of these labels or more, with their languages."""
        labels: dict[str, set[str]] = defaultdict(set)
        language: dict[str, str] = {}
        for entry in self.cache.entries:
            if entry.emotion in classes and entry.corpus != SAYINGS:
                labels[entry.corpus].add(str(entry.emotion))
                language[entry.corpus] = entry.language
        return {corpus: language[corpus] for corpus, found in labels.items() if len(found) > 1}

    def acted(self, corpus: str, classes: Sequence[str]) -> dict[str, Labelled]:
        """By voice of a corpus, functionals (N, D) of acted recordings and their labels."""
        by_voice: dict[str, list[int]] = defaultdict(list)
        for i, entry in enumerate(self.cache.entries):
            if entry.corpus == corpus and entry.emotion in classes:
                by_voice[entry.voice].append(i)
        chosen = {voice: self._some(rows, MOST_ACTED) for voice, rows in by_voice.items()}
        values = self._functionals([i for rows in chosen.values() for i in rows])
        kept = {voice: [i for i in rows if i in values] for voice, rows in chosen.items()}
        return {
            voice: (np.stack([values[i] for i in rows]), [str(self.cache.entries[i].emotion) for i in rows])
            for voice, rows in kept.items()
            if rows
        }

    def _some(self, rows: Sequence[int], most: int) -> list[int]:
        order = np.random.default_rng(self._seed).permutation(len(rows))[:most]
        return [rows[i] for i in sorted(order.tolist())]

    def _functionals(self, rows: Sequence[int]) -> dict[int, Values]:
        """Functionals by row, without the rows in which nothing is heard."""
        # Named by what it holds: other functionals, or the same in another order, are another feature.
        feature = f"functionals-{hashlib.sha256(' '.join(NAMES).encode()).hexdigest()[:8]}"
        known: npt.NDArray[np.float32]
        if self.cache.has(feature):
            known = np.array(self.cache.rows(feature))
        else:
            known = np.full((len(self.cache.entries), len(NAMES)), np.nan, dtype=np.float32)
        todo = [i for i in rows if np.isnan(known[i]).all()]
        for done, i in enumerate(todo):
            if self._progress is not None:
                self._progress("listening to recordings", done, len(todo))
            try:
                known[i] = functionals(self.cache.wave(i), self.cache.sample_rate)
            except Unmeasurable:
                known[i] = NOTHING_HEARD
        if todo:
            try:
                save_rows(self.cache.folder, feature, known)
            except OSError as error:  # somebody else's corpus may not be written to
                logger.info("functionals are not kept: %s", error)
        return {i: known[i].astype(np.float64) for i in rows if not np.isneginf(known[i]).all()}
