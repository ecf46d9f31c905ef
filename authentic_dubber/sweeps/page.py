"""A study as one page that needs no network: what was asked, the picture, the table, and how to read both."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path

from authentic_dubber.evaluation.page import ARROWS, WIDER
from authentic_dubber.evaluation.plots import as_svg
from authentic_dubber.evaluation.table import decimals
from authentic_dubber.report import STYLE
from library_builder.atomic import whole_file

from .drawing import draw
from .pairs import LEVEL
from .reading import Figure, Found, Variant

PAGE = "report.html"


def write_page(found: Found, folder: Path) -> Path:
    """Write `report.html` into a study's folder."""
    path = Path(folder) / PAGE
    page = "".join(_page(found))
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def as_text(found: Found) -> str:
    """The table for a terminal: a line per variant and measure."""
    lines = [f"{found.name}: {found.question}", *_notes(found)]
    wide = max(len(one.label) for one in found.variants)
    names = max(len(f.name) for one in found.variants for f in one.figures)
    for one in found.variants:
        for f in one.figures:
            lines.append(f"{one.label:{wide}}  {f.name:{names}}  {_own(f)}  {_apart(one, f)}")
    return "\n".join(lines)


def _notes(found: Found) -> list[str]:
    """How the table is to be read, in sentences."""
    seeds = ", ".join(map(str, found.seeds))
    notes = [
        f"{found.lines} lines of {found.set_name} in {found.clusters} sentences, training seeds {seeds}; "
        f"baseline: {found.baseline.label}.",
        f"Intervals: paired resampling of sentences with all their lines and seeds; differences are corrected for "
        f"{found.asked} comparisons of each measure (Bonferroni, {100 * LEVEL:.0f} % of the family). "
        "A verdict asks that every seed agrees.",
        *dict.fromkeys(f.note for f in found.baseline.figures if f.note),
    ]
    same = [
        f"{one.label} ({100 * (one.alike or 0):.1f} % of its hit lists are the very same)"
        for one in found.variants
        if all(f.gap is not None and f.gap.verdict == "same" for f in one.figures)
    ]
    if same:
        notes.append(f"Answers every line as the baseline does: {'; '.join(same)}.")
    if found.missing:
        notes.append(f"Not done: {len(found.missing)} cells; run `dub sweep` again to go on.")
    return notes


def _own(f: Figure) -> str:
    digits = decimals(f.value.low, f.value.high)
    seeds = " ".join(f"{value:.{digits}f}" for value in f.seeds.values())
    return f"{f.value.value:.{digits}f} [{f.value.low:.{digits}f}, {f.value.high:.{digits}f}] ({seeds}) {f.unit}"


def _apart(variant: Variant, f: Figure) -> str:
    if f.gap is None:
        return "baseline"
    g = f.gap.gap
    if f.gap.verdict == "same":
        return "the same answers as the baseline"
    digits = decimals(g.low, g.high)
    seeds = " ".join(f"{value:+.{digits}f}" for value in f.gap.seeds.values())
    return f"{g.value:+.{digits}f} [{g.low:+.{digits}f}, {g.high:+.{digits}f}] ({seeds})  {f.gap.verdict}"


def _page(found: Found) -> Iterator[str]:
    title = escape(f"Study {found.name}")
    style = files("authentic_dubber").joinpath(STYLE).read_text(encoding="utf-8")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"{style}{WIDER}</head><body><main><header><h1>{title}</h1><p>{escape(found.question)}</p></header>"
    yield from (f"<p>{escape(note)}</p>" for note in _notes(found))
    yield f'<img alt="figures of every variant, and differences from the baseline" src="{as_svg(draw(found))}">'
    yield '<div class="scroll"><table><tr><th>variant</th><th>hits a line</th>'
    for f in found.baseline.figures:
        yield f"<th>{escape(f.title)}{ARROWS[f.direction]}</th><th>minus baseline</th>"
    yield "</tr>"
    for one in found.variants:
        yield f"<tr><td>{escape(one.label)}</td><td>{one.hits:.1f}</td>"
        for f in one.figures:
            yield f"<td>{escape(_own(f))}</td><td>{escape(_apart(one, f))}</td>"
        yield "</tr>"
    yield "</table></div></main></body></html>\n"
