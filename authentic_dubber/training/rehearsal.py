"""Lines without recordings: a voice says some text in a feeling it is told, and ears judge what comes out.

An actor of the acted corpora spoke two sentences; what his voice does to all other words no recording shows. Without
rehearsal a model speaks them in an average voice and tamely. Here it is corrected where it will be asked to speak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from authentic_dubber.batching import pad
from authentic_dubber.synthesizer import Inputs, Synthesizer

from .augment import SPEEDS, Copy, spoken_as
from .dataset import Corpus
from .ears import FeelingEar, Register, SpeakerEar, register, registers, roughened

LONGEST_SECONDS = 4.5
"""Of the recording a text is taken from; longer ones cost more than they teach."""
NOT_REHEARSED = ("grid",)
"""A camera's real mouth says a handful of words, of which nothing new can be rehearsed."""
HEARD = 24
"""Recordings of a voice that its centroid is taken over."""


class Voice(NamedTuple):
    """A voice of the corpus, or at another speed one that nobody has."""

    name: str
    speed: Copy | None = None


class Rehearsed(NamedTuple):
    """Attributes:
    voice: one minus the cosine of who is heard to who should be, mean over lines.
    feeling: cross-entropy of how the lines are heard to feel.
    """

    voice: Tensor
    feeling: Tensor


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines to rehearse.

    Shape:
            inputs of B lines; target (B, C) unit, the voice's centroid by the same ear; labels (B,); voices B.
    """

    inputs: Inputs
    target: Tensor
    labels: Tensor
    voices: tuple[Voice, ...]

    def to(self, device: torch.device) -> Lines:
        return Lines(self.inputs.to(device), self.target.to(device), self.labels.to(device), self.voices)


class Rehearsal:
    """Draws lines and judges how a model speaks them.

    Args:
        corpus: whose voices, texts, prompts and pictures.
        speaker: the ear that knows voices.
        feeling: the ear that knows feelings; None where no corpus is labelled, and then only voices are judged.
        shares: how often the voices of each corpus are drawn, by name.
        seed: of everything drawn.

    A voice may meet a line that it recorded: the ears then judge what the recording could have.

    Raises:
        ValueError: nothing can be drawn.
    """

    def __init__(
        self,
        corpus: Corpus,
        speaker: SpeakerEar,
        feeling: FeelingEar | None,
        shares: Mapping[str, float],
        seed: int,
    ) -> None:
        self.corpus, self.speaker, self.feeling, self.seed = corpus, speaker, feeling, seed
        entries = corpus.cache.entries
        longest = LONGEST_SECONDS * corpus.cache.sample_rate
        said: dict[str, dict[str, int]] = defaultdict(dict)
        self.looks: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i in (int(row) for row in corpus.rows):
            if entries[i].samples <= longest and shares.get(entries[i].corpus):
                said[entries[i].language].setdefault(entries[i].text, i)
            if entries[i].emotion is not None and shares.get(entries[i].corpus):
                self.looks[entries[i].language][int(corpus.evidence.labels[i])].append(i)
        # Every text alike, however many times it was spoken.
        self.texts = {language: list(rows.values()) for language, rows in said.items()}
        self.voices = [
            voice
            for voice, rows in corpus.voices.items()
            if shares.get(voice.partition("/")[0]) and entries[rows[0]].language in self.texts
        ]
        if not self.voices:
            raise ValueError(f"expected voices to rehearse and texts up to {LONGEST_SECONDS} s, got none")
        each = np.array([shares[voice.partition("/")[0]] for voice in self.voices])
        names = [voice.partition("/")[0] for voice in self.voices]
        self.chance = each / np.array([names.count(name) for name in names])
        self.chance /= self.chance.sum()
        plain = registers(corpus.cache, [int(i) for i in corpus.rows])
        self.registers: Mapping[Voice, Register] = {Voice(name): one for name, one in plain.items()}
        self.centroids: dict[Voice, Tensor] = {}
        speeds: tuple[Copy | None, ...] = (None, *SPEEDS) if corpus.config.train.augmented else (None,)
        for voice in (Voice(name, speed) for name in self.voices for speed in speeds):
            mels = self._heard(voice)
            self.centroids[voice] = self._centroid(mels)
            if voice.speed is not None:
                self.registers |= {voice: register(mels)}

    def to(self, device: str) -> Rehearsal:
        """Its ears and what they compare with on a device."""
        self.speaker.to(device)
        if self.feeling is not None:
            self.feeling.to(device)
        self.registers = {voice: one.to(device) for voice, one in self.registers.items()}
        return self

    def _heard(self, voice: Voice) -> list[npt.NDArray[np.float32]]:
        """Mels of some of a voice's recordings, (T, F) each."""
        rows = self.corpus.voices[voice.name]
        chosen = np.linspace(0, len(rows) - 1, min(HEARD, len(rows)))
        return [self.corpus.recordings.mel(rows[int(j)], voice.speed) for j in chosen]

    @torch.no_grad()
    def _centroid(self, mels: Sequence[npt.NDArray[np.float32]]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            heard = self.speaker(pad(mels).transpose(1, 2), torch.tensor([len(mel) for mel in mels]))
        return functional.normalize(heard.mean(0), dim=0)

    def lines(self, step: int) -> Lines:
        """The lines of a step, a function of (seed, step) alone."""
        corpus, entries = self.corpus, self.corpus.cache.entries
        rng = np.random.default_rng([self.seed, step, 2])
        count = corpus.config.train.rehearsed
        chosen = [self.voices[int(v)] for v in rng.choice(len(self.voices), size=count, p=self.chance)]
        prompts = [int(rng.choice(corpus.voices[voice])) for voice in chosen]
        texts, looks = [], []
        for prompt in prompts:
            language = entries[prompt].language
            texts.append(int(rng.choice(self.texts[language])))
            by_label = self.looks[language]
            looks.append(int(rng.choice(by_label[int(rng.choice(sorted(by_label)))])) if by_label else texts[-1])
        train = corpus.config.train
        k = rng.integers(train.min_references, train.max_references + 1, size=count)
        copies = corpus.copies(np.array(looks), rng)
        seen = corpus.collate(np.array(looks), prompts, k, rng, copies).inputs
        spoken = [corpus.symbols[i].astype(np.int64) for i in texts]
        inputs = replace(
            seen,
            symbols=pad(spoken),
            symbol_lengths=torch.tensor([len(ids) for ids in spoken]),
            lips=seen.lips[:, :1] * 0,
            lip_lengths=torch.zeros_like(seen.lip_lengths),
            directed=torch.ones_like(seen.directed),
        )
        labels = torch.from_numpy(corpus.evidence.labels[np.array(looks)])
        voices = tuple(Voice(name, spoken_as(copy)) for name, copy in zip(chosen, copies, strict=True))
        return Lines(inputs, torch.stack([self.centroids[voice] for voice in voices]), labels, voices)

    def judge(self, model: Synthesizer, lines: Lines, *, bf16: bool) -> Rehearsed:
        """How near the spoken lines are to what they should be; gradients reach the model alone."""
        with torch.autocast(lines.labels.device.type, torch.bfloat16, enabled=bf16):
            encoded = model.encode(lines.inputs)
            with torch.no_grad():
                natural = model.predicted_frames(encoded, lines.inputs.symbol_lengths)
                there = lines.inputs.symbols > 0
                durations = torch.where(there, natural.round().clamp(min=1), 0).long()
            spoken = model.decode(encoded, durations)
        heard = self.speaker(spoken.mel, spoken.lengths)
        voice = 1 - functional.cosine_similarity(heard, lines.target, dim=1).mean()
        if self.feeling is None:
            return Rehearsed(voice, voice.new_zeros(()))
        acting = [
            self.registers[voice].apply(mel[:, : int(length)]).T
            for voice, mel, length in zip(lines.voices, spoken.mel, spoken.lengths, strict=True)
        ]
        padded = pad_sequence(acting, batch_first=True).transpose(1, 2)  # B x (T, F) -> (B, F, T)
        felt = self.feeling(roughened(padded), spoken.lengths)
        return Rehearsed(voice, functional.cross_entropy(felt, lines.labels))
