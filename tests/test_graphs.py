"""The graph room: a dense oracle, symmetries, masks, switches, refusals, and a cost that follows the edges."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from graphs.attention import WEIGHT_FLOOR, RelationalAttention
from graphs.dialogue import AUDIO_LINKS, QUERY_MODALITIES, STAGES, AudioLink, DialogueGraph, Stage, collate, relations
from graphs.encoder import GraphConfig, Nodes, ProgressiveEncoder

WIDTHS = {"scene": 5, "face": 6, "text": 7, "audio": 4}
SWITCHES: tuple[dict[str, Any], ...] = (
    {},
    {"similarity_weight": True, "audio_link": "both"},
    {"audio_link": "retrieved", "heads": 3},
    {"single": True},
    {"stages": ("basic", "direct")},
    {"stages": ()},
)
all_switches = pytest.mark.parametrize("switches", SWITCHES, ids=str)

# Two roads to one number differ only by float32 rounding: sums of some tens of terms of order one, a few layers deep.
assert_near = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


def make_graph(lines: int, k: int, widths: dict[str, int] = WIDTHS, seed: int = 0) -> DialogueGraph:
    """Lines with every node live and similarities in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return DialogueGraph(
        own={m: normal(lines, widths[m]) for m in QUERY_MODALITIES},
        own_mask=torch.ones(lines, 3, dtype=torch.bool),
        references={m: normal(lines, k, widths[m]) for m in QUERY_MODALITIES},
        audio={m: normal(lines, k, widths["audio"]) for m in QUERY_MODALITIES},
        reference_mask=torch.ones(lines, 3, k, dtype=torch.bool),
        audio_mask=torch.ones(lines, 3, k, dtype=torch.bool),
        similarity=torch.rand(lines, 3, k, generator=generator),
    )


def make_encoder(**switches: Any) -> ProgressiveEncoder:
    torch.manual_seed(1)
    encoder = ProgressiveEncoder(GraphConfig(WIDTHS, **{"width": 16, **switches})).eval()
    for parameter in encoder.parameters():  # Norms start at one and zero, which would hide a norm or a mask left out.
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return encoder


def encode(encoder: ProgressiveEncoder, graph: DialogueGraph) -> tuple[Nodes, Nodes, Nodes]:
    stages = encoder(graph)
    return stages.basic, stages.indirect, stages.direct


def hide(mask: Tensor, *index: int | slice) -> Tensor:
    mask = mask.clone()
    mask[index] = False
    return mask


def role(node: int, k: int) -> tuple[str, int, int]:
    """What a node is, read off the documented layout: (kind, modality, rank)."""
    if node < 3:
        return "own", node, 0
    return "reference" if node < 3 + 3 * k else "audio", (node - 3) % (3 * k) // k, (node - 3) % k


def rule(graph: DialogueGraph, stage: Stage, link: AudioLink) -> tuple[Tensor, Tensor]:
    """The graph in words, pair by pair, for one line: relation (N, N), -1 for none, and weight (N, N)."""
    k, live, kinds = graph.k, graph.mask(stage)[0], relations(stage, link)
    kind, share = torch.full((len(live), len(live)), -1), torch.ones(len(live), len(live))
    for a in range(len(live)):
        for b in range(a):
            (later, m, r), (earlier, n, s) = role(a, k), role(b, k)
            name = f"{later}-{earlier}"
            same = m == n
            linked = {"own-own": True, "reference-own": same, "audio-own": same, "audio-reference": same and r == s}
            if linked.get(name, False) and name in kinds and live[a] and live[b]:
                kind[a, b] = kind[b, a] = kinds.index(name)
                if name in ("reference-own", "audio-own"):
                    share[a, b] = share[b, a] = graph.similarity[0, m, r]
    return kind, share


def dense_attention(layer: RelationalAttention, nodes: Tensor, kind: Tensor, share: Tensor) -> Tensor:
    """The textbook form: for all pairs, a . [W h_i | W h_j | onehot(relation)], masked softmax, sum over neighbours."""
    count, outputs = len(nodes), []
    relation = one_hot(kind.clamp(min=0), len(layer.to_relation)).float()
    for head in range(layer.heads):
        values = nodes @ layer.project.weight[head * layer.width : (head + 1) * layer.width].T
        a = torch.cat([layer.to_target[head], layer.to_source[head], layer.to_relation[:, head]])
        pairs = [values[:, None].expand(-1, count, -1), values[None].expand(count, -1, -1), relation]
        score = torch.cat(pairs, dim=-1) @ a
        attention = torch.where(score > 0, score, 0.2 * score).exp() * share.clamp(min=WEIGHT_FLOOR) * (kind >= 0)
        outputs.append(attention / attention.sum(1, keepdim=True).clamp(min=1e-20) @ values)
    return torch.cat(outputs, dim=1)


def dense_stage(encoder: ProgressiveEncoder, stage: Stage, nodes: Tensor, graph: DialogueGraph) -> Tensor:
    """One stage of one line, written out: the published recipe, with the first attention led around the second."""
    block: Any = encoder.encoders[stage]
    kind, share = rule(graph, stage, encoder.config.audio_link)
    share = share if encoder.config.similarity_weight else share * 0 + 1

    def normalise(x: Tensor, scale: Tensor) -> Tensor:
        return scale * (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))

    heads = dense_attention(block.spread, nodes, kind, share)
    heard = [gelu(normalise(head, block.spread_norm.weight)) for head in heads.split(encoder.config.width, dim=1)]
    joined = dense_attention(block.join, torch.cat(heard, dim=1), kind, share) + sum(heard) / len(heard)
    message = gelu(normalise(joined, block.join_norm.weight)) @ block.linear.weight.T
    return normalise(nodes + message, block.norm.weight) + block.norm.bias


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("link", AUDIO_LINKS)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("k", [0, 1, 4])
def test_attention_equals_a_dense_masked_softmax(k: int, stage: Stage, link: AudioLink, weighted: bool) -> None:
    graph = make_graph(1, k)
    graph.own_mask[0, 0] = graph.reference_mask[0, 1, :2] = graph.audio_mask[0, 2, 1:2] = False
    edges, (kind, share) = graph.edges(stage, link), rule(graph, stage, link)
    assert len(edges.relation) == int((kind >= 0).sum()), "an edge is missing or appears twice"
    torch.manual_seed(2)
    layer = RelationalAttention(8, 5, heads=2, relations=len(relations(stage, link))).eval()
    nodes = torch.randn(len(kind), 8)
    got = layer(nodes, edges.index, edges.relation, edges.weight if weighted else None)
    assert_near(got, dense_attention(layer, nodes, kind, share if weighted else share * 0 + 1))


@pytest.mark.parametrize("switches", SWITCHES[:2], ids=str)
def test_three_stages_equal_the_recipe_done_densely(switches: dict[str, Any]) -> None:
    graph, encoder = make_graph(1, 2), make_encoder(**switches)
    nodes = torch.empty(0, encoder.config.width)
    entering = ((encoder.own, graph.own), (encoder.references, graph.references), (encoder.audio, graph.audio))
    for stage, (layers, vectors), got in zip(STAGES, entering, encode(encoder, graph), strict=True):
        nodes = torch.cat([nodes, *(torch.atleast_2d(layers[m](vectors[m][0])) for m in QUERY_MODALITIES)])
        nodes = dense_stage(encoder, stage, nodes, graph)
        # Several norms in a row amplify rounding where a node's spread is small: ten times looser than one layer.
        assert_near(got.features[0], nodes, rtol=1e-4, atol=1e-4)


def test_a_node_without_neighbours_receives_exactly_zero() -> None:
    torch.manual_seed(3)
    layer, nodes = RelationalAttention(8, 5, heads=2, relations=1).eval(), torch.randn(4, 8, requires_grad=True)
    received = layer(nodes, torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, dtype=torch.long))
    assert torch.equal(received[2:], torch.zeros(2, 10)) and received[:2].all()
    received.square().sum().backward()
    assert nodes.grad is not None and nodes.grad.isfinite().all()


def test_weight_one_changes_nothing_and_a_negative_cosine_nearly_silences() -> None:
    torch.manual_seed(3)
    layer = RelationalAttention(8, 5, heads=1, relations=1).eval()
    nodes, index, relation = torch.randn(3, 8), torch.tensor([[1, 2], [0, 0]]), torch.zeros(2, dtype=torch.long)
    values, plain = layer.project(nodes), layer(nodes, index, relation)
    assert torch.equal(layer(nodes, index, relation, torch.ones(2)), plain)
    biased = layer(nodes, index, relation, torch.tensor([1.0, -0.5]))
    # The floor leaves the opposed neighbour a thousandth of its former odds, far below a hundredth of the way to it.
    whole = (values[2] - values[1]).norm()
    assert (biased[0] - values[1]).norm() < 1e-2 * whole < 1e-1 * whole < (plain[0] - values[1]).norm()


@pytest.mark.parametrize("k", [0, 1, 3])
@all_switches
def test_sizes(switches: dict[str, Any], k: int) -> None:
    for nodes, count in zip(encode(make_encoder(**switches), make_graph(2, k)), (3, 3 + 3 * k, 3 + 6 * k), strict=True):
        assert nodes.features.shape == (2, count, 16) and nodes.mask.shape == (2, count)
        assert nodes.features.isfinite().all() and nodes.mask.all()


@all_switches
@pytest.mark.parametrize("i", range(3), ids=QUERY_MODALITIES)
def test_references_have_no_order(i: int, switches: dict[str, Any]) -> None:
    k, m = 4, QUERY_MODALITIES[i]
    order = torch.tensor([2, 0, 3, 1])
    graph, shuffled, encoder = make_graph(2, k), make_graph(2, k), make_encoder(**switches)
    for values in (shuffled.references[m], shuffled.audio[m], shuffled.similarity[:, i, :, None]):
        values[:] = values[:, order]
    moved = torch.arange(3 + 6 * k)
    for start in (3 + i * k, 3 + (3 + i) * k):
        moved[start : start + k] = start + order
    for before, after in zip(encode(encoder, graph), encode(encoder, shuffled), strict=True):
        # The own nodes stay where and as they were.
        assert_near(after.features, before.features[:, moved[: before.mask.shape[1]]])


@all_switches
def test_a_masked_reference_is_as_if_absent(switches: dict[str, Any]) -> None:
    graph, encoder = make_graph(2, 4), make_encoder(**switches)
    graph.similarity[:, :, 3] = torch.nan
    for m in QUERY_MODALITIES:
        graph.references[m][:, 3], graph.audio[m][:, 3] = torch.nan, torch.inf
    kept = hide(graph.reference_mask, slice(None), slice(None), 3)
    masked = encode(encoder, replace(graph, reference_mask=kept, audio_mask=kept))
    for nodes, absent in zip(masked, encode(encoder, graph.with_references(3)), strict=True):
        assert not nodes.features[~nodes.mask].any()
        assert_near(nodes.features[nodes.mask], absent.features.flatten(0, 1))
    masked[2].features.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@all_switches
def test_a_ragged_batch_equals_its_lines_alone(switches: dict[str, Any]) -> None:
    lines = [make_graph(1, k, seed=k) for k in (3, 0, 5, 1)]
    lines[2] = replace(lines[2], own_mask=hide(lines[2].own_mask, 0, 1))
    encoder = make_encoder(**switches)
    for i, line in enumerate(lines):
        for nodes, alone in zip(encode(encoder, collate(lines)), encode(encoder, line), strict=True):
            assert_near(nodes.features[i][nodes.mask[i]], alone.features[0][alone.mask[0]])


@pytest.mark.parametrize("missing", range(3), ids=QUERY_MODALITIES)
def test_a_missing_modality_takes_its_answers_with_it(missing: int) -> None:
    k = 2
    graph, encoder = make_graph(1, k), make_encoder(audio_link="both")
    without = replace(graph, own_mask=hide(graph.own_mask, 0, missing))
    direct = encoder(without).direct
    assert {n for n in range(3 + 6 * k) if not direct.mask[0, n]} == {n for n in range(15) if role(n, k)[1] == missing}
    unanswered = hide(graph.reference_mask, 0, missing)
    same = encoder(replace(without, reference_mask=unanswered, audio_mask=unanswered)).direct
    assert_near(direct.features, same.features)
    other = (missing + 1) % 3
    assert not torch.allclose(direct.features[0, other], encoder(graph).direct.features[0, other], atol=1e-3)


@all_switches
def test_all_modalities_missing_gives_finite_zeros(switches: dict[str, Any]) -> None:
    graph, encoder = make_graph(2, 3), make_encoder(**switches).train()
    stages = encode(encoder, replace(graph, own_mask=hide(graph.own_mask, 0)))
    for nodes in stages:
        assert not nodes.features[0].any() and not nodes.mask[0].any() and nodes.features[1].isfinite().all()
    stages[2].features.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@all_switches
def test_gradients_reach_every_parameter_from_the_last_stage(switches: dict[str, Any]) -> None:
    encoder = make_encoder(dropout=0.0, **switches).train()
    # A cube, because the plain sum and the sum of squares of a normalised node are constant.
    encoder(make_graph(8, 3)).direct.features.pow(3).sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]


def test_audio_is_heard_one_and_two_links_away_and_no_further() -> None:
    """So an own node hears how its own answers sound, whether they hang on it or on the reference they came by."""
    graph = make_graph(1, 2)
    louder = replace(graph, audio={**graph.audio, "face": graph.audio["face"] + torch.tensor([[0.0], [1.0]])})
    # The face's second clip: audio 12, reference 6; the face itself is 1, its other answers 5 and 11.
    past_face, past_reference = {1, 0, 2, 5, 6, 11, 12}, {6, 1, 12}
    for link, heard in (("own", past_face), ("retrieved", past_reference), ("both", past_face | past_reference)):
        encoder = make_encoder(stages=("direct",), audio_link=link)
        for name, parameter in encoder.named_parameters():
            parameter.data *= ".to_" not in name  # Equal shares, so that only what is carried can tell.
        change = (encoder(louder).direct.features - encoder(graph).direct.features)[0].abs().amax(-1)
        assert set((change > 1e-5).nonzero()[:, 0].tolist()) == heard, link


def test_switched_off_stages_only_project_and_a_single_graph_is_the_direct_one() -> None:
    graph, single, direct = make_graph(2, 2), make_encoder(single=True), make_encoder(stages=("direct",))
    direct.load_state_dict(single.state_dict())
    basic, indirect, last = encode(direct, graph)
    projected = [direct.own[m](graph.own[m])[:, None] for m in QUERY_MODALITIES]
    projected += [direct.references[m](graph.references[m]) for m in QUERY_MODALITIES]
    assert_near(indirect.features, torch.cat(projected, dim=1))
    assert_near(basic.features, indirect.features[:, :3])
    for nodes, count in zip(encode(single, graph), (3, 9, 15), strict=True):
        assert_near(nodes.features, last.features[:, :count])


def test_similarity_moves_attention_only_when_asked() -> None:
    graph, plain, weighted = make_graph(1, 3), make_encoder(), make_encoder(similarity_weight=True)
    flat = replace(graph, similarity=torch.ones(1, 3, 3))
    assert torch.equal(plain(graph).direct.features, plain(flat).direct.features)
    assert_near(weighted(flat).direct.features, plain(flat).direct.features)
    assert not torch.allclose(weighted(graph).direct.features, plain(graph).direct.features, atol=1e-3)


def test_collate_pads_and_with_references_cuts() -> None:
    lines = [make_graph(1, k, seed=k) for k in (2, 0, 4)]
    batch = collate(lines)
    assert (batch.lines, batch.k) == (3, 4) and batch.reference_mask.sum((1, 2)).tolist() == [6, 0, 12]
    cut = batch.with_references(2)
    assert (cut.k, batch.with_references(9).k, batch.with_references(0).k) == (2, 4, 0)
    for m in QUERY_MODALITIES:
        assert torch.equal(cut.own[m], torch.cat([line.own[m] for line in lines]))
        assert torch.equal(cut.references[m][0], lines[0].references[m][0])
        assert torch.equal(cut.audio[m][2], lines[2].audio[m][0, :2])
    assert torch.equal(cut.similarity[2], lines[2].similarity[0, :, :2])


def test_a_graph_moves_and_crosses_processes_whole() -> None:
    graph, encoder = make_graph(2, 2), make_encoder()
    assert graph.to("meta").audio["face"].is_meta and graph.to("meta").similarity.is_meta
    copy = pickle.loads(pickle.dumps(graph))
    assert torch.equal(encoder(copy).direct.features, encoder(graph.to("cpu")).direct.features)


def test_inference_before_training_leaves_nothing_untrainable() -> None:
    encoder, graph = make_encoder(), make_graph(1, 7)
    with torch.inference_mode():
        encoder(graph)
    encoder(graph).direct.features.square().sum().backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"own_mask": torch.ones(1, 3).bool()}, r"reference_mask: expected shape \(1, 3, 2\), got \(2, 3, 2\)"),
        ({"own_mask": torch.ones(2, 3)}, "own_mask: expected torch.bool, got torch.float32"),
        ({"own_mask": torch.ones(3).bool()}, r"own_mask: expected \(B, 3\), got shape \(3,\)"),
        ({"reference_mask": torch.ones(2, 3).bool()}, r"reference_mask: expected \(B, 3, K\), got shape \(2, 3\)"),
        ({"similarity": torch.ones(2, 3, 5)}, r"similarity: expected shape \(2, 3, 2\), got \(2, 3, 5\)"),
        ({"audio_mask": torch.ones(2, 3, 1).bool()}, r"audio_mask: expected shape \(2, 3, 2\), got \(2, 3, 1\)"),
        ({"own": {"scene": torch.ones(2, 5)}}, r"own: expected modalities scene, face, text, got \['scene'\]"),
        ({"audio": make_graph(2, 3).audio}, r"audio\[scene\]: expected shape \(2, 2, 4\), got \(2, 3, 4\)"),
        ({"references": make_graph(1, 2).audio}, r"references\[scene\]: expected shape \(2, 2, 5\), got \(1, 2, 4\)"),
    ],
)
def test_a_graph_refuses_lengths_that_disagree(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make_graph(2, 2), **changes)


def test_other_widths_and_empty_batches_are_refused() -> None:
    wide = make_graph(1, 0, {**WIDTHS, "audio": 9})
    with pytest.raises(ValueError, match=r"audio\[scene\]: expected one width in a batch, got \[4, 9\]"):
        collate([make_graph(1, 0), wide])
    with pytest.raises(ValueError, match="audio vectors: expected width 4, got 9"):
        make_encoder()(wide)
    with pytest.raises(ValueError, match="at least one"):
        collate([])
    with pytest.raises(ValueError, match="k >= 0"):
        wide.with_references(-1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_widths": {"scene": 3}}, "in_widths: expected scene, face, text, audio"),
        ({"in_widths": {**WIDTHS, "face": 0}}, "face: expected a positive number, got 0"),
        ({"dropout": 1.0}, "dropout: expected 0 <= dropout < 1"),
        ({"stages": ("direct", "basic")}, "stages: expected some of"),
        ({"stages": ("final",)}, "stages: expected some of"),
        ({"audio_link": "none"}, "audio_link: expected one of own, retrieved, both, got 'none'"),
        ({"single": True, "stages": ("basic",)}, "a single graph stands for all stages"),
        ({"similarity_weight": True, "stages": ("basic",)}, "similarity_weight: expected an indirect or direct"),
        ({"audio_link": "both", "stages": ("basic", "indirect")}, "audio_link 'both': expected a direct stage"),
        ({"depth": 3}, r"got \['depth'\]"),
    ],
)
def test_the_configuration_refuses_contradictions(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GraphConfig.from_dict({"in_widths": WIDTHS, **settings})


@all_switches
def test_the_configuration_survives_its_dictionary(switches: dict[str, Any]) -> None:
    config = GraphConfig(WIDTHS, **switches)
    values = config.to_dict()
    assert GraphConfig.from_dict(values) == config
    values["in_widths"]["scene"] = 99
    assert config.in_widths == WIDTHS


def test_cost_per_line_does_not_grow_with_the_batch() -> None:
    widths = dict.fromkeys(WIDTHS, 64)
    encoder, threads = ProgressiveEncoder(GraphConfig(widths, width=128)).eval(), torch.get_num_threads()

    def per_line(graph: DialogueGraph, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            encoder(graph)
        return (time.perf_counter() - start) / (graph.lines * times)

    one, many = make_graph(1, 10, widths), make_graph(64, 10, widths)
    assert len(many.edges("direct").relation) == 64 * len(one.edges("direct").relation) == 64 * (6 + 12 * 10)
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            # Taken in turn, so that a busy moment falls on both; the least of each is the least disturbed.
            rounds = [(per_line(one, 8), per_line(many, 1)) for _ in range(8)]
    finally:
        torch.set_num_threads(threads)
    alone, together = (min(times) for times in zip(*rounds, strict=True))
    assert together <= 2 * alone, f"{1e3 * together:.3f} ms a line in a batch of 64, {1e3 * alone:.3f} ms alone"
