"""Is it the voice it should be? Likeness to recordings of it, by encoders and by a classifier of functionals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from authentic_dubber.speaker import GE2E, BadPrompt, SpeakerEncoder, usable_level

from .emotion import Take, taken
from .functionals import KNOWS_LEVEL, functionals
from .measured import Measured, Row, Sample
from .periodicity import Values, Wave

FLATTERS = (
    "GE2E also conditions the dubber and judges its rehearsal, and can be pleased without pleasing ears: read it "
    "beside a second opinion. Emotion costs real actors about .08 of cosine, and noise or muffling more."
)
REGULARISATION = 0.1
"""C of the classifier. Voices lie far apart in the functionals, so it matters little."""


class SpeakerSimilarity:
    """Cosine to the centroid of the own voice's recordings, and how often that centroid is the nearest of all.

    Args:
        encoder: None loads GE2E when first called.
        centroids: by voice, of recordings that are not under test; see `centroid`.
        name: of the first measure, to tell encoders apart.
        note: what is to be known of the encoder.

    Raises:
        ValueError: there are no centroids, or one has no direction.
    """

    def __init__(
        self, encoder: SpeakerEncoder | None, centroids: Mapping[str, Wave], *, name: str = "secs", note: str = FLATTERS
    ) -> None:
        if not centroids:
            raise ValueError("expected centroids of voices, got none")
        self._encoder, self._name, self._note = encoder, name, note
        self._voices = {voice: i for i, voice in enumerate(sorted(centroids))}
        self._centroids = np.stack([centroid(centroids[voice][None]) for voice in self._voices])

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """`secs` and `secs_identification`, or as named."""
        if self._encoder is None:
            try:
                self._encoder = GE2E()
            except ImportError as error:
                return _similarity(self._name, {}, {}, {}, f"not measured: {error}")
        cosines: dict[str, Row] = {}
        nearest: dict[str, Row] = {}
        missing: dict[str, str] = {}
        for sample in samples:
            own = self._voices.get(sample.voice)
            if own is None:
                missing[sample.id] = f"no recordings of {sample.voice} were given"
                continue
            try:
                cosine = self._centroids @ self._encoder.embed(sample.wave, sample.sample_rate)
            except BadPrompt as error:
                missing[sample.id] = str(error)
                continue
            cosines[sample.id] = Row((float(cosine[own]),))
            nearest[sample.id] = Row((100.0 * (int(cosine.argmax()) == own),))
        n = len(self._voices)
        note = f"{self._note} Identification is among {n} voices: chance is {100 / n:.1f} %."
        return _similarity(self._name, cosines, nearest if n > 1 else {}, missing, note)


def _similarity(
    name: str, cosines: Mapping[str, Row], nearest: Mapping[str, Row], missing: Mapping[str, str], note: str
) -> list[Measured]:
    alone = "not measured: one voice cannot be mistaken; give recordings of two or more"
    title = "Speaker similarity to recordings"
    return [
        Measured(name, title, "cosine", "higher", "mean", cosines, missing, note),
        Measured(
            f"{name}_identification",
            "Own voice is the most similar",
            "%",
            "higher",
            "mean",
            nearest,
            missing,
            alone if cosines and not nearest else note,
        ),
    ]


def centroid(vectors: Wave) -> Wave:
    """The direction of the mean of some embeddings, each counting alike.

    Raises:
        ValueError: there are none, or they cancel out.

    Shape:
        (N, C) -> (C,).
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if vectors.ndim != 2 or not len(vectors) or not lengths.min() > 0:
        raise ValueError(f"expected embeddings (N, C) other than zero, got shape {vectors.shape}")
    mean = np.mean(vectors / lengths, axis=0)
    length = float(np.linalg.norm(mean))
    if not length > 1e-6:
        raise ValueError("expected embeddings with a common direction, got ones that cancel out")
    return np.asarray(mean / length, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class SpeakerClassifier:
    """Tells voices apart by functionals; how loud a recording is belongs to the microphone, and is not looked at."""

    pipeline: Any
    voices: tuple[str, ...]

    @classmethod
    def fit(cls, functionals: Values, voices: Sequence[str], *, seed: int = 0) -> SpeakerClassifier:
        """Train on recordings that are not under test; voices count alike.

        Shape:
            (N, D) and N voices.

        Raises:
            ValueError: the numbers of rows differ, or there are fewer than two voices.
        """
        if len(functionals) != len(voices) or len(set(voices)) < 2:
            found = f"{len(functionals)} rows of {len(voices)} voices, {len(set(voices))} different"
            raise ValueError(f"expected rows of two voices or more, got {found}")
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=2000, random_state=seed)
        pipeline = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)
        pipeline.fit(functionals[:, ~KNOWS_LEVEL], np.array(voices))
        return cls(pipeline, tuple(sorted(set(voices))))

    def predict(self, functionals: Values) -> list[str]:
        """The likeliest voice of each row, (N, D)."""
        return [str(voice) for voice in self.pipeline.predict(functionals[:, ~KNOWS_LEVEL])]


class SpeakerFunctionals:
    """How often a classifier trained on recordings takes a clip for the voice it should be.

    Args:
        take: how functionals are taken of a wave, as for the classifier.
    """

    def __init__(self, classifier: SpeakerClassifier, *, take: Take = functionals) -> None:
        self._classifier, self._take = classifier, take

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """`speaker_identification`."""
        known = frozenset(self._classifier.voices)
        values, missing = taken([sample for sample in samples if sample.voice in known], self._take)
        strangers = [sample for sample in samples if sample.voice not in known]
        missing |= {sample.id: f"the classifier does not know {sample.voice}" for sample in strangers}
        rows = {
            sample.id: Row((100.0 * (self._classifier.predict(values[sample.id][None])[0] == sample.voice),))
            for sample in samples
            if sample.id in values
        }
        note = (
            f"Logistic regression on functionals of recordings, among {len(known)} voices: chance is "
            f"{100 / len(known):.1f} %. It also hears the recording chain, which a vocoder changes."
        )
        title = "Own voice by functionals"
        return [Measured("speaker_identification", title, "%", "higher", "mean", rows, missing, note)]


class WavlmSimilarity:
    """As `SpeakerSimilarity`, by the x-vectors of WavLM (Chen et al. 2022), which the dubber has never met.

    Args:
        folder: of `microsoft/wavlm-base-plus-sv` as published, or None.
        recordings: by voice, waves that are not under test with their rates; they give the centroids.
    """

    def __init__(self, folder: Path | None, recordings: Mapping[str, Sequence[tuple[Wave, int]]]) -> None:
        self._folder, self._recordings = folder, recordings
        self._measure: SpeakerSimilarity | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """`secs_wavlm` and `secs_wavlm_identification`."""
        if self._measure is None:
            try:
                encoder = WavlmEncoder(self._folder)
            except (ImportError, FileNotFoundError) as error:
                return _similarity("secs_wavlm", {}, {}, {}, f"not measured: {error}")
            given = {v: [encoder.embed(*one) for one in waves] for v, waves in self._recordings.items()}
            centroids = {voice: centroid(np.stack(vectors)) for voice, vectors in given.items()}
            self._measure = SpeakerSimilarity(encoder, centroids, name="secs_wavlm", note="WavLM x-vectors.")
        return self._measure(samples)


class WavlmEncoder:
    """X-vectors of WavLM, a `SpeakerEncoder`.

    Raises:
        FileNotFoundError: the folder holds no model.
        ImportError: transformers is not installed.
    """

    RATE = 16_000

    def __init__(self, folder: Path | None) -> None:
        if folder is None or not (folder / "config.json").is_file():
            cure = "download microsoft/wavlm-base-plus-sv and give its folder"
            raise FileNotFoundError(f"expected the weights of WavLM in a folder, got {folder}; {cure}")
        try:
            from transformers import AutoFeatureExtractor, WavLMForXVector
        except ModuleNotFoundError as error:
            raise ImportError(f"WavLM needs transformers ({error}): pip install transformers") from error
        self._extract = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self._model = WavLMForXVector.from_pretrained(folder, local_files_only=True, weights_only=True).eval()

    @property
    def width(self) -> int:
        """C, the width of the vectors."""
        return int(self._model.config.xvector_output_dim)

    def embed(self, wave: Wave, sample_rate: int) -> Wave:
        """A recording of one voice as a float32 vector of length one.

        Shape:
            (S,) -> (C,).

        Raises:
            BadPrompt: the recording is too short, silent, not finite or not mono.
        """
        import torch

        usable_level(wave, sample_rate)
        heard = soxr.resample(wave, sample_rate, self.RATE)
        with torch.inference_mode():
            inputs = self._extract(heard, sampling_rate=self.RATE, return_tensors="pt")
            vector = self._model(**inputs).embeddings[0].numpy()
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
