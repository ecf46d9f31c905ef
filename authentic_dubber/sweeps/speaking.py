"""The dear outcome of a cell: its lines spoken in the checkpoint's voice, and what readers of emotion hear in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from authentic_dubber.dubber import Dubber
from authentic_dubber.evaluation.conditions import Listening
from authentic_dubber.evaluation.manner import Manner
from authentic_dubber.evaluation.measured import Measured
from authentic_dubber.evaluation.references import Hits
from authentic_dubber.evaluation.scoring import score
from authentic_dubber.evaluation.sets import EvaluationSet
from authentic_dubber.evaluation.speak import Shown, speak_set
from authentic_dubber.evaluation.suite import Family, Suite
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.cache import Cache
from library_builder.types import Emotion, Modality

from .asking import Enquiry
from .settings import Progress, Values, digest

MEASURES = ("emotion",)


@dataclass(frozen=True, slots=True)
class Booth:
    """Where lines are spoken and listened to.

    Attributes:
        dubber: whose voice, prompts and vocoder.
        corpus: recordings that the readers of emotion learn from.
    """

    dubber: Dubber
    corpus: Path
    _families: dict[str, list[Family]] = field(default_factory=dict)

    @classmethod
    def open(cls, checkpoint: Path | None, corpus: Path) -> Booth:
        return cls(Dubber.load(checkpoint, device="cpu"), corpus)

    def speak(
        self, model: Synthesizer, name: str, enquiry: Enquiry, values: Values, folder: Path, progress: Progress | None
    ) -> list[Measured]:
        """Speak a cell into a run folder as `dub evaluate` does, and measure emotion; an interrupted one goes on.

        Args:
            name: of the model, which a run keeps to.
        """
        given, cases = self.dubber, enquiry.cases
        card = replace(given.card, weights=f"{given.card.weights}+{name}")
        parts = given.vocoder, given.frontend, given.speakers, given.readers, card
        dubber = Dubber(model, *parts, device="cpu")
        limit = int(values["limit"]) or None

        def of(i: int) -> tuple[Mapping[Modality, Emotion], Hits]:
            return enquiry.own(i, values), enquiry.hits(i, values)

        shown = Shown(digest([dict(values), enquiry.libraries]), of)
        manner = Manner(k=int(values["retrieval.k"]))
        run = speak_set(cases, folder, dubber, manner, limit=limit, progress=progress, shown=shown)
        listening = Listening(cases, folder, run, dubber, limit=limit)
        return score(listening.heard("takes"), self._readers(cases), folder, progress=progress)

    def _readers(self, cases: EvaluationSet) -> list[Family]:
        """The readers of emotion for a set: they learn for a minute, and listen to every cell of it."""
        if cases.digest not in self._families:
            made = Suite(cases, Cache(self.corpus), None, self.dubber.speakers).families(MEASURES)
            self._families[cases.digest] = [replace(family, make=cache(family.make)) for family in made]
        return self._families[cases.digest]
