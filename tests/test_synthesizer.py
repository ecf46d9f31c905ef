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


def make_inputs(
    seeds: list[int], k: int = 2, feelings: list[np.ndarray | None] | None = None, strengths: list[float] | None = None
) -> Inputs:
    """Lines of unequal length; line `s` is the same whatever stands beside it. Nothing is asked of them by default."""
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
    return collate_inputs(
        **{name: [part[name] for part in parts] for name in parts[0]},
        feelings=feelings or [None] * len(seeds),
        strengths=strengths or [1.0] * len(seeds),
    )


def felt(config: DubberConfig, emotion: str) -> np.ndarray:
    return np.array([name == emotion for name in config.emotions], dtype=np.float32)


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
    spoken = model.decode(encoded, durations)
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


def test_a_mixed_batch_of_told_and_untold_lines_is_its_lines_alone(
    model: Synthesizer, tiny_config: DubberConfig
) -> None:
    """Feelings and strengths are a line's own. The tolerance is that of the test above."""
    seeds, asked, strengths = [1, 4, 2], [felt(tiny_config, "angry"), None, felt(tiny_config, "sad")], [0.5, 1.0, 1.7]
    together, _, _ = speak(model, make_inputs(seeds, feelings=asked, strengths=strengths))
    for b, s in enumerate(seeds):
        alone, _, _ = speak(model, make_inputs([s], feelings=[asked[b]], strengths=[strengths[b]]))
        torch.testing.assert_close(together.condition[b], alone.condition[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.emotion[b], alone.emotion[0], atol=1e-4, rtol=0)
        for batch, one in zip(together.prosody, alone.prosody, strict=True):
            torch.testing.assert_close(batch[b, : one.shape[1]], one[0], atol=1e-4, rtol=0)
            assert not batch[b, one.shape[1] :].any()


def test_references_colour_mel_and_feeling_and_lips_only_the_timing(model: Synthesizer) -> None:
    inputs = make_inputs([1, 2])
    encoded, _, _ = speak(model, inputs)
    other = dataclasses.replace(inputs, graph=collate([random_graph(1, 2, seed=s + 50) for s in (1, 2)]))
    encoded_other, _, _ = speak(model, other)
    torch.testing.assert_close(encoded.fused, encoded_other.fused, atol=0, rtol=0)
    assert (encoded.emotion - encoded_other.emotion).abs().max() > 1e-4
    same = model.decode(encoded_other, torch.ones_like(inputs.symbols) * (inputs.symbols > 0)).mel
    assert (same - model.decode(encoded, (inputs.symbols > 0).long()).mel).abs().max() > 1e-4
    lips = dataclasses.replace(inputs, lips=inputs.lips + 1.0)
    encoded_lips, _, _ = speak(model, lips)
    for name in ("fused", "emotion", "condition"):
        torch.testing.assert_close(getattr(encoded, name), getattr(encoded_lips, name), atol=0, rtol=0)
    assert (encoded.log_durations - encoded_lips.log_durations).abs().max() > 1e-5


def test_a_told_line_keeps_its_timing_and_melody_whatever_it_retrieves(
    model: Synthesizer, tiny_config: DubberConfig
) -> None:
    asked = [felt(tiny_config, "sad")] * 2
    inputs = make_inputs([1, 2], feelings=asked)
    encoded, _, _ = speak(model, inputs)
    other, _, _ = speak(model, dataclasses.replace(inputs, graph=make_inputs([5, 6]).graph))
    for name in ("log_durations", "condition"):
        torch.testing.assert_close(getattr(encoded, name), getattr(other, name), atol=0, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(encoded.prosody, other.prosody, strict=True))
    angry, _, _ = speak(model, make_inputs([1, 2], feelings=[felt(tiny_config, "angry")] * 2))
    assert (angry.prosody.pitch - encoded.prosody.pitch).abs().max() > 1e-5
    assert (angry.log_durations - encoded.log_durations).abs().max() > 1e-5


def test_gradients_reach_every_parameter(tiny_config: DubberConfig) -> None:
    model = Synthesizer(tiny_config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    inputs = make_inputs([1, 2, 4])
    encoded = model.encode(inputs)
    spoken = model.decode(encoded, (inputs.symbols > 0).long() * 3)
    heard = model.director.listen(torch.randn(3, 8))
    made = (spoken.mel, encoded.emotion, encoded.log_durations, encoded.speaker, heard)
    torch.stack([part.square().mean() for part in made]).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_the_director_gives_logits(model: Synthesizer) -> None:
    """Probabilities here would be a second softmax under the loss; logits may be negative and need not sum to one."""
    logits = model.encode(make_inputs([1, 2])).emotion
    assert logits.min() < 0
    assert (logits.sum(1) - 1).abs().min() > 1e-3


def test_told_and_untold_lines_stand_in_one_batch(tiny_config: DubberConfig) -> None:
    inputs = make_inputs([1, 2, 4], feelings=[None, felt(tiny_config, "happy"), None], strengths=[1, 0.25, 2])
    assert inputs.directed.tolist() == [False, True, False] and inputs.strength.tolist() == [1, 0.25, 2]
    assert inputs.feeling[1].argmax() == tiny_config.emotions.index("happy")
    assert not make_inputs([1]).directed.any()


def test_config_survives_json_and_sizes_have_the_published_depths(tiny_config: DubberConfig) -> None:
    assert DubberConfig.from_json(tiny_config.to_json()) == tiny_config
    words = {
        name: getattr(tiny_config, name) for name in ("symbols", "symbol_count", "spaces", "lip_space", "emotions")
    }
    from authentic_dubber.config import Vocabulary

    paper = build_config("paper", Vocabulary(**words))
    assert (paper.phonemes.layers, paper.decoder.layers, paper.lips.layers, paper.width) == (12, 24, 4, 256)
    with pytest.raises(ValueError, match="known sizes are paper, starter"):
        build_config("huge", Vocabulary(**words))


def test_config_refuses_a_graph_of_other_widths(tiny_config: DubberConfig) -> None:
    with pytest.raises(ValueError, match="scene"):
        dataclasses.replace(tiny_config, spaces={**tiny_config.spaces, "scene": "toy-scene/7"})
