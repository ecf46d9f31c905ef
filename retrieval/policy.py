"""What a search may find and how it ranks: speakers, films, licences, what is left out, pinned, weighed, told once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from library_builder.types import MODALITIES, Clip, Emotion, Modality

from .found import METRICS, Metric

Scope: TypeAlias = Literal["any", "same", "other"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Mask: TypeAlias = tuple[Scope, str, Scope, str, frozenset[str] | None]
"""What of a policy holds for whole columns: the scopes with their names, and the licences."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a search may find, and how it ranks. The default finds everything by likeness alone.

    Collections may be given as any kind; they are kept as frozen ones.

    Attributes:
        scope: whose clips: anyone's, those of `speaker`, or those of others. A clip of unknown speaker is in neither
            of the last two.
        speaker: whom the scope is about.
        film_scope: the same of films, about `film`.
        film: which film that scope is about.
        licences: only clips of these licences; `""` stands for a clip that names none. None asks for no licence.
        without: ids to leave out; ids that the library lacks are no error.
        without_groups: (speaker, text) pairs to leave out, see `leave_out`.
        pinned: ids that come first in every modality they have, the nearest of them first, whatever scope, groups and
            minimum say. A licence is not theirs to overrule.
        weights: per modality; then every modality ranks its clips by the weighted mean of cosines over the modalities
            that query and clip both have, and that is their score. A modality without a weight counts 0; a clip that
            has nothing of weight in common with the query is not found.
        minimum: hits that score lower are dropped, with a note.
        repeat_text: let clips of equal text come more than once when the words ask.
        distinct: a clip comes once: for the modality in which it scores best among those that have a place for it;
            the others go on to their next.

    Raises:
        ValueError: a scope is unknown or lacks its name, a clip is pinned and left out, or a weight is no share.
    """

    scope: Scope = "any"
    speaker: str | None = None
    film_scope: Scope = "any"
    film: str | None = None
    licences: Collection[str] | None = None
    without: Collection[str] = frozenset()
    without_groups: Collection[tuple[str, str]] = frozenset()
    pinned: Collection[str] = ()
    weights: Mapping[Modality, float] | None = field(default=None, hash=False)
    minimum: float | None = None
    repeat_text: bool = False
    distinct: bool = False

    def __post_init__(self) -> None:
        for what, given in (
            ("clip ids to leave out", self.without),
            ("licences", self.licences),
            ("pins", self.pinned),
        ):
            if isinstance(given, str):
                raise ValueError(f"expected a collection of {what}, got the single string {given!r}")
        for what, scope, name in (
            ("scope", self.scope, self.speaker),
            ("film scope", self.film_scope, self.film),
        ):
            if scope not in SCOPES:
                raise ValueError(f"expected a {what} of {', '.join(SCOPES)}, got {scope!r}")
            if scope != "any" and not name:
                raise ValueError(
                    f"expected a {'film' if 'film' in what else 'speaker'} with {what} {scope!r}, got {name!r}"
                )
        if both := set(self.pinned) & set(self.without):
            raise ValueError(f"expected a clip to be pinned or left out, got both for {', '.join(sorted(both))}")
        if self.minimum is not None and not math.isfinite(self.minimum):
            raise ValueError(f"expected a finite minimum, got {self.minimum}")
        if self.weights is not None:
            check_weights(self.weights)
        frozen = None if self.licences is None else frozenset(self.licences)
        object.__setattr__(self, "licences", frozen)
        object.__setattr__(self, "without", frozenset(self.without))
        object.__setattr__(self, "without_groups", frozenset(self.without_groups))
        object.__setattr__(self, "pinned", tuple(dict.fromkeys(self.pinned)))

    @property
    def mask(self) -> Mask | None:
        """What holds for whole columns; None when everything may be found."""
        if self.scope == self.film_scope == "any" and self.licences is None:
            return None
        licences = None if self.licences is None else frozenset(self.licences)
        speaker, film = (
            (name or "") if scope != "any" else ""
            for scope, name in ((self.scope, self.speaker), (self.film_scope, self.film))
        )
        return self.scope, speaker, self.film_scope, film, licences


EVERYTHING = Policy()


def leave_out(clip: Clip) -> Policy:
    """What a training query made from `clip` must not find: itself, and other takes of its line by its speaker.

    Text is compared without case and with white space normalised. A clip whose words are unknown has no group.
    """
    text = spoken(clip.text)
    return Policy(without={clip.id}, without_groups={(clip.speaker, text)} if text else ())


def spoken(text: str) -> str:
    """Words as two takes of one line share them: without case, white space normalised."""
    return " ".join(text.casefold().split())


def text_group(text: str) -> int:
    """A number that takes of one line share, in any library; 0 for unknown words.

    Sixty-three bits of a SHA-256: two of a thousand million different texts share one with a chance of 5 %.
    """
    said = spoken(text)
    if not said:
        return 0
    return 1 + int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "little") % (2**63 - 1)


def check_weights(weights: Mapping[Modality, float]) -> None:
    """Make sure that weights can weigh.

    Raises:
        ValueError: a modality is unknown, a weight is negative or not finite, or none is above 0.
    """
    for modality, weight in weights.items():
        if modality not in MODALITIES:
            raise ValueError(f"expected weights of {', '.join(MODALITIES)}, got {modality!r}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"expected a weight of 0 or more, got {weight} for {modality}")
    if not any(weights.values()):
        raise ValueError(f"expected a weight above 0, got {dict(weights)}")


def one_each(policies: Policy | Sequence[Policy], queries: Sequence[Mapping[Modality, Emotion]]) -> list[Policy]:
    """The policy of each query, of one for all or of a list.

    Raises:
        ValueError: there is not one policy per query.
    """
    each = [policies] * len(queries) if isinstance(policies, Policy) else list(policies)
    if len(each) != len(queries):
        raise ValueError(f"expected one policy per query, got {len(each)} for {len(queries)}")
    return each


def check_query(query: Mapping[Modality, Emotion], k: int, policy: Policy, metric: Metric) -> None:
    """Make sure that this may be asked.

    Raises:
        ValueError: the query is empty or of an unknown modality, k < 1, the metric is unknown, or weights come with
            distances or weigh nothing that asks.
    """
    if not query:
        raise ValueError(f"expected a query with an emotion of {', '.join(MODALITIES)}, got an empty one")
    for modality in query:
        if modality not in MODALITIES:
            raise ValueError(f"expected a query of {', '.join(MODALITIES)}, got {modality!r}")
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if metric not in METRICS:
        raise ValueError(f"expected a metric of {', '.join(METRICS)}, got {metric!r}")
    if policy.weights is not None:
        if metric == "euclidean":
            raise ValueError("expected cosines with weights, got euclidean distances")
        if not any(policy.weights.get(modality) for modality in query):
            raise ValueError(f"expected a weight for {' or '.join(query)}, got {dict(policy.weights)}")
