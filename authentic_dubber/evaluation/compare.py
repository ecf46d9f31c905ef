"""Two runs over one set, clip by clip: what differs, and whether the clips can tell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .intelligibility import Estimate
from .measured import Direction, Measured, difference
from .runs import Run, read_run
from .scoring import NOT_MEASURED, all_scores
from .table import decimals, figure, finite_estimate

Verdict = Literal["better", "worse", "differs", "no difference shown", "not compared"]


@dataclass(frozen=True, slots=True)
class Gap:
    """One measure in both runs, over the clips that both have.

    Attributes:
        a, b: the figures over the shared clips; None where there are none.
        gap: `b` minus `a`, resampled together.
        verdict: on `b`; `no difference shown` where the interval holds zero.
        only_a, only_b: clips that one run alone has measured, and that count for nothing here.
        note: why nothing was compared.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    a: Estimate | None
    b: Estimate | None
    gap: Estimate | None
    verdict: Verdict
    only_a: int = 0
    only_b: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        differing: what sets the runs apart, as (name, value in a, value in b).
        shared: cases with a take in both.
        only_a, only_b: cases with a take in one alone.
    """

    set_name: str
    differing: tuple[tuple[str, str, str], ...]
    shared: int
    only_a: int
    only_b: int
    gaps: tuple[Gap, ...]


def compare(a: Path, b: Path) -> Comparison:
    """Paired differences of the takes of two runs.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: the runs are of different sets, share no case, or one has not been measured.
    """
    first, second = read_run(a), read_run(b)
    _check_one_set(first, second)
    shared = first.takes.keys() & second.takes.keys()
    if not shared:
        raise ValueError(f"expected runs that share a case, got {len(first.takes)} and {len(second.takes)} other takes")
    left, right = _measured(a), _measured(b)
    names = list(dict.fromkeys([*left, *right]))
    return Comparison(
        set_name=str(first.identity["set"]),
        differing=tuple(
            (name, str(first.identity.get(name)), str(second.identity.get(name)))
            for name in first.identity
            if first.identity.get(name) != second.identity.get(name)
        ),
        shared=len(shared),
        only_a=len(first.takes) - len(shared),
        only_b=len(second.takes) - len(shared),
        gaps=tuple(_gap(name, left.get(name), right.get(name)) for name in names),
    )


def describe(comparison: Comparison, a: str = "A", b: str = "B") -> str:
    """The same as lines of text."""
    c = comparison
    lines = [f"{c.shared} shared cases of {c.set_name}; {c.only_a} only in {a}, {c.only_b} only in {b}"]
    lines += [f"{name}: {left} in {a}, {right} in {b}" for name, left, right in c.differing]
    wide = max((len(gap.name) for gap in c.gaps), default=0)
    for gap in c.gaps:
        if gap.gap is None:
            lines.append(f"{gap.name:{wide}}  not compared: {gap.note}")
            continue
        widest = max((e for e in (gap.gap, gap.a) if e is not None), key=lambda e: e.high - e.low)
        digits = decimals(widest.low, widest.high)
        sides = " -> ".join("none" if e is None else f"{e.value:.{digits}f}" for e in (gap.a, gap.b))
        interval = f"{gap.gap.value:+.{digits}f} [{gap.gap.low:+.{digits}f}, {gap.gap.high:+.{digits}f}]"
        apart = f", {gap.only_a} and {gap.only_b} clips unpaired" if gap.only_a or gap.only_b else ""
        lines.append(f"{gap.name:{wide}}  {sides} {gap.unit}  {interval}  n={gap.gap.n}{apart}  {gap.verdict}")
    return "\n".join(lines)


def _check_one_set(a: Run, b: Run) -> None:
    (name, digest), (other, other_digest) = ((run.identity["set"], run.identity["set_digest"]) for run in (a, b))
    if name != other:
        raise ValueError(f"expected two runs of one set, got {name} and {other}")
    if digest != other_digest:
        raise ValueError(f"expected two runs of one {name}, got two contents of it: {digest} and {other_digest}")


def _measured(folder: Path) -> dict[str, Measured]:
    found = all_scores(folder).get("takes")
    if found is None:
        raise ValueError(
            f"{folder}: expected a run whose takes were measured, found no scores; `dub evaluate` makes them"
        )
    return {one.name: one for one in found}


def _gap(name: str, a: Measured | None, b: Measured | None) -> Gap:
    one = a or b
    assert one is not None, name

    def not_compared(note: str) -> Gap:
        return Gap(name, one.title, one.unit, one.direction, None, None, None, "not compared", note=note)

    if a is None or b is None:
        return not_compared(f"only {'B' if a is None else 'A'} has it")
    shared = [key for key in a.rows if key in b.rows]
    if not shared:
        return not_compared(next((why for why in map(_why_not, (a, b)) if why), "no clip was measured in both"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # resamples without an answer
        try:
            found = difference(a, b)
        except ValueError as error:
            return not_compared(str(error))
    if found is None or not all(map(math.isfinite, (found.value, found.low, found.high))):
        return not_compared(f"{len(shared)} shared clips are too few")
    sides = [finite_estimate(_only(m, shared)) for m in (a, b)]
    verdict = _verdict(found, one.direction)
    return Gap(
        name, one.title, one.unit, one.direction, sides[0], sides[1], found, verdict,
        len(a.rows) - len(shared), len(b.rows) - len(shared),
    )  # fmt: skip


def _why_not(measured: Measured) -> str:
    """Why a measure has no rows; empty where it has."""
    if measured.rows:
        return ""
    cell = figure(measured)
    return cell.note if cell.note.startswith(NOT_MEASURED) else cell.reason


def _only(measured: Measured, keys: Sequence[str] | Collection[str]) -> Measured:
    return replace(measured, rows={key: measured.rows[key] for key in keys})


def _verdict(gap: Estimate, direction: Direction) -> Verdict:
    if gap.low <= 0 <= gap.high:
        return "no difference shown"
    if direction == "none":
        return "differs"
    return "better" if (gap.value > 0) == (direction == "higher") else "worse"
