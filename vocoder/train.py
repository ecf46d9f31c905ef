"""Train a generator on waves: spectra first, then critics.

Reads no audio; a `WaveSource` hands it waves. Killed and resumed, a run ends where a straight one ends.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from tqdm import tqdm

from .checkpoint import save_generator
from .generator import IstftConfig, check_mel
from .harmonic import HarmonicConfig
from .losses import adversarial_loss, discriminator_loss, feature_distance, mel_distance, multi_resolution_stft
from .mel import MelConfig, log_mel
from .storage import load_strictly, read_config
from .training_report import TrainingReport
from .training_state import TrainingState, checkpoints, keep_newest

log = logging.getLogger(__name__)

Wave: TypeAlias = npt.NDArray[np.float32]
Reason: TypeAlias = Literal["finished", "stopped", "time"]
Bar: TypeAlias = "tqdm[NoReturn]"

STOP_FILE = "stop"
EARLY_REPORTS = (100, 500)
"""Steps that are plotted whatever the interval, so that a broken run shows itself within minutes."""


class WaveSource(Protocol):
    """Where training waves come from; all at the mel config's sample rate, in [-1, 1]."""

    def segment(self, rng: np.random.Generator, samples: int) -> Wave:
        """A stretch of sound chosen by `rng` alone, so that a batch can be drawn again after a restart.

        Shape:
            () -> float32 (S,) with S = samples
        """
        ...

    def held_out(self) -> list[Wave]:
        """Waves never returned by `segment`, for plots and the held-out distance; any lengths."""
        ...


@dataclass(frozen=True, slots=True)
class VocoderTrainConfig:
    """How to train. Two phases, each with its own learning rate falling along a cosine to `rate_final` of itself.

    Attributes:
        steps: updates in all.
        adversarial_from: the step at which the critics join; at `steps` or later they never do.
        segment_samples: length of a training stretch, a multiple of the mel hop.
        bf16: run backbone and critics in bfloat16; spectra stay in float32.
        stft_weight, mel_weight, adversarial_weight, feature_weight: shares of the generator's loss. Every loss is a
            mean over layers or critics; the defaults keep HiFi-GAN's proportions between critics and mel.

    Raises:
        ValueError: a count is not positive, or a rate is out of range.
    """

    generator: IstftConfig | HarmonicConfig = field(default_factory=HarmonicConfig)
    seed: int = 0
    steps: int = 60_000
    adversarial_from: int = 55_000
    batch: int = 8
    segment_samples: int = 16_384
    learning_rate: float = 5e-4
    adversarial_learning_rate: float = 2e-4
    rate_final: float = 0.1
    warmup_steps: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 10.0
    average_decay: float = 0.999
    bf16: bool = True
    stft_weight: float = 1.0
    mel_weight: float = 5.0
    adversarial_weight: float = 1.0
    feature_weight: float = 6.0
    log_every: int = 50
    report_every: int = 2000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "segment_samples", "log_every", "report_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.keep_checkpoints < 1:
            raise ValueError(f"expected keep_checkpoints >= 1, got {self.keep_checkpoints}")
        if self.adversarial_from < 0 or self.warmup_steps < 0 or self.seed < 0:
            raise ValueError(f"expected adversarial_from, warmup_steps and seed >= 0, got {self}")
        if not (0 < self.rate_final <= 1 and 0 <= self.average_decay < 1):
            raise ValueError(
                f"expected 0 < rate_final <= 1 and 0 <= average_decay < 1, got {self.rate_final}, {self.average_decay}"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VocoderTrainConfig:
        # Only a harmonic generator reads pitch.
        kind = HarmonicConfig if "pitch_dim" in values["generator"] else IstftConfig
        return cls(**{**values, "generator": kind.from_dict(values["generator"])})


REPORTING = frozenset({"log_every", "report_every", "checkpoint_every", "keep_checkpoints"})
"""Settings that may change between a run and its resume: they alter no weight."""


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """How a training ended.

    Attributes:
        step: updates made in all, over every resume.
        reason: all steps done, asked to stop (file or signal), or out of minutes.
        generator: folder of the exported average, for `load_generator`.
    """

    step: int
    reason: Reason
    generator: Path


def learning_rate(config: VocoderTrainConfig, step: int) -> float:
    """The generator's and critics' rate at a step: a short linear rise, then half a cosine, per phase."""
    if step < config.adversarial_from:
        peak, done, length = config.learning_rate, step, min(config.adversarial_from, config.steps)
    else:
        peak, done = config.adversarial_learning_rate, step - config.adversarial_from
        length = config.steps - config.adversarial_from
    fall = config.rate_final + (1 - config.rate_final) * 0.5 * (1 + cos(pi * min(done / max(length, 1), 1)))
    rise = min(1.0, (done + 1) / (config.warmup_steps + 1))
    return peak * rise * fall


def draw_batch(source: WaveSource, config: VocoderTrainConfig, step: int) -> Tensor:
    """The batch of a step, a function of (seed, step) alone.

    Shape:
        () -> (B, S)

    Raises:
        ValueError: the source returns the wrong length, or a value that is not finite.
    """
    rng = np.random.default_rng([config.seed, step])
    waves = [np.asarray(source.segment(rng, config.segment_samples), np.float32) for _ in range(config.batch)]
    for wave in waves:
        if wave.shape != (config.segment_samples,):
            raise ValueError(f"wave source: expected a segment ({config.segment_samples},), got {wave.shape}")
        if not np.isfinite(wave).all():
            raise ValueError(f"wave source: expected finite samples at step {step}, got NaN or infinity")
    return torch.from_numpy(np.stack(waves))


def train_step(state: TrainingState, real: Tensor, config: VocoderTrainConfig) -> dict[str, Tensor]:
    """One update of the generator and, in the adversarial phase, of the critics before it.

    Shape:
        (B, S) -> scalars by name

    Raises:
        RuntimeError: a gradient is not finite.
    """
    mel_config = state.generator.mel_config
    kind = real.device.type
    with torch.no_grad():
        mel = log_mel(real, mel_config)
    with torch.autocast(kind, torch.bfloat16, enabled=config.bf16):
        fake = state.generator(mel)
    parts: dict[str, Tensor] = {}
    losses = {
        "stft": (config.stft_weight, multi_resolution_stft(fake, real)),
        "mel": (config.mel_weight, mel_distance(fake, mel, mel_config)),
    }
    if state.step >= config.adversarial_from:
        critics = state.discriminator
        critics.requires_grad_(True)
        with torch.autocast(kind, torch.bfloat16, enabled=config.bf16):
            judged = discriminator_loss(critics(real).scores, critics(fake.detach()).scores)
        parts["critics"] = judged
        parts["critics_gradient"] = _update(state.discriminator_optimizer, judged, config, state.step)
        # The generator's turn: gradients pass through the critics without being kept for them.
        critics.requires_grad_(False)
        with torch.autocast(kind, torch.bfloat16, enabled=config.bf16):
            with torch.no_grad():
                target = critics(real).features
            verdict = critics(fake)
        losses["adversarial"] = (config.adversarial_weight, adversarial_loss(verdict.scores))
        losses["features"] = (config.feature_weight, feature_distance(target, verdict.features))
    total = torch.stack([weight * loss for weight, loss in losses.values()]).sum()
    parts["generator_gradient"] = _update(state.generator_optimizer, total, config, state.step)
    state.step += 1
    state.advance_average(config.average_decay)
    parts |= {"total": total, **{name: loss for name, (_, loss) in losses.items()}}
    return {name: value.detach() for name, value in parts.items()}


def _update(optimizer: Optimizer, loss: Tensor, config: VocoderTrainConfig, step: int) -> Tensor:
    """Back-propagate and step; returns the gradient norm before clipping."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = clip_grad_norm_(parameters, config.clip_norm, error_if_nonfinite=True)
    optimizer.step()
    return norm


def train(
    source: WaveSource,
    folder: Path,
    config: VocoderTrainConfig,
    *,
    mel_config: MelConfig | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    progress: bool = True,
    start_from: Mapping[str, Tensor] | None = None,
) -> TrainOutcome:
    """Train in a folder, or go on with the training found there.

    Under `folder`: `checkpoints/step-*`, `generator/` (the exported average), `events/` (TensorBoard). A file named
    `stop` there, or SIGINT or SIGTERM, saves and returns.

    Args:
        source: the waves.
        mel_config: the mel to invert; None takes the default.
        max_minutes: save and return after so long; None for no limit.
        progress: draw a progress bar.
        start_from: weights to begin with, all of a generator's or some of them; ignored when the folder holds a
            checkpoint. A harmonic generator needs those of its pitch reader, which is not trained here.

    Raises:
        ValueError: the folder holds a training under other settings, the segment is not whole hops, or the weights to
            start from are of another size.
    """
    folder = Path(folder)
    state = _start(folder, config, mel_config or MelConfig(), torch.device(device), start_from)
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    with (
        TrainingReport(folder / "events", source.held_out(), state.step) as report,
        stop_signals() as signalled,
        tqdm(total=config.steps, initial=state.step, unit="step", disable=not progress) as bar,
    ):
        reason: Reason = "finished"
        while state.step < config.steps:
            if early := ended_early(signalled, folder, deadline):
                reason = early
                break
            scalars = train_step(state, draw_batch(source, config, state.step).to(device), config)
            bar.update()
            _report(state, scalars, report, bar, config)
            if state.step % config.checkpoint_every == 0 and state.step < config.steps:
                _save(state, folder, config)
    _save(state, folder, config)
    (folder / STOP_FILE).unlink(missing_ok=True)
    log.info("vocoder training at step %d of %d: %s", state.step, config.steps, reason)
    return TrainOutcome(state.step, reason, folder / "generator")


def ended_early(signalled: threading.Event, folder: Path, deadline: float | None) -> Reason | None:
    """Why a training must end before its last step: asked to by a signal or the stop file, or out of time."""
    if signalled.is_set() or (folder / STOP_FILE).exists():
        return "stopped"
    return "time" if deadline is not None and time.monotonic() >= deadline else None


def _report(
    state: TrainingState, scalars: dict[str, Tensor], report: TrainingReport, bar: Bar, config: VocoderTrainConfig
) -> None:
    if state.step % config.log_every == 0:
        report.scalars(scalars | {"learning_rate": torch.tensor(learning_rate(config, state.step - 1))}, state.step)
        bar.set_postfix(loss=f"{float(scalars['total']):.3f}", mel=f"{float(scalars['mel']):.3f}")
    if state.step in EARLY_REPORTS or state.step % config.report_every == 0:
        report.held_out(state.average, state.step)


def _start(
    folder: Path,
    config: VocoderTrainConfig,
    mel_config: MelConfig,
    device: torch.device,
    start_from: Mapping[str, Tensor] | None,
) -> TrainingState:
    """A fresh state, or the newest checkpoint's."""
    if config.segment_samples % mel_config.hop_samples:
        raise ValueError(
            f"expected segment_samples in whole hops of {mel_config.hop_samples}, got {config.segment_samples}"
        )
    state = TrainingState.fresh(
        config.generator, mel_config, seed=config.seed, weight_decay=config.weight_decay, device=device
    )
    found = checkpoints(folder / "checkpoints")
    if not found:
        if start_from is not None:
            for module in (state.generator, state.average):
                load_strictly(module, {**module.state_dict(), **start_from}, "start_from")
        return state
    stored = read_config(found[-1])["train"]
    check_mel(expected=MelConfig.from_dict(stored["mel"]), got=mel_config)
    # Through the class, so that a setting that came later has its default in a run that began before.
    own = VocoderTrainConfig.from_dict({name: value for name, value in stored.items() if name != "mel"}).to_dict()
    for name, value in config.to_dict().items():
        if name not in REPORTING and own[name] != value:
            raise ValueError(f"{folder}: expected the run's own {name} {own[name]} to resume it, got {value}")
    state.load(found[-1])
    log.info("resumed from %s", found[-1])
    return state


def _save(state: TrainingState, folder: Path, config: VocoderTrainConfig) -> None:
    state.save(folder / "checkpoints", {**config.to_dict(), "mel": state.generator.mel_config.to_dict()})
    keep_newest(folder / "checkpoints", config.keep_checkpoints)
    save_generator(folder / "generator", state.average)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event set by SIGINT or SIGTERM instead of their usual effect; outside the main thread they keep it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
