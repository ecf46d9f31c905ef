"""The report of an evaluation: one page that needs no network; only sounds are played from beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from authentic_dubber.report import STYLE
from library_builder.atomic import whole_file

from .conditions import TITLES
from .manner import Condition
from .measured import Measured
from .plots import boxes, confusions
from .runs import Run, take_path
from .sets import SETTINGS, Case, EvaluationSet
from .table import Figure, Scores, constant_text, decimals

PAGE = "scores.html"
PLAYERS = 12
"""Takes that can be listened to from the page, spread evenly over the set."""
WIDER = (
    "<style>main{max-width:1240px}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.35rem .7rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}"
    "th{font-size:13px;color:var(--soft)}td small{color:var(--soft);display:block}td.none{color:var(--soft)}"
    ".plots{display:flex;flex-wrap:wrap;gap:18px}.plots figure{margin:0}.plots figcaption{font-size:13px}"
    ".scroll{overflow-x:auto}td audio{width:15rem}</style>"
)
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}


def write_page(
    folder: Path,
    cases: EvaluationSet,
    run: Run,
    facts: Mapping[str, Any],
    scores: Scores,
    table: Mapping[Condition, Mapping[str, Figure]],
) -> Path:
    """Write `scores.html` into a run's folder."""
    path = Path(folder) / PAGE
    page = "".join(_page(Path(folder), cases, run, facts, scores, table))
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _page(
    folder: Path,
    cases: EvaluationSet,
    run: Run,
    facts: Mapping[str, Any],
    scores: Scores,
    table: Mapping[Condition, Mapping[str, Figure]],
) -> Iterator[str]:
    title = escape(f"Evaluation on {cases.content.name}")
    style = files("authentic_dubber").joinpath(STYLE).read_text(encoding="utf-8")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"{style}{WIDER}</head><body><main><header><h1>{title}</h1>"
    yield from _head(cases, run, facts)
    yield "</header>"
    yield from _table(table)
    yield from _plots(scores)
    yield from _players(folder, cases, run)
    yield "</main></body></html>\n"


def _head(cases: EvaluationSet, run: Run, facts: Mapping[str, Any]) -> Iterator[str]:
    yield '<div class="counts">'
    yield f'<span class="badge good">{len(run.takes)} takes of {len(cases.cases)} cases</span>'
    if run.failed:
        yield f'<span class="badge bad">{len(run.failed)} failed</span>'
    yield from (f'<span class="badge warn">{escape(warning)}</span>' for warning in facts["warnings"])
    yield "</div><dl>"
    shown = {
        "Setting": f"{cases.content.setting}: {SETTINGS[cases.content.setting]}",
        "Checkpoint": f"{facts['checkpoint_name']} {facts['checkpoint']}",
        "References": f"k = {facts['k']}, {facts['references']}" if facts["k"] else "none",
        "Strength": facts["strength"],
        "Seed": facts["seed"],
        "Licences": ", ".join(facts["licences"]),
        "Set": f"{cases.content.note} ({cases.digest})",
    }
    yield "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in shown.items() if v != "")
    yield "</dl>"
    if run.failed:
        reasons = "".join(f"<li>{escape(id)}: {escape(reason)}</li>" for id, reason in run.failed.items())
        yield f'<ul class="notes">{reasons}</ul>'


def _table(table: Mapping[Condition, Mapping[str, Figure]]) -> Iterator[str]:
    heads = "".join(f"<th>{escape(TITLES[condition])}</th>" for condition in table)
    yield f'<section><h2>Figures</h2><div class="scroll"><table><tr><th>measure</th>{heads}</tr>'
    names = list(dict.fromkeys(name for cells in table.values() for name in cells))
    notes = []
    for name in names:
        found = [cells.get(name) for cells in table.values()]
        first = next(cell for cell in found if cell is not None)
        unit = f"{name}, {first.unit}"
        yield f"<tr><td>{escape(first.title)}{ARROWS[first.direction]}<small>{escape(unit)}</small></td>"
        yield "".join(_cell(cell) for cell in found)
        yield "</tr>"
        # One remark is often shared by several measures and conditions.
        notes += [cell.note for cell in found if cell is not None and cell.note]
    yield "</table></div><p><small>In brackets: 95 % percentile bootstrap over clips; a figure without a clip is not "
    yield "measured, never zero.</small></p>"
    yield f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(notes))}</ul></section>'


def _cell(cell: Figure | None) -> str:
    if cell is None:
        return '<td class="none">–</td>'
    missing = f", {cell.missing} missing" if cell.missing else ""
    if cell.value is None or cell.low is None or cell.high is None:
        reason = f"<small>{escape(cell.reason)}</small>" if cell.reason else ""
        return f'<td class="none">not measured<small>n = {cell.n}{missing}</small>{reason}</td>'
    digits = decimals(cell.low, cell.high)
    return (
        f"<td>{cell.value:.{digits}f}<small>[{cell.low:.{digits}f}, {cell.high:.{digits}f}]</small>"
        f"<small>n = {cell.n}{missing}{constant_text(cell)}</small></td>"
    )


def _plots(scores: Scores) -> Iterator[str]:
    by_name: dict[str, dict[str, Measured]] = {}
    for condition, found in scores.items():
        for one in found:
            if one.rows:
                by_name.setdefault(one.name, {})[condition] = one
    matrices, columns = [], []
    for by_condition in by_name.values():
        first = next(iter(by_condition.values()))
        if first.statistic == "macro_f1":
            drawn = {f"{first.title}: {condition}": confusions(one) for condition, one in by_condition.items()}
            matrices += [_plot(picture, name) for name, picture in drawn.items() if picture]
        elif first.statistic in ("mean", "median", "ratio"):
            picture = boxes(by_condition)
            columns += [_plot(picture, f"{first.title}, {first.unit}")] if picture else []
    if matrices:
        yield f'<section><h2>Heard for felt</h2><div class="plots">{"".join(matrices)}</div></section>'
    if columns:
        yield f'<section><h2>Clip by clip</h2><div class="plots">{"".join(columns)}</div></section>'


def _plot(picture: str, caption: str) -> str:
    words = escape(caption)
    return f'<figure><img alt="{words}" src="{picture}"><figcaption>{words}</figcaption></figure>'


def _players(folder: Path, cases: EvaluationSet, run: Run) -> Iterator[str]:
    spoken = [case for case in cases.cases if case.id in run.takes]
    if not spoken:
        return
    yield '<section><h2>Listen</h2><div class="scroll"><table><tr><th>line</th><th>take</th><th>recording</th></tr>'
    for case in _spread(spoken, PLAYERS):
        who = " · ".join(escape(str(fact)) for fact in (case.id, case.voice, case.emotion) if fact)
        yield f"<tr><td>{escape(case.text)}<small>{who}</small></td>"
        yield f"<td>{_player(folder, take_path(folder, case.id))}</td>"
        reference = cases.reference(case)
        yield f"<td>{_player(folder, reference) if reference is not None else '–'}</td></tr>"
    yield "</table></div></section>"


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    if len(cases) <= count:
        return list(cases)
    return [cases[int((i + 0.5) * len(cases) / count)] for i in range(count)]


def _player(folder: Path, path: Path) -> str:
    where = quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())
    return f'<audio controls preload="none" src="{where}"></audio>'
