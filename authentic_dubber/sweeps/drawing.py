"""A study as a picture: every variant's figure, and beside it what it differs in from the baseline, corrected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from authentic_dubber.evaluation.plots import ACCENT, INK
from library_builder.atomic import whole_file

from .pairs import LEVEL
from .reading import Found, Variant
from .settings import KEYS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = "report.png"
DPI = 80


def write_png(found: Found, folder: Path) -> Path:
    """The picture as `report.png`."""
    path = Path(folder) / PNG
    with whole_file(path) as temporary:
        draw(found).savefig(temporary, dpi=DPI)
    return path


def draw(found: Found) -> Figure:
    """A row of two panels per measure: a curve where one number varies, otherwise a line of dots per variant."""
    from matplotlib.figure import Figure

    curve = len(found.varying) == 1 and KEYS[found.varying[0]].kind is int
    rows = len(found.baseline.figures)
    height = 2.5 if curve else 0.8 + 0.24 * len(found.variants)
    figure = Figure(figsize=(9.2, rows * height), layout="constrained")
    for row, panels in enumerate(figure.subplots(rows, 2, squeeze=False)):
        for axes in panels:
            axes.tick_params(colors=INK, labelsize=8)
            for spine in axes.spines.values():
                spine.set_color(INK)
        (_curves if curve else _dots)(panels, found, row)
    return figure


def _points(found: Found, row: int) -> list[Variant]:
    return [one for one in found.variants if len(one.figures) > row]


def _titles(panels: Sequence[Any], found: Found, row: int) -> tuple[str, str]:
    """What the two panels show."""
    one = found.baseline.figures[row]
    value = f"{one.title} ({one.unit}), {100 * LEVEL:.0f} %"
    against = found.baseline.label if len(found.varying) == 1 else "the baseline"
    return value, f"minus {against}, corrected for {found.asked}"


def _curves(panels: Sequence[Any], found: Found, row: int) -> None:
    """One number along the bottom."""
    shown = _points(found, row)
    at = np.array([int(one.settings[found.varying[0]]) for one in shown])
    figures = [one.figures[row] for one in shown]
    for seed in found.seeds:
        panels[0].plot(at, [f.seeds.get(seed, np.nan) for f in figures], color=INK, lw=0.7, alpha=0.5)
    values = [f.value for f in figures]
    _bars(panels[0], at, values, vertical=True)
    panels[0].plot(at, [e.value for e in values], color=ACCENT, lw=1.4)
    apart = [(x, f.gap) for x, f in zip(at, figures, strict=True) if f.gap is not None]
    panels[1].axhline(0, color=INK, lw=0.8)
    for seed in found.seeds:
        xs, ys = zip(*[(x, g.seeds[seed]) for x, g in apart if seed in g.seeds], strict=True)
        panels[1].plot(xs, ys, ".", ms=3, color=INK, alpha=0.6)
    _bars(panels[1], np.array([x for x, _ in apart]), [g.gap for _, g in apart], vertical=True)
    for axes, title in zip(panels, _titles(panels, found, row), strict=True):
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_xticks(at)
        axes.set_xlabel(found.varying[0], fontsize=8, color=INK)


def _dots(panels: Sequence[Any], found: Found, row: int) -> None:
    """A line per variant."""
    shown = _points(found, row)
    at = -np.arange(len(shown))
    for y, one in zip(at, shown, strict=True):
        f = one.figures[row]
        panels[0].plot(list(f.seeds.values()), [y] * len(f.seeds), ".", ms=3, color=INK, alpha=0.6)
        if f.gap is not None:
            panels[1].plot(list(f.gap.seeds.values()), [y] * len(f.gap.seeds), ".", ms=3, color=INK, alpha=0.6)
    _bars(panels[0], at, [one.figures[row].value for one in shown], vertical=False)
    apart = [(y, one.figures[row].gap) for y, one in zip(at, shown, strict=True)]
    kept = [(y, g.gap) for y, g in apart if g is not None]
    _bars(panels[1], np.array([y for y, _ in kept]), [e for _, e in kept], vertical=False)
    panels[1].axvline(0, color=INK, lw=0.8)
    for axes, title in zip(panels, _titles(panels, found, row), strict=True):
        axes.set_title(title, fontsize=9, color=INK)
        axes.set_ylim(at[-1] - 0.6, 0.6)
    panels[0].set_yticks(at, [one.label for one in shown], fontsize=7)
    panels[1].set_yticks(at, [])


def _bars(axes: Any, at: Any, estimates: Sequence[Any], *, vertical: bool) -> None:
    values = np.array([e.value for e in estimates])
    if not len(values):
        return
    ends = np.array([[max(0.0, e.value - e.low), max(0.0, e.high - e.value)] for e in estimates]).T
    style = {"fmt": "o", "ms": 4, "color": ACCENT, "lw": 1.2, "capsize": 2}
    if vertical:
        axes.errorbar(at, values, yerr=ends, **style)
    else:
        axes.errorbar(values, at, xerr=ends, **style)
