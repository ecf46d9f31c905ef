"""The models a study asks: a checkpoint's voice, with graph and director drawn anew and taught for equal budgets."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from authentic_dubber.checkpoint import load_acoustic, packaged_checkpoint, read_card
from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.directing import teach_director
from authentic_dubber.training.loop import State, train_step
from authentic_dubber.training.pictures import Programme
from authentic_dubber.training.start import STARTER_SHARES
from vocoder.storage import MODEL, load_strictly, read_tensors, whole_folder, write_config, write_tensors

from .features import corpus_digest, corpus_of
from .settings import NONE, Values, differing, digest, training_of

TAUGHT = ("graph.", "director.")
"""Weights that are drawn anew and taught; every other stays the checkpoint's, unless the voice has steps of its own."""
AGGREGATORS = "aggregators."
VOICE_RATE = 5e-4
"""Peak learning rate of the whole voice: that of the last phase of the starter's own training."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where models are taught and kept.

    Attributes:
        corpus: a prepared corpus.
        checkpoint: whose voice; the starter where None.
        folder: of the sweep.
    """

    corpus: Path
    checkpoint: Path | None
    folder: Path

    @property
    def features(self) -> Path:
        """Where variants of corpus and set are kept."""
        return self.folder / "features"

    def place(self, values: Values) -> Path:
        """Where the model of a cell is kept: equal trainings of equal data share one place."""
        parts = [differing(training_of(values)), corpus_digest(self.corpus), read_card(self._checkpoint).weights]
        return self.folder / "models" / f"{digest(parts)}-seed{values['seed']}"

    @property
    def _checkpoint(self) -> Path:
        return self.checkpoint or packaged_checkpoint()

    def model(self, values: Values) -> Synthesizer:
        """The model of a cell, taught now unless it was before; in evaluation mode."""
        place = self.place(values)
        if not (place / MODEL).is_file():
            self._teach(values, place)
        config = DubberConfig.from_json(json.loads((place / "config.json").read_text(encoding="utf-8"))["model"])
        model, taught = Synthesizer(config), read_tensors(place / MODEL)
        voice = load_acoustic(self._checkpoint / "acoustic").state_dict()
        kept = {name: voice[name] for name in model.state_dict() if name not in taught and name in voice}
        load_strictly(model, {**kept, **taught}, str(place))
        return model.eval()

    def _teach(self, values: Values, place: Path) -> None:
        began, seed = time.monotonic(), int(values["seed"])
        before = load_acoustic(self._checkpoint / "acoustic")
        cache = Cache(corpus_of(str(values["features"]), self.corpus, self.features))
        torch.manual_seed(seed)
        model = Synthesizer(varied_config(before.config, values))
        anew = (*TAUGHT, AGGREGATORS) if values["voice.steps"] else TAUGHT
        kept = {name: value for name, value in before.state_dict().items() if not name.startswith(anew)}
        model.load_state_dict({**model.state_dict(), **kept})
        programme = Programme()
        films = [number for number in range(programme.films) if programme.is_kept(number)]
        corpora = sorted({entry.corpus for entry in cache.entries})
        teach_director(model, cache, kept_films=films, steps=int(values["train.steps"]), seed=seed, corpora=corpora)
        if values["voice.steps"]:
            model = teach_voice(model, cache, films, steps=int(values["voice.steps"]), seed=seed)
        seconds = round(time.monotonic() - began, 1)
        with whole_folder(place) as filling:
            facts = {"training": training_of(values), "seconds": seconds, "kept_films": films}
            write_config(filling, {"model": model.config.to_json(), **facts})
            taught = "" if values["voice.steps"] else TAUGHT
            weights = {name: value for name, value in model.state_dict().items() if name.startswith(taught)}
            write_tensors(filling / MODEL, weights)


def teach_voice(model: Synthesizer, cache: Cache, kept_films: Sequence[int], *, steps: int, seed: int) -> Synthesizer:
    """All of a voice for some updates, as `dub train` does but without rehearsal and copies; its running average."""
    asked = model.config
    short = replace(
        asked.train, total_steps=steps, warmup=steps // 10, learning_rate=VOICE_RATE, rehearsed=0, augmented=0.0
    )
    model.config = replace(asked, train=short)
    shares = {name: STARTER_SHARES.get(name, 0.0) for name in {entry.corpus for entry in cache.entries}}
    corpus = Corpus(cache, model.config, weights=shares if any(shares.values()) else None, kept_films=kept_films)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=short.weight_decay)
    state = State(model, average, optimizer)
    for step in tqdm(range(steps), desc="voice", unit="step"):
        train_step(state, corpus.batch(seed, step), seed, bf16=False)
    average.config = asked
    return average


def varied_config(config: DubberConfig, values: Values) -> DubberConfig:
    """A voice's configuration with the graph that a cell asks for.

    Raises:
        ValueError: the graph's settings contradict each other, or new aggregators would not be taught.
    """
    if values["voice.aggregation"] != config.aggregation and not values["voice.steps"]:
        raise ValueError(f"voice.aggregation {values['voice.aggregation']}: expected voice.steps to teach it, got 0")
    stages = str(values["graph.stages"])
    graph = replace(
        config.graph,
        stages=() if stages == NONE else tuple(stages.split("+")),  # type: ignore[arg-type]
        single=bool(values["graph.single"]),
        audio_link=str(values["graph.audio_link"]),  # type: ignore[arg-type]
        similarity_weight=bool(values["graph.similarity_weight"]),
    )
    return replace(
        config,
        graph=graph,
        aggregation=str(values["voice.aggregation"]),  # type: ignore[arg-type]
        train=replace(config.train, max_references=int(values["train.references"])),
    )
