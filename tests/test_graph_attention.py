"""What a stage attends to, told beside its result: the very shares that its messages are made of."""

from __future__ import annotations

from typing import Any

import torch

from graphs.dialogue import STAGES

from .test_graphs import all_switches, assert_near, make_encoder, make_graph


@all_switches
def test_attention_is_what_the_messages_are_made_of(switches: dict[str, Any]) -> None:
    """Summed by the shares that are told, values of neighbours are what a layer really returns."""
    encoder, graph = make_encoder(**switches), make_graph(3, 2)
    graph.reference_mask[1, 0, 1] = graph.audio_mask[2] = False
    attention = encoder.attention(graph)
    assert list(attention) == [stage for stage in STAGES if stage in encoder.encoders]
    for stage, found in attention.items():
        source, target = found.edges.index
        shares = torch.cat([found.spread, found.join], dim=1)
        nodes = graph.mask(stage).numel()
        total = torch.zeros(nodes, shares.shape[1]).index_add(0, target, shares)
        assert_near(total[target], torch.ones_like(shares))
        layer = encoder.encoders[stage].spread
        vectors = torch.randn(nodes, layer.project.in_features, generator=torch.Generator().manual_seed(2))
        weight = found.edges.weight if encoder.config.similarity_weight else None
        given = (vectors, found.edges.index, found.edges.relation, weight)
        values = layer.project(vectors).view(nodes, layer.heads, -1)
        by_hand = torch.zeros_like(values).index_add(0, target, layer.shares(*given)[..., None] * values[source])
        assert_near(by_hand.flatten(1), layer(*given))


@all_switches
def test_telling_the_attention_changes_nothing(switches: dict[str, Any]) -> None:
    encoder, graph = make_encoder(**switches), make_graph(2, 3)
    before = encoder(graph)
    encoder.attention(graph)
    assert torch.equal(encoder(graph).direct.features, before.direct.features)
    assert not any(module._forward_pre_hooks for module in encoder.modules())
