"""The director: judges by what is there, in no order, and by nothing that is masked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from authentic_dubber.config import DubberConfig
from authentic_dubber.director import NEUTRAL, Director
from authentic_dubber.training.corpora import EMOTIONS
from graphs import DialogueGraph, ProgressiveEncoder
from graphs.dialogue import QUERY_MODALITIES, collate

from .conftest import SEED, random_graph


class Judge:
    """A graph encoder and a director with weights that hide nothing."""

    def __init__(self, config: DubberConfig) -> None:
        torch.manual_seed(SEED)
        self.encoder, self.director = ProgressiveEncoder(config.graph).eval(), Director(config).eval()
        for part in (self.encoder, self.director):
            for parameter in part.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)

    @torch.no_grad()
    def __call__(self, graph: DialogueGraph) -> Tensor:
        logits: Tensor = self.director(self.encoder(graph))
        return logits


@pytest.fixture
def judge(tiny_config: DubberConfig) -> Judge:
    return Judge(tiny_config)


# Two roads to one number differ by float32 rounding of values of order one.
NEAR = {"atol": 1e-5, "rtol": 0.0}


@pytest.mark.parametrize("k", [0, 1, 5])
def test_there_is_a_logit_per_emotion_for_any_k(judge: Judge, k: int) -> None:
    logits = judge(random_graph(3, k))
    assert logits.shape == (3, len(EMOTIONS)) and logits.isfinite().all()


def test_k_zero_is_as_if_every_reference_were_masked(judge: Judge) -> None:
    graph = random_graph(2, 4)
    none = torch.zeros_like(graph.reference_mask)
    masked = judge(replace(graph, reference_mask=none, audio_mask=none))
    torch.testing.assert_close(masked, judge(graph.with_references(0)), **NEAR)
    assert (masked - judge(graph)).abs().max() > 1e-3


def test_a_line_that_shows_and_says_nothing_is_judged_alike_whatever_is_masked(judge: Judge) -> None:
    graph = random_graph(3, 2)
    dark = replace(graph, own_mask=torch.tensor([[True] * 3, [False] * 3, [False] * 3]))
    for m in QUERY_MODALITIES:
        dark.own[m][1], dark.references[m][1], dark.audio[m][1] = torch.nan, torch.inf, torch.nan
    logits = judge(dark)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1], logits[2], **NEAR)
    torch.testing.assert_close(logits[0], judge(graph)[0], **NEAR)


def test_a_masked_modality_leaves_no_trace(judge: Judge) -> None:
    graph = random_graph(1, 2)
    mask = torch.tensor([[True, False, True]])
    other = replace(graph, own={**graph.own, "face": -graph.own["face"]})
    torch.testing.assert_close(judge(replace(graph, own_mask=mask)), judge(replace(other, own_mask=mask)), **NEAR)
    assert (judge(graph) - judge(other)).abs().max() > 1e-3


def test_a_line_is_judged_the_same_in_a_batch_as_alone(judge: Judge) -> None:
    lines = [random_graph(1, k, seed=k) for k in (2, 0, 5)]
    together = judge(collate(lines))
    for b, line in enumerate(lines):
        torch.testing.assert_close(together[b], judge(line)[0], **NEAR)


@pytest.mark.parametrize("i", range(3), ids=QUERY_MODALITIES)
def test_the_references_of_a_modality_have_no_order(judge: Judge, i: int) -> None:
    graph, shuffled = random_graph(2, 4), random_graph(2, 4)
    shuffled.reference_mask[:, i, 3] = shuffled.audio_mask[:, i, 3] = False
    graph.reference_mask[:, i, 3] = graph.audio_mask[:, i, 3] = False
    order, m = torch.tensor([3, 1, 0, 2]), QUERY_MODALITIES[i]
    for values in (
        shuffled.references[m],
        shuffled.audio[m],
        *(mask[:, i, :, None] for mask in (shuffled.similarity, shuffled.reference_mask, shuffled.audio_mask)),
    ):
        values[:] = values[:, order]
    torch.testing.assert_close(judge(shuffled), judge(graph), **NEAR)


def test_how_references_sound_is_heard(judge: Judge) -> None:
    graph = random_graph(1, 2)
    other = replace(graph, audio={m: -vectors for m, vectors in graph.audio.items()})
    assert (judge(graph) - judge(other)).abs().max() > 1e-3


def test_a_line_that_shows_nothing_is_told_from_one_whose_nodes_cancel(judge: Judge) -> None:
    """Means of masked and of cancelling nodes are both zero; whether a node is there counts beside them."""
    stages = judge.encoder(random_graph(1, 0))
    zero = {name: getattr(stages, name).features * 0 for name in ("basic", "indirect", "direct")}
    there, absent = (
        replace(
            stages,
            **{
                name: replace(getattr(stages, name), features=f, mask=torch.full((1, 3), on))
                for name, f in zero.items()
            },
        )
        for on in (True, False)
    )
    assert (judge.director(there) - judge.director(absent)).abs().max() > 1e-3


def test_the_listener_judges_a_sound_by_itself(judge: Judge) -> None:
    sounds = torch.randn(4, 8)
    heard = judge.director.listen(sounds)
    assert heard.shape == (4, len(EMOTIONS))
    torch.testing.assert_close(judge.director.listen(sounds[2:3])[0], heard[2], **NEAR)
    assert heard.std(0).min() > 0


def test_every_taxonomy_counts_strength_from_neutral(tiny_config: DubberConfig) -> None:
    assert NEUTRAL in tiny_config.emotions
