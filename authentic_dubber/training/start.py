"""From command-line words to a training run of the acoustic model or of the vocoder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from authentic_dubber.checkpoint import resolve_device
from authentic_dubber.config import DubberConfig, TrainConfig, build_config
from authentic_dubber.narrowing import narrowed
from authentic_dubber.speaker import GE2E
from authentic_dubber.synthesizer import Synthesizer
from library_builder.atomic import whole_file
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
from .prepare import vocabulary_of
from .rehearsal import NOT_REHEARSED, Rehearsal
from .team import join_team
from .waves import CorpusWaves

log = logging.getLogger(__name__)

STARTER_SHARES = {"kathleen": 0.27, "ravdess": 0.40, "nemo": 0.27, "grid": 0.06}
"""Kathleen teaches phonetic coverage, the acted corpora feeling, GRID real lips. Synthetic lines teach the director
alone: their sound is not learned from."""
DIRECTOR_STEPS = 1500
EAR, EAR_STEPS = "ear-seed{}.safetensors", 2000


@dataclass(frozen=True, slots=True)
class AcousticRun:
    """What an acoustic training may choose.

    Attributes:
        size: of the model, see `build_config`.
        steps: updates in all; the size's own number by default.
        shares: how often each corpus is drawn, by name; see `shares_of`.
        start_from: an `acoustic/` folder to begin with. Weights of the same name and shape are taken over, the rest
            begins fresh, so that a model may grow.
        director_steps: updates of the director alone before the voice; by default 1500, and none where it is not heard.
        references: the largest K; 0 trains without retrieval.
        words_only: the first phase: no pictures, no references, every feeling told. The director comes later.
        learning_rate: its peak; the size's own by default.
        warmup: updates until that peak; the size's own by default.
        batch: lines of an update, over all processes and parts; the size's own by default.
        width: of the model, all its parts as much narrower; the size's own by default.
        parts: into how many parts a process cuts its share of an update.
        rehearsed: lines of every step that ears judge, see `Rehearsal`; the size's own number by default.
        augmented: share of lines drawn slower, faster or with a noisy prompt; the size's own by default.
    """

    size: str = "starter"
    steps: int | None = None
    shares: Mapping[str, float] | None = None
    start_from: Path | None = None
    director_steps: int | None = None
    references: int | None = None
    words_only: bool = False
    learning_rate: float | None = None
    warmup: int | None = None
    batch: int | None = None
    width: int | None = None
    parts: int = 1
    rehearsed: int | None = None
    augmented: float | None = None
    minutes: float | None = None
    seed: int = 0
    device: str = "auto"
    bf16: bool = True

    def train_config(self, config: TrainConfig) -> TrainConfig:
        """A size's training settings as this run changes them."""
        told: dict[str, Any] = {
            "total_steps": self.steps,
            "max_references": self.references,
            "min_references": None if self.references is None else min(self.references, config.min_references),
            "learning_rate": self.learning_rate,
            "warmup": self.warmup,
            "batch": self.batch,
            "rehearsed": self.rehearsed,
            "augmented": self.augmented,
        }
        config = replace(config, **{name: value for name, value in told.items() if value is not None})
        if self.words_only:
            none: dict[str, Any] = {"max_references": 0, "min_references": 0, "emotion_weight": 0.0, "rehearsed": 0}
            config = replace(config, own_drop=1.0, told=1.0, **none)
        return config


def train_acoustic(cache: Path, run: Path, choice: AcousticRun) -> str:
    """Train, or go on; returns why it ended. Started by `torchrun`, the processes share every update.

    Raises:
        ValueError: unknown size, the run folder holds another training, or what `train` refuses.
    """
    prepared = Cache(cache)
    config, shares = run_config(choice, prepared), shares_of(prepared, choice.shares)
    programme = Programme()
    kept = [number for number in range(programme.films) if programme.is_kept(number)]
    with join_team(resolve_device(choice.device)) as team:
        weights = None
        if team.leads:
            # What is written into the corpus, or learned beforehand, is one process's work.
            if config.train.augmented and config.train.total_steps:
                prepare_copies(prepared, GE2E())
            fresh = not checkpoints(run / "checkpoints")
            weights = _first_weights(config, prepared, choice, kept) if fresh else None
        team.wait()
        corpus = Corpus(prepared, config, weights=shares, kept_films=kept)
        judged = config.train.rehearsed and config.train.total_steps
        return train(
            corpus,
            run,
            seed=choice.seed,
            schedule=_schedule(config, choice),
            max_minutes=choice.minutes,
            progress=team.leads,
            start_from=weights,
            rehearsal=_rehearsal(corpus, run, choice) if judged else None,
            team=team,
        )


def _schedule(config: DubberConfig, choice: AcousticRun) -> Schedule:
    """A short run is told of as often as a long one."""
    often = min(Schedule().log_every, max(1, config.train.total_steps // 20))
    return Schedule(log_every=often, bf16=choice.bf16, parts=choice.parts)


def run_config(choice: AcousticRun, cache: Cache) -> DubberConfig:
    """The model and training that a run asks for, in the spaces of the corpus's readers."""
    config = build_config(choice.size, vocabulary_of(cache))
    if choice.width is not None:
        config = narrowed(config, choice.width)
    return replace(config, train=choice.train_config(config.train))


def shares_of(cache: Cache, told: Mapping[str, float] | None) -> Mapping[str, float]:
    """How often each corpus is drawn: as told, else as the starter's were, else every recording alike.

    Raises:
        ValueError: no recording that a training may see would ever be drawn.
    """
    seen = Counter(cache.entries[i].corpus for i in cache.training_rows())
    if told is None and not any(name in STARTER_SHARES for name in seen):
        told = {name: float(number) for name, number in seen.items() if name != SAYINGS}
    shares = STARTER_SHARES if told is None else told
    if not any(shares.get(name, 0.0) > 0 for name in seen):
        got = ", ".join(shares) or "none"
        raise ValueError(f"expected weights of corpora that are there ({', '.join(seen) or 'none'}), got {got}")
    return shares


def _rehearsal(corpus: Corpus, run: Path, choice: AcousticRun) -> Rehearsal:
    """With the run's own feeling ear, so that a resumed training is judged as it was before."""
    shares = shares_of(corpus.cache, choice.shares)
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
    ahead = choice.director_steps
    if ahead is None:
        ahead = DIRECTOR_STEPS if config.felt else 0
    if ahead and not choice.words_only:
        corpora = (*shares_of(cache, choice.shares), SAYINGS)
        teach_director(model, cache, kept_films=kept, steps=ahead, seed=choice.seed, corpora=corpora)
    return model.state_dict()
