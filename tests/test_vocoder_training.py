"""Training a vocoder: what a step moves, and that a run killed and resumed is the run that was never killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vocoder.checkpoint import load_generator
from vocoder.generator import IstftConfig
from vocoder.hifigan import HifiganConfig
from vocoder.losses import mel_distance
from vocoder.mel import MelConfig, log_mel
from vocoder.storage import read_tensors
from vocoder.train import TrainOutcome, VocoderTrainConfig, draw_batch, learning_rate, train, train_step
from vocoder.training_state import TrainingState

SMALL = MelConfig(sample_rate=8000, n_fft=256, win_samples=256, hop_samples=64, n_mels=20, f_max=4000)
CPU = torch.device("cpu")


class Waves:
    """Tones and noise, with something that may happen at one draw."""

    def __init__(self, at: int = -1, event: object = None) -> None:
        self.drawn, self.at, self.event = 0, at, event

    def segment(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        if self.drawn == self.at and callable(self.event):
            self.event()
        self.drawn += 1
        phase = 2 * np.pi * rng.uniform(100, 1000) * np.arange(samples) / SMALL.sample_rate
        return (0.3 * np.sin(phase) + 0.02 * rng.standard_normal(samples)).astype(np.float32)

    def held_out(self) -> list[np.ndarray]:
        return [self.segment(np.random.default_rng(99), 4000)]


def small_config(**changes: object) -> VocoderTrainConfig:
    values: dict[str, object] = {
        "generator": IstftConfig.tiny(),
        "steps": 6,
        "adversarial_from": 3,
        "batch": 2,
        "segment_samples": 2048,
        "checkpoint_every": 2,
        "report_every": 4,
        "log_every": 1,
        "warmup_steps": 1,
        "bf16": False,
    }
    return VocoderTrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def run(folder: Path, source: Waves | None = None, **changes: object) -> TrainOutcome:
    return train(source or Waves(), folder, small_config(**changes), mel_config=SMALL, progress=False)


def newest(folder: Path) -> dict[str, Tensor]:
    checkpoint = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return {
        f"{path.stem}/{name}": value
        for path in sorted(checkpoint.glob("*.safetensors"))
        if path.stem != "random"
        for name, value in read_tensors(path).items()
    }


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    source = Waves()
    first = draw_batch(source, small_config(), 4)
    draw_batch(source, small_config(), 5)
    assert torch.equal(first, draw_batch(source, small_config(), 4))
    assert not torch.equal(first, draw_batch(source, small_config(), 5))
    assert not torch.equal(first, draw_batch(source, small_config(seed=1), 4))


@pytest.mark.parametrize(
    ("wave", "message"),
    [(np.zeros(2047), r"\(2048,\), got \(2047,\)"), (np.full(2048, np.nan), "expected finite samples")],
)
def test_a_source_that_hands_out_nonsense_is_refused(wave: np.ndarray, message: str) -> None:
    class Broken(Waves):
        def segment(self, rng: np.random.Generator, samples: int) -> np.ndarray:
            return wave

    with pytest.raises(ValueError, match=message):
        draw_batch(Broken(), small_config(), 0)


@pytest.mark.parametrize("bf16", [False, True])
def test_an_adversarial_step_moves_both_nets_and_a_spectral_one_only_the_generator(bf16: bool) -> None:
    config = small_config(bf16=bf16, adversarial_from=1)
    state = TrainingState.fresh(config.generator, SMALL, seed=0, weight_decay=0.01, device=CPU)
    nets = (state.generator, state.discriminator)
    real = draw_batch(Waves(), config, 0)
    for adversarial in (False, True):
        before = [[weight.detach().clone() for weight in net.parameters()] for net in nets]
        scalars = train_step(state, real, config)
        moved = [
            [not torch.equal(old, new) for old, new in zip(olds, net.parameters(), strict=True)]
            for olds, net in zip(before, nets, strict=True)
        ]
        assert all(moved[0]) and all(moved[1]) is adversarial and any(moved[1]) is adversarial
        assert ("critics" in scalars) is adversarial and all(torch.isfinite(value) for value in scalars.values())


def test_the_exported_average_trails_the_weights() -> None:
    config = small_config(average_decay=0.5)
    state = TrainingState.fresh(config.generator, SMALL, seed=0, weight_decay=0.01, device=CPU)
    start = state.average.head.weight.clone()
    train_step(state, draw_batch(Waves(), config, 0), config)
    share = 1 - 2 / 11  # one step made: (1 + 1) / (10 + 1) is kept of the start
    expected = start + share * (state.generator.head.weight.detach() - start)
    torch.testing.assert_close(state.average.head.weight, expected)


def test_training_lowers_the_loss_and_the_held_out_distance() -> None:
    config = small_config(steps=60, adversarial_from=60, learning_rate=2e-3, average_decay=0.8)
    state = TrainingState.fresh(config.generator, SMALL, seed=0, weight_decay=0.0, device=CPU)
    held_out = draw_batch(Waves(), config, 10_000)

    def distance() -> float:
        mel = log_mel(held_out, SMALL)
        with torch.no_grad():
            return float(mel_distance(state.average(mel), mel, SMALL))

    before = distance()
    totals = [
        float(train_step(state, draw_batch(Waves(), config, step), config)["total"]) for step in range(config.steps)
    ]
    assert np.mean(totals[-10:]) < 0.6 * np.mean(totals[:3])
    assert distance() < 0.6 * before


def test_a_killed_training_resumed_is_a_straight_one(tmp_path: Path) -> None:
    """Killed in the adversarial phase, a step beyond a checkpoint: weights, averages and moments agree to the bit."""

    def die() -> None:
        raise MemoryError("killed")

    straight = run(tmp_path / "straight")
    assert straight.step == 6 and straight.reason == "finished"
    with pytest.raises(MemoryError):
        run(tmp_path / "killed", Waves(at=1 + 2 * 5, event=die))  # one held-out draw, then two a step
    assert sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000004",
    ]
    run(tmp_path / "killed")
    expected, got = newest(tmp_path / "straight"), newest(tmp_path / "killed")
    assert expected.keys() == got.keys() and any("exp_avg_sq" in name for name in got)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    voices = [load_generator(tmp_path / name / "generator", SMALL) for name in ("straight", "killed")]
    mel = torch.randn(1, SMALL.n_mels, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(voices[0](mel), voices[1](mel))


@pytest.mark.parametrize("by", ["file", "signal"])
def test_a_request_to_stop_saves_and_the_run_goes_on_later(tmp_path: Path, by: str) -> None:
    stop, before = tmp_path / "stop", signal.getsignal(signal.SIGTERM)
    ask = stop.touch if by == "file" else lambda: os.kill(os.getpid(), signal.SIGTERM)
    outcome = run(tmp_path, Waves(at=3, event=ask), steps=3, checkpoint_every=100)
    assert (outcome.step, outcome.reason) == (2, "stopped")
    assert not stop.exists() and signal.getsignal(signal.SIGTERM) is before
    load_generator(outcome.generator, SMALL)
    outcome = run(tmp_path, steps=3, checkpoint_every=100)
    assert (outcome.step, outcome.reason) == (3, "finished")


def test_a_training_out_of_time_saves(tmp_path: Path) -> None:
    outcome = train(Waves(), tmp_path, small_config(), mel_config=SMALL, progress=False, max_minutes=0)
    assert (outcome.step, outcome.reason) == (0, "time")
    load_generator(outcome.generator, SMALL)


def test_a_training_is_not_resumed_under_other_settings(tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    with pytest.raises(ValueError, match=r"expected the run's own learning_rate 0\.0005 to resume it, got 0\.1"):
        run(tmp_path, steps=2, learning_rate=0.1)
    with pytest.raises(ValueError, match="mel configs differ"):
        train(Waves(), tmp_path, small_config(steps=2), mel_config=MelConfig(), progress=False)
    assert run(tmp_path, steps=2, log_every=7).step == 2


def test_a_training_shows_scalars_and_mels(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"train/stft", "train/mel", "train/critics", "held_out/mel_distance"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/total")] == [1, 2, 3, 4, 5, 6]
    assert events.Tags()["images"] == ["held_out/0"] and events.Tags()["audio"] == ["held_out/0"]


def test_the_rate_rises_falls_and_starts_anew_with_the_critics() -> None:
    config = small_config(steps=200, adversarial_from=100, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(config.steps)]
    for phase, peak in ((rates[:100], config.learning_rate), (rates[100:], config.adversarial_learning_rate)):
        top = int(np.argmax(phase))
        assert 5 <= top <= 10 and 0.95 * peak < phase[top] <= peak
        assert all(np.diff(phase[:top]) > 0) and all(np.diff(phase[top:]) < 0)
        assert phase[-1] == pytest.approx(config.rate_final * peak, rel=0.01)


def test_settings_survive_json_and_bad_ones_are_refused() -> None:
    config = small_config(generator=IstftConfig(dim=24, blocks=3))
    assert VocoderTrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert HifiganConfig.from_dict(json.loads(json.dumps(HifiganConfig.v3().to_dict()))) == HifiganConfig.v3()
    for name in ("steps", "batch", "checkpoint_every", "keep_checkpoints"):
        with pytest.raises(ValueError, match=f"expected {name} >= 1, got 0"):
            small_config(**{name: 0})
    with pytest.raises(ValueError, match="odd kernel"):
        IstftConfig(kernel=4)
    with pytest.raises(ValueError, match="whole hops of 64, got 2000"):
        train(Waves(), Path("never"), small_config(segment_samples=2000), mel_config=SMALL)
