"""The recordings no training may see, here or later: a committed list that the loader consults and refuses by.

The rules name whole actors where a corpus has them, and ids where it does not. A user's own corpus says it itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

from .corpora import Utterance


class HeldOutError(ValueError):
    """A training set holds a recording that is kept for evaluation."""


@lru_cache(maxsize=1)
def _rules() -> dict[str, dict[str, frozenset[str]]]:
    raw = json.loads(files("authentic_dubber.training").joinpath("heldout.json").read_text(encoding="utf-8"))
    return {corpus: {kind: frozenset(names) for kind, names in rules.items()} for corpus, rules in raw.items()}


def is_held_out(utterance: Utterance) -> bool:
    """Whether a recording is kept for evaluation."""
    rules = _rules().get(utterance.corpus, {})
    return (
        utterance.held_out
        or utterance.id in rules.get("ids", frozenset())
        or utterance.speaker in rules.get("speakers", frozenset())
    )


def training_part(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The recordings a training may see, in their order."""
    return [u for u in utterances if not is_held_out(u)]


def held_out_part(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The recordings kept for evaluation, in their order."""
    return [u for u in utterances if is_held_out(u)]


def refuse_held_out(utterances: Iterable[Utterance]) -> None:
    """Stop a training that would see a held-out recording.

    Raises:
        HeldOutError: names the first such recordings and how many there are.
    """
    kept = [f"{u.corpus}/{u.id}" for u in utterances if is_held_out(u)]
    if kept:
        raise HeldOutError(f"{len(kept)} recordings are held out from all training, among them {', '.join(kept[:3])}")
