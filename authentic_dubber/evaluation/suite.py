"""Which measures a set is judged by, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from authentic_dubber.speaker import BadPrompt, SpeakerEncoder
from authentic_dubber.training.cache import Cache
from library_builder.media import MediaError, read_wave

from .emotion import CLASSES, EmotionMeasure
from .functionals import Remembered
from .manner import CONDITIONS, Condition, check_names
from .measured import Measure, Measured, Sample, Wave
from .naturalness import naturalness_measures
from .pitch import PitchContours
from .recordings import Progress, Recordings
from .sets import EvaluationSet
from .speaker_identity import SpeakerClassifier, SpeakerFunctionals, SpeakerSimilarity, WavlmSimilarity
from .spectral import MelCepstralDistortion
from .synchrony import Synchrony
from .words import Alignment, AnotherLanguage, SphinxListener, WordErrors, unpronounceable, whisper_listener

_SOUND: frozenset[Condition] = frozenset(CONDITIONS) - {"wrong-text", "wrong-speaker"}
AGAINST_RECORDING = ("f0_rmse", "f0_correlation", "vuv_error", "duration_correlation")
"""Measures beside others of their family that a recording cannot be held against: it has no recording but itself."""
OWN_RECORDINGS = (
    "No corpus was given: voices are known by the set's own prompts and recordings, so a recording is compared with "
    "itself among others."
)


@dataclass(frozen=True, slots=True)
class Family:
    """Measures that belong together and run as one.

    Attributes:
        conditions: where the figures mean something.
        make: fetches what the measures need, when they are first called.
        key: of what they need, such as a corpus; another key is another measure.
    """

    name: str
    conditions: frozenset[Condition]
    make: Callable[[], Sequence[Measure]]
    key: str = ""


@dataclass(slots=True)
class Suite:
    """The measures of a set.

    Args:
        corpus: a prepared corpus; without one nobody can say what emotion sounds like.
        models: folder with `dnsmos/`, `nisqa/`, `whisper/` and `wavlm/`, each optional; see the measures.
        speakers: the encoder of speaker similarity.
    """

    cases: EvaluationSet
    corpus: Cache | None
    models: Path | None
    speakers: SpeakerEncoder
    progress: Progress | None = None
    _take: Remembered = field(default_factory=Remembered)

    def families(self, chosen: Sequence[str] = ()) -> list[Family]:
        """The families that apply to the set, or those of them that were chosen by name.

        Raises:
            ValueError: a name is unknown.
        """
        check_names(chosen)
        return [family for family in self._all() if not chosen or family.name in chosen]

    def _all(self) -> list[Family]:
        corpus = "" if self._recordings is None else self._recordings.key
        models = "" if self.models is None else str(self.models)
        found = [
            Family("words", frozenset(CONDITIONS) - {"wrong-speaker"}, self._words, models),
            Family("speaker", frozenset(CONDITIONS) - {"wrong-text"}, self._speaker, f"{corpus} company {models}"),
        ]
        if any(case.emotion is not None for case in self.cases.cases):
            found.append(Family("emotion", _SOUND, self._emotion, corpus))
        recorded = any(case.reference is not None for case in self.cases.cases)
        if recorded or self.cases.mouth is not None or any(case.slot_seconds for case in self.cases.cases):
            found.append(Family("timing", _SOUND, lambda: [Synchrony()]))
        if recorded:
            found.append(Family("spectral", _SOUND - {"recordings"}, lambda: [MelCepstralDistortion()]))
        found.append(Family("pitch", _SOUND, lambda: [PitchContours()]))
        found.append(Family("naturalness", _SOUND, lambda: naturalness_measures(self.models), models))
        return found

    @property
    def _recordings(self) -> Recordings | None:
        return None if self.corpus is None else Recordings(self.corpus, self.cases.cases, progress=self.progress)

    def _words(self) -> list[Measure]:
        language = self.cases.content.language
        whisper = None if self.models is None else self.models / "whisper"
        if language == "en" and (whisper is None or not whisper.is_dir()):
            sentences = [case.text for case in self.cases.cases]
            return [WordErrors(lambda: SphinxListener(sentences), unpronounceable), Alignment()]
        aligned: Measure = Alignment() if language == "en" else AnotherLanguage(language)
        return [WordErrors(lambda: whisper_listener(whisper, language)), aligned]

    def _speaker(self) -> list[Measure]:
        voices = sorted({case.voice for case in self.cases.cases})
        recordings = self._recordings
        company = [] if recordings is None else recordings.company(voices)
        centroids = {} if recordings is None else recordings.centroids(company)
        unknown = [voice for voice in voices if voice not in centroids]
        if unknown:
            centroids |= own_centroids(self.cases, unknown, self.speakers)
        if not centroids:
            return [NoMeasure("secs", "Speaker similarity to recordings", "cosine", "the set has no usable recordings")]
        similar = SpeakerSimilarity(self.speakers, centroids)
        made: list[Measure] = [Noted(similar, OWN_RECORDINGS) if unknown else similar, self._wavlm(company)]
        if recordings is None:
            reason = "no corpus to learn the voices from; give one by --corpus"
            return [*made, NoMeasure("speaker_identification", "Own voice by functionals", "%", reason)]
        rows, labels = recordings.voices(company)
        if len(set(labels)) < 2:
            reason = "the set's corpora hold recordings of fewer than two voices"
            return [*made, NoMeasure("speaker_identification", "Own voice by functionals", "%", reason)]
        return [*made, SpeakerFunctionals(SpeakerClassifier.fit(rows, labels), take=self._take)]

    def _wavlm(self, company: Sequence[str]) -> Measure:
        weights, recordings = None if self.models is None else self.models / "wavlm", self._recordings
        if weights is None or not weights.is_dir():
            return WavlmSimilarity(weights, {})
        lent = {} if recordings is None else recordings.waves(company)
        if not lent:
            reason = "no corpus holds recordings of the set's voices; give one by --corpus"
            return NoMeasure("secs_wavlm", "Speaker similarity to recordings, WavLM", "cosine", reason)
        return WavlmSimilarity(weights, lent)

    def _emotion(self) -> list[Measure]:
        recordings = self._recordings
        acted = {} if recordings is None else recordings.acted_corpora(CLASSES)
        if recordings is None or not acted:
            reason = "no acted recordings to learn emotion from; give a prepared corpus that has some by --corpus"
            return [NoMeasure("emotion_accuracy", "Emotion, balanced accuracy", "share", reason)]
        own = {case.voice.partition("/")[0] for case in self.cases.cases}
        language = self.cases.content.language
        # The reader nearest to the set comes first and needs no label.
        order = sorted(acted, key=lambda corpus: (corpus not in own, acted[corpus] != language, corpus))
        made: list[Measure] = []
        for corpus in order:
            train = recordings.acted(corpus, CLASSES)
            if len(train) > 1:
                label = corpus if made else ""
                made.append(EmotionMeasure(train, leave_voice_out=corpus in own, label=label, take=self._take))
        return made or [NoMeasure("emotion_accuracy", "Emotion, balanced accuracy", "share", "one acting voice only")]


class Noted:
    """A measure with a further note.

    Args:
        note: put before the measure's own.
    """

    def __init__(self, measure: Measure, note: str) -> None:
        self._measure, self._note = measure, note

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """As the measure itself."""
        return [
            Measured.from_dict({**measured.to_dict(), "note": f"{self._note} {measured.note}".strip()})
            for measured in self._measure(samples)
        ]


class NoMeasure:
    """Stands where a measure cannot run, and says why."""

    def __init__(self, name: str, title: str, unit: str, reason: str) -> None:
        self._measured = Measured(name, title, unit, "higher", "mean", {}, {}, f"not measured: {reason}")

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Nothing is measured."""
        return [self._measured]


def own_centroids(cases: EvaluationSet, voices: Sequence[str], encoder: SpeakerEncoder) -> dict[str, Wave]:
    """Unit mean of the speaker vectors of a set's own prompts and recordings, by voice."""
    found: dict[str, Wave] = {}
    for voice in voices:
        own = [case for case in cases.cases if case.voice == voice]
        names = sorted({name for case in own for name in (case.prompt, case.reference) if name is not None})
        vectors = []
        for name in names:
            try:
                vectors.append(encoder.embed(read_wave(cases.folder / name, sample_rate=16_000), 16_000))
            except (BadPrompt, MediaError):  # counted where the clip itself is measured
                continue
        if vectors:
            mean = np.mean(vectors, axis=0)
            found[voice] = (mean / np.linalg.norm(mean)).astype(np.float32)
    return found
