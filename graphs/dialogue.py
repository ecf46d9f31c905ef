"""A batch of lines as graphs: node vectors, masks and typed edges. Tensors only; nothing here is learned.

A line's own scene, face and text ask the library; each answer is a reference (the vector of the clip that was found, in
the asking modality) and the audio vector of that same clip. Three nested graphs hold them:

    basic     3        own scene, own face, own text
    indirect  3 + 3K   basic, then K references by scene, K by face, K by text
    direct    3 + 6K   indirect, then K audio vectors in the same order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

Stage: TypeAlias = Literal["basic", "indirect", "direct"]
STAGES: tuple[Stage, ...] = get_args(Stage)
AudioLink: TypeAlias = Literal["own", "retrieved", "both"]
AUDIO_LINKS: tuple[AudioLink, ...] = get_args(AudioLink)
Relation: TypeAlias = Literal["own-own", "reference-own", "audio-own", "audio-reference"]

QUERY_MODALITIES: tuple[str, ...] = ("scene", "face", "text")
"""The order of modalities in every node axis and mask."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The live directed edges of a batch, over its nodes laid end to end; every link appears in both directions.

    Sorted by target, so that reductions over a node's neighbours run over contiguous rows.

    Attributes:
        index: int64 (2, edges), sources then targets, each `line * nodes per line + node`.
        relation: int64 (edges,), the position of each edge's relation in `relations(stage, link)`.
        weight: (edges,), the similarity a reference was retrieved with; one where no retrieval lies between.
    """

    index: Tensor
    relation: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DialogueGraph:
    """B lines, what each one shows and says, and the K references that each of its modalities retrieved.

    Masked positions may hold anything, NaN included; they are never read. A line with fewer than K references masks the
    rest. A masked own modality has asked nothing, so its references and audio count as masked with it.

    Attributes:
        own: modality -> (B, D_m).
        own_mask: bool (B, 3); False where a modality is missing.
        references: modality -> (B, K, D_m), best first.
        audio: modality -> (B, K, D_audio), the audio vector of each clip which that modality retrieved.
        reference_mask: bool (B, 3, K).
        audio_mask: bool (B, 3, K); a silent clip is a reference without audio.
        similarity: (B, 3, K), the cosine each clip was retrieved with.

    Raises:
        ValueError: a modality is absent or unknown, lengths or widths disagree, or a mask is not boolean.
    """

    own: Mapping[str, Tensor]
    own_mask: Tensor
    references: Mapping[str, Tensor]
    audio: Mapping[str, Tensor]
    reference_mask: Tensor
    audio_mask: Tensor
    similarity: Tensor

    def __post_init__(self) -> None:
        for name in ("own", "references", "audio"):
            # A plain dict, not a read-only view: views cannot cross to a loader's worker process.
            vectors = dict(getattr(self, name))
            if set(vectors) != set(QUERY_MODALITIES):
                raise ValueError(f"{name}: expected modalities {', '.join(QUERY_MODALITIES)}, got {sorted(vectors)}")
            object.__setattr__(self, name, vectors)
        if self.own_mask.dim() != 2:
            raise ValueError(f"own_mask: expected (B, 3), got shape {tuple(self.own_mask.shape)}")
        if self.reference_mask.dim() != 3:
            raise ValueError(f"reference_mask: expected (B, 3, K), got shape {tuple(self.reference_mask.shape)}")
        lines, k, sound = self.lines, self.k, self.audio[QUERY_MODALITIES[0]].shape[-1]
        _expect("own_mask", self.own_mask, (lines, len(QUERY_MODALITIES)))
        for name in ("reference_mask", "audio_mask", "similarity"):
            _expect(name, getattr(self, name), (lines, len(QUERY_MODALITIES), k))
        for name in ("own_mask", "reference_mask", "audio_mask"):
            if (dtype := getattr(self, name).dtype) != torch.bool:
                raise ValueError(f"{name}: expected torch.bool, got {dtype}")
        for m in QUERY_MODALITIES:
            width = self.own[m].shape[-1]
            _expect(f"own[{m}]", self.own[m], (lines, width))
            _expect(f"references[{m}]", self.references[m], (lines, k, width))
            _expect(f"audio[{m}]", self.audio[m], (lines, k, sound))

    @property
    def lines(self) -> int:
        """B."""
        return self.own_mask.shape[0]

    @property
    def k(self) -> int:
        """K, the longest list of references in the batch."""
        return self.reference_mask.shape[2]

    def to(self, device: torch.device | str) -> DialogueGraph:
        """The same graph on another device."""
        return DialogueGraph(
            own={m: v.to(device) for m, v in self.own.items()},
            own_mask=self.own_mask.to(device),
            references={m: v.to(device) for m, v in self.references.items()},
            audio={m: v.to(device) for m, v in self.audio.items()},
            reference_mask=self.reference_mask.to(device),
            audio_mask=self.audio_mask.to(device),
            similarity=self.similarity.to(device),
        )

    def chosen(self, rows: Tensor) -> DialogueGraph:
        """Some of the lines, in the order given.

        Shape:
            int64 (B',).
        """
        return DialogueGraph(
            own={m: v[rows] for m, v in self.own.items()},
            own_mask=self.own_mask[rows],
            references={m: v[rows] for m, v in self.references.items()},
            audio={m: v[rows] for m, v in self.audio.items()},
            reference_mask=self.reference_mask[rows],
            audio_mask=self.audio_mask[rows],
            similarity=self.similarity[rows],
        )

    def with_references(self, k: int) -> DialogueGraph:
        """The same lines with only the first k references of each modality; all of them where there are fewer.

        Raises:
            ValueError: k is negative.
        """
        if k < 0:
            raise ValueError(f"expected k >= 0 references, got {k}")
        return DialogueGraph(
            own=self.own,
            own_mask=self.own_mask,
            references={m: v[:, :k] for m, v in self.references.items()},
            audio={m: v[:, :k] for m, v in self.audio.items()},
            reference_mask=self.reference_mask[:, :, :k],
            audio_mask=self.audio_mask[:, :, :k],
            similarity=self.similarity[:, :, :k],
        )

    def mask(self, stage: Stage) -> Tensor:
        """Which nodes of a stage are live.

        Shape:
            bool (B, 3), (B, 3 + 3K) or (B, 3 + 6K).
        """
        asked = self.own_mask[:, :, None]
        answers = [self.reference_mask & asked, self.audio_mask & asked][: STAGES.index(stage)]
        return torch.cat([self.own_mask, *(mask.flatten(1) for mask in answers)], dim=1)

    def edges(self, stage: Stage, link: AudioLink = "own") -> Edges:
        """The edges of a stage whose two ends are live. Their number grows with K and B, never with a square.

        Args:
            stage: its graph holds the edges of the stages before it too.
            link: what an audio node hangs on: the own node that asked, the reference of its own clip, or both.
        """
        live = self.mask(stage)
        template = torch.tensor(_template(stage, self.k, link), device=live.device)
        target, source, relation, slot = template.unbind(1)
        line, edge = (live[:, target] & live[:, source]).nonzero(as_tuple=True)
        weights = functional.pad(self.similarity.flatten(1), (0, 1), value=1.0)
        start = line * live.shape[1]
        return Edges(
            index=torch.stack([start + source[edge], start + target[edge]]),
            relation=relation[edge],
            weight=weights[line, slot[edge]],
        )


def collate(graphs: Sequence[DialogueGraph]) -> DialogueGraph:
    """One batch of several lines, padded to the longest K with masked references.

    Raises:
        ValueError: no graphs, or their widths disagree.
    """
    if not graphs:
        raise ValueError("expected at least one graph to collate, got none")
    for m in QUERY_MODALITIES:
        for name in ("own", "audio"):
            widths = sorted({getattr(graph, name)[m].shape[-1] for graph in graphs})
            if len(widths) > 1:
                raise ValueError(f"{name}[{m}]: expected one width in a batch, got {widths}")
    k = max(graph.k for graph in graphs)

    def vectors(name: str) -> dict[str, Tensor]:
        """(B, K, D) per modality, padded along K."""
        return {
            m: torch.cat([functional.pad(getattr(g, name)[m], (0, 0, 0, k - g.k)) for g in graphs])
            for m in QUERY_MODALITIES
        }

    def table(name: str) -> Tensor:
        """(B, 3, K), padded along K with False or zero."""
        return torch.cat([functional.pad(getattr(g, name), (0, k - g.k)) for g in graphs])

    return DialogueGraph(
        own={m: torch.cat([graph.own[m] for graph in graphs]) for m in QUERY_MODALITIES},
        own_mask=torch.cat([graph.own_mask for graph in graphs]),
        references=vectors("references"),
        audio=vectors("audio"),
        reference_mask=table("reference_mask"),
        audio_mask=table("audio_mask"),
        similarity=table("similarity"),
    )


def relations(stage: Stage, link: AudioLink = "own") -> tuple[Relation, ...]:
    """The kinds of edge in a stage. `Edges.relation` counts in this order."""
    if stage == "basic":
        return ("own-own",)
    if stage == "indirect":
        return ("own-own", "reference-own")
    hung: dict[AudioLink, tuple[Relation, ...]] = {
        "own": ("audio-own",),
        "retrieved": ("audio-reference",),
        "both": ("audio-own", "audio-reference"),
    }
    return ("own-own", "reference-own", *hung[link])


@lru_cache(maxsize=256)
def _template(stage: Stage, k: int, link: AudioLink) -> tuple[tuple[int, int, int, int], ...]:
    """One line's directed edges by target: (target, source, relation, slot of its similarity; 3K for none).

    Numbers rather than a tensor: a cached tensor born under `inference_mode` could not be trained through later.
    """
    kinds = relations(stage, link)
    queries = len(QUERY_MODALITIES)
    answers = queries * k
    links: list[tuple[int, int, Relation, int]] = [
        (a, b, "own-own", answers) for a in range(queries) for b in range(a + 1, queries)
    ]
    for slot in range(answers):
        own, reference, audio = slot // k, queries + slot, queries + answers + slot
        links += [
            (own, reference, "reference-own", slot),
            (own, audio, "audio-own", slot),
            (reference, audio, "audio-reference", answers),
        ]
    present = [(a, b, kinds.index(kind), slot) for a, b, kind, slot in links if kind in kinds]
    return tuple(sorted(present + [(b, a, kind, slot) for a, b, kind, slot in present]))


def _expect(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(value.shape)}")
