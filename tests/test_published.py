"""The `paper` size: published parts, losses and schedule, and every mend of what is published."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch

from authentic_dubber.config import DubberConfig, Vocabulary, build_config
from authentic_dubber.encoders import CrossModal
from authentic_dubber.narrowing import narrowed, without_dropout
from authentic_dubber.symbols import INVENTORY_NAME, NAMES, SYMBOL_COUNT
from authentic_dubber.synthesizer import MEL_SCALE, Synthesizer
from authentic_dubber.timing import _surest_head
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.corpora import EMOTIONS
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.losses import losses
from authentic_dubber.training.mends import MENDS, mends_table
from authentic_dubber.training.start import AcousticRun
from authentic_dubber.training.state import State
from authentic_dubber.training.update import learning_rate, train_step

SPACES = {"scene": "toy-scene/6", "face": "toy-face/6", "text": "toy-text/10", "audio": "toy-audio/8"}


@pytest.fixture
def paper() -> DubberConfig:
    """The published depths and settings, a sixteenth as wide, in the toy spaces."""
    return narrowed(build_config("paper", Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, SPACES, "toy-lips/5", EMOTIONS)), 16)


@pytest.fixture
def corpus(tiny_cache: Path, paper: DubberConfig) -> Corpus:
    return Corpus(Cache(tiny_cache), paper, rows=range(20))


def test_the_rate_is_the_published_one(paper: DubberConfig) -> None:
    """Reference 1.10, updates counted from 1, as its formula stands."""
    for s in (1, 100, 3999, 4000, 4001, 80_000, 300_000, 300_001, 400_001, 500_001, 900_000):
        falls = sum(s > end for end in (300_000, 400_000, 500_000))
        published = 0.00625 * min(s**-0.5, s * 4000**-1.5) * 0.3**falls
        assert learning_rate(paper, s - 1) == pytest.approx(published, rel=1e-9)
    assert learning_rate(paper, 3999) == pytest.approx(9.88e-5, rel=1e-3)


def test_the_losses_weigh_as_published(paper: DubberConfig, corpus: Corpus) -> None:
    """The mel's L1 in nepers, before and after the postnet; what is ours beside them weighs nothing or teaches none."""
    torch.manual_seed(0)
    model, batch, t = Synthesizer(paper).eval().requires_grad_(False), corpus.fixed([0, 2, 4], k=3), paper.train
    encoded = model.encode(batch.inputs)
    spoken = model.decode(encoded, batch.durations)
    terms = losses(model, encoded, spoken, batch).scalars()
    assert spoken.emotion is not None
    real = torch.arange(batch.mel.shape[2])[None, None] < batch.mel_lengths[:, None, None]
    after, before = ((made - batch.mel).abs().masked_select(real).mean() for made in (spoken.mel, spoken.before))
    assert float(after + before) == pytest.approx(MEL_SCALE * (terms["mel"] + terms["mel_before"]), rel=1e-4)
    published = 5 * float(after + before) + 5 * terms["duration"] + terms["diagonal"]
    published += 25 * terms["speaker"] + 5 * terms["head"]
    assert terms["total"] - t.emotion_weight * terms["emotion"] == pytest.approx(published, rel=1e-4)
    assert terms["head"] > 0 and terms["prosody"] == terms["likeness"] == 0


def test_what_is_published_is_trained_and_learns(paper: DubberConfig, corpus: Corpus) -> None:
    """Every part of the network gets a gradient, but for the director's ear, which no line of it is asked."""
    train = dataclasses.replace(paper.train, learning_rate=4e-3, warmup=5)
    config = without_dropout(dataclasses.replace(paper, train=train))
    state = State.fresh(config, 0, torch.device("cpu"))
    batch = corpus.fixed([0, 2, 4, 6], k=3)
    first = train_step(state, batch, 0, bf16=False)
    dead = {name for name, weight in state.model.named_parameters() if weight.grad is None}
    assert {name.rpartition(".listener.")[0] for name in dead} == {"director"}
    for _ in range(15):
        last = train_step(state, batch, 0, bf16=False)
    assert last["mel"] < 0.8 * first["mel"] and last["head"] < first["head"]


def test_the_director_only_reads_the_published_graph(paper: DubberConfig, corpus: Corpus) -> None:
    torch.manual_seed(0)
    model, batch = Synthesizer(paper), corpus.fixed([0, 2], k=3)
    encoded = model.encode(batch.inputs)
    spoken = model.decode(encoded, batch.durations)
    losses(model, encoded, spoken, batch).emotion.backward()
    assert model.director.fall.weight.grad is not None
    assert all(weight.grad is None for weight in model.graph.parameters())


def test_the_surest_head_is_taken_line_by_line() -> None:
    """Two lines, two heads: in each another head looks at one place; padding's looks count for nothing."""
    flat, sharp = torch.full((3, 4), 0.25), torch.eye(4)[:3]
    padded = flat.clone()
    padded[2] = torch.tensor([1.0, 0, 0, 0])
    attention = torch.stack([torch.stack([flat, sharp]), torch.stack([sharp * 0.6 + 0.1, padded])])
    chosen = _surest_head(attention, torch.tensor([3, 2]))
    assert torch.equal(chosen, torch.stack([sharp, sharp * 0.6 + 0.1]))


def test_neighbours_and_padding_do_not_change_a_line(paper: DubberConfig, corpus: Corpus) -> None:
    """Nowhere does the published-size model take statistics of a batch; 1e-4: float32 sums in another order."""
    torch.manual_seed(0)
    model = Synthesizer(without_dropout(paper)).train()
    whole = corpus.fixed([0, 1, 2, 3], k=3)
    alone = whole.chosen(torch.tensor([2]))
    spoken = [model.decode(model.encode(b.inputs), b.durations) for b in (whole, alone)]
    frames = int(alone.mel_lengths[0])
    torch.testing.assert_close(spoken[0].mel[2, :, :frames], spoken[1].mel[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(spoken[0].emotion[2], spoken[1].emotion[0], atol=1e-4, rtol=0)


def test_a_symbol_hears_the_whole_prompt(paper: DubberConfig) -> None:
    """No future mask: the first symbol changes with the last token, and not with a padded one."""
    assert paper.cross is not None
    torch.manual_seed(0)
    cross = CrossModal(paper.cross, paper.width).eval()
    text, tokens = torch.randn(1, 2, paper.width), torch.randn(1, 5, paper.width)
    mask = torch.tensor([[True] * 4 + [False]])

    def first(place: int) -> torch.Tensor:
        changed = tokens.clone()
        changed[0, place] += 1
        return cross(text, torch.tensor([2]), changed, mask)[0, 0]

    unchanged = cross(text, torch.tensor([2]), tokens, mask)[0, 0]
    assert torch.equal(first(4), unchanged) and not torch.equal(first(3), unchanged)


def test_one_optimiser_trains_all_and_padding_has_an_id_of_its_own(paper: DubberConfig) -> None:
    state = State.fresh(paper, 0, torch.device("cpu"))
    (group,) = state.optimizer.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-9, 0.0)
    assert len(group["params"]) == len(list(state.model.parameters()))
    assert NAMES[0] == "<pad>" and len(set(NAMES)) == len(NAMES)


def test_every_mend_names_what_does_it() -> None:
    for mend in MENDS:
        place, _, name = mend.where.rpartition(".")
        while place:
            try:
                found = importlib.import_module(f"authentic_dubber.{place}")
                break
            except ModuleNotFoundError:
                place, _, outer = place.rpartition(".")
                name = f"{outer}.{name}"
        for part in name.split("."):
            found = getattr(found, part)
        assert mend.name in mends_table()


def test_a_run_may_ask_for_other_numbers(paper: DubberConfig) -> None:
    asked = AcousticRun(steps=7, references=2, warmup=3, batch=5).train_config(paper.train)
    assert (asked.total_steps, asked.max_references, asked.min_references) == (7, 2, 2)
    assert (asked.warmup, asked.batch, asked.head_weight) == (3, 5, paper.train.head_weight)
    with pytest.raises(ValueError, match="min_references <= max_references, got 3 and 2"):
        dataclasses.replace(paper.train, max_references=2)
    with pytest.raises(ValueError, match="cosine and noam, got 'flat'"):
        dataclasses.replace(paper.train, decay="flat")


def test_a_narrowed_model_keeps_its_depths_and_training(paper: DubberConfig) -> None:
    whole = build_config("paper", Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, SPACES, "toy-lips/5", EMOTIONS))
    assert paper.train == whole.train and (paper.width, paper.lips.width, paper.lips.layers) == (16, 32, 4)
    assert DubberConfig.from_json(paper.to_json()) == paper
    with pytest.raises(ValueError, match="heads must divide the width, got 8 and 12"):
        narrowed(whole, 12)
    starter = build_config("starter", Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, SPACES, "toy-lips/5", EMOTIONS))
    with pytest.raises(ValueError, match="narrows 128 of 192 to a whole number, got 100"):
        narrowed(starter, 100)
