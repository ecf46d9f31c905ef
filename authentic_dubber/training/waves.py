"""A prepared corpus as the vocoder's wave source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .cache import Cache
from .corpora import SAYINGS


class CorpusWaves:
    """Random stretches of the training rows; a few held-out recordings for plots.

    Args:
        cache: the prepared corpus.
        shown: how many held-out recordings to plot.

    Raises:
        HeldOutError: a training row is held out.
    """

    def __init__(self, cache: Cache, shown: int = 4) -> None:
        self.cache = cache
        # What a synthesizer spoke would teach a vocoder to sound like one.
        self.rows = [i for i in cache.training_rows() if cache.entries[i].corpus != SAYINGS]
        lengths = np.array([cache.entries[i].samples for i in self.rows], dtype=np.float64)
        self.chance = lengths / lengths.sum()
        kept = cache.held_out_rows()
        self.shown = kept[:: max(1, len(kept) // shown)][:shown]

    def segment(self, rng: np.random.Generator, samples: int) -> npt.NDArray[np.float32]:
        """A stretch of one recording, longer recordings more often; short ones end in silence. (S,)."""
        wave = self.cache.wave(self.rows[int(rng.choice(len(self.rows), p=self.chance))])
        if len(wave) < samples:
            return np.pad(wave, (0, samples - len(wave)))
        start = int(rng.integers(len(wave) - samples + 1))
        return wave[start : start + samples]

    def held_out(self) -> list[npt.NDArray[np.float32]]:
        return [self.cache.wave(i) for i in self.shown]
