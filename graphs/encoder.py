"""The progressive encoder: each stage's graph holds the encoded nodes of the stage before, and adds its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import RelationalAttention
from .dialogue import AUDIO_LINKS, QUERY_MODALITIES, STAGES, AudioLink, DialogueGraph, Edges, Stage, relations

IN_MODALITIES: tuple[str, ...] = (*QUERY_MODALITIES, "audio")


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """Sizes of the encoder, and the switches that take parts of it away for comparison.

    Attributes:
        in_widths: width of the emotion vectors of scene, face, text and audio.
        width: D, of every node after projection.
        heads: parallel heads of a stage's first attention; each is D wide, and the second attention joins them.
        dropout: of attention coefficients.
        stages: which stages attend. The nodes of a stage switched off are only projected: they are still handed on, and
            a later stage attends over them with all its edges. With none, the encoder is nine projections.
        single: one graph over all nodes in place of the progression; the three results are nested parts of its output.
        similarity_weight: similarities multiply the attention between a reference, or its audio, and the own node.
        audio_link: what an audio node hangs on: the own node that asked, the reference of its own clip, or both.

    Raises:
        ValueError: a width is missing or not positive, a value is unknown, or two settings contradict each other.
    """

    in_widths: Mapping[str, int]
    width: int = 256
    heads: int = 2
    dropout: float = 0.2
    stages: tuple[Stage, ...] = STAGES
    single: bool = False
    similarity_weight: bool = False
    audio_link: AudioLink = "own"

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_widths", dict(self.in_widths))
        object.__setattr__(self, "stages", tuple(self.stages))
        if set(self.in_widths) != set(IN_MODALITIES):
            raise ValueError(f"in_widths: expected {', '.join(IN_MODALITIES)}, got {sorted(self.in_widths)}")
        for name, value in (*self.in_widths.items(), ("width", self.width), ("heads", self.heads)):
            if value < 1:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 <= dropout < 1, got {self.dropout}")
        if self.stages != tuple(stage for stage in STAGES if stage in self.stages):
            raise ValueError(f"stages: expected some of {', '.join(STAGES)}, in this order, got {self.stages}")
        if self.audio_link not in AUDIO_LINKS:
            raise ValueError(f"audio_link: expected one of {', '.join(AUDIO_LINKS)}, got {self.audio_link!r}")
        if self.single and self.stages != STAGES:
            raise ValueError(f"a single graph stands for all stages: expected {STAGES}, got {self.stages}")
        if self.similarity_weight and not {"indirect", "direct"} & set(self.stages):
            raise ValueError(f"similarity_weight: expected an indirect or direct stage to weigh, got {self.stages}")
        if self.audio_link != "own" and "direct" not in self.stages:
            raise ValueError(f"audio_link {self.audio_link!r}: expected a direct stage to link in, got {self.stages}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GraphConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a setting is unknown or `in_widths` is absent, or what the constructor refuses.
        """
        known = {field.name for field in fields(cls)}
        if (unknown := set(values) - known) or "in_widths" not in values:
            missing = "" if unknown else " without in_widths"
            raise ValueError(f"graph settings: expected {sorted(known)}, got {sorted(unknown or values)}{missing}")
        return cls(**values)


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """The encoded nodes of one stage.

    Attributes:
        features: (B, nodes, D); zero where masked.
        mask: bool (B, nodes).
    """

    features: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """The nodes of the three nested graphs: 3, 3 + 3K and 3 + 6K a line, in the order `dialogue` lays them."""

    basic: Nodes
    indirect: Nodes
    direct: Nodes


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """How a stage shared out its attention over the live edges of a batch.

    Attributes:
        edges: whose `index` counts nodes of the whole batch, lines laid end to end.
        spread: of the parallel heads, (edges, heads); sums to one over the edges of a target.
        join: of the head that joins them, (edges, 1).
    """

    edges: Edges
    spread: Tensor
    join: Tensor


class StageEncoder(nn.Module):
    """One stage: heads side by side, an output head that joins them, a linear layer, residual and norm.

    Nothing before the residual has a bias, so that a node without neighbours keeps its own vector, normalised.

    As published, the one residual spans both attentions, so what a node carries would travel exactly two links a stage:
    past its neighbours, whose attention it moves but whom it does not enter, and an own node would never hear its own
    references. Here the mean of the heads goes around the second attention, so that what a neighbour says is heard one
    link away as well as two.
    """

    def __init__(self, width: int, heads: int, kinds: int, dropout: float) -> None:
        super().__init__()
        self.spread = RelationalAttention(width, width, heads, kinds, dropout)
        self.spread_norm = nn.LayerNorm(width, bias=False)
        self.join = RelationalAttention(heads * width, width, 1, kinds, dropout)
        self.join_norm = nn.LayerNorm(width, bias=False)
        self.linear = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.heads = heads

    def forward(self, nodes: Tensor, edges: Edges, *, weighted: bool) -> Tensor:
        """The nodes of a whole batch, laid end to end, after they have heard one another.

        Shape:
            (nodes, D) -> (nodes, D).
        """
        weight = edges.weight if weighted else None
        heads = self.spread(nodes, edges.index, edges.relation, weight)
        # Each head is normalised over its own width, as parallel single heads would be.
        heads = functional.gelu(self.spread_norm(heads.unflatten(1, (self.heads, -1)))).flatten(1)
        joined = self.join(heads, edges.index, edges.relation, weight)
        joined = joined + heads.unflatten(1, (self.heads, -1)).mean(dim=1)
        message = self.linear(functional.gelu(self.join_norm(joined)))
        encoded: Tensor = self.norm(nodes + message)
        return encoded


class ProgressiveEncoder(nn.Module):
    """What a line shows, says and brought to mind, as three nested sets of nodes that have heard one another."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.in_widths
        self.own = nn.ModuleDict({m: nn.Linear(widths[m], config.width) for m in QUERY_MODALITIES})
        self.references = nn.ModuleDict({m: nn.Linear(widths[m], config.width) for m in QUERY_MODALITIES})
        self.audio = nn.ModuleDict({m: nn.Linear(widths["audio"], config.width) for m in QUERY_MODALITIES})
        # A single graph is the direct one, with nothing encoded before it.
        stages: tuple[Stage, ...] = ("direct",) if config.single else config.stages
        self.encoders = nn.ModuleDict(
            {
                stage: StageEncoder(
                    config.width, config.heads, len(relations(stage, config.audio_link)), config.dropout
                )
                for stage in stages
            }
        )

    def forward(self, graph: DialogueGraph) -> Stages:
        """Encode a batch. A line's result does not depend on the others in its batch, nor on masked values.

        Raises:
            ValueError: the vectors are not as wide as the configuration says.
        """
        self._check(graph)
        results: list[Nodes] = []
        for stage, entering in zip(STAGES, self._project(graph), strict=True):
            nodes = torch.cat([*(result.features for result in results[-1:]), entering], dim=1)
            mask = graph.mask(stage)
            if stage in self.encoders:
                edges = graph.edges(stage, self.config.audio_link)
                encoded = self.encoders[stage](nodes.flatten(0, 1), edges, weighted=self.config.similarity_weight)
                nodes = encoded.view_as(nodes).masked_fill(~mask[:, :, None], 0)
            results.append(Nodes(nodes, mask))
        if self.config.single:
            results = [Nodes(nodes[:, : result.mask.shape[1]], result.mask) for result in results]
        return Stages(*results)

    @torch.no_grad()
    def attention(self, graph: DialogueGraph) -> dict[Stage, Attention]:
        """What `forward` attends to, of every stage that attends; dropout is left out.

        Raises:
            ValueError: as `forward`.
        """
        found: dict[str, Tensor] = {}

        def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def heard(module: nn.Module, given: tuple[Tensor, ...]) -> None:
                assert isinstance(module, RelationalAttention), module
                found[name] = module.shares(*given)

            return heard

        watched = [
            module.register_forward_pre_hook(watch(name))
            for name, module in self.encoders.named_modules()
            if isinstance(module, RelationalAttention)
        ]
        try:
            self(graph)
        finally:
            for hook in watched:
                hook.remove()
        stages = [stage for stage in STAGES if stage in self.encoders]
        return {
            stage: Attention(
                graph.edges(stage, self.config.audio_link), found[f"{stage}.spread"], found[f"{stage}.join"]
            )
            for stage in stages
        }

    def _project(self, graph: DialogueGraph) -> tuple[Tensor, Tensor, Tensor]:
        """The nodes that enter at each stage, zero where masked.

        Shape:
            (B, 3, D), (B, 3K, D), (B, 3K, D).
        """
        queries = len(QUERY_MODALITIES)
        live = graph.mask("direct").split([queries, queries * graph.k, queries * graph.k], dim=1)
        asking, found, heard = (mask.reshape(graph.lines, queries, mask.shape[1] // queries) for mask in live)
        own, references, audio = [], [], []
        for i, m in enumerate(QUERY_MODALITIES):
            own.append(_project_live(self.own[m], graph.own[m][:, None], asking[:, i]))
            references.append(_project_live(self.references[m], graph.references[m], found[:, i]))
            audio.append(_project_live(self.audio[m], graph.audio[m], heard[:, i]))
        return torch.cat(own, dim=1), torch.cat(references, dim=1), torch.cat(audio, dim=1)

    def _check(self, graph: DialogueGraph) -> None:
        for m in QUERY_MODALITIES:
            for name, vectors, expected in (
                (m, graph.own[m], self.config.in_widths[m]),
                ("audio", graph.audio[m], self.config.in_widths["audio"]),
            ):
                if vectors.shape[-1] != expected:
                    raise ValueError(f"{name} vectors: expected width {expected}, got {vectors.shape[-1]}")


def _project_live(layer: nn.Module, vectors: Tensor, mask: Tensor) -> Tensor:
    """Project and mask. Masked inputs are replaced before the layer too: NaN times zero would still be NaN.

    Shape:
        (B, K, D_m), bool (B, K) -> (B, K, D).
    """
    live = mask[:, :, None]
    projected: Tensor = layer(vectors.masked_fill(~live, 0)).masked_fill(~live, 0)
    return projected
