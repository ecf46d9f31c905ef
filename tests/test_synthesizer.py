"""Properties of the acoustic model, at toy size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from authentic_dubber.batching import collate_inputs
from authentic_dubber.config import DubberConfig, build_config
from authentic_dubber.synthesizer import Encoded, Inputs, Synthesizer
from graphs.dialogue import collate

from .conftest import SEED, random_graph


def make_inputs(seeds: list[int], k: int = 2) -> Inputs:
    """Lines of unequal length; line `s` is the same whatever stands beside it."""
    parts = []
    for s in seeds:
        rng = np.random.default_rng(s)
        n, r, v = 4 + s % 5, 20 + 3 * s, (0 if s % 3 == 0 else 5 + s)
        speaker = rng.standard_normal(256)
        parts.append(
            {
                "symbols": rng.integers(1, 100, n).tolist(),
                "prompts": rng.normal(-5, 2, (80, r)).astype(np.float32),
                "speakers": (speaker / np.linalg.norm(speaker)).astype(np.float32),
                "lips": rng.standard_normal((v, 5)).astype(np.float32),
                "graphs": random_graph(1, k, seed=s),
            }
        )
    return collate_inputs(**{name: [part[name] for part in parts] for name in parts[0]})


@pytest.fixture
def model(tiny_config: DubberConfig) -> Synthesizer:
    torch.manual_seed(SEED)
    made = Synthesizer(tiny_config).eval()
    for parameter in made.parameters():  # zero-initialised norms would hide what passes through them
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


@torch.no_grad()
def speak(model: Synthesizer, inputs: Inputs) -> tuple[Encoded, torch.Tensor, torch.Tensor]:
    encoded = model.encode(inputs)
    durations = model.predicted_frames(encoded, inputs.symbol_lengths).round().long()
    durations = durations.clamp(min=1) * (inputs.symbols > 0)
    spoken = model.decode(encoded, durations, inputs.graph)
    return encoded, spoken.mel, spoken.lengths


def test_a_line_in_a_batch_is_the_line_alone(model: Synthesizer) -> None:
    """Padding is masked everywhere. Float32 sums in another order differ by about 1e-6 of values near 5: 1e-4."""
    seeds = [1, 4, 2, 3]
    _, together, lengths = speak(model, make_inputs(seeds))
    for b, s in enumerate(seeds):
        _, alone, length = speak(model, make_inputs([s]))
        assert int(length[0]) == int(lengths[b])
        torch.testing.assert_close(together[b, :, : int(lengths[b])], alone[0], atol=1e-4, rtol=0)


def test_k_zero_and_missing_modalities_give_finite_mels(model: Synthesizer) -> None:
    inputs = make_inputs([1, 2], k=0)
    nothing = dataclasses.replace(inputs.graph, own_mask=torch.zeros(2, 3, dtype=torch.bool))
    for graph in (inputs.graph, nothing):
        _, mel, _ = speak(model, dataclasses.replace(inputs, graph=graph))
        assert torch.isfinite(mel).all()


def test_references_colour_the_mel_and_lips_only_the_timing(model: Synthesizer) -> None:
    inputs = make_inputs([1, 2])
    encoded, mel, _ = speak(model, inputs)
    other = dataclasses.replace(inputs, graph=collate([random_graph(1, 2, seed=s + 50) for s in (1, 2)]))
    encoded_other, mel_other, _ = speak(model, other)
    torch.testing.assert_close(encoded.log_durations, encoded_other.log_durations, atol=0, rtol=0)
    assert (mel - mel_other).abs().max() > 1e-4
    lips = dataclasses.replace(inputs, lips=inputs.lips + 1.0)
    encoded_lips, _, _ = speak(model, lips)
    torch.testing.assert_close(encoded.fused, encoded_lips.fused, atol=0, rtol=0)
    assert (encoded.log_durations - encoded_lips.log_durations).abs().max() > 1e-5


def test_gradients_reach_every_parameter(tiny_config: DubberConfig) -> None:
    model = Synthesizer(tiny_config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    inputs = make_inputs([1, 2, 4])
    encoded = model.encode(inputs)
    spoken = model.decode(encoded, (inputs.symbols > 0).long() * 3, inputs.graph)
    loss = spoken.mel.square().mean() + spoken.emotion.square().mean()
    (loss + encoded.log_durations.square().mean() + encoded.speaker.square().mean()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_emotion_head_gives_logits(model: Synthesizer) -> None:
    """Probabilities here would be a second softmax under the loss; logits may be negative and need not sum to one."""
    inputs = make_inputs([1, 2])
    encoded = model.encode(inputs)
    logits = model.decode(encoded, (inputs.symbols > 0).long(), inputs.graph).emotion
    assert logits.min() < 0
    assert (logits.sum(1) - 1).abs().min() > 1e-3


def test_config_survives_json_and_sizes_have_the_published_depths(tiny_config: DubberConfig) -> None:
    assert DubberConfig.from_json(tiny_config.to_json()) == tiny_config
    words = {
        name: getattr(tiny_config, name) for name in ("symbols", "symbol_count", "spaces", "lip_space", "emotions")
    }
    from authentic_dubber.config import Vocabulary

    paper = build_config("paper", Vocabulary(**words))
    assert (paper.phonemes.layers, paper.decoder.layers, paper.lips.layers, paper.width) == (12, 24, 4, 256)
    with pytest.raises(ValueError, match="paper, starter and tiny"):
        build_config("huge", Vocabulary(**words))


def test_config_refuses_a_graph_of_other_widths(tiny_config: DubberConfig) -> None:
    with pytest.raises(ValueError, match="scene"):
        dataclasses.replace(tiny_config, spaces={**tiny_config.spaces, "scene": "toy-scene/7"})
