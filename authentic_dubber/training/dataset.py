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

from .augment import COPIES, Copy, Recording, Recordings, spoken_as
from .cache import Cache
from .evidence import Evidence
from .heldout import refuse_held_out


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

    @property
    def lines(self) -> int:
        """B."""
        return len(self.mel_lengths)

    def chosen(self, rows: Tensor) -> Batch:
        """Some of the lines, with no more padding than they need.

        Shape:
            (B',).
        """
        symbols = int(self.inputs.symbol_lengths[rows].max())
        return Batch(
            inputs=self.inputs.chosen(rows),
            mel=self.mel[rows, :, : int(self.mel_lengths[rows].max())],
            mel_lengths=self.mel_lengths[rows],
            durations=self.durations[rows, :symbols],
            emotion=self.emotion[rows],
            prosody=Prosody(*(channel[rows, :symbols] for channel in self.prosody)),
            speaker=self.speaker[rows],
        )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.inputs.to(device),
            self.mel.to(device),
            self.mel_lengths.to(device),
            self.durations.to(device),
            self.emotion.to(device),
            Prosody(*(channel.to(device) for channel in self.prosody)),
            self.speaker.to(device),
        )


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
        self.recordings, self.symbols = Recordings(cache, config.mel), cache.ragged("symbols")
        self.evidence = Evidence(cache, config, kept_films)
        self.frames = self.recordings.frames()[self.rows]
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
        rng = np.random.default_rng([seed, step // train.pool])
        drawn = rng.choice(len(self.rows), size=train.pool * train.batch, p=self.chance)
        drawn = drawn[np.argsort(self.frames[drawn], kind="stable")]
        order = rng.permutation(train.pool)
        start = int(order[step % train.pool]) * train.batch
        rng = np.random.default_rng([seed, step, 1])
        rows = self.rows[drawn[start : start + train.batch]]
        prompts = [self._other(int(i), rng, self.voices) for i in rows]
        k = rng.integers(train.min_references, train.max_references + 1, size=len(rows))
        return self.collate(rows, prompts, k, rng, self.copies(rows, rng))

    def copies(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> list[Copy | None]:
        """As which copy each line is drawn: `None` for the recording itself, also where a copy could not be spoken."""
        changed = rng.random(len(rows)) < self.config.train.augmented
        drawn = [COPIES[int(rng.integers(len(COPIES)))] if yes else None for yes in changed]
        return [copy if self.recordings.has_room(int(i), copy) else None for i, copy in zip(rows, drawn, strict=True)]

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
        copies: Sequence[Copy | None] | None = None,
    ) -> Batch:
        """Padded tensors; with a generator, prompts are cropped and modalities and lips dropped at random.

        Args:
            copies: as which copy each line and its prompt are heard; the recordings themselves by default.
        """
        copies = copies or [None] * len(rows)
        lines = [self.recordings.line(int(i), copy) for i, copy in zip(rows, copies, strict=True)]
        prompt = [self._crop(self.recordings.mel(i, copy), rng) for i, copy in zip(prompts, copies, strict=True)]
        asked = [self.recordings.speaker(i, copy) for i, copy in zip(prompts, copies, strict=True)]
        said = [self.recordings.speaker(int(i), spoken_as(copy)) for i, copy in zip(rows, copies, strict=True)]
        lips = [line.lips for line in lines]
        if rng is not None:
            lips = [x[:0] if rng.random() < self.config.train.lip_drop else x for x in lips]
        graph = self.evidence.graph(rows, k, rng)
        inputs = Inputs(
            symbols=pad([self.symbols[i].astype(np.int64) for i in rows]),
            symbol_lengths=torch.tensor([len(self.symbols[i]) for i in rows]),
            prompt=pad(prompt).transpose(1, 2),
            prompt_lengths=torch.tensor([len(x) for x in prompt]),
            speaker=torch.from_numpy(np.stack(asked)),
            lips=pad(lips),
            lip_lengths=torch.tensor([len(x) for x in lips]),
            graph=graph,
            feeling=functional.one_hot(torch.from_numpy(self.evidence.labels[rows]), len(self.config.emotions)).float(),
            directed=torch.from_numpy(self._told(len(rows), rng)),
            strength=torch.ones(len(rows)),
        )
        return Batch(
            inputs=inputs,
            mel=pad([line.mel for line in lines]).transpose(1, 2),
            mel_lengths=torch.tensor([len(line.mel) for line in lines]),
            durations=pad([line.durations for line in lines]),
            emotion=self._answers(rows, graph),
            prosody=_prosody(lines),
            speaker=torch.from_numpy(np.stack(said)),
        )

    def _answers(self, rows: npt.NDArray[np.int64], graph: DialogueGraph) -> Tensor:
        """What the director should say; reading aloud is left out, or most of what it hears would be neutral."""
        labelled = torch.tensor([self.cache.entries[i].emotion is not None for i in rows])
        return torch.where(labelled, self.evidence.answers(rows, graph), -1)

    def _told(self, lines: int, rng: np.random.Generator | None) -> npt.NDArray[np.bool_]:
        if rng is None:
            return np.zeros(lines, dtype=bool)
        return np.asarray(rng.random(lines) < self.config.train.told)

    def _crop(self, mel: npt.NDArray[np.float32], rng: np.random.Generator | None) -> npt.NDArray[np.float32]:
        longest = self.config.mel.frames(self.config.train.prompt_seconds)
        if len(mel) <= longest:
            return mel
        start = 0 if rng is None else int(rng.integers(len(mel) - longest))
        return mel[start : start + longest]


def _prosody(lines: Sequence[Recording]) -> Prosody:
    """Means over each symbol's frames; pitch over its voiced ones where it has any."""
    pitch, voiced, energy = [], [], []
    for line in lines:
        starts = np.cumsum(line.durations) - line.durations
        level = np.log(np.exp(line.mel).sum(1))

        def total(values: npt.NDArray[np.float32], at: npt.NDArray[np.int64] = starts) -> npt.NDArray[np.float32]:
            return np.add.reduceat(values, at)

        sounding = total(line.pitch[:, 1])
        carried = total(line.pitch[:, 0]) / line.durations
        tone = np.where(sounding > 0, total(line.pitch[:, 0] * line.pitch[:, 1]) / np.maximum(sounding, 1), carried)
        pitch.append(((tone - PITCH_MEAN) / PITCH_SCALE).astype(np.float32))
        voiced.append((sounding / line.durations).astype(np.float32))
        energy.append(((total(level) / line.durations - LEVEL_MEAN) / LEVEL_SCALE).astype(np.float32))
    return Prosody(pad(pitch), pad(voiced), pad(energy))
