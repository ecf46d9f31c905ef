"""Plots of an evaluation as SVG that a page can hold within itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from authentic_dubber.figures import data_uri

from .emotion import confusion
from .measured import Measured
from .table import clip_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT = "#55585d", "#c8642b"
"""Readable on light and dark paper alike."""
SALT = "authentic-dubber"
"""Names inside an SVG are drawn from it, so that the same figures give the same file."""


def boxes(by_condition: Mapping[str, Measured]) -> str | None:
    """Every clip's value as a dot over a box, a column per condition; None where clips have no values by themselves."""
    columns = {
        name: [v for v in (clip_value(one, row) for row in one.rows.values()) if v is not None]
        for name, one in by_condition.items()
    }
    columns = {name: values for name, values in columns.items() if len(values) > 1}
    if not columns:
        return None
    measured = next(iter(by_condition.values()))
    figure, axes = _figure(1.1 + 1.1 * len(columns), 2.6)
    lines = {f"{part}props": {"color": INK} for part in ("box", "whisker", "cap")}
    axes.boxplot(list(columns.values()), widths=0.5, showfliers=False, medianprops={"color": ACCENT}, **lines)
    rng = np.random.default_rng(0)  # moves dots sideways, nothing else
    for i, values in enumerate(columns.values(), start=1):
        axes.plot(i + rng.uniform(-0.16, 0.16, len(values)), values, ".", ms=3, alpha=0.4, color=INK)
    axes.set_xticks(range(1, len(columns) + 1), list(columns), fontsize=7)
    axes.set_ylabel(measured.unit)
    return as_svg(figure)


def confusions(measured: Measured) -> str | None:
    """Who was taken for whom: true classes down, heard ones across; None where nothing was read."""
    if not measured.rows:
        return None
    table = confusion(measured)
    kept = [i for i in range(len(measured.classes)) if table[i].any() or table[:, i].any()]
    names = [measured.classes[i] for i in kept]
    return as_svg(_matrix(table[np.ix_(kept, kept)], names))


def _matrix(table: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    figure, axes = _figure(0.8 + 0.62 * len(names), 0.7 + 0.5 * len(names))
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(table):
        colour = "#fff" if shares[i, j] > 0.6 else "#222"
        axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("heard as", fontsize=8)
    return figure


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]  # matplotlib's axes have no useful type
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(colors=INK, labelsize=8)
    axes.yaxis.label.set_color(INK)
    axes.xaxis.label.set_color(INK)
    for spine in axes.spines.values():
        spine.set_color(INK)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """A figure as an address that holds it; equal figures give equal ones."""
    from matplotlib import rc_context

    held = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": SALT}):
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    return data_uri(held.getvalue(), "image/svg+xml")
