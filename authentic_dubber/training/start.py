"""From command-line words to a training run of the acoustic model or of the vocoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from authentic_dubber.checkpoint import resolve_device
from authentic_dubber.config import DubberConfig, TrainConfig, build_config
from authentic_dubber.speaker import GE2E
from authentic_dubber.synthesizer import Synthesizer
from library_builder.atomic import whole_file
from library_builder.readers import build_readers
from vocoder.harmonic import HarmonicConfig
from vocoder.mel import MelConfig
from vocoder.storage import MODEL, load_strictly, read_tensors, write_tensors
from vocoder.train import TrainOutcome, VocoderTrainConfig
from vocoder.train import train as fit_vocoder
from vocoder.training_state import checkpoints

from .augment import prepare_copies
from .cache import Cache
from .corpora import SAYINGS
from .dataset import Corpus
from .directing import teach_director
from .ears import FeelingEar, SpeakerEar, teach_feeling
from .loop import Schedule, train
from .pictures import Programme
from .pitch_reader import teach_pitch
from .prepare import vocabulary
from .rehearsal import NOT_REHEARSED, Rehearsal
from .waves import CorpusWaves

log = logging.getLogger(__name__)

STARTER_SHARES = {"kathleen": 0.27, "ravdess": 0.40, "nemo": 0.27, "grid": 0.06}
"""Kathleen teaches phonetic coverage, the acted corpora feeling, GRID real lips. Synthetic lines teach the director
alone: their sound is not learned from."""
EAR, EAR_STEPS = "ear-seed{}.safetensors", 2000


@dataclass(frozen=True, slots=True)
class AcousticRun:
    """What an acoustic training may choose.

    Attributes:
        size: of the model, see `build_config`.
        steps: updates in all; the size's own number by default.
        shares: how often each corpus is drawn, by name; `STARTER_SHARES` by default.
        start_from: an `acoustic/` folder to begin with. Weights of the same name and shape are taken over, the rest
            begins fresh, so that a model may grow.
        director_steps: updates of the director alone before the voice; none when 0.
        references: the largest K; 0 trains without retrieval.
        words_only: the first phase: no pictures, no references, every feeling told. The director comes later.
        learning_rate: its peak; the size's own by default.
        rehearsed: lines of every step that ears judge, see `Rehearsal`; the size's own number by default.
        augmented: share of lines drawn slower, faster or with a noisy prompt; the size's own by default.
    """

    size: str = "starter"
    steps: int | None = None
    shares: Mapping[str, float] | None = None
    start_from: Path | None = None
    director_steps: int = 1500
    references: int | None = None
    words_only: bool = False
    learning_rate: float | None = None
    rehearsed: int | None = None
    augmented: float | None = None
    minutes: float | None = None
    seed: int = 0
    device: str = "auto"
    bf16: bool = True

    def train_config(self, config: TrainConfig) -> TrainConfig:
        """A size's training settings as this run changes them."""
        if self.steps is not None:
            config = replace(config, total_steps=self.steps)
        if self.references is not None:
            config = replace(config, max_references=self.references)
        if self.learning_rate is not None:
            config = replace(config, learning_rate=self.learning_rate)
        if self.rehearsed is not None:
            config = replace(config, rehearsed=self.rehearsed)
        if self.augmented is not None:
            config = replace(config, augmented=self.augmented)
        if self.words_only:
            config = replace(config, own_drop=1.0, max_references=0, told=1.0, emotion_weight=0.0, rehearsed=0)
        return config


def train_acoustic(cache: Path, run: Path, choice: AcousticRun) -> str:
    """Train, or go on; returns why it ended.

    Raises:
        ValueError: unknown size, or the run folder holds another training.
    """
    prepared = Cache(cache)
    config = build_config(choice.size, vocabulary(build_readers("light")))
    config = replace(config, train=choice.train_config(config.train))
    if config.train.augmented and config.train.total_steps:
        prepare_copies(prepared, GE2E())
    programme = Programme()
    kept = [number for number in range(programme.films) if programme.is_kept(number)]
    corpus = Corpus(prepared, config, weights=choice.shares or STARTER_SHARES, kept_films=kept)
    weights = None if checkpoints(run / "checkpoints") else _first_weights(config, prepared, choice, kept)
    return train(
        corpus,
        run,
        seed=choice.seed,
        schedule=Schedule(bf16=choice.bf16),
        device=resolve_device(choice.device),
        max_minutes=choice.minutes,
        start_from=weights,
        rehearsal=_rehearsal(corpus, run, choice) if config.train.rehearsed and config.train.total_steps else None,
    )


def _rehearsal(corpus: Corpus, run: Path, choice: AcousticRun) -> Rehearsal:
    """With the run's own feeling ear, so that a resumed training is judged as it was before."""
    shares = choice.shares or STARTER_SHARES
    kept, config, ear = run / EAR.format(choice.seed), corpus.config, None
    entries = corpus.cache.entries
    heard = [int(i) for i in corpus.rows if shares.get(entries[i].corpus) and entries[i].emotion in config.emotions]
    if kept.is_file():
        ear = FeelingEar(config).eval().requires_grad_(False)
        load_strictly(ear, read_tensors(kept), str(kept))
    elif heard:
        ear = teach_feeling(corpus.cache, config, heard, steps=EAR_STEPS, seed=choice.seed)
        run.mkdir(parents=True, exist_ok=True)
        with whole_file(kept) as part:
            write_tensors(part, ear.state_dict())
    device = resolve_device(choice.device)
    voice = SpeakerEar(GE2E().network, config.mel)
    rehearsal = Rehearsal(
        corpus, voice, ear, {name: shares[name] for name in shares if name not in NOT_REHEARSED}, choice.seed
    )
    return rehearsal.to(device)


@dataclass(frozen=True, slots=True)
class VocoderRun:
    """What a vocoder training may choose.

    Attributes:
        steps: updates in all; `adversarial_from`: the one at which the critics join.
        pitch_steps: updates of the pitch reader, before.
        start_from: a generator's folder to begin with, its pitch reader included.
    """

    steps: int = 60_000
    adversarial_from: int = 55_000
    pitch_steps: int = 2000
    start_from: Path | None = None
    minutes: float | None = None
    seed: int = 0
    device: str = "auto"


def train_vocoder(cache: Path, run: Path, choice: VocoderRun) -> TrainOutcome:
    """Train, or go on with, the harmonic vocoder of a prepared corpus.

    Raises:
        ValueError: the run folder holds another training, or what is started from has no pitch reader.
    """
    prepared = Cache(cache)
    source = CorpusWaves(prepared)
    config = VocoderTrainConfig(steps=choice.steps, adversarial_from=choice.adversarial_from, seed=choice.seed)
    assert isinstance(config.generator, HarmonicConfig), config
    weights: Mapping[str, Tensor] | None = None
    if choice.start_from is not None:
        weights = read_tensors(choice.start_from / MODEL)
        if not any(name.startswith("pitch.") for name in weights):
            raise ValueError(f"{choice.start_from}: expected a harmonic generator with its pitch reader, got another")
    elif not checkpoints(run / "checkpoints"):
        reader = teach_pitch(
            prepared, source.rows, MelConfig(), config.generator, steps=choice.pitch_steps, seed=choice.seed
        )
        weights = {f"pitch.{name}": value for name, value in reader.state_dict().items()}
    return fit_vocoder(
        source,
        run,
        config,
        device=resolve_device(choice.device),
        max_minutes=choice.minutes,
        start_from=weights,
    )


def _first_weights(
    config: DubberConfig, cache: Cache, choice: AcousticRun, kept: Sequence[int]
) -> Mapping[str, Tensor]:
    torch.manual_seed(choice.seed)
    model = Synthesizer(config)
    if choice.start_from is not None:
        own, before = model.state_dict(), read_tensors(choice.start_from / "model.safetensors")
        taken = {name: value for name, value in before.items() if name in own and own[name].shape == value.shape}
        log.info("%s: %d of %d weights taken over", choice.start_from, len(taken), len(own))
        model.load_state_dict({**own, **{name: value.to(own[name].dtype) for name, value in taken.items()}})
    if choice.director_steps and not choice.words_only:
        corpora = (*(choice.shares or STARTER_SHARES), SAYINGS)
        teach_director(model, cache, kept_films=kept, steps=choice.director_steps, seed=choice.seed, corpora=corpora)
    return model.state_dict()
