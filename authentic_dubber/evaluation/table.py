"""Figures out of rows: for programs (`scores.json`), for spreadsheets (`clips.csv`) and for a terminal."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from library_builder.atomic import whole_file

from .emotion import constant_baseline
from .intelligibility import Estimate
from .manner import Condition
from .measured import Direction, Measured, Row, Statistic, estimate
from .runs import Run

SCHEMA = 1
TABLE, CLIPS = "scores.json", "clips.csv"
Scores: TypeAlias = Mapping[Condition, Sequence[Measured]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the table.

    Attributes:
        value, low, high: the figure and its 95 % interval; None where nothing was measured, never 0.
        n: clips behind it; `missing`: clips that could not be measured, `reason`: mostly why.
        constant: what always answering the commonest class of these clips scores, where classes are told apart.
    """

    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    reason: str
    unit: str
    direction: Direction
    statistic: Statistic
    note: str
    constant: float | None = None


def figure(measured: Measured) -> Figure:
    """The figure of a measure."""
    found = finite_estimate(measured)
    return Figure(
        title=measured.title,
        value=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        n=len(measured.rows),
        missing=len(measured.missing),
        reason=next((why for why, _ in Counter(measured.missing.values()).most_common(1)), ""),
        unit=measured.unit,
        direction=measured.direction,
        statistic=measured.statistic,
        note=measured.note,
        constant=constant(measured),
    )


def constant(measured: Measured) -> float | None:
    """What the constant answer scores on a measure's own clips; None where nothing was measured or no class is told.

    A figure near it may come from a reader, or a voice, that knows nothing.
    """
    if not measured.rows or measured.statistic not in ("balanced", "macro_f1"):
        return None
    baseline = constant_baseline([row.stratum for row in measured.rows.values()])
    return baseline.balanced if measured.statistic == "balanced" else baseline.macro_f1


def finite_estimate(measured: Measured) -> Estimate | None:
    """The estimate, or None where there is none, as for a correlation of two clips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # resamples without an answer
        found = estimate(measured)
    if found is None or not all(map(math.isfinite, (found.value, found.low, found.high))):
        return None
    return found


def figures(scores: Scores) -> dict[Condition, dict[str, Figure]]:
    """Every cell of the table: condition, then measure by its short name."""
    return {condition: {one.name: figure(one) for one in found} for condition, found in scores.items()}


def run_facts(run: Run, cases: int) -> dict[str, Any]:
    """What a reader of figures must know of a run, ready for JSON."""
    leaks = []
    if run.facts.get("setting") == "1.0":
        leaks.append("setting 1.0: the target recording itself lent the voice, which leaks")
    if run.identity.get("oracle_length"):
        leaks.append("oracle length: every line is as long as its recording")
    return {
        **run.identity,
        **run.facts,
        "cases": cases,
        "takes": len(run.takes),
        "failed": dict(run.failed),
        "warnings": leaks,
    }


def write_table(folder: Path, facts: Mapping[str, Any], table: Mapping[Condition, Mapping[str, Figure]]) -> Path:
    """Write `scores.json`."""
    conditions = {name: {key: asdict(cell) for key, cell in cells.items()} for name, cells in table.items()}
    values = {"schema": SCHEMA, "run": dict(facts), "conditions": conditions}
    path = Path(folder) / TABLE
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_clips(folder: Path, scores: Scores) -> Path:
    """Write `clips.csv`: one line per condition, measure and clip; `over` is the denominator of a ratio's rows."""
    path = Path(folder) / CLIPS
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["condition", "measure", "unit", "clip", "value", "over", "class", "predicted", "missing"])
        for condition, found in scores.items():
            for one in found:
                head = [condition, one.name, one.unit]
                for key, row in one.rows.items():
                    writer.writerow([*head, key, *_cells(one, row), ""])
                writer.writerows([*head, key, "", "", "", "", reason] for key, reason in one.missing.items())
    return path


def clip_value(measured: Measured, row: Row) -> float | None:
    """What a clip scores by itself, in the measure's unit; None where only the whole has a figure."""
    match measured.statistic:
        case "ratio":
            return row.values[0] / row.values[1] if row.values[1] else None
        case "macro_f1" | "correlation":
            return None
        case _:
            return row.values[0]


def text_table(table: Mapping[Condition, Mapping[str, Figure]]) -> str:
    """The figures as lines of text, one per measure and condition."""
    names = list(dict.fromkeys(name for cells in table.values() for name in cells))
    wide = max((len(name) for name in names), default=0)
    lines = []
    for name in names:
        for condition, cells in table.items():
            if name in cells:
                lines.append(f"{name:{wide}}  {condition:13}  {cell_text(cells[name])}")
    return "\n".join(lines)


def cell_text(cell: Figure) -> str:
    """A cell in words: figure, interval, unit, clips; or why there is none."""
    missing = f", {cell.missing} missing" if cell.missing else ""
    if cell.value is None or cell.low is None or cell.high is None:
        if cell.note.startswith("not measured"):
            return cell.note
        return f"not measured: {cell.n} clips{missing}" + (f" ({cell.reason})" if cell.reason else "")
    digits = decimals(cell.low, cell.high)
    value, low, high = (f"{number:.{digits}f}" for number in (cell.value, cell.low, cell.high))
    return f"{value} [{low}, {high}] {cell.unit}, n={cell.n}{missing}{constant_text(cell)}"


def constant_text(cell: Figure) -> str:
    """The constant answer's score, to stand beside a cell's figure; empty where there is none."""
    return "" if cell.constant is None else f"; the commonest class always: {cell.constant:.3f}"


def decimals(low: float, high: float) -> int:
    """Digits after the point that an interval can carry."""
    width = abs(high - low) or abs(high) or 1.0
    return min(4, max(0, 1 - math.floor(math.log10(width))))


def _cells(measured: Measured, row: Row) -> list[Any]:
    if measured.statistic == "macro_f1":
        return ["", "", row.stratum, measured.classes[int(row.values[0])]]
    return [row.values[0], row.values[1] if len(row.values) > 1 else "", row.stratum, ""]
