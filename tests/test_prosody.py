"""Melody: the dial moves it on a straight line from neutral, padding stays out, and at first it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.director import NEUTRAL, acted
from authentic_dubber.prosody import Prosody, ProsodyEmbedding, ProsodyPredictor, dialled, prosody_loss
from authentic_dubber.synthesizer import Encoded, Inputs, Synthesizer

from .conftest import SEED
from .test_synthesizer import felt, make_inputs

LINES = [1, 4, 2]


@pytest.fixture
def model(tiny_config: DubberConfig) -> Synthesizer:
    torch.manual_seed(SEED)
    made = Synthesizer(tiny_config).eval()
    for parameter in made.parameters():  # a fresh model's feelings are zero and would pass every test below
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@torch.no_grad()
def encode(model: Synthesizer, inputs: Inputs, *strengths: float) -> Encoded:
    return model.encode(replace(inputs, strength=torch.tensor(strengths)) if strengths else inputs)


def some_prosody(lines: int, symbols: int, seed: int = 0) -> Prosody:
    draw = torch.Generator().manual_seed(seed)
    pitch, voiced, energy = torch.rand(3, lines, symbols, generator=draw)
    return Prosody(3 * pitch - 1, voiced, 3 * energy - 1)


# The dial


def test_strength_one_is_what_was_felt_to_the_bit(model: Synthesizer) -> None:
    """Also beside lines that are dialled, whose batch takes the other road through the code."""
    plain = encode(model, make_inputs(LINES))
    mixed = encode(model, make_inputs(LINES), 1.0, 0.3, 1.0)
    for b in (0, 2):
        assert torch.equal(mixed.condition[b], plain.condition[b])
        assert torch.equal(mixed.log_durations[b], plain.log_durations[b])
        assert all(torch.equal(a[b], c[b]) for a, c in zip(mixed.prosody, plain.prosody, strict=True))
    assert not torch.equal(mixed.condition[1], plain.condition[1])


@pytest.mark.parametrize("asked", [None, "angry"])
def test_strength_zero_is_neutral_asked_outright(
    model: Synthesizer, tiny_config: DubberConfig, asked: str | None
) -> None:
    """The mel too, since the graph colours both alike."""
    feelings = None if asked is None else [felt(tiny_config, asked)] * 3
    dialled_off = encode(model, make_inputs(LINES, feelings=feelings), 0.0, 0.0, 0.0)
    inputs = make_inputs(LINES, feelings=[felt(tiny_config, NEUTRAL)] * 3)
    neutral = encode(model, inputs)
    # Zero times a difference is exactly zero.
    assert torch.equal(dialled_off.condition, neutral.condition)
    assert torch.equal(dialled_off.log_durations, neutral.log_durations)
    assert all(torch.equal(a, b) for a, b in zip(dialled_off.prosody, neutral.prosody, strict=True))
    frames = (inputs.symbols > 0).long() * 2
    assert torch.equal(model.decode(dialled_off, frames).mel, model.decode(neutral, frames).mel)


def test_melody_moves_on_a_straight_line_with_strength(model: Synthesizer, tiny_config: DubberConfig) -> None:
    inputs = make_inputs(LINES, feelings=[felt(tiny_config, "angry")] * 3)
    made = [encode(model, inputs, s, s, s).prosody for s in (0.0, 0.5, 1.0, 1.5, 2.0)]
    for channel in ("pitch", "energy"):
        steps = torch.stack([getattr(prosody, channel) for prosody in made]).diff(dim=0)
        # Equal steps to the rounding of float32 at values of order one, and not of no length.
        torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-6, rtol=0)
        assert steps[0].abs().max() > 1e-3


def test_voicing_stays_a_share_at_any_strength() -> None:
    rest, full = some_prosody(2, 6), some_prosody(2, 6, seed=1)
    for strength in (0.0, 0.4, 1.0, 2.0):
        voiced = dialled(rest, full, torch.full((2,), strength)).voiced
        assert voiced.min() >= 0 and voiced.max() <= 1
    assert torch.equal(dialled(rest, full, torch.tensor([2.0, 2.0])).voiced, full.voiced)
    assert torch.equal(dialled(rest, full, torch.tensor([0.0, 0.0])).voiced, rest.voiced)


def test_a_feeling_at_a_strength_keeps_its_sum_and_its_ends() -> None:
    feeling = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3]])
    for strength in (0.0, 0.5, 1.0, 2.0):
        moved = acted(feeling, torch.full((2,), strength), neutral=0)
        torch.testing.assert_close(moved.sum(1), torch.ones(2))
        torch.testing.assert_close(moved[:, 1:], strength * feeling[:, 1:])
    assert torch.equal(acted(feeling, torch.ones(2), 0), feeling)
    assert acted(feeling, torch.zeros(2), 0).tolist() == [[1, 0, 0], [1, 0, 0]]


# The parts


def test_padding_does_not_leak_into_a_predicted_melody(tiny_config: DubberConfig) -> None:
    """Float32 convolutions of another length may add in another order: 1e-6 of values of order one."""
    torch.manual_seed(SEED)
    predictor = ProsodyPredictor(tiny_config).eval()
    symbols, condition, lengths = torch.randn(2, 5, 16), torch.randn(2, 16), torch.tensor([5, 3])
    alone = predictor(symbols, lengths, condition)
    padded = torch.cat([symbols, torch.full((2, 4, 16), 100.0)], dim=1)
    padded[1, 3:] = -100.0
    for short, long in zip(alone, predictor(padded, lengths, condition), strict=True):
        torch.testing.assert_close(long[0, :5], short[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(long[1, :3], short[1, :3], atol=1e-6, rtol=0)
        assert not long[0, 5:].any() and not long[1, 3:].any() and not short[1, 3:].any()


def test_voicing_is_predicted_as_a_share(tiny_config: DubberConfig) -> None:
    torch.manual_seed(SEED)
    predictor = ProsodyPredictor(tiny_config).eval()
    predictor.out.weight.data *= 100
    voiced = predictor(torch.randn(1, 50, 16), torch.tensor([50]), torch.randn(1, 16)).voiced
    assert voiced.min() >= 0 and voiced.max() <= 1 and voiced.std() > 0.1


def test_a_fresh_models_melody_and_feeling_change_nothing(tiny_config: DubberConfig) -> None:
    """So that weights from before there was a melody may be taken on."""
    torch.manual_seed(SEED)
    model = Synthesizer(tiny_config).eval()
    assert not ProsodyEmbedding(16)(some_prosody(2, 5)).any()
    inputs = make_inputs(LINES)
    plain, strong = encode(model, inputs), encode(model, inputs, 0.0, 2.0, 1.3)
    assert torch.equal(plain.condition, strong.condition) and torch.equal(plain.log_durations, strong.log_durations)
    frames = (inputs.symbols > 0).long() * 2
    with torch.no_grad():
        one = model.decode(plain, frames).mel
        assert torch.equal(one, model.decode(strong, frames, some_prosody(*inputs.symbols.shape)).mel)


def test_a_recorded_melody_stands_in_for_the_predicted_one(model: Synthesizer) -> None:
    inputs = make_inputs(LINES)
    encoded, frames = encode(model, inputs), (inputs.symbols > 0).long() * 2
    with torch.no_grad():
        predicted, again = (model.decode(encoded, frames, p).mel for p in (None, encoded.prosody))
        other = model.decode(encoded, frames, Prosody(*(channel + 1 for channel in encoded.prosody))).mel
    assert torch.equal(predicted, again) and (predicted - other).abs().max() > 1e-3


# The loss


def test_the_loss_is_the_error_of_what_sounds() -> None:
    """By hand: pitch errs by 1 and 3 where voicing is 1 and 0, the third symbol is padding."""
    real = Prosody(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]]))
    made = Prosody(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[0.5, 0.5, 9.0]]), torch.tensor([[2.0, -1.0, 9.0]]))
    # Pitch 1 / 1; voicing (0.5 + 0.5) / 2; energy (2 + 1) / 2.
    assert float(prosody_loss(made, real, torch.tensor([2]))) == pytest.approx(1 + 0.5 + 1.5)


def test_the_loss_vanishes_at_the_truth_and_for_voiceless_lines_is_finite() -> None:
    real, lengths = some_prosody(2, 6), torch.tensor([6, 4])
    assert float(prosody_loss(real, real, lengths)) == 0
    voiceless = Prosody(real.pitch, torch.zeros(2, 6), real.energy)
    wrong = Prosody((real.pitch + 5).requires_grad_(), torch.zeros(2, 6), real.energy)
    loss = prosody_loss(wrong, voiceless, lengths)
    loss.backward()
    assert float(loss.detach()) == 0 and wrong.pitch.grad is not None and not wrong.pitch.grad.any()
