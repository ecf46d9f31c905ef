"""The models a study asks: a checkpoint's voice, with graph and director drawn anew and taught for equal budgets."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from authentic_dubber.checkpoint import load_acoustic, packaged_checkpoint, read_card
from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.directing import teach_director
from authentic_dubber.training.pictures import Programme
from vocoder.storage import MODEL, load_strictly, read_tensors, whole_folder, write_config, write_tensors

from .features import corpus_digest, corpus_of
from .settings import NONE, Values, digest, training_of

TAUGHT = ("graph.", "director.")
"""Weights that are drawn anew and taught; every other stays the checkpoint's."""


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
        parts = [training_of(values), corpus_digest(self.corpus), read_card(self._checkpoint).weights]
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
        model, voice = Synthesizer(config), load_acoustic(self._checkpoint / "acoustic").state_dict()
        kept = {name: value for name, value in voice.items() if not name.startswith(TAUGHT)}
        load_strictly(model, {**kept, **read_tensors(place / MODEL)}, str(place))
        return model.eval()

    def _teach(self, values: Values, place: Path) -> None:
        began, seed = time.monotonic(), int(values["seed"])
        before = load_acoustic(self._checkpoint / "acoustic")
        cache = Cache(corpus_of(str(values["features"]), self.corpus, self.features))
        torch.manual_seed(seed)
        model = Synthesizer(varied_config(before.config, values))
        kept = {name: value for name, value in before.state_dict().items() if not name.startswith(TAUGHT)}
        model.load_state_dict({**model.state_dict(), **kept})
        programme = Programme()
        films = [number for number in range(programme.films) if programme.is_kept(number)]
        teach_director(model, cache, kept_films=films, steps=int(values["train.steps"]), seed=seed)
        seconds = round(time.monotonic() - began, 1)
        with whole_folder(place) as filling:
            facts = {"training": training_of(values), "seconds": seconds, "kept_films": films}
            write_config(filling, {"model": model.config.to_json(), **facts})
            taught = {name: value for name, value in model.state_dict().items() if name.startswith(TAUGHT)}
            write_tensors(filling / MODEL, taught)


def varied_config(config: DubberConfig, values: Values) -> DubberConfig:
    """A voice's configuration with the graph that a cell asks for.

    Raises:
        ValueError: the graph's settings contradict each other.
    """
    stages = str(values["graph.stages"])
    graph = replace(
        config.graph,
        stages=() if stages == NONE else tuple(stages.split("+")),  # type: ignore[arg-type]
        single=bool(values["graph.single"]),
        audio_link=str(values["graph.audio_link"]),  # type: ignore[arg-type]
        similarity_weight=bool(values["graph.similarity_weight"]),
    )
    return replace(config, graph=graph, train=replace(config.train, max_references=int(values["train.references"])))
