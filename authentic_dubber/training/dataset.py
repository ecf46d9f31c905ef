"""Batches of prepared utterances. A batch is a function of (seed, step), so a resumed training misses nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from authentic_dubber.batching import pad
from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Inputs
from graphs import DialogueGraph
from library_builder.types import QUERY_MODALITIES

from .cache import Cache
from .heldout import refuse_held_out

POOL = 6
"""This many batches are drawn at once and sorted by length, so that little of a batch is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs and what should come out.

    Shape:
        mel (B, F, T), mel_lengths (B,), durations (B, N), emotion (B,) with -1 where the corpus has no label.
    """

    inputs: Inputs
    mel: Tensor
    mel_lengths: Tensor
    durations: Tensor
    emotion: Tensor


class Corpus:
    """A prepared corpus as batches.

    Args:
        cache: with features `mel`, `symbols`, `durations`, `speaker`, `lips`, one vector array per modality
            (`own_<modality>`, zero rows where it is missing), and `hits_<modality>`, `scores_<modality>`.
        config: the model that will be trained.
        rows: which utterances; training rows by default.
        weights: how often each corpus is drawn, by name; equal shares of utterances by default.

    Raises:
        HeldOutError: a training row is held out.
    """

    def __init__(
        self,
        cache: Cache,
        config: DubberConfig,
        rows: Sequence[int] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.cache, self.config = cache, config
        self.rows = np.array(cache.training_rows() if rows is None else rows)
        refuse_held_out(cache.entries[i].utterance() for i in self.rows)
        self.mel, self.symbols = cache.ragged("mel"), cache.ragged("symbols")
        self.durations, self.lips = cache.ragged("durations"), cache.ragged("lips")
        self.speaker = cache.rows("speaker")
        self.own = {m: cache.rows(f"own_{m}") for m in (*QUERY_MODALITIES, "audio")}
        self.hits = {m: cache.rows(f"hits_{m}") for m in QUERY_MODALITIES}
        self.scores = {m: cache.rows(f"scores_{m}") for m in QUERY_MODALITIES}
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
        inputs = Inputs(
            symbols=pad([self.symbols[i].astype(np.int64) for i in rows]),
            symbol_lengths=torch.tensor([len(self.symbols[i]) for i in rows]),
            prompt=pad(prompt).transpose(1, 2),
            prompt_lengths=torch.tensor([len(x) for x in prompt]),
            speaker=torch.from_numpy(np.asarray(self.speaker[np.array(prompts)], dtype=np.float32)),
            lips=pad(lips),
            lip_lengths=torch.tensor([len(x) for x in lips]),
            graph=self._graph(rows, k, rng),
        )
        names = self.config.emotions
        labels = [self.cache.entries[i].emotion for i in rows]
        return Batch(
            inputs=inputs,
            mel=pad(mels).transpose(1, 2),
            mel_lengths=torch.tensor([len(x) for x in mels]),
            durations=pad([self.durations[i].astype(np.int64) for i in rows]),
            emotion=torch.tensor([names.index(x) if x is not None else -1 for x in labels]),
        )

    def _crop(self, mel: npt.NDArray[np.float32], rng: np.random.Generator | None) -> npt.NDArray[np.float32]:
        longest = self.config.mel.frames(self.config.train.prompt_seconds)
        if len(mel) <= longest:
            return mel
        start = 0 if rng is None else int(rng.integers(len(mel) - longest))
        return mel[start : start + longest]

    def _graph(
        self, rows: npt.NDArray[np.int64], k: npt.NDArray[np.int64], rng: np.random.Generator | None
    ) -> DialogueGraph:
        most = int(k.max())
        own: dict[str, Tensor] = {}
        references: dict[str, Tensor] = {}
        audio: dict[str, Tensor] = {}
        own_mask, live, heard, similarity = [], [], [], []
        for m in QUERY_MODALITIES:
            vectors = np.asarray(self.own[m][rows], dtype=np.float32)
            present = np.abs(vectors).sum(1) > 0
            if rng is not None:
                present &= rng.random(len(rows)) >= self.config.train.own_drop
            hits = np.asarray(self.hits[m][rows][:, :most])
            here = (hits >= 0) & (np.arange(most)[None] < k[:, None]) & present[:, None]
            sounds = np.asarray(self.own["audio"][hits], dtype=np.float32)
            own[m] = torch.from_numpy(vectors * present[:, None])
            references[m] = torch.from_numpy(np.asarray(self.own[m][hits], dtype=np.float32) * here[:, :, None])
            audio[m] = torch.from_numpy(sounds * here[:, :, None])
            own_mask.append(present)
            live.append(here)
            heard.append(here & (np.abs(sounds).sum(2) > 0))
            similarity.append(np.asarray(self.scores[m][rows][:, :most], dtype=np.float32) * here)
        return DialogueGraph(
            own=own,
            own_mask=torch.from_numpy(np.stack(own_mask, 1)),
            references=references,
            audio=audio,
            reference_mask=torch.from_numpy(np.stack(live, 1)),
            audio_mask=torch.from_numpy(np.stack(heard, 1)),
            similarity=torch.from_numpy(np.stack(similarity, 1)),
        )
