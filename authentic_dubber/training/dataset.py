"""Batches of prepared utterances. A batch is a function of (seed, step), so a resumed training misses nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from authentic_dubber.batching import pad
from authentic_dubber.config import DubberConfig
from authentic_dubber.prosody import LEVEL_MEAN, LEVEL_SCALE, PITCH_MEAN, PITCH_SCALE, Prosody
from authentic_dubber.synthesizer import Inputs
from graphs import DialogueGraph

from .cache import Cache
from .evidence import Evidence
from .heldout import refuse_held_out

POOL = 6
"""This many batches are drawn at once and sorted by length, so that little of a batch is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs and what should come out.

    Shape:
        mel (B, F, T), mel_lengths (B,), durations (B, N), prosody (B, N) each; speaker (B, C) of the recording itself;
        emotion (B,), what the director could know: -1 where the corpus has no label, neutral where the line shows
        nothing.
    """

    inputs: Inputs
    mel: Tensor
    mel_lengths: Tensor
    durations: Tensor
    emotion: Tensor
    prosody: Prosody
    speaker: Tensor


class Corpus:
    """A prepared corpus as batches.

    Args:
        cache: with features `mel`, `symbols`, `durations`, `pitch`, `speaker`, `lips`, `film`, one vector per modality
            (`own_<modality>`, zero rows where it is missing), and `hits_<modality>`, `scores_<modality>`.
        config: the model that will be trained.
        rows: which utterances; training rows by default.
        weights: how often each corpus is drawn, by name; equal shares of utterances by default.
        kept_films: films whose pictures and references training does not see, see `Programme`.

    Raises:
        HeldOutError: a training row is held out.
    """

    def __init__(
        self,
        cache: Cache,
        config: DubberConfig,
        rows: Sequence[int] | None = None,
        weights: Mapping[str, float] | None = None,
        kept_films: Sequence[int] = (),
    ) -> None:
        self.cache, self.config = cache, config
        self.rows = np.array(cache.training_rows() if rows is None else rows)
        refuse_held_out(cache.entries[i].utterance() for i in self.rows)
        self.mel, self.symbols = cache.ragged("mel"), cache.ragged("symbols")
        self.durations, self.lips = cache.ragged("durations"), cache.ragged("lips")
        self.speaker, self.pitch = cache.rows("speaker"), cache.ragged("pitch")
        self.evidence = Evidence(cache, config, kept_films)
        self.frames = np.diff(self.mel.offsets)[self.rows]
        self.chance = self._chances(weights)
        self.voices = self._by_voice(self.rows)

    def _chances(self, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
        corpora = np.array([self.cache.entries[i].corpus for i in self.rows])
        chance = np.ones(len(self.rows))
        if weights is not None:
            for name in np.unique(corpora):
                here = corpora == name
                chance[here] = weights.get(str(name), 0.0) / here.sum()
        return chance / chance.sum()

    def batch(self, seed: int, step: int) -> Batch:
        """The training batch of a step, with random prompts, random K and random drops."""
        train = self.config.train
        rng = np.random.default_rng([seed, step // POOL])
        drawn = rng.choice(len(self.rows), size=POOL * train.batch, p=self.chance)
        drawn = drawn[np.argsort(self.frames[drawn], kind="stable")]
        order = rng.permutation(POOL)
        start = int(order[step % POOL]) * train.batch
        rng = np.random.default_rng([seed, step, 1])
        rows = self.rows[drawn[start : start + train.batch]]
        prompts = [self._other(int(i), rng, self.voices) for i in rows]
        k = rng.integers(0, train.max_references + 1, size=len(rows))
        return self.collate(rows, prompts, k, rng)

    def _by_voice(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, list[int]]:
        voices: dict[str, list[int]] = defaultdict(list)
        for i in rows:
            voices[self.cache.entries[i].voice].append(int(i))
        return voices

    def fixed(self, rows: Sequence[int], k: int) -> Batch:
        """Validation: chosen rows, some other recording of the speaker as prompt, fixed K, nothing dropped.

        A speaker who is held out whole is prompted by another held-out recording, never by the target.
        """
        rng, voices = np.random.default_rng(0), self._by_voice(range(len(self.cache.entries)))
        prompts = [self._other(int(i), rng, voices) for i in rows]
        return self.collate(np.array(rows), prompts, np.full(len(rows), k), None)

    def _other(self, row: int, rng: np.random.Generator, voices: Mapping[str, list[int]]) -> int:
        """Another recording of the same speaker; the target itself is never the prompt unless it is the only one."""
        pool = voices[self.cache.entries[row].voice]
        choice = pool[int(rng.integers(len(pool)))]
        return choice if choice != row else pool[(pool.index(row) + 1) % len(pool)]

    def collate(
        self,
        rows: npt.NDArray[np.int64],
        prompts: Sequence[int],
        k: npt.NDArray[np.int64],
        rng: np.random.Generator | None,
    ) -> Batch:
        """Padded tensors; with a generator, prompts are cropped and modalities and lips dropped at random."""
        mels = [self.mel[i].astype(np.float32) for i in rows]
        prompt = [self._crop(self.mel[i].astype(np.float32), rng) for i in prompts]
        lips = [self.lips[i].astype(np.float32) for i in rows]
        if rng is not None:
            lips = [x[:0] if rng.random() < self.config.train.lip_drop else x for x in lips]
        graph = self.evidence.graph(rows, k, rng)
        inputs = Inputs(
            symbols=pad([self.symbols[i].astype(np.int64) for i in rows]),
            symbol_lengths=torch.tensor([len(self.symbols[i]) for i in rows]),
            prompt=pad(prompt).transpose(1, 2),
            prompt_lengths=torch.tensor([len(x) for x in prompt]),
            speaker=torch.from_numpy(np.asarray(self.speaker[np.array(prompts)], dtype=np.float32)),
            lips=pad(lips),
            lip_lengths=torch.tensor([len(x) for x in lips]),
            graph=graph,
            feeling=functional.one_hot(torch.from_numpy(self.evidence.labels[rows]), len(self.config.emotions)).float(),
            directed=torch.from_numpy(self._told(len(rows), rng)),
            strength=torch.ones(len(rows)),
        )
        return Batch(
            inputs=inputs,
            mel=pad(mels).transpose(1, 2),
            mel_lengths=torch.tensor([len(x) for x in mels]),
            durations=pad([self.durations[i].astype(np.int64) for i in rows]),
            emotion=self._answers(rows, graph),
            prosody=self._prosody(rows, mels),
            speaker=torch.from_numpy(np.asarray(self.speaker[rows], dtype=np.float32)),
        )

    def _answers(self, rows: npt.NDArray[np.int64], graph: DialogueGraph) -> Tensor:
        """What the director should say; reading aloud is left out, or most of what it hears would be neutral."""
        labelled = torch.tensor([self.cache.entries[i].emotion is not None for i in rows])
        return torch.where(labelled, self.evidence.answers(rows, graph), -1)

    def _told(self, lines: int, rng: np.random.Generator | None) -> npt.NDArray[np.bool_]:
        if rng is None:
            return np.zeros(lines, dtype=bool)
        return np.asarray(rng.random(lines) < self.config.train.told)

    def _prosody(self, rows: npt.NDArray[np.int64], mels: Sequence[npt.NDArray[np.float32]]) -> Prosody:
        """Means over each symbol's frames; pitch over its voiced ones where it has any."""
        pitch, voiced, energy = [], [], []
        for i, mel in zip(rows, mels, strict=True):
            durations = self.durations[i].astype(np.int64)
            starts = np.cumsum(durations) - durations
            track = self.pitch[i].astype(np.float32)
            level = np.log(np.exp(mel).sum(1))

            def total(values: npt.NDArray[np.float32], at: npt.NDArray[np.int64] = starts) -> npt.NDArray[np.float32]:
                return np.add.reduceat(values, at)

            sounding = total(track[:, 1])
            carried = total(track[:, 0]) / durations
            tone = np.where(sounding > 0, total(track[:, 0] * track[:, 1]) / np.maximum(sounding, 1), carried)
            pitch.append(((tone - PITCH_MEAN) / PITCH_SCALE).astype(np.float32))
            voiced.append((sounding / durations).astype(np.float32))
            energy.append(((total(level) / durations - LEVEL_MEAN) / LEVEL_SCALE).astype(np.float32))
        return Prosody(pad(pitch), pad(voiced), pad(energy))

    def _crop(self, mel: npt.NDArray[np.float32], rng: np.random.Generator | None) -> npt.NDArray[np.float32]:
        longest = self.config.mel.frames(self.config.train.prompt_seconds)
        if len(mel) <= longest:
            return mel
        start = 0 if rng is None else int(rng.integers(len(mel) - longest))
        return mel[start : start + longest]
