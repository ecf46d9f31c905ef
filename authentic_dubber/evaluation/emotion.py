"""Does a voice sound as it was asked to feel? What a reader trained on acted recordings makes of synthetic clips.

Absolute emotion cannot be read off a new voice: a plain reader calls most neutral readings of an unknown narrator sad.
So every voice is first brought to its own mean and spread, recordings by their statistics and synthetic clips by those
of the synthetic clips of that voice; what is read is how its clips differ from each other. No reader judges a voice it
was trained on. Chance is not zero: put `constant_baseline` beside the figure.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .functionals import Unmeasurable, functionals
from .measured import Measured, Row, Sample
from .periodicity import Values, Wave

Kind: TypeAlias = Literal["svm", "logistic"]
Take: TypeAlias = Callable[[Wave, int], Values]
Labelled: TypeAlias = tuple[Values, Sequence[str]]

CLASSES: tuple[str, ...] = ("neutral", "happy", "sad", "angry", "fearful", "surprised")
"""What the acted corpora share."""
ENOUGH_CLIPS = 12
"""Of a voice, for its statistics: with half as many, a reader of recordings lost about .04 of balanced accuracy."""
READERS = 5
"""At most this many are trained so that each judges other voices than its own."""
_GRIDS: Mapping[Kind, tuple[float, ...]] = {"svm": (0.5, 2.0, 8.0), "logistic": (0.003, 0.03, 0.3)}


@dataclass(frozen=True, slots=True)
class EmotionReader:
    """A classifier of functionals that were normalised by voice.

    Attributes:
        voices: whom it was trained on.
        regularisation: the C it chose.
    """

    pipeline: Any
    voices: frozenset[str]
    regularisation: float

    @classmethod
    def fit(
        cls,
        functionals: Values,
        labels: Sequence[str],
        voices: Sequence[str],
        *,
        kind: Kind = "logistic",
        seed: int = 0,
    ) -> EmotionReader:
        """Train on normalised functionals; C is chosen by cross-validation over groups of voices.

        Args:
            functionals: as `by_own_statistics` returns them; NaN becomes the training mean.
            voices: of each row.
            kind: logistic regression, or a support vector machine with Gaussian kernel; classes count alike in both.

        Shape:
            (N, D), N labels and N voices.

        Raises:
            ValueError: the numbers of rows differ, or there are fewer than two classes.
        """
        if not len(functionals) == len(labels) == len(voices) or len(set(labels)) < 2:
            found = (
                f"{len(functionals)} rows, {len(labels)} labels, {len(voices)} voices, classes {sorted(set(labels))}"
            )
            raise ValueError(f"expected rows of two classes or more, each with a label and a voice, got {found}")
        from sklearn.model_selection import GridSearchCV, GroupKFold

        pipeline, grid = _pipeline(kind, seed), _GRIDS[kind]
        groups = min(5, len(set(voices)))
        chosen = grid[len(grid) // 2]
        if groups > 1:
            search = GridSearchCV(
                pipeline, {"model__C": grid}, scoring="balanced_accuracy", cv=GroupKFold(groups), refit=False
            )
            with warnings.catch_warnings():  # a fold may lack a class of the whole, and scores the others
                warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
                search.fit(functionals, np.array(labels), groups=np.array(voices))
            chosen = float(search.best_params_["model__C"])
        pipeline.set_params(model__C=chosen).fit(functionals, np.array(labels))
        return cls(pipeline, frozenset(voices), chosen)

    def predict(self, functionals: Values) -> list[str]:
        """The likeliest class of each row, normalised as in training, (N, D)."""
        return [str(name) for name in self.pipeline.predict(functionals)]


def _pipeline(kind: Kind, seed: int) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    match kind:
        case "svm":
            model = SVC(kernel="rbf", class_weight="balanced", random_state=seed)
        case "logistic":
            model = LogisticRegression(class_weight="balanced", max_iter=2000, random_state=seed)
        case _:
            raise ValueError(f"expected a reader of kind {sorted(_GRIDS)}, got {kind!r}")
    impute = SimpleImputer(keep_empty_features=True)
    return Pipeline([("impute", impute), ("scale", StandardScaler()), ("model", model)])


def by_own_statistics(functionals: Values, voices: Sequence[str]) -> Values:
    """Each row less the mean of its voice's rows, over their spread; no labels are looked at.

    What does not vary within a voice becomes zero; what could not be taken stays NaN.

    Shape:
        (N, D) and N voices -> (N, D).
    """
    normalised = np.full(functionals.shape, np.nan)
    named = np.array(voices)
    for voice in np.unique(named):
        rows = functionals[named == voice]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a figure that no clip of the voice has
            mean, spread = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        # Rounding leaves a constant with a tiny spread, which must not be blown up to one.
        varies = spread > 1e-9 * (1 + np.abs(mean))
        normalised[named == voice] = (rows - mean) / np.where(varies, spread, np.inf)
    return normalised


class EmotionMeasure:
    """Balanced accuracy and macro F1 of readers that never heard the voice they judge.

    Args:
        train: by voice, the functionals (N, D) of recordings and their N labels. Clips of other labels than `classes`
            count in the voice's statistics, and train nothing.
        classes: what a reader chooses between.
        leave_voice_out: of the training voices, each is judged by a reader trained on the others, in at most `READERS`
            groups. Without, they are not judged at all; voices from elsewhere always are, by a reader of all.
        label: tells two of these apart, and follows the measures' names.
        take: how functionals are taken of a wave.

    Raises:
        ValueError: there are no training voices, or just one to be left out.
    """

    def __init__(
        self,
        train: Mapping[str, Labelled],
        *,
        classes: Sequence[str] = CLASSES,
        leave_voice_out: bool = True,
        kind: Kind = "logistic",
        seed: int = 0,
        label: str = "",
        take: Take = functionals,
    ) -> None:
        if len(train) < 1 + leave_voice_out:
            raise ValueError(f"expected {1 + leave_voice_out} voices or more to train on, got {sorted(train)}")
        self.classes = tuple(classes)
        self._kind, self._seed, self._label, self._take = kind, seed, label, take
        self._group = {v: i % READERS for i, v in enumerate(sorted(train))} if leave_voice_out else {}
        self._trained = frozenset(train)
        values = np.concatenate([rows for rows, _ in train.values()])
        labels = np.array([label for _, labels in train.values() for label in labels])
        voices = [voice for voice, (rows, _) in train.items() for _ in rows]
        kept = np.isin(labels, self.classes)
        self._values, self._labels = by_own_statistics(values, voices)[kept], labels[kept]
        self._voices = np.array(voices)[kept]
        self._readers: dict[int | None, EmotionReader] = {}

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """`emotion_accuracy`, `emotion_macro_f1`; all clips of a voice, labelled or not, count in its statistics."""
        values, missing = taken(samples, self._take)
        heard = [sample for sample in samples if sample.id in values]
        predicted: dict[str, str] = {}
        clips = Counter(sample.voice for sample in heard)
        if heard:
            voices = [sample.voice for sample in heard]
            rows = by_own_statistics(np.stack([values[sample.id] for sample in heard]), voices)
            for sample, row in zip(heard, rows, strict=True):
                reason = self._cannot(sample, clips[sample.voice])
                if reason:
                    missing[sample.id] = reason
                else:
                    predicted[sample.id] = self._reader(sample.voice).predict(row[None])[0]
        true = {sample.id: str(sample.emotion) for sample in samples if sample.id in predicted}
        judged = {sample.voice for sample in heard if sample.id in true}
        few = sorted(voice for voice in judged if clips[voice] < ENOUGH_CLIPS)
        return self._measured(true, predicted, missing, few)

    def _cannot(self, sample: Sample, clips: int) -> str:
        if sample.emotion is None:
            return "no emotion was asked for"
        if sample.emotion not in self.classes:
            return f"{sample.emotion} is none of {', '.join(self.classes)}"
        if clips < 2:
            return "the voice has no other clip to be compared with"
        if sample.voice in self._trained and sample.voice not in self._group:
            return "the reader was trained on this voice"
        return ""

    def _reader(self, voice: str) -> EmotionReader:
        """One that was not trained on the voice."""
        group = self._group.get(voice)
        if group not in self._readers:
            out = [name for name, other in self._group.items() if other == group]
            kept = ~np.isin(self._voices, out)
            self._readers[group] = EmotionReader.fit(
                self._values[kept],
                self._labels[kept].tolist(),
                self._voices[kept].tolist(),
                kind=self._kind,
                seed=self._seed,
            )
        return self._readers[group]

    def _measured(
        self, true: Mapping[str, str], predicted: Mapping[str, str], missing: Mapping[str, str], few: Sequence[str]
    ) -> list[Measured]:
        note = "not measured: no clip could be judged; the reasons stand by the clips"
        if true:
            note = (
                f"{self._kind} on functionals of {len(self._trained)} recorded voices, none of them the one judged; "
                "each voice is normalised by its own clips without labels. Acted emotion: compare with recordings, and "
                f"with a constant answer ({constant_baseline(list(true.values())).balanced:.2f} balanced)."
            )
        if few:
            note += f" Fewer than {ENOUGH_CLIPS} clips to normalise by, so unsure: {', '.join(few)}."
        tail, title = (f"_{self._label}", f" ({self._label})") if self._label else ("", "")
        accuracy = Measured(
            f"emotion_accuracy{tail}",
            f"Emotion, balanced accuracy{title}",
            "share",
            "higher",
            "balanced",
            {key: Row((float(predicted[key] == name),), name) for key, name in true.items()},
            dict(missing),
            note,
            self.classes,
        )
        macro_f1 = replace(
            accuracy,
            name=f"emotion_macro_f1{tail}",
            title=f"Emotion, macro F1{title}",
            statistic="macro_f1",
            rows={key: Row((float(self.classes.index(predicted[key])),), name) for key, name in true.items()},
        )
        return [accuracy, macro_f1]


def taken(samples: Sequence[Sample], take: Take = functionals) -> tuple[dict[str, Values], dict[str, str]]:
    """Functionals by clip id, and why those that are not there could not be taken."""
    values: dict[str, Values] = {}
    missing: dict[str, str] = {}
    for sample in samples:
        try:
            values[sample.id] = take(sample.wave, sample.sample_rate)
        except Unmeasurable as error:
            missing[sample.id] = str(error)
    return values, missing


def confusion(measured: Measured) -> npt.NDArray[np.int64]:
    """Clips by true class (rows) and predicted class (columns), in the order of `Measured.classes`.

    Raises:
        ValueError: the measure is no macro F1.

    Shape:
        (classes, classes).
    """
    if measured.statistic != "macro_f1":
        raise ValueError(f"expected a measure whose rows are predicted classes, got {measured.name}")
    table = np.zeros((len(measured.classes),) * 2, dtype=np.int64)
    for row in measured.rows.values():
        table[measured.classes.index(row.stratum), int(row.values[0])] += 1
    return table


@dataclass(frozen=True, slots=True)
class ConstantBaseline:
    """What answering one class always scores.

    Attributes:
        answer: the commonest class of the set.
        plain: accuracy of that answer, a share.
        balanced: balanced accuracy of any constant answer, a share.
        macro_f1: of that answer, a share: classes that are never answered score zero.
    """

    answer: str
    plain: float
    balanced: float
    macro_f1: float


def constant_baseline(emotions: Sequence[str]) -> ConstantBaseline:
    """The baseline of a set of clips with these true emotions; of equally common ones, the first by name answers.

    Raises:
        ValueError: there are none.

    >>> constant_baseline(["sad", "neutral", "sad", "angry", "sad", "sad"]).plain
    0.6666666666666666
    """
    if not emotions:
        raise ValueError("expected emotions, got none")
    counts = Counter(emotions)
    answer = min(counts, key=lambda name: (-counts[name], name))
    share = counts[answer] / len(emotions)
    return ConstantBaseline(answer, share, 1 / len(counts), 2 * share / (1 + share) / len(counts))
