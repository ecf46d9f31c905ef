"""Train the acoustic model; killed at any point and resumed, it ends where a straight run ends."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.figure
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Synthesizer
from vocoder.storage import load_strictly, read_config, whole_folder, write_config, write_tensors
from vocoder.train import STOP_FILE, Reason, ended_early, stop_signals
from vocoder.training_state import checkpoints, keep_newest

from .dataset import Batch, Corpus
from .losses import losses
from .rehearsal import Rehearsal
from .state import State
from .team import Team
from .update import learning_rate, train_step

log = logging.getLogger(__name__)

NAMED = 3
"""Settings that differ and are told by name."""
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
    parts: int = 1
    """Into how many parts a process cuts its share of an update, so that it fits the memory."""


__all__ = ["Schedule", "State", "draw_mels", "export", "learning_rate", "train", "train_step", "validate"]


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
    team: Team | None = None,
) -> Reason:
    """Train in a folder, or go on with the training found there, up to the config's `total_steps`, see `_other`.

    Under `folder`: `checkpoints/step-*`, `events/` (TensorBoard), `acoustic/` (the exported average). A file named
    `stop` there, or SIGINT or SIGTERM, saves and returns.

    Args:
        start_from: weights to begin with instead of random ones; ignored when the folder holds a checkpoint.
        rehearsal: lines without recordings that are judged by ears at every step; none by default.
        team: the processes that share every batch, this one alone by default; the first one writes.

    Raises:
        ValueError: the folder holds a training of another config or seed, or its config cannot be rehearsed as it says.
        FloatingPointError: the gradient became infinite; checkpoints are intact.
        MemoryError: one line at a time does not fit the memory; checkpoints are intact.
    """
    schedule, team = schedule or Schedule(), team or Team(device=device)
    _check(corpus.config, rehearsal, team)
    state = _begin(corpus.config, folder, seed, team, start_from, schedule.parts)
    watch = Watch(state, corpus, folder, schedule, progress) if team.leads else None
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    total = corpus.config.train.total_steps
    with stop_signals() as signalled:
        reason: Reason = "finished"
        while state.step < total:
            if early := _together(ended_early(signalled, folder, deadline), team):
                reason = early
                break
            batch = team.hand(corpus.batch(seed, state.step))
            terms = train_step(state, batch.to(team.device), seed, schedule.bf16, rehearsal, team)
            if watch:
                watch.after_step(terms, seed)
    if watch:
        watch.close()
        _save(state, folder, seed, schedule)
        log.info("acoustic training at step %d of %d: %s", state.step, total, reason)
    team.wait()
    return reason


_EARLY: tuple[Reason, ...] = ("stopped", "time")


def _together(reason: Reason | None, team: Team) -> Reason | None:
    """A reason to stop that one process has is every one's, at the same step: the others would wait for it forever."""
    told = team.most(0 if reason is None else 1 + _EARLY.index(reason))
    return _EARLY[told - 1] if told else None


def _check(config: DubberConfig, rehearsal: Rehearsal | None, team: Team) -> None:
    train = config.train
    if train.rehearsed and train.total_steps and rehearsal is None:
        raise ValueError(f"expected ears for the {train.rehearsed} lines a step to rehearse, got none")
    if rehearsal is not None and team.size > 1:
        raise ValueError(f"expected one process for a training that rehearses, got {team.size}; give --rehearsed 0")


class Watch:
    """What the first process shows and keeps of a training: a bar, TensorBoard, held-out mels, checkpoints."""

    def __init__(self, state: State, corpus: Corpus, folder: Path, schedule: Schedule, progress: bool) -> None:
        self.state, self.schedule, self.shown, self.folder = state, schedule, _shown(corpus), folder
        self.writer = SummaryWriter(str(folder / "events"), purge_step=state.step)
        total = corpus.config.train.total_steps
        self.bar: tqdm[Any] = tqdm(total=total, initial=state.step, unit="step", disable=not progress)

    def after_step(self, terms: Mapping[str, Tensor], seed: int) -> None:
        self.bar.update()
        step, schedule = self.state.step, self.schedule
        if step % schedule.log_every == 0:
            scalars = {name: float(term) for name, term in terms.items()}
            for name, value in scalars.items():
                self.writer.add_scalar(f"train/{name}", value, step)
            shown_first = ("mel", "duration", "rehearsed_voice", "rehearsed_feeling")
            self.bar.set_postfix({name: f"{scalars[name]:.3f}" for name in shown_first if name in scalars})
        if self.shown is not None and (step in EARLY_REPORTS or step % schedule.report_every == 0):
            self._report(self.shown, step)
        if step % schedule.checkpoint_every == 0:
            _save(self.state, self.folder, seed, schedule)

    def _report(self, shown: Batch, step: int) -> None:
        device = next(self.state.average.parameters()).device
        scalars, mel = validate(self.state.average, shown.to(device))
        for name, value in scalars.items():
            self.writer.add_scalar(f"held-out/{name}", value, step)
        for i in range(min(3, len(mel))):
            figure = draw_mels(mel[i], shown.mel[i], int(shown.mel_lengths[i]))
            self.writer.add_figure(f"mel/{i}", figure, step)
        log.info("step %d held-out %s", step, {k: round(v, 4) for k, v in scalars.items()})

    def close(self) -> None:
        """Nothing more comes; what asked for the end is taken away, so that the next start goes on."""
        self.bar.close()
        self.writer.close()
        (self.folder / STOP_FILE).unlink(missing_ok=True)


def _shown(corpus: Corpus) -> Batch | None:
    """A dozen held-out lines to report on; None where there are none, for a pack may leave them all behind."""
    kept = corpus.cache.held_out_rows()
    return corpus.fixed(kept[:: max(1, len(kept) // 12)][:12], k=3) if kept else None


def _begin(
    config: DubberConfig,
    folder: Path,
    seed: int,
    team: Team,
    start_from: Mapping[str, Tensor] | None,
    parts: int,
) -> State:
    state = State.fresh(config, seed, torch.device(team.device))
    state.parts = parts
    if start_from is not None:
        for module in (state.model, state.average):
            load_strictly(module, dict(start_from), "start_from")
    _resume(state, folder, seed)
    for module in (state.model, state.average):
        team.begin_alike(module)
    return state


def _save(state: State, folder: Path, seed: int, schedule: Schedule) -> None:
    state.save(folder / "checkpoints", seed)
    keep_newest(folder / "checkpoints", schedule.keep_checkpoints)
    export(state.average, folder / "acoustic", state.step)


def export(model: Synthesizer, folder: Path, step: int, *, half: bool = False) -> None:
    """Write an acoustic model as config.json and model.safetensors; `half` stores float16."""
    with whole_folder(folder) as filling:
        write_config(filling, {"model": model.config.to_json(), "step": step})
        write_tensors(filling / "model.safetensors", model.state_dict(), half=half)


def _other(before: DubberConfig, now: DubberConfig) -> list[str]:
    """What of a config is not as it was, in words. Noam's rate knows no end: such a training may grow."""
    if before.train.decay == now.train.decay == "noam":
        before = replace(before, train=replace(before.train, total_steps=now.train.total_steps))
    was, fresh = _flat(json.loads(before.to_json())), _flat(json.loads(now.to_json()))
    names = [name for name in {**was, **fresh} if was.get(name) != fresh.get(name)]
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return [f"{name} {was.get(name)}, got {fresh.get(name)}" for name in names[:NAMED]] + more


def _flat(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{under}{name}.") if isinstance(value, dict) else {under + name: value}
    return flat


def _resume(state: State, folder: Path, seed: int) -> None:
    found = checkpoints(folder / "checkpoints")
    if not found:
        return
    before = read_config(found[-1])
    told = _other(DubberConfig.from_json(before["model"]), state.model.config)
    told += [f"seed {before['seed']}, got {seed}"] if before["seed"] != seed else []
    if told:
        raise ValueError(
            f"{folder}: holds a training of another config or seed ({'; '.join(told)}): choose another folder"
        )
    state.load(found[-1])
    log.info("resuming at step %d", state.step)
