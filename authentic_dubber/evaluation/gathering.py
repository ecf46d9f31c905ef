"""From one clip at a time to figures over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from .measured import Measured, Row, Sample

Outcome: TypeAlias = Mapping[str, Row | str]
"""By name of the figure: what a clip contributes, or why it contributes nothing."""


class Unmeasurable(ValueError):
    """A clip of which a measure can tell nothing; the message is the reason that a reader is shown."""


def gather(
    figures: Sequence[Measured], samples: Sequence[Sample], measure: Callable[[Sample], Outcome]
) -> list[Measured]:
    """The figures with every clip either in `rows` or in `missing`.

    Args:
        figures: without rows.
        measure: a clip to its outcome for every figure; raises `Unmeasurable` where it has none for any.

    Raises:
        ValueError: two clips have one id.
    """
    outcomes: dict[str, Outcome] = {}
    for sample in samples:
        if sample.id in outcomes:
            raise ValueError(f"expected clips with ids of their own, got {sample.id!r} twice")
        try:
            outcomes[sample.id] = measure(sample)
        except Unmeasurable as reason:
            outcomes[sample.id] = {figure.name: str(reason) for figure in figures}
    return [_filled(figure, {key: outcome[figure.name] for key, outcome in outcomes.items()}) for figure in figures]


def _filled(figure: Measured, found: Mapping[str, Row | str]) -> Measured:
    rows = {key: one for key, one in found.items() if isinstance(one, Row)}
    missing = {key: one for key, one in found.items() if isinstance(one, str)}
    return replace(figure, rows=rows, missing=missing)
