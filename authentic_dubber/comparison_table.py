"""Two versions of a library side by side, as rows for people and programs, and as a page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from library_builder.atomic import whole_file
from retrieval.comparison import Agreement, Compared, Comparison, Side

from .report import STYLE

WIDER = (
    "<style>table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.35rem .7rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}"
    "th{font-size:13px;color:var(--soft)}td small{color:var(--soft);display:block}.scroll{overflow-x:auto}</style>"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A measure of one modality.

    Attributes:
        unit: of both cells.
        first, second: of the versions; the second is empty where the measure is of both.
    """

    modality: str
    measure: str
    unit: str
    first: str
    second: str = ""


def rows(found: Comparison) -> list[Row]:
    """Everything that was measured, and what was not and why."""
    return [row for modality, one in found.modalities.items() for row in _rows(modality, one, found.k)]


def head(found: Comparison) -> list[str]:
    """What was compared, in sentences."""
    one, other = found.versions
    asked = "all common clips asked" if found.sampled is None else f"asked by a sample (seed {found.seed}) of the"
    common = found.clips[0] - found.only[0]
    drawn = asked if found.sampled is None else f"{asked} {common} common clips"
    return [
        f"{one} has {found.clips[0]} clips, {other} has {found.clips[1]}: {common} in both, "
        f"{found.only[0]} only in the first, {found.only[1]} only in the second",
        f"{drawn}; k = {found.k}; a clip finds neither itself nor takes of its line by its speaker",
    ]


def facts(found: Comparison) -> dict[str, Any]:
    """For programs."""
    return asdict(found)


def text(found: Comparison) -> str:
    """A plain table."""
    one, other = found.versions
    table = [Row("modality", "measure", "unit", one, other), *rows(found)]
    cells = [(row.modality, row.measure, row.unit, row.first, row.second) for row in table]
    # A cell that is of both versions may run on under the second.
    widths = [max(len(row[column]) for row in cells if row[4] or column < 3) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*head(found), "", *lines])


def write_page(path: Path, found: Comparison) -> Path:
    """Write the table as a page.

    Raises:
        ValueError: the file's name does not end in .html.
        FileNotFoundError: its folder does not exist.
    """
    if path.suffix.lower() != ".html":
        raise ValueError(f"expected to write an .html file, got {path}")
    with whole_file(path) as temporary:
        temporary.write_text("".join(_page(found)), encoding="utf-8")
    return path


def _rows(modality: str, one: Compared, k: int) -> Iterator[Row]:
    if one.sides is None:
        yield Row(modality, "not compared", "", one.reason)
        return
    first, second = one.sides
    yield Row(modality, "extractor", "", _extractor(first), _extractor(second))
    yield Row(modality, "unchanged to the last bit", "clips", f"{one.unchanged} of {one.queries}")
    overlap = "not measured (nothing found)" if one.overlap is None else f"{one.overlap:.3f}"
    yield Row(modality, f"top-{k} overlap", "share", f"{overlap} (n = {one.queries} queries)")
    yield Row(modality, "distinct hits", "clips", *(f"{side.distinct} of {side.clips}" for side in one.sides))
    told = [_share(side.agreement) for side in one.sides]
    measured = any(side.agreement.share is not None for side in one.sides)
    yield Row(modality, f"label agreement@{k}", "share", *(told if measured else list(dict.fromkeys(told))))
    if measured:
        yield Row(modality, "  labels shuffled", "share", *(_shuffled(side.agreement) for side in one.sides))


def _extractor(side: Side) -> str:
    reader, weights = side.extractor.get("reader", "unnamed"), side.extractor.get("weights", "")
    return f"{reader} {side.space}{f' weights {weights[:8]}' if weights else ''}"


def _share(one: Agreement) -> str:
    return f"not measured: {one.reason}" if one.share is None else f"{one.share:.3f} (n = {one.pairs} hits)"


def _shuffled(one: Agreement) -> str:
    return "–" if one.shuffled is None else f"{one.shuffled:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _page(found: Comparison) -> Iterator[str]:
    title = escape(" beside ".join(found.versions))
    style = files("authentic_dubber").joinpath(STYLE).read_text(encoding="utf-8")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"{style}{WIDER}</head><body><main><header><h1>{title}</h1>"
    yield from (f"<p>{escape(line)}</p>" for line in head(found))
    yield "</header>"
    table = rows(found)
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("measure", *found.versions))
    for modality in found.modalities:
        yield f'<section><h2>{modality}</h2><div class="scroll"><table><tr>{heads}</tr>'
        for row in (row for row in table if row.modality == modality):
            unit = f"<small>{escape(row.unit)}</small>" if row.unit else ""
            both = f"<td>{escape(row.first)}</td><td>{escape(row.second)}</td>"
            cells = both if row.second else f'<td colspan="2">{escape(row.first)}</td>'
            yield f"<tr><td>{escape(row.measure.strip())}{unit}</td>{cells}</tr>"
        yield "</table></div></section>"
    yield "<p><small>Shuffled: labels dealt out anew among the clips that asked and were found; mean and 95 % of the "
    yield "shuffles. A figure that cannot be had is not measured, never zero.</small></p></main></body></html>\n"
