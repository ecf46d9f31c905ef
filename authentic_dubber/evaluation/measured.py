"""What every measure returns: one row per clip, how rows become a figure, and that figure's 95 % interval.

Rows are kept, so that two runs can be compared clip by clip (`difference`) and a reader can check any figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .intelligibility import Estimate

Wave: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.float64]
Strata: TypeAlias = npt.NDArray[np.str_]
Direction: TypeAlias = Literal["higher", "lower", "none"]
Statistic: TypeAlias = Literal["mean", "median", "ratio", "balanced", "macro_f1", "correlation"]

DRAWS = 2000
"""Resamples behind an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One wave under evaluation, and what it should be.

    Attributes:
        voice: whose voice it should be, `corpus/speaker`.
        emotion: the feeling it should carry, or None.
        wave: (S,) in [-1, 1].
        reference: the recording of the same text by the same voice, or None; at the same rate.
        prompt: what lent the voice, or None.
        slot: seconds, from the beginning of `wave`, between which speech should lie, or None.
        mouth: how far the mouth is open per video frame from the beginning of `wave`, (V,) in [0, 1], or None.
    """

    id: str
    text: str
    language: str
    voice: str
    wave: Wave
    sample_rate: int
    emotion: str | None = None
    reference: Wave | None = None
    prompt: Wave | None = None
    slot: tuple[float, float] | None = None
    mouth: npt.NDArray[np.floating] | None = None
    mouth_fps: float = 25.0

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


@dataclass(frozen=True, slots=True)
class Row:
    """What one clip contributes; which numbers depends on the statistic.

    Attributes:
        values: mean and median: the value. ratio: numerator and denominator. balanced: 1 where right, else 0.
            macro_f1: the predicted class as a number into `Measured.classes`. correlation: the two sides.
        stratum: balanced and macro_f1: the true class by name.
    """

    values: tuple[float, ...]
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure over clips.

    Attributes:
        name: short and stable, e.g. `wer`; `title` is for people.
        unit: `%`, `dB`, `ms`, `cosine`, ...; the figure is in this unit.
        rows: by clip id.
        missing: clips that could not be measured, with the reason: counted, never averaged as zero.
        note: conventions and caveats in one or two sentences; for a measure that could not run at all, the cure.
        classes: of emotion and speaker measures, in the order predictions number them.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    statistic: Statistic
    rows: Mapping[str, Row]
    missing: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    classes: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        return bool(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "direction": self.direction,
            "statistic": self.statistic,
            "rows": {key: [list(row.values), row.stratum] for key, row in self.rows.items()},
            "missing": dict(self.missing),
            "note": self.note,
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measured:
        """The inverse of `to_dict`."""
        rows = {key: Row(tuple(numbers), stratum) for key, (numbers, stratum) in values["rows"].items()}
        return cls(**{**values, "rows": rows, "classes": tuple(values["classes"])})


class Measure(Protocol):
    """A measure or a family of them. Models and weights it needs are loaded when it is first called."""

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips; a clip that cannot be measured goes to `missing` with the reason, and is never dropped."""
        ...


def estimate(measured: Measured, *, seed: int = 0, draws: int = DRAWS) -> Estimate | None:
    """The figure with its 95 % percentile bootstrap interval over clips; None where nothing was measured."""
    if not measured.rows:
        return None
    rows, strata = _arrays(measured, list(measured.rows))
    statistic = _STATISTICS[measured.statistic]
    drawn = [statistic(rows[i], strata[i], measured.classes) for i in _resamples(len(rows), seed, draws)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(statistic(rows, strata, measured.classes), float(low), float(high), len(rows))


def difference(a: Measured, b: Measured, *, seed: int = 0, draws: int = DRAWS) -> Estimate | None:
    """`b` minus `a` over the clips both have, resampled together; None where they share none.

    Raises:
        ValueError: the two are different measures.
    """
    if (a.name, a.statistic, a.classes) != (b.name, b.statistic, b.classes):
        raise ValueError(f"expected one measure on both sides, got {a.name} and {b.name}")
    shared = [key for key in a.rows if key in b.rows]
    if not shared:
        return None
    (first, strata), (second, _) = _arrays(a, shared), _arrays(b, shared)
    statistic = _STATISTICS[a.statistic]

    def gap(i: npt.NDArray[np.int64]) -> float:
        return statistic(second[i], strata[i], a.classes) - statistic(first[i], strata[i], a.classes)

    low, high = np.nanpercentile([gap(i) for i in _resamples(len(shared), seed, draws)], [2.5, 97.5])
    return Estimate(gap(np.arange(len(shared))), float(low), float(high), len(shared))


def _arrays(measured: Measured, keys: Sequence[str]) -> tuple[Rows, Strata]:
    rows = np.array([measured.rows[key].values for key in keys], dtype=np.float64)
    return rows, np.array([measured.rows[key].stratum for key in keys])


def _resamples(n: int, seed: int, draws: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(n, size=(draws, n))


def _mean(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    return float(rows[:, 0].mean())


def _median(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    return float(np.median(rows[:, 0]))


def _ratio(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    below = rows[:, 1].sum()
    return float(rows[:, 0].sum() / below) if below > 0 else float("nan")


def _balanced(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    """Mean over true classes of the share that is right in each."""
    return float(np.mean([rows[strata == name, 0].mean() for name in np.unique(strata)]))


def _macro_f1(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    """Mean F1 over the classes that occur; a class never predicted scores zero."""
    predicted = np.array(classes)[rows[:, 0].astype(int)]
    scores = []
    for name in np.unique(strata):
        hit = float(((predicted == name) & (strata == name)).sum())
        scores.append(2 * hit / float((predicted == name).sum() + (strata == name).sum()))
    return float(np.mean(scores))


def _correlation(rows: Rows, strata: Strata, classes: tuple[str, ...]) -> float:
    if len(rows) < 3 or rows.std(axis=0).min() < 1e-12:
        return float("nan")
    return float(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1])


_STATISTICS: dict[Statistic, Callable[[Rows, Strata, tuple[str, ...]], float]] = {
    "mean": _mean,
    "median": _median,
    "ratio": _ratio,
    "balanced": _balanced,
    "macro_f1": _macro_f1,
    "correlation": _correlation,
}
