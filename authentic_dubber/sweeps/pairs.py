"""What the difference of two variants of a study can tell: paired resampling of sentences, corrected for how many ask.

Lines of one sentence share words, voice and film, and every training seed speaks all of them; so sentences are drawn
anew with all their lines and seeds, not single lines. Intervals of a study's differences are widened together
(Bonferroni), so that 95 % of such studies have no interval that misses. They are about other lines of such films; what
another training would do shows in the spread of the seeds beside them, and a verdict asks that all seeds agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from authentic_dubber.evaluation.intelligibility import Estimate
from authentic_dubber.evaluation.measured import Measured, Row

Verdict: TypeAlias = Literal["better", "worse", "not decided", "same"]
Floats: TypeAlias = npt.NDArray[np.float64]

DRAWS = 20_000
"""Resamples behind an interval: a corrected one asks for shares of a few per mille."""
LEVEL = 0.95
ROUNDING = 1e-5
"""Equal answers may differ by the order in which single precision summed equal clips."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """One measure of one variant under all its seeds.

    Attributes:
        seeds: what was measured, by seed.
    """

    seeds: Mapping[int, Measured]

    @property
    def first(self) -> Measured:
        return next(iter(self.seeds.values()))

    def rows(self) -> dict[tuple[int, str], Row]:
        """Every line under every seed."""
        return {(seed, id): row for seed, one in self.seeds.items() for id, row in one.rows.items()}

    def value(self, seed: int) -> float:
        """The figure of one seed."""
        return _figure(list(self.seeds[seed].rows.values()), self.first.statistic)


@dataclass(frozen=True, slots=True)
class Gap:
    """A variant against the baseline.

    Attributes:
        gap: variant minus baseline over the lines and seeds both have; its interval is corrected.
        seeds: the same by seed, without intervals.
        verdict: on the variant: `not decided` where the interval holds zero or seeds disagree, `same` where every
            line scores as it does in the baseline.
    """

    gap: Estimate
    seeds: Mapping[int, float]
    verdict: Verdict


def estimate(pool: Pool, clusters: Mapping[str, str], *, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """A variant's figure with its own 95 % interval, not corrected.

    Raises:
        ValueError: the statistic is none that a study compares, or nothing was measured.
    """
    rows = pool.rows()
    drawn = _drawn(list(rows), list(rows.values()), pool.first.statistic, clusters, seed, draws)
    low, high = np.nanpercentile(drawn, [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)])
    return Estimate(_figure(list(rows.values()), pool.first.statistic), float(low), float(high), len(rows))


def gap(
    variant: Pool, baseline: Pool, clusters: Mapping[str, str], asked: int, *, seed: int = 0, draws: int = DRAWS
) -> Gap:
    """Variant minus baseline, line by line and seed by seed.

    Args:
        clusters: the sentence of each line.
        asked: how many such differences the study shows; the interval is that of one among them.

    Raises:
        ValueError: the two share no line, or are different measures.
    """
    a, b = baseline.first, variant.first
    if (a.name, a.statistic) != (b.name, b.statistic):
        raise ValueError(f"expected one measure on both sides, got {a.name} and {b.name}")
    left, right = baseline.rows(), variant.rows()
    keys = [key for key in left if key in right]
    if not keys:
        raise ValueError(f"expected variants that share lines and seeds, got none for {a.name}")
    ours, theirs = [right[key] for key in keys], [left[key] for key in keys]
    apart = _drawn(keys, ours, a.statistic, clusters, seed, draws) - _drawn(
        keys, theirs, a.statistic, clusters, seed, draws
    )
    tail = 50 * (1 - LEVEL) / max(1, asked)
    low, high = np.nanpercentile(apart, [tail, 100 - tail])
    value = _figure(ours, a.statistic) - _figure(theirs, a.statistic)
    found = Estimate(value, float(low), float(high), len(keys))
    by_seed = {
        s: _figure([right[k] for k in keys if k[0] == s], a.statistic)
        - _figure([left[k] for k in keys if k[0] == s], a.statistic)
        for s in sorted({key[0] for key in keys})
    }
    same = all(abs(x.values[0] - y.values[0]) < ROUNDING for x, y in zip(ours, theirs, strict=True))
    return Gap(found, by_seed, "same" if same else _verdict(found, list(by_seed.values()), a.direction))


def _verdict(found: Estimate, seeds: Sequence[float], direction: str) -> Verdict:
    if found.low <= 0 <= found.high or not all(np.sign(one) == np.sign(found.value) for one in seeds):
        return "not decided"
    return "better" if (found.value > 0) == (direction == "higher") else "worse"


def _figure(rows: Sequence[Row], statistic: str) -> float:
    """Mean, or mean over true classes of the share that is right."""
    values, classes = _classed(rows, statistic)
    return float(np.mean([values[classes == one].mean() for one in np.unique(classes)]))


def _classed(rows: Sequence[Row], statistic: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Values, and the class each counts in: one for all where classes do not count."""
    if statistic not in ("mean", "balanced"):
        raise ValueError(f"expected a mean or a balanced accuracy to compare, got {statistic}")
    values = np.array([row.values[0] for row in rows])
    if statistic == "mean":
        return values, np.zeros(len(rows), dtype=np.int64)
    return values, np.unique([row.stratum for row in rows], return_inverse=True)[1].astype(np.int64)


def _drawn(
    keys: Sequence[tuple[int, str]],
    rows: Sequence[Row],
    statistic: str,
    clusters: Mapping[str, str],
    seed: int,
    draws: int,
) -> Floats:
    """The figure over sentences drawn with replacement, (draws,); a seed draws the same ones for every variant."""
    values, classes = _classed(rows, statistic)
    names = sorted({clusters[id] for _, id in keys})
    place = {name: i for i, name in enumerate(names)}
    at = np.array([place[clusters[id]] for _, id in keys])
    total = np.zeros((2, len(names), int(classes.max()) + 1))
    np.add.at(total[0], (at, classes), values)
    np.add.at(total[1], (at, classes), 1.0)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    with np.errstate(invalid="ignore"):
        # A class that a draw lacks counts for nothing in it.
        return np.asarray(np.nanmean((times @ total[0]) / (times @ total[1]), axis=1))
