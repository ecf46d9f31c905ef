"""Train the acoustic model; killed at any point and resumed, it ends where a straight run ends."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from authentic_dubber.config import DubberConfig
from authentic_dubber.prosody import Prosody
from authentic_dubber.synthesizer import Synthesizer
from vocoder.storage import load_strictly, read_config, read_tensors, whole_folder, write_config, write_tensors
from vocoder.train import STOP_FILE, Reason, ended_early, stop_signals
from vocoder.training_state import checkpoints, flatten_moments, keep_newest, restore_moments

from .dataset import Batch, Corpus
from .losses import losses
from .rehearsal import Rehearsal

log = logging.getLogger(__name__)

EARLY_REPORTS = (200, 500)
"""Steps that are plotted whatever the interval, so that a broken run shows itself within minutes."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What may differ between a run and its resume without changing any weight."""

    log_every: int = 50
    report_every: int = 1000
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    bf16: bool = True


@dataclass(slots=True)
class State:
    """The moving parts: the network, its running average (which is exported), the optimizer and the step."""

    model: Synthesizer
    average: Synthesizer
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def fresh(cls, config: DubberConfig, seed: int, device: torch.device) -> State:
        """Step 0; the initial weights depend on the seed alone."""
        torch.manual_seed(seed)
        model = Synthesizer(config).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(), betas=(0.9, 0.98), weight_decay=config.train.weight_decay, fused=True
        )
        return cls(model, copy.deepcopy(model).eval().requires_grad_(False), optimizer)

    def save(self, folder: Path, seed: int) -> Path:
        target = folder / f"step-{self.step:08d}"
        with whole_folder(target) as filling:
            write_config(filling, {"step": self.step, "seed": seed, "model": self.model.config.to_json()})
            write_tensors(filling / "model.safetensors", self.model.state_dict())
            write_tensors(filling / "average.safetensors", self.average.state_dict())
            write_tensors(filling / "optimizer.safetensors", flatten_moments(self.model, self.optimizer))
        return target

    def load(self, checkpoint: Path) -> None:
        for name, module in (("model", self.model), ("average", self.average)):
            path = checkpoint / f"{name}.safetensors"
            load_strictly(module, read_tensors(path), str(path))
        restore_moments(self.model, self.optimizer, read_tensors(checkpoint / "optimizer.safetensors"))
        self.step = int(read_config(checkpoint)["step"])

    @torch.no_grad()
    def advance_average(self, decay: float) -> None:
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def learning_rate(config: DubberConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    train = config.train
    if step < train.warmup:
        return train.learning_rate * (step + 1) / train.warmup
    done = min(1.0, (step - train.warmup) / max(1, train.total_steps - train.warmup))
    return train.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def train_step(
    state: State, batch: Batch, seed: int, bf16: bool, rehearsal: Rehearsal | None = None
) -> dict[str, Tensor]:
    """One update; what it lost, by name. Dropout is seeded by the step: a resumed run rolls the same dice."""
    config = state.model.config
    torch.manual_seed(seed * 1_000_003 + state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    state.model.train()
    device = batch.mel.device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        encoded = state.model.encode(batch.inputs)
        spoken = state.model.decode(encoded, batch.durations, batch.prosody)
    lost = losses(state.model, encoded, spoken, batch)
    state.optimizer.zero_grad(set_to_none=True)
    lost.total.backward()
    terms = {name: term.detach() for name, term in lost.tensors().items()}
    if rehearsal is not None:
        # After the recorded lines and apart from them, so that only one graph of activations is held at a time.
        terms |= _rehearse(state, rehearsal, device, bf16)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.train.clip)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"step {state.step}: gradient norm is {float(norm)}; the last checkpoint is intact")
    state.optimizer.step()
    state.step += 1
    state.advance_average(config.train.ema)
    return terms


def _rehearse(state: State, rehearsal: Rehearsal, device: torch.device, bf16: bool) -> dict[str, Tensor]:
    train = state.model.config.train
    heard = rehearsal.judge(state.model, rehearsal.lines(state.step).to(device), bf16=bf16)
    (train.voice_weight * heard.voice + train.feeling_weight * heard.feeling).backward()
    return {"rehearsed_voice": heard.voice.detach(), "rehearsed_feeling": heard.feeling.detach()}


@torch.no_grad()
def validate(model: Synthesizer, batch: Batch) -> tuple[dict[str, float], Tensor]:
    """Losses of a fixed held-out batch with recorded durations, and the mel that was made of it."""
    model.eval()
    encoded = model.encode(batch.inputs)
    spoken = model.decode(encoded, batch.durations)
    return losses(model, encoded, spoken, batch).scalars(), spoken.mel


def draw_mels(made: Tensor, real: Tensor, frames: int) -> matplotlib.figure.Figure:
    """A made mel above the recorded one."""
    figure = matplotlib.figure.Figure(figsize=(9, 5), layout="constrained")
    for i, (name, mel) in enumerate((("made", made), ("recorded", real))):
        axes = figure.add_subplot(2, 1, i + 1)
        axes.imshow(mel[:, :frames].float().cpu().numpy(), origin="lower", aspect="auto", vmin=-11, vmax=1)
        axes.set_title(name)
    return figure


def train(
    corpus: Corpus,
    folder: Path,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    device: str = "cpu",
    max_minutes: float | None = None,
    progress: bool = True,
    start_from: Mapping[str, Tensor] | None = None,
    rehearsal: Rehearsal | None = None,
) -> Reason:
    """Train in a folder, or go on with the training found there, up to the config's `total_steps`.

    Under `folder`: `checkpoints/step-*`, `events/` (TensorBoard), `acoustic/` (the exported average). A file named
    `stop` there, or SIGINT or SIGTERM, saves and returns.

    Args:
        start_from: weights to begin with instead of random ones; ignored when the folder holds a checkpoint.
        rehearsal: lines without recordings that are judged by ears at every step; none by default.

    Raises:
        ValueError: the folder holds a training of another config or seed, or the config rehearses and nobody judges.
        FloatingPointError: the gradient became infinite; checkpoints are intact.
    """
    schedule = schedule or Schedule()
    if corpus.config.train.rehearsed and corpus.config.train.total_steps and rehearsal is None:
        raise ValueError(f"expected ears for the {corpus.config.train.rehearsed} lines a step to rehearse, got none")
    state = _begin(corpus.config, folder, seed, device, start_from)
    shown = _shown(corpus)
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    total = corpus.config.train.total_steps
    writer = SummaryWriter(str(folder / "events"), purge_step=state.step)
    with stop_signals() as signalled, tqdm(total=total, initial=state.step, unit="step", disable=not progress) as bar:
        reason: Reason = "finished"
        while state.step < total:
            if early := ended_early(signalled, folder, deadline):
                reason = early
                break
            batch = _move(corpus.batch(seed, state.step), device)
            terms = train_step(state, batch, seed, schedule.bf16, rehearsal)
            bar.update()
            _after_step(state, terms, shown, writer, bar, schedule)
            if state.step % schedule.checkpoint_every == 0:
                _save(state, folder, seed, schedule)
    writer.close()
    _save(state, folder, seed, schedule)
    (folder / STOP_FILE).unlink(missing_ok=True)
    log.info("acoustic training at step %d of %d: %s", state.step, total, reason)
    return reason


def _shown(corpus: Corpus) -> Batch | None:
    """A dozen held-out lines to report on; None where there are none, for a pack may leave them all behind."""
    kept = corpus.cache.held_out_rows()
    return corpus.fixed(kept[:: max(1, len(kept) // 12)][:12], k=3) if kept else None


def _begin(
    config: DubberConfig, folder: Path, seed: int, device: str, start_from: Mapping[str, Tensor] | None
) -> State:
    state = State.fresh(config, seed, torch.device(device))
    if start_from is not None:
        for module in (state.model, state.average):
            load_strictly(module, dict(start_from), "start_from")
    _resume(state, folder, seed)
    return state


def _move(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch
    return Batch(
        batch.inputs.to(device),
        batch.mel.to(device),
        batch.mel_lengths.to(device),
        batch.durations.to(device),
        batch.emotion.to(device),
        Prosody(*(channel.to(device) for channel in batch.prosody)),
        batch.speaker.to(device),
    )


def _after_step(
    state: State,
    terms: Mapping[str, Tensor],
    shown: Batch | None,
    writer: SummaryWriter,
    bar: tqdm[Any],
    schedule: Schedule,
) -> None:
    if state.step % schedule.log_every == 0:
        scalars = {name: float(term) for name, term in terms.items()}
        for name, value in scalars.items():
            writer.add_scalar(f"train/{name}", value, state.step)
        shown_first = ("mel", "duration", "rehearsed_voice", "rehearsed_feeling")
        bar.set_postfix({name: f"{scalars[name]:.3f}" for name in shown_first if name in scalars})
    if shown is not None and (state.step in EARLY_REPORTS or state.step % schedule.report_every == 0):
        device = next(state.average.parameters()).device
        scalars, mel = validate(state.average, _move(shown, str(device)))
        for name, value in scalars.items():
            writer.add_scalar(f"held-out/{name}", value, state.step)
        for i in range(min(3, len(mel))):
            figure = draw_mels(mel[i], shown.mel[i], int(shown.mel_lengths[i]))
            writer.add_figure(f"mel/{i}", figure, state.step)
        log.info("step %d held-out %s", state.step, {k: round(v, 4) for k, v in scalars.items()})


def _save(state: State, folder: Path, seed: int, schedule: Schedule) -> None:
    state.save(folder / "checkpoints", seed)
    keep_newest(folder / "checkpoints", schedule.keep_checkpoints)
    export(state.average, folder / "acoustic", state.step)


def export(model: Synthesizer, folder: Path, step: int, *, half: bool = False) -> None:
    """Write an acoustic model as config.json and model.safetensors; `half` stores float16."""
    with whole_folder(folder) as filling:
        write_config(filling, {"model": model.config.to_json(), "step": step})
        write_tensors(filling / "model.safetensors", model.state_dict(), half=half)


def _resume(state: State, folder: Path, seed: int) -> None:
    found = checkpoints(folder / "checkpoints")
    if not found:
        return
    before = read_config(found[-1])
    if before["seed"] != seed or DubberConfig.from_json(before["model"]) != state.model.config:
        raise ValueError(f"{folder}: holds a training of another config or seed; choose another folder")
    state.load(found[-1])
    log.info("resuming at step %d", state.step)
